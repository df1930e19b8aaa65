"""index.h5: written whole or not at all, and refused where a byte differs from what was written.

The first 512 bytes are no part of HDF5's data (a *user block*); they hold the SHA-256 of all that follows. The columns
of images and labels are datasets; everything else is one JSON text, the dataset `metadata`.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from data_prep.dataset import index_v2
from data_prep.dataset.consistency import check_consistent
from data_prep.dataset.index import INDEX_COLUMNS, Index, SourceClass, SourceInfo, read_columns
from data_prep.dataset.storage import open_folder
from data_prep.errors import MergeError
from data_prep.shards.format import (
    HASH_CHUNK_BYTES,
    HDF5_ERRORS,
    INDEX_FORMAT,
    INDEX_NAME,
    INDEX_VERSION,
    LOCK_NAME,
    ShardError,
    open_hdf5,
    write_format,
)
from data_prep.shards.hdf5_files import new_hdf5
from data_prep.shards.writer import ShardResult
from wordtree import WordTree, WordTreeError
from wordtree.support.file_lock import locked
from wordtree.support.files import system_message
from wordtree.support.lines import one_line

BACKUP_NAME = f"{INDEX_NAME}.bak"
CHECKSUM_BYTES = 512
_CHECKSUM_START = b"sha256 of all bytes from 512 on: "
_FORMER_NAMES = {"pictures_first": "bytes_start", "pictures_end": "bytes_end"}  # of fields of ShardResult


def write_index(folder: Path, index: Index) -> None:
    """Write index.h5 atomically; raises ShardError where it cannot be written."""
    part = folder / f"{INDEX_NAME}.part"
    try:
        with new_hdf5(part, userblock_size=CHECKSUM_BYTES) as file:
            write_format(file, INDEX_FORMAT, INDEX_VERSION)
            for name in INDEX_COLUMNS:
                file.create_dataset(name, data=index.columns[name], track_times=False)
            text = json.dumps(_metadata(index))
            file.create_dataset("metadata", data=text, dtype=h5py.string_dtype(), track_times=False)
        write_checksum(part)
        part.replace(folder / INDEX_NAME)
    except OSError as reason:
        raise ShardError(
            f"{folder / INDEX_NAME}: cannot write the index ({system_message(reason)})."
        ) from None
    finally:
        part.unlink(missing_ok=True)


def replace_index(folder: Path, index: Index) -> None:
    """Write index.h5 and keep the former one as index.h5.bak; raises MergeError while a merge is under way."""
    with locked(folder, name=LOCK_NAME, error=MergeError):
        _keep_old_index(folder)
        write_index(folder, index)


def _keep_old_index(folder: Path) -> None:
    backup = folder / BACKUP_NAME
    part = folder / f"{BACKUP_NAME}.part"
    try:
        shutil.copyfile(folder / INDEX_NAME, part)
        with part.open("rb") as copied:
            os.fsync(copied.fileno())
        part.replace(backup)
    except OSError as reason:
        raise ShardError(f"{backup}: cannot keep the old index ({one_line(reason)}).") from None
    finally:
        part.unlink(missing_ok=True)


def read_index(folder: Path | str) -> Index:
    """The index of a folder of shards; raises ShardError where it is missing, damaged or foreign."""
    stored, place = open_folder(folder), f"{folder}/{INDEX_NAME}"
    if not stored.has(INDEX_NAME):
        found = "no such folder."
        if stored.exists():
            found = "no index in it. `data-prep merge` writes the index when all shards are finished."
        raise ShardError(f"{folder}: expected a folder of shards with {INDEX_NAME}, found {found}")
    with stored.open(INDEX_NAME) as stream:
        is_intact = checksum_fits(stream)
        if is_intact is False:
            raise ShardError(
                f"{place}: the index is damaged: its bytes do not fit their checksum. Merge again; that writes "
                "a new index and keeps the shards."
            )
        with open_hdf5(stream, place, INDEX_FORMAT, index_v2.VERSION, INDEX_VERSION) as file:
            try:
                if is_intact is None:
                    raise ValueError("its checksum is missing")
                index = (
                    index_v2.index_of(file) if file.attrs["version"] == index_v2.VERSION else _index_of(file)
                )
                check_consistent(index)
            except (*HDF5_ERRORS, IndexError, WordTreeError) as reason:
                raise ShardError(
                    f"{place}: the index is damaged ({one_line(reason)}); merge again."
                ) from None
    return index


def write_checksum(path: Path) -> None:
    """Write the checksum of an index into its first bytes, and make the file durable."""
    with path.open("r+b") as file:
        block = _checksum_of(file)
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def checksum_fits(stream: BinaryIO) -> bool | None:
    """Whether every byte of an index is as it was written; None where it has no checksum."""
    stream.seek(0)
    found = stream.read(CHECKSUM_BYTES)
    return found == _checksum_of(stream) if found.startswith(_CHECKSUM_START) else None


def _checksum_of(stream: BinaryIO) -> bytes:
    stream.seek(CHECKSUM_BYTES)
    digest = hashlib.sha256()
    while piece := stream.read(HASH_CHUNK_BYTES):
        digest.update(piece)
    return (_CHECKSUM_START + digest.hexdigest().encode() + b"\n").ljust(CHECKSUM_BYTES, b"\0")


def _metadata(index: Index) -> dict[str, Any]:
    return {
        "tree": json.loads(index.tree.to_json()),
        "sources": [{**vars(source), "exhaustive": source.exhaustive.tolist()} for source in index.sources],
        "classes": [vars(source_class) for source_class in index.classes],
        "splits": index.split_names,
        "shards": [vars(shard) for shard in index.shards],
        "plan_counts": index.plan_counts,
        "plan_left_out": index.plan_left_out,
        "provenance": index.provenance,
    }


def _index_of(file: h5py.File) -> Index:
    metadata = json.loads(file["metadata"][()])
    return Index(
        tree=WordTree.from_json(json.dumps(metadata["tree"])),
        sources=tuple(
            SourceInfo(**{**row, "exhaustive": np.array(row["exhaustive"], dtype=np.int64)})
            for row in metadata["sources"]
        ),
        split_names=tuple(metadata["splits"]),
        classes=tuple(SourceClass(**row) for row in metadata["classes"]),
        shards=tuple(map(shard_from_json, metadata["shards"])),
        columns=read_columns(file),
        plan_counts=tuple(metadata["plan_counts"]),
        provenance=metadata["provenance"],
        plan_left_out=tuple(map(tuple, metadata.get("plan_left_out", ()))),
    )


def shard_from_json(row: Mapping[str, Any]) -> ShardResult:
    """The shard of a JSON object with the fields of ShardResult; former names of fields are known."""
    fields = {_FORMER_NAMES.get(name, name): value for name, value in row.items() if name != "content_sha256"}
    fields["counts"] = {int(source): count for source, count in row["counts"].items()}
    fields["left_out"] = tuple((source, source_id, reason) for source, source_id, reason in row["left_out"])
    return ShardResult(**fields)
