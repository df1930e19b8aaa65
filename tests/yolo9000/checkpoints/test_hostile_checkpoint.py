"""A checkpoint by a stranger: refused in one short line, in bounded time and memory, whatever it holds."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.yolo9000.made import made_config
from yolo9000.checkpoints.checkpoint import CheckpointError, load_checkpoint
from yolo9000.checkpoints.contents import is_endless
from yolo9000.checkpoints.sealed_zip import problem_of, sealed
from yolo9000.training.train import train


@pytest.fixture(scope="module")
def good(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The content of last.pt of a short training."""
    folder = tmp_path_factory.mktemp("run")
    train(made_config(shards), folder)
    content: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return content


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path).build_model()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    return message


def nested(value: Any, times: int) -> Any:
    for _ in range(times):
        value = (value, value)
    return value


def with_config(content: dict[str, Any], **model: Any) -> str:
    config = json.loads(content["config"])
    config["model"].update(model)
    return json.dumps(config)


def each_weight(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda good: {
        "weights": {k: change(v) if v.is_floating_point() else v for k, v in good["weights"].items()}
    }


def boxes(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda good: {"boxes": change(good["boxes"])}


HOSTILE = [
    pytest.param(lambda good: {"format": nested((), 40)}, id="format of 2^40 parts"),
    pytest.param(lambda good: {"version": nested((), 40)}, id="version of 2^40 parts"),
    pytest.param(lambda good: {"version": True}, id="version is a truth value"),
    pytest.param(lambda good: {"training": {"a": nested((), 40)}}, id="training of 2^40 parts"),
    pytest.param(lambda good: {"training": {"weights": 5}}, id="training without weights"),
    pytest.param(
        lambda good: {"darknet": {"version": nested((), 40), "tree": ""}}, id="origin of 2^40 parts"
    ),
    pytest.param(lambda good: {"extra": nested((), 40)}, id="an unknown entry"),
    pytest.param(boxes(lambda n: torch.tensor(3)), id="counts of no dimension"),
    pytest.param(boxes(lambda n: n.to_sparse()), id="sparse counts"),
    pytest.param(boxes(lambda n: n.to(torch.bfloat16)), id="counts of bfloat16"),
    pytest.param(
        boxes(lambda n: torch.empty(len(n), dtype=torch.int64, device="meta")), id="counts without values"
    ),
    pytest.param(boxes(lambda n: n[:, None].repeat(1, 3)), id="counts of two dimensions"),
    pytest.param(boxes(lambda n: n.double().requires_grad_()), id="counts with a gradient"),
    pytest.param(boxes(lambda n: n.double() * float("nan")), id="counts that are no numbers"),
    pytest.param(boxes(lambda n: -n - 5), id="negative counts"),
    pytest.param(boxes(lambda n: n + 2**60), id="counts beyond every data set"),
    pytest.param(boxes(lambda n: torch.zeros(1, dtype=torch.int64).expand(len(n))), id="one count repeated"),
    pytest.param(each_weight(lambda w: w * float("nan")), id="weights that are not a number"),
    pytest.param(each_weight(lambda w: w + float("inf")), id="infinite weights"),
    pytest.param(each_weight(lambda w: torch.empty_like(w, device="meta")), id="weights without values"),
    pytest.param(each_weight(lambda w: torch.zeros(1).expand(w.shape)), id="one weight repeated"),
    pytest.param(lambda good: {"config": "[" * 200_000}, id="deep configuration"),
    pytest.param(lambda good: {"tree": "[" * 200_000}, id="deep tree"),
    pytest.param(
        lambda good: {"config": with_config(good, width=1e9)}, id="a network wider than torch can count"
    ),
    pytest.param(
        lambda good: {"config": with_config(good, width=float("inf"))}, id="an endlessly wide network"
    ),
    pytest.param(
        lambda good: {"config": with_config(good, width=float("nan"))}, id="a width that is no number"
    ),
    pytest.param(lambda good: {"step": -1}, id="negative step"),
    pytest.param(lambda good: {"step": 10**30}, id="a step beyond 64 bits"),
    pytest.param(lambda good: {"step": False}, id="step is a truth value"),
    pytest.param(lambda good: {"seen_before": -(10**6)}, id="negative number of images"),
    pytest.param(lambda good: {"score": float("inf")}, id="infinite score"),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_odd_content_is_refused(
    good: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    buffer = io.BytesIO()
    torch.save({**good, "training": None, **change(good)}, buffer)
    (tmp_path / "odd.pt").write_bytes(sealed(buffer))
    refusal(tmp_path / "odd.pt")


@pytest.mark.parametrize(
    "value",
    [
        {1, 2},
        bytearray(8),
        OrderedDict(a=torch.zeros(2).to_sparse()),
        torch.nn.Parameter(torch.zeros(2)),
        1 + 2j,
    ],
    ids=["set", "bytearray", "sparse tensor", "parameter", "complex number"],
)
def test_a_file_with_other_objects_is_refused_before_torch_reads_it(
    good: dict[str, Any], tmp_path: Path, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({**good, "training": {"a": value}}, tmp_path / "odd.pt")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read the file"))
    assert "more than dense tensors and plain values" in refusal(tmp_path / "odd.pt")


def test_a_name_that_takes_forever_to_hash_is_refused(tmp_path: Path) -> None:
    """{((((), ()), ((), ())), …): 1} with 2^40 parts: a dictionary would hash each."""
    levels = b"".join(b"h%ch%c\x86q%c" % (level, level, level + 1) for level in range(40))
    content = b"\x80\x02}(" + b")q\x00" + levels + b"K\x01u."
    with zipfile.ZipFile(tmp_path / "hash.pt", "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
    assert "more than dense tensors and plain values" in refusal(tmp_path / "hash.pt")


# --- zip files with two directories


def local_header(name: str, method: int, crc: int, packed: int, size: int) -> bytes:
    return (
        struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, method, 0, 0x21, crc, packed, size, len(name), 0)
        + name.encode()
    )


def directory_entry(name: str, method: int, crc: int, packed: int, size: int, offset: int) -> bytes:
    fixed = (0x02014B50, 20, 20, 0, method, 0, 0x21, crc, packed, size, len(name), 0, 0, 0, 0, 0, offset)
    return struct.pack("<IHHHHHHIIIHHHHHII", *fixed) + name.encode()


def test_an_archive_with_two_directories_is_refused(tmp_path: Path) -> None:
    """Python reads the directory before the end record, torch the one that the record states."""
    name, content = "archive/data.pkl", bytes(1 << 20)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    body = local_header(name, 8, zlib.crc32(content), len(packed), len(content)) + packed
    for_torch = directory_entry(name, 8, zlib.crc32(content), len(packed), len(content), 0)
    for_python = directory_entry(name, 0, 0, 4, 4, 0)
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, len(for_torch), len(body), 0)
    (tmp_path / "two.pt").write_bytes(body + for_torch + for_python + end)
    with zipfile.ZipFile(tmp_path / "two.pt") as archive:
        assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED
    assert problem_of(tmp_path / "two.pt") == "an archive whose directory is not where it must be"
    refusal(tmp_path / "two.pt")


def test_an_archive_whose_large_directory_contradicts_the_small_one_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, buffer)
    content = bytearray(buffer.getvalue())
    path = tmp_path / "large.pt"
    path.write_bytes(content)
    assert problem_of(path) is None
    position = content.rindex(b"PK\x06\x06")
    for offset in (24, 32, 40, 48):  # entries here, entries, bytes and start of the directory
        changed = bytearray(content)
        changed[position + offset] ^= 1
        path.write_bytes(changed)
        assert problem_of(path), offset


def test_an_archive_with_two_members_of_one_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "twice.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"a")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", b"b")
    assert problem_of(tmp_path / "twice.pt") == "an archive with two members of one name"


def test_sizes_beyond_the_end_of_a_file_take_no_memory(tmp_path: Path) -> None:
    old, new = tmp_path / "old.pth", tmp_path / "new.pth"
    old.write_bytes(b"\x80\x02X\xff\xff\xff\x7fshort")  # a text of 2 GB, says the pickle
    with zipfile.ZipFile(new, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
    content = new.read_bytes()
    at = content.index(b"PK\x01\x02") + 20  # the compressed size in the directory
    new.write_bytes(content[:at] + (1 << 30).to_bytes(4, "little") + content[at + 4 :])
    for path, is_refused in ((old, True), (new, False)):
        tracemalloc.start()
        try:
            assert is_endless(path) == is_refused
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
        finally:
            tracemalloc.stop()
