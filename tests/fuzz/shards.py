"""Harnesses of shards, index, the list of a merge's shards, and `left_out.csv`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from data_prep import ShardReader, load_config, merge
from data_prep.config import MergeConfig
from data_prep.dataset.index_file import CHECKSUM_BYTES, read_index
from data_prep.maintenance.check import check_shards
from data_prep.merging.progress_file import FINISHED_NAME, finished_shards
from data_prep.planning.left_out import write_left_out
from data_prep.shards.columns import read_shard_columns
from data_prep.shards.format import INDEX_NAME, hash_frame
from data_prep.shards.source_ids import read_source_ids
from data_prep.shards.writer import ShardResult
from data_prep.synthetic.world_files import is_finished
from tests.data_prep.conftest import make_world
from tests.fuzz.harness import Fault, Harness, write
from tests.fuzz.mutations import lines
from tests.fuzz.structure import deep, hdf5_dataset, json_value

SHARD = "shard-00000.h5"
_HASHES: dict[str, Any] = {"plan_sha256": "0", "sources_sha256": {"coco": "1"}, "packing": {"shard_mb": 1}}


def make_shards(folder: Path, *, shard_mb: float = 0.004) -> Path:
    """Merge a small world into `folder`/shards: several shards and an index."""
    world = make_world(folder / "world")
    merge(load_config(world / "merge.yaml", MergeConfig, [f"shard_mb={shard_mb}"]), folder / "shards")
    return folder / "shards"


def _prepare(name: str, folder: Path) -> list[bytes]:
    shards = make_shards(folder)
    return [(shards / name).read_bytes()]


def contents(folder: Path, *, most: int | None = None) -> tuple[Any, ...]:
    """Everything that a reader gives: all labels, and the names and bytes of the first `most` images."""
    reader = ShardReader(folder)
    images = range(len(reader))[:most]
    columns = [value.tobytes() for value in vars(reader).values() if isinstance(value, np.ndarray)]
    names = tuple(reader.source_id(image) for image in images)
    pixels = tuple(reader.encoded(image).tobytes() for image in images)
    tables = (
        reader.tree.to_json(),
        reader.sources,
        reader.classes,
        reader.splits,
        reader.counts,
        reader.left_out,
    )
    return (tuple(columns), names, pixels, repr(tables))


def _read(name: str, folder: Path, data: bytes) -> None:
    """Read the images and labels of a folder in which one file was changed, and check it."""
    write(folder / "shards", name, data)
    contents(folder / "shards")
    check_shards(folder / "shards", read_index(folder / "shards"))


def _read_index_alone(folder: Path, data: bytes) -> None:
    write(folder / "shards", INDEX_NAME, data)
    index = read_index(folder / "shards")
    check_shards(folder / "shards", index)
    contents(folder / "shards")


def _read_shard_alone(folder: Path, data: bytes) -> None:
    """Read a shard without its index, as resuming and repairing do."""
    path = write(folder, SHARD, data)
    shard = _listed(folder, path)
    names = read_source_ids(path, path, shard)
    for image in range(len(names)):
        names.text(image)
    columns = read_shard_columns(path, shard)
    if any(len(columns[f"{kind}_offsets"]) != len(names) + 1 for kind in ("box", "label", "picture")):
        raise Fault("a column of another length")


def _listed(folder: Path, path: Path) -> ShardResult:
    """The shard as the index of a stranger would list it, with the checksum of its frame."""
    (shard, *_) = read_index(folder / "shards").shards
    with path.open("rb") as file:
        return replace(shard, frame_sha256=hash_frame(file, shard.bytes_start, shard.bytes_end))


def index_with_checksum(data: bytes) -> bytes:
    """The bytes of an index with the checksum that fits them."""
    digest = sha256(data[CHECKSUM_BYTES:]).hexdigest().encode()
    return (b"sha256 of all bytes from 512 on: " + digest + b"\n").ljust(CHECKSUM_BYTES, b"\0") + data[
        CHECKSUM_BYTES:
    ]


def _metadata(rng: Random, data: bytes) -> bytes:
    """Change a value in the JSON text of an index."""
    import io

    import h5py

    file = io.BytesIO(data[CHECKSUM_BYTES:])
    try:
        with h5py.File(file, "r+") as opened:
            text = json_value(rng, opened["metadata"][()].tobytes())
            del opened["metadata"]
            opened.create_dataset("metadata", data=np.frombuffer(text, np.uint8), track_times=False)
    except (OSError, RuntimeError, KeyError, ValueError, OverflowError, AttributeError):
        return data
    return data[:CHECKSUM_BYTES] + file.getvalue()


def _progress(folder: Path) -> list[bytes]:
    shards = make_shards(folder)
    data = (shards / FINISHED_NAME).read_bytes()
    (shards / INDEX_NAME).unlink()
    head = b'{"plan_sha256": "0", "sources_sha256": {"coco": "1"}, "packing": {"shard_mb": 1}}\n'
    return [head + data.split(b"\n", 1)[1], head]


def _read_progress(folder: Path, data: bytes) -> None:
    write(folder / "shards", FINISHED_NAME, data)
    finished_shards(folder / "shards", _HASHES)


def _world(folder: Path, data: bytes) -> None:
    (folder / "made").mkdir(exist_ok=True)
    write(folder / "made", "world.json", data)
    is_finished(folder / "made", {"settings": {"seed": 1}})


def _left_out(folder: Path, data: bytes) -> None:
    write_left_out(write(folder, "left_out.csv", data), [("own", "lost", "a.jpg", "b")])


_HDF5_TOKENS = (b"TREE", b"SNOD", b"HEAP", b"\x89HDF\r\n\x1a\n", b"\xff" * 8, b"GCOL\x01", b"\x00" * 8)

HARNESSES = (
    Harness(
        "shard", "data_prep", partial(_prepare, SHARD), partial(_read, SHARD), (hdf5_dataset,), _HDF5_TOKENS
    ),
    Harness(
        "shard-alone",
        "data_prep",
        partial(_prepare, SHARD),
        _read_shard_alone,
        (hdf5_dataset,),
        _HDF5_TOKENS,
        named=SHARD,
    ),
    Harness(
        "index",
        "data_prep",
        partial(_prepare, INDEX_NAME),
        _read_index_alone,
        (hdf5_dataset, _metadata, _metadata),
        _HDF5_TOKENS,
        repair=index_with_checksum,
    ),
    Harness("shard-list", "data_prep", _progress, _read_progress, (json_value, lines, deep)),
    Harness("world-json", "data_prep", lambda _: [b'{"settings": {"seed": 1}}'], _world, (json_value, deep)),
    Harness("left-out", "data_prep", lambda _: [b"source,reason,image,place\n"], _left_out, (lines,)),
)
