"""Harnesses of the files of networks: checkpoints, weights of other programs, and Darknet's formats."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from random import Random

import torch

from data_prep import LabelCounts
from tests.fuzz.harness import Harness, write
from tests.fuzz.mutations import fields, lines
from tests.fuzz.structure import changed, json_value, pickle_operation, zip_member
from wordtree import WordTree
from yolo9000.checkpoints.backbone_weights import read_state_dict
from yolo9000.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.checkpoints.flat_classifier import _class_list
from yolo9000.checkpoints.sealed_zip import sealed
from yolo9000.config import Config
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.data_file import read_data
from yolo9000.models.detector import build_detector

NETS = Path(__file__).parents[1] / "golden" / "darknet_nets"
TREE = WordTree([f"n{node:08d}" for node in range(7)], [-1, -1, 0, 0, 1, 1, 2])


def make_checkpoint(path: Path) -> Path:
    """Write a checkpoint of a tiny detector with random weights."""
    model = {"architecture": "tiny", "width": 0.1, "input_size_px": 64, "anchors": [[1, 1], [2, 2]]}
    data = {"shards": "shards", "batch_size": 8, "ratio": {"scenes": 1}}
    config = Config.model_validate(
        {"name": "made", "model": model, "data": data, "schedule": {"max_steps": 4}}
    )
    torch.manual_seed(0)
    weights = build_detector(config.model, TREE).state_dict()
    zeros = torch.zeros(len(TREE), dtype=torch.int64).numpy()
    save_checkpoint(path, Checkpoint(config, TREE, LabelCounts(TREE, zeros, zeros), 3, weights, None, 12.5))
    return path


def _checkpoints(folder: Path) -> list[bytes]:
    return [make_checkpoint(folder / "made.pt").read_bytes()]


def _load(folder: Path, data: bytes) -> None:
    checkpoint = load_checkpoint(write(folder, "x.pt", data))
    checkpoint.facts()
    checkpoint.build_model()


def sealed_again(data: bytes) -> bytes:
    """The bytes of a sealed zip with the checksum that fits them."""
    if data[-14:-8] != b"crc32 ":
        return data
    return data[:-8] + f"{zlib.crc32(data[:-8]):08x}".encode()


def _pickle_in_zip(rng: Random, data: bytes) -> bytes:
    return zip_member(rng, data, pickle_operation)


def _entry(rng: Random, data: bytes) -> bytes:
    """Change an entry of a torch file: a value, a key, or a text of JSON."""
    try:
        content = torch.load(io.BytesIO(data), weights_only=True)
    except Exception:  # of a mutated file
        return data
    if not isinstance(content, dict) or not content:
        return data
    tensors = (
        torch.zeros(3),
        torch.full((2, 2), float("nan")),
        torch.zeros(0),
        torch.zeros(1).expand(10**6),
        torch.eye(2) * 1e39,
    )
    texts = [key for key, value in content.items() if isinstance(value, str) and value.startswith("{")]
    if texts and rng.random() < 0.4:
        key = rng.choice(texts)
        content[key] = json_value(rng, content[key].encode()).decode("utf-8", "surrogatepass")
    elif rng.random() < 0.4:
        parts = [part for part in (content, content.get("weights")) if isinstance(part, dict) and part]
        part = rng.choice(parts)
        part[rng.choice(list(part))] = rng.choice(
            (*tensors, torch.ones(5, dtype=torch.int8), torch.tensor(2**62), {}, -1, 2**70)
        )
    else:
        content = changed(rng, content)
    file = io.BytesIO()
    try:
        torch.save(content, file)
    except Exception:
        return data
    return sealed(file)


def _torch_weights(folder: Path) -> list[bytes]:
    seeds = []
    for content in ({"a.weight": torch.zeros(2, 3)}, {"state_dict": {"module.b": torch.ones(4)}}):
        file = io.BytesIO()
        torch.save(content, file)
        seeds.append(file.getvalue())
    return seeds


def _safetensors(folder: Path) -> list[bytes]:
    header = b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"__metadata__":{"x":"y"}}'
    return [struct.pack("<Q", len(header)) + header + bytes(16)]


def _cfgs(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(NETS.glob("*.cfg"))]


def _darknet(folder: Path) -> list[bytes]:
    cfg = NETS / "tree_detector.cfg"
    (folder / "x.cfg").write_bytes(cfg.read_bytes())
    (folder / "x.tree").write_bytes((NETS / "kinds.tree").read_bytes())
    return [cfg.with_suffix(".weights").read_bytes()]


def _read_network(folder: Path, data: bytes) -> None:
    files = DarknetFiles(write(folder, "x.cfg", data), tree=folder / "x.tree")
    read_darknet(files)[0].facts()


def _read_weights(folder: Path, data: bytes) -> None:
    files = DarknetFiles(folder / "x.cfg", write(folder, "x.weights", data), folder / "x.tree")
    read_darknet(files)[0].build_model()
    read_darknet(files, layers=1)


def _prepare_cfg(folder: Path) -> list[bytes]:
    _darknet(folder)
    return [(NETS / "tree_detector.cfg").read_bytes(), (NETS / "tree_classifier.cfg").read_bytes()]


_CFG_TOKENS = (
    *(
        b"[route]\n",
        b"[shortcut]\n",
        b"layers=",
        b"from=",
        b"-1",
        b"groups=",
        b"stride=0",
        b"size=",
        b"filters=99999999",
    ),
    *(
        b"[region]\n",
        b"[reorg]\n",
        b"[net]\n",
        b"tree=",
        b"anchors=",
        b"activation=",
        b"pad=1",
        b"[local]\n",
        b"[crop]\n",
    ),
    *(
        b"classes=1000000",
        b"num=100000",
        b"width=1000000",
        b"[",
        b"]",
        b"batch=",
        b"[connected]\n",
        b"output=",
    ),
)
_DATA = b"classes=7\ntrain=a.list\nvalid=b.list\nnames=x.names\nbackup=backup\ntop=5\neval=coco\n"

HARNESSES = (
    Harness(
        "checkpoint",
        "yolo9000",
        _checkpoints,
        _load,
        (_pickle_in_zip, zip_member, _entry, _entry, _entry),
        (b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"),
        repair=sealed_again,
        named="x.pt",
    ),
    Harness(
        "pth",
        "yolo9000",
        _torch_weights,
        lambda f, d: read_state_dict(write(f, "x.pth", d)),
        (_pickle_in_zip, zip_member, _entry),
        named="x.pth",
    ),
    Harness(
        "safetensors",
        "yolo9000",
        _safetensors,
        lambda f, d: read_state_dict(write(f, "x.safetensors", d)),
        (),
        (b'"shape":[', b'"F64"', b'"BF16"', b"[0,16]", b"{", b"[" * 200),
        named="x.safetensors",
    ),
    Harness(
        "class-list",
        "yolo9000",
        lambda _: [b"n02084071 dog\ncat\n"],
        lambda f, d: _class_list(write(f, "x.txt", d)),
        (lines,),
        named="x.txt",
    ),
    Harness(
        "cfg",
        "yolo9000",
        _cfgs,
        lambda f, d: read_cfg(write(f, "x.cfg", d)),
        (lines, fields, fields),
        _CFG_TOKENS,
        named="x.cfg",
    ),
    Harness("cfg-network", "yolo9000", _prepare_cfg, _read_network, (lines, fields, fields), _CFG_TOKENS),
    Harness("weights", "yolo9000", _darknet, _read_weights),
    Harness(
        "data-file",
        "yolo9000",
        lambda _: [_DATA],
        lambda f, d: read_data(write(f, "x.data", d)),
        (lines, fields),
        (b"classes=", b"top=", b"\0"),
        named="x.data",
    ),
)
