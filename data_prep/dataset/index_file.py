"""index.h5: written whole or not at all, and refused when a single byte of it differs from what was written.

The first 512 bytes are no part of HDF5's data (a *user block*); they hold the SHA-256 of all that follows.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from data_prep.dataset.index import PLANNING, Index, SourceClass, SourceInfo, label_counts_of
from data_prep.dataset.storage import open_folder
from data_prep.errors import MergeError
from data_prep.shards.format import (
    HASHED_AT_ONCE,
    HDF5_ERRORS,
    INDEX_FORMAT,
    INDEX_NAME,
    INDEX_VERSION,
    LABEL_COLUMNS,
    LOCK_NAME,
    OFFSET_COLUMNS,
    PLACE_COLUMNS,
    SHARD_DATASETS,
    ShardError,
    mark,
    open_marked,
)
from data_prep.shards.hdf5_files import new_hdf5
from data_prep.shards.writer import ShardResult
from wordtree import WordTree, WordTreeError
from wordtree.support.config_files import one_line
from wordtree.support.file_lock import locked
from wordtree.support.files import system_message

BACKUP_NAME = f"{INDEX_NAME}.bak"
SEAL_BYTES = 512
_SEAL_START = b"sha256 of all bytes from 512 on: "


def write_index(folder: Path, index: Index) -> None:
    """Write index.h5 whole or not at all."""
    part = folder / f"{INDEX_NAME}.part"
    try:
        with new_hdf5(part, userblock_size=SEAL_BYTES) as file:
            mark(file, INDEX_FORMAT, INDEX_VERSION)
            for name, values in _datasets(index).items():
                file.create_dataset(name, data=values, track_times=False)
        seal(part)
        part.replace(folder / INDEX_NAME)
    except OSError as reason:
        raise ShardError(
            f"{folder / INDEX_NAME}: cannot write the index ({system_message(reason)})."
        ) from None
    finally:
        part.unlink(missing_ok=True)


def replace_index(folder: Path, index: Index) -> None:
    """Write index.h5 over another one, which stays beside it as index.h5.bak; MergeError while a merge is under way."""
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
    """The index of a folder of shards; ShardError where there is none or it is damaged or foreign."""
    stored, place = open_folder(folder), f"{folder}/{INDEX_NAME}"
    if not stored.has(INDEX_NAME):
        found = "no index in it; an unfinished merge has none yet" if stored.exists() else "no such folder"
        raise ShardError(f"{folder}: expected a folder of shards with {INDEX_NAME}, found {found}.")
    with stored.open(INDEX_NAME) as stream:
        fits = seal_fits(stream)
        if fits is False:
            raise ShardError(
                f"{place}: the index is damaged: its bytes do not fit their checksum. Merge again, which writes "
                "it anew and keeps the shards."
            )
        with open_marked(stream, place, INDEX_FORMAT, INDEX_VERSION) as file:
            try:
                if fits is None:
                    raise ValueError("its checksum is missing")
                return _index_of(file)
            except (*HDF5_ERRORS, IndexError, WordTreeError) as reason:
                raise ShardError(
                    f"{place}: the index is damaged ({one_line(reason)}); merge again."
                ) from None


def seal(path: Path) -> None:
    """Write the checksum of an index into its first bytes, and make the file durable."""
    with path.open("r+b") as file:
        block = _seal_of(file)
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def seal_fits(stream: BinaryIO) -> bool | None:
    """Whether every byte of an index is as it was written; None where it bears no checksum."""
    stream.seek(0)
    found = stream.read(SEAL_BYTES)
    return found == _seal_of(stream) if found.startswith(_SEAL_START) else None


def _seal_of(stream: BinaryIO) -> bytes:
    stream.seek(SEAL_BYTES)
    digest = hashlib.sha256()
    while piece := stream.read(HASHED_AT_ONCE):
        digest.update(piece)
    return (_SEAL_START + digest.hexdigest().encode() + b"\n").ljust(SEAL_BYTES, b"\0")


def _datasets(index: Index) -> dict[str, Any]:
    sources, classes, shards = index.sources, index.classes, index.shards
    label_counts = label_counts_of(index)
    return {
        **index.columns,
        "tree": _text(index.tree.to_json()),
        "tree_fingerprint": _text(index.tree.fingerprint),
        "provenance": _text(json.dumps(index.provenance, sort_keys=True)),
        "source_name": _texts([source.name for source in sources]),
        "source_boxes": np.array([source.boxes for source in sources], dtype=np.uint8),
        "source_federated": np.array([source.is_federated for source in sources], dtype=np.uint8),
        "source_repeat": np.array([source.repeat for source in sources], dtype=np.float64),
        "split_name": _texts(index.split_names),
        "vouched_offsets": np.cumsum([0, *(len(source.exhaustive) for source in sources)], dtype=np.int64),
        "vouched_nodes": np.concatenate([source.exhaustive for source in sources]).astype(np.int32),
        "class_source": np.array([source_class.source for source_class in classes], dtype=np.int32),
        "class_name": _texts([source_class.name for source_class in classes]),
        "class_alias": _texts([source_class.alias for source_class in classes]),
        "class_node": index.class_node.astype(np.int32),
        "class_reason": _texts([source_class.reason for source_class in classes]),
        "shard_name": _texts([shard.name for shard in shards]),
        "shard_images": np.array([shard.images for shard in shards], dtype=np.int64),
        "shard_size_bytes": np.array([shard.size_bytes for shard in shards], dtype=np.int64),
        "shard_sha256": _texts([shard.sha256 for shard in shards]),
        "shard_frame_sha256": _texts([shard.frame_sha256 for shard in shards]),
        "shard_pictures_first": np.array([shard.bytes_start for shard in shards], dtype=np.int64),
        "shard_pictures_end": np.array([shard.bytes_end for shard in shards], dtype=np.int64),
        "shard_content_sha256": _texts([shard.content_sha256 for shard in shards]),
        "ledger_boxes": label_counts.boxes,
        "ledger_image_labels": label_counts.image_labels,
        **_count_columns(index),
        **_left_out_columns(index),
    }


def _count_columns(index: Index) -> dict[str, Any]:
    by_place = [(PLANNING, dict(enumerate(index.plan_counts)))]
    by_place += [(place, dict(shard.counts)) for place, shard in enumerate(index.shards)]
    rows = [
        (place, source, reason, number)
        for place, counts in by_place
        for source, count in counts.items()
        for reason, number in count.items()
    ]
    return {
        "count_shard": np.array([row[0] for row in rows], dtype=np.int32),
        "count_source": np.array([row[1] for row in rows], dtype=np.int32),
        "count_reason": _texts([row[2] for row in rows]),
        "count_number": np.array([row[3] for row in rows], dtype=np.int64),
    }


def _left_out_columns(index: Index) -> dict[str, Any]:
    rows = [(place, *row) for place, shard in enumerate(index.shards) for row in shard.left_out]
    return {
        "left_out_shard": np.array([row[0] for row in rows], dtype=np.int32),
        "left_out_source": np.array([row[1] for row in rows], dtype=np.int32),
        "left_out_id": _texts([row[2] for row in rows]),
        "left_out_reason": _texts([row[3] for row in rows]),
    }


def _index_of(file: h5py.File) -> Index:
    sources = _sources_of(file)
    shards, plan_counts = _shards_of(file, len(sources))
    classes = zip(
        _read_numbers(file, "class_source"),
        _read_texts(file, "class_name"),
        _read_numbers(file, "class_node"),
        _read_texts(file, "class_reason"),
        _read_texts(file, "class_alias"),
        strict=True,
    )
    index = Index(
        tree=WordTree.from_json(_decoded(file["tree"][()])),
        sources=sources,
        split_names=tuple(_read_texts(file, "split_name")),
        classes=tuple(SourceClass(*row) for row in classes),
        shards=shards,
        columns={name: file[name][:] for name in (*LABEL_COLUMNS, *OFFSET_COLUMNS, *PLACE_COLUMNS)},
        plan_counts=plan_counts,
        provenance=json.loads(_decoded(file["provenance"][()])),
    )
    _check_consistent(index)
    return index


def _sources_of(file: h5py.File) -> tuple[SourceInfo, ...]:
    rows = zip(
        _read_texts(file, "source_name"),
        [bool(has_boxes) for has_boxes in _read_numbers(file, "source_boxes")],
        np.split(file["vouched_nodes"][:].astype(np.int64), _read_numbers(file, "vouched_offsets")[1:-1]),
        _read_numbers(file, "source_repeat"),
        [bool(federated) for federated in _read_numbers(file, "source_federated")],
        strict=True,
    )
    return tuple(SourceInfo(*row) for row in rows)


def _shards_of(file: h5py.File, sources: int) -> tuple[tuple[ShardResult, ...], tuple[dict[str, int], ...]]:
    """The shards with what was counted in each, and what was counted while planning."""
    columns: list[list[Any]] = [
        _read_texts(file, "shard_name"),
        _read_numbers(file, "shard_images"),
        _read_numbers(file, "shard_size_bytes"),
        _read_texts(file, "shard_sha256"),
        _read_texts(file, "shard_frame_sha256"),
        _read_numbers(file, "shard_pictures_first"),
        _read_numbers(file, "shard_pictures_end"),
        _read_texts(file, "shard_content_sha256"),
    ]
    places = range(len(columns[0]))
    counts: dict[int, dict[int, dict[str, int]]] = {place: {} for place in (*places, PLANNING)}
    names = ("count_shard", "count_source", "count_number")
    keys = zip(*(_read_numbers(file, name) for name in names), _read_texts(file, "count_reason"), strict=True)
    for place, source, number, reason in keys:
        counts[place].setdefault(source, {})[reason] = number
    left_out: dict[int, list[tuple[int, str, str]]] = {place: [] for place in places}
    shard_of, source_of = _read_numbers(file, "left_out_shard"), _read_numbers(file, "left_out_source")
    ids, reasons = _read_texts(file, "left_out_id"), _read_texts(file, "left_out_reason")
    for place, source, source_id, reason in zip(shard_of, source_of, ids, reasons, strict=True):
        left_out[place].append((source, source_id, reason))
    planned = counts.pop(PLANNING)
    shards = tuple(
        ShardResult(*row)
        for row in zip(*columns, counts.values(), map(tuple, left_out.values()), strict=True)
    )
    return shards, tuple(planned.get(source, {}) for source in range(sources))


def _check_consistent(index: Index) -> None:
    """Raise ValueError where the columns contradict each other."""
    columns, images = index.columns, len(index)
    rows = {"image": images, "box": len(columns["box_class"]), "label": len(columns["label_class"])}
    for kind in ("box", "label"):
        offsets = columns[f"{kind}_offsets"]
        fits = len(offsets) == images + 1 and offsets[0] == 0 and offsets[-1] == rows[kind]
        if not fits or (np.diff(offsets) < 0).any():
            raise ValueError(f"{kind}_offsets does not fit {images} images")
    for name, dtype in PLACE_COLUMNS.items():
        if columns[name].dtype != dtype or len(columns[name]) != images:
            raise ValueError(f"{name} is not {images} rows of {dtype}")
    for name in LABEL_COLUMNS:
        expected = rows["box" if name.startswith("boxes") else name.partition("_")[0]]
        if columns[name].dtype != SHARD_DATASETS[name] or len(columns[name]) != expected:
            raise ValueError(f"{name} is not {expected} rows of {SHARD_DATASETS[name]}")
    tables: dict[str, tuple[int, Sized]] = {
        "image_source": (0, index.sources),
        "image_shard": (0, index.shards),
        "image_split": (-1, index.split_names),
        "box_class": (0, index.classes),
        "label_class": (0, index.classes),
    }
    for name, (least, table) in tables.items():
        if columns[name].size and not least <= columns[name].min() <= columns[name].max() < len(table):
            raise ValueError(f"{name} points outside its table")
    _check_places(index)
    if index.class_node.size and index.class_node.max() >= len(index.tree):
        raise ValueError("class_node points outside the tree")


def _check_places(index: Index) -> None:
    """Raise ValueError where images or images lie outside their shards, or not in their order."""
    columns, shard = index.columns, index.columns["image_shard"]
    place, start, size = (columns[name] for name in ("image_place", "picture_start", "picture_size"))
    images, first, end = (
        np.array([getattr(one, name) for one in index.shards], dtype=np.int64)[shard]
        for name in ("images", "bytes_start", "bytes_end")
    )
    if (place < 0).any() or (place >= images).any():
        raise ValueError("image_place points outside its shard")
    if (start < first).any() or (size < 0).any() or (start + size > end).any():
        raise ValueError("picture_start points outside its shard")
    if ((np.diff(shard) < 0) | ((np.diff(shard) == 0) & (np.diff(place) <= 0))).any():
        raise ValueError("the images are not in the order of the shards")


def _text(text: str) -> np.ndarray[Any, Any]:
    return np.array(text.encode("utf-8"), dtype=h5py.string_dtype("utf-8"))


def _texts(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.array([text.encode("utf-8") for text in texts], dtype=h5py.string_dtype("utf-8"))


def _read_numbers(file: h5py.File, name: str) -> list[Any]:
    values: list[Any] = file[name][:].tolist()
    return values


def _read_texts(file: h5py.File, name: str) -> list[str]:
    return [_decoded(value) for value in file[name][:]]


def _decoded(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
