"""index.h5: written whole or not at all, and refused where a byte differs from what was written.

The first 512 bytes are no part of HDF5's data (a *user block*); they hold the SHA-256 of all that follows. The columns
of images and labels are datasets; everything else is one JSON text, the bytes of the dataset `metadata`.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.dataset import index_v2
from data_prep.dataset.consistency import check_consistent
from data_prep.dataset.index import INDEX_COLUMNS, Index, read_columns
from data_prep.dataset.metadata import index_of, metadata_text
from data_prep.dataset.storage import open_folder
from data_prep.errors import MergeError
from data_prep.shards.format import (
    HASH_CHUNK_BYTES,
    INDEX_FORMAT,
    INDEX_NAME,
    INDEX_VERSION,
    LOCK_NAME,
    READ_ERRORS,
    READABLE_INDEX_VERSIONS,
    ShardError,
    open_hdf5,
)
from data_prep.shards.hdf5_files import new_hdf5, write_format
from data_prep.shards.hdf5_reader import TEXT, Hdf5File
from wordtree import WordTreeError
from wordtree.support.file_lock import locked
from wordtree.support.files import part_file, system_message
from wordtree.support.lines import one_line

BACKUP_NAME = f"{INDEX_NAME}.bak"
CHECKSUM_BYTES = 512
_CHECKSUM_START = b"sha256 of all bytes from 512 on: "


def write_index(folder: Path, index: Index) -> None:
    """Write index.h5 atomically; raises ShardError if it cannot be written."""
    path = folder / INDEX_NAME
    try:
        with part_file(path) as part:
            with new_hdf5(part, userblock_size=CHECKSUM_BYTES) as file:
                write_format(file, INDEX_FORMAT, INDEX_VERSION)
                for name in INDEX_COLUMNS:
                    file.create_dataset(name, data=index.columns[name], track_times=False)
                text = np.frombuffer(metadata_text(index).encode(), np.uint8)
                file.create_dataset("metadata", data=text, track_times=False)
            write_checksum(part)
    except OSError as reason:
        raise ShardError(f"{path}: cannot write the index ({system_message(reason)}).") from None


def replace_index(folder: Path, index: Index) -> None:
    """Write index.h5 and keep the former one as index.h5.bak; raises MergeError while a merge is under way."""
    with locked(folder, name=LOCK_NAME, error=MergeError):
        _keep_old_index(folder)
        write_index(folder, index)


def _keep_old_index(folder: Path) -> None:
    backup = folder / BACKUP_NAME
    try:
        with part_file(backup) as part:
            shutil.copyfile(folder / INDEX_NAME, part)
            with part.open("rb") as copied:
                os.fsync(copied.fileno())
    except OSError as reason:
        raise ShardError(f"{backup}: cannot keep the old index ({one_line(reason)}).") from None


def read_index(folder: Path | str) -> Index:
    """The index of a folder of shards; raises ShardError if it is missing, damaged or foreign."""
    stored, where = open_folder(folder), f"{folder}/{INDEX_NAME}"
    if not stored.has(INDEX_NAME):
        found = "no such folder."
        if stored.exists():
            found = "no index in it. `data-prep merge` writes the index when all shards are finished."
        raise ShardError(f"{folder}: expected a folder of shards with {INDEX_NAME}, found {found}")
    with stored.open(INDEX_NAME) as stream:
        is_intact = checksum_fits(stream)
        if is_intact is False:
            raise ShardError(
                f"{where}: the index is damaged: its bytes do not fit their checksum. Merge again; that writes "
                "a new index and keeps the shards."
            )
        with open_hdf5(stream, where, INDEX_FORMAT, *READABLE_INDEX_VERSIONS) as file:
            try:
                if is_intact is None:
                    raise ValueError("its checksum is missing")
                index = _index_in(file)
                check_consistent(index)
            except (*READ_ERRORS, WordTreeError) as reason:
                raise ShardError(
                    f"{where}: the index is damaged ({one_line(reason)[:300]}); merge again."
                ) from None
    return index


def _index_in(file: Hdf5File) -> Index:
    if file.attributes["version"] == index_v2.VERSION:
        return index_v2.index_of(file)
    has_texts = file.column("metadata").dtype == TEXT  # in version 3
    text = file.texts("metadata")[0] if has_texts else file["metadata"].tobytes()
    return index_of(text, read_columns(file))


def write_checksum(path: Path) -> None:
    """Write the checksum of an index into its first bytes, and make the file durable."""
    with path.open("r+b") as file:
        block = _checksum_of(file)
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def checksum_fits(stream: BinaryIO) -> bool | None:
    """Whether every byte of an index is as it was written; None if it has no checksum."""
    stream.seek(0)
    found = stream.read(CHECKSUM_BYTES)
    return found == _checksum_of(stream) if found.startswith(_CHECKSUM_START) else None


def _checksum_of(stream: BinaryIO) -> bytes:
    stream.seek(CHECKSUM_BYTES)
    digest = hashlib.sha256()
    while piece := stream.read(HASH_CHUNK_BYTES):
        digest.update(piece)
    return (_CHECKSUM_START + digest.hexdigest().encode() + b"\n").ljust(CHECKSUM_BYTES, b"\0")
