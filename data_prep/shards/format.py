"""Names, types and versions in shards and index, as described in `docs/shard_format.md`."""

import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_prep.errors import DataPrepError
from data_prep.shards.hdf5_reader import Hdf5File
from wordtree.support.files import system_message
from wordtree.support.lines import one_line

SHARD_FORMAT, SHARD_VERSION = "yolo9000 shard", 2
INDEX_FORMAT, INDEX_VERSION = "yolo9000 index", 4
READABLE_INDEX_VERSIONS = (2, 3, INDEX_VERSION)
INDEX_NAME = "index.h5"
LOCK_NAME = "merge.lock"  # held by the process that writes into the folder
HASH_CHUNK_BYTES = 1 << 20

# n images, M boxes and L image labels of one shard (in the index: of all shards, concatenated).
SHARD_DATASETS: dict[str, str] = {
    "picture_bytes": "uint8",  # (bytes,) JPEG and PNG files back to back
    "picture_offsets": "int64",  # (n + 1,) image i is picture_bytes[offsets[i] : offsets[i + 1]]
    "picture_crc32": "uint32",  # (n,) of the bytes of each image
    "source_id_bytes": "uint8",  # UTF-8 names within the source, back to back
    "source_id_offsets": "int64",  # (n + 1,)
    "image_source": "int32",  # (n,) row of the index's table of sources
    "image_width": "int32",  # (n,) px of the stored image
    "image_height": "int32",  # (n,)
    "image_flags": "uint8",  # (n,) BOXED, INCOMPLETE
    "box_offsets": "int64",  # (n + 1,)
    "boxes_xyxy_unit": "float32",  # (M, 4) corners, 0..1 of width and height
    "box_class": "int32",  # (M,) row of the index's table of source classes
    "box_flags": "uint8",  # (M,) IGNORED
    "label_offsets": "int64",  # (n + 1,)
    "label_class": "int32",  # (L,)
    "label_flags": "uint8",  # (L,) POSITIVE, EXHAUSTIVE
}
BOXED = 1  # of image_flags: the image has been annotated with boxes (without a box, it has no object)
INCOMPLETE = 2  # of image_flags: objects of unknown classes have no box; no class is exhaustively annotated
IGNORED = 1  # of box_flags: an ignore region (crowd), neither object nor background
POSITIVE = 1  # of label_flags: the image shows the class; if clear, the class is absent
EXHAUSTIVE = 2  # of label_flags: the image is exhaustively annotated for the class

# The index repeats these columns of the shards, so that reading labels opens no shard.
LABEL_COLUMNS = (
    "image_source",
    "image_width",
    "image_height",
    "image_flags",
    "boxes_xyxy_unit",
    "box_class",
    "box_flags",
    "label_class",
    "label_flags",
)
OFFSET_COLUMNS = ("box_offsets", "label_offsets")
RAGGED_COLUMNS = {  # kind of row: its columns; the rows of image i begin at KIND_offsets[i]
    "box": ("boxes_xyxy_unit", "box_class", "box_flags"),
    "label": ("label_class", "label_flags"),
}
# Columns of the index that no shard has, (n,) each.
INDEX_ONLY_COLUMNS: dict[str, str] = {
    "image_split": "int32",  # row of the table of splits; -1: none
    "image_shard": "int32",  # row of the table of shards
    "image_place": "int32",  # number of the image within its shard
    "picture_start": "int64",  # position of the image in the file of the shard
    "picture_size": "int32",  # bytes
    "picture_crc32": "uint32",
}

# Reading a damaged file raises any of these; Hdf5Error is a ValueError.
READ_ERRORS = (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError)

Arrays = Mapping[str, np.ndarray[Any, Any]]


class ShardError(DataPrepError):
    """Shards or an index that are missing, damaged or in another format."""


def shard_name(number: int) -> str:
    """The file name of a shard."""
    return f"shard-{number:05d}.h5"


def hash_file(file: BinaryIO, bytes_start: int, bytes_end: int) -> tuple[str, str]:
    """The sha256 (hex) of a shard, and of its frame: the bytes before and after the bytes of the images."""
    whole, frame = sha256(), sha256()
    for piece in _pieces(file, 0, bytes_start):
        whole.update(piece)
        frame.update(piece)
    for piece in _pieces(file, bytes_start, bytes_end):
        whole.update(piece)
    for piece in _pieces(file, bytes_end):
        whole.update(piece)
        frame.update(piece)
    return whole.hexdigest(), frame.hexdigest()


def hash_frame(file: BinaryIO, bytes_start: int, bytes_end: int) -> str:
    """The sha256 (hex) of a shard's frame alone; reads no image."""
    frame = sha256()
    for piece in chain(_pieces(file, 0, bytes_start), _pieces(file, bytes_end)):
        frame.update(piece)
    return frame.hexdigest()


def _pieces(file: BinaryIO, first: int, end: int | None = None) -> Iterator[bytes]:
    """The bytes from `first` to `end` or to the end of the file, whichever comes first."""
    file.seek(first)
    left = sys.maxsize if end is None else end - first
    while left > 0 and (piece := file.read(min(HASH_CHUNK_BYTES, left))):
        yield piece
        left -= len(piece)


def require_format(file: Hdf5File, where: object, kind: str, *versions: int) -> None:
    """Raise ShardError unless the file has the format `kind` and one of the versions; `where` names the file."""
    found = file.attributes.get("format")
    name = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
    if name != kind:
        raise ShardError(
            f"{where}: expected a {kind}, found {'no format attribute' if found is None else repr(name)}."
        )
    found_version = file.attributes.get("version")
    if found_version not in versions:
        known = (
            f"version {versions[0]}" if len(versions) == 1 else f"versions {versions[0]} to {versions[-1]}"
        )
        raise ShardError(
            f"{where}: format version {found_version}; this program reads {known}. "
            "Merge again, or use the version of the program that wrote it."
        )


def open_hdf5(source: Path | BinaryIO, where: object, kind: str, *versions: int) -> Hdf5File:
    """The file or stream, opened for reading; raises ShardError if it is damaged or has another format or version."""
    try:
        file = Hdf5File(source)
    except OSError as reason:
        raise ShardError(f"{where}: cannot be read ({system_message(reason)}).") from None
    except READ_ERRORS as reason:
        raise ShardError(
            f"{where}: expected an HDF5 file, found a damaged file or another format ({one_line(reason)})."
        ) from None
    try:
        require_format(file, where, kind, *versions)
    except BaseException:
        file.close()
        raise
    return file
