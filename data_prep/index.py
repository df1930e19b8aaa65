"""The index beside the shards: tree, sources, classes with their nodes, splits, ledger, counts, provenance.

It is written last: a folder with an index is complete. Another tree or label map is another index over the
same shards.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from data_prep.config import one_line
from data_prep.ledger import Ledger
from data_prep.shard_format import (
    IGNORED,
    INDEX_FORMAT,
    INDEX_NAME,
    INDEX_VERSION,
    LABEL_COLUMNS,
    OFFSET_COLUMNS,
    PLACE_COLUMNS,
    POSITIVE,
    SHARD_DATASETS,
    SHARD_FORMAT,
    SHARD_VERSION,
    Arrays,
    ShardError,
    mark,
    open_marked,
)
from data_prep.shard_writer import ShardResult
from wordtree import WordTree, WordTreeError

PLANNING = -1  # in place of a shard's number: counted before any picture was read
TRAIN_SPLIT = "train"  # the ledger counts the labels of this split
NO_SUCH_SPLIT = -2  # the number of no image's split


@dataclass(frozen=True)
class SourceInfo:
    """A data set: whether its pictures carry boxes, and what it vouches for.

    vouched: nodes; every object at or under them has its box in every picture of the source that has boxes drawn.
    repeat: how many times an epoch shows each of its pictures.
    is_federated: what was looked for differs from picture to picture, and the image labels say what.
    """

    name: str
    boxes: bool
    vouched: npt.NDArray[np.int64]
    repeat: float
    is_federated: bool = False


@dataclass(frozen=True)
class SourceClass:
    """A class of a source and its node (-1: left out), with how it was found.

    alias: another name of the class, tried first as an id of the tree; empty where it has none.
    """

    source: int
    name: str
    node: int
    reason: str
    alias: str = ""


@dataclass(frozen=True)
class Index:
    """All that index.h5 holds.

    columns: LABEL_COLUMNS, OFFSET_COLUMNS and PLACE_COLUMNS of all images, in the order of the shards.
    plan_counts: for each source, by reason, what planning left out or changed; the shards have their own.
    """

    tree: WordTree
    sources: tuple[SourceInfo, ...]
    split_names: tuple[str, ...]
    classes: tuple[SourceClass, ...]
    shards: tuple[ShardResult, ...]
    columns: Arrays
    plan_counts: tuple[dict[str, int], ...]
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["image_source"])

    @property
    def class_node(self) -> npt.NDArray[np.int64]:
        """(classes,) the node of each source class, -1 where it is left out."""
        return np.array([source_class.node for source_class in self.classes], dtype=np.int64)

    @property
    def counts(self) -> tuple[dict[str, int], ...]:
        """For each source what was left out or changed, by reason."""
        totals = [Counter(count) for count in self.plan_counts]
        for shard in self.shards:
            for source, count in shard.counts.items():
                totals[source].update(count)
        return tuple(dict(sorted(total.items())) for total in totals)

    @property
    def left_out(self) -> tuple[tuple[str, str, str], ...]:
        """(source, source id, reason) of each picture that could not be used."""
        return tuple(
            (self.sources[source].name, source_id, reason)
            for shard in self.shards
            for source, source_id, reason in shard.left_out
        )


def write_index(folder: Path, index: Index) -> None:
    """Write index.h5 whole or not at all."""
    part = folder / f"{INDEX_NAME}.part"
    try:
        with h5py.File(part, "w", track_order=False) as file:
            mark(file, INDEX_FORMAT, INDEX_VERSION)
            for name, values in _datasets(index).items():
                file.create_dataset(name, data=values, track_times=False)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(folder / INDEX_NAME)
    except OSError as reason:
        raise ShardError(f"{folder / INDEX_NAME}: cannot write the index ({one_line(reason)}).") from None
    finally:
        part.unlink(missing_ok=True)


def read_index(folder: Path) -> Index:
    """The index of a folder of shards; ShardError where there is none or it is damaged or foreign."""
    path = folder / INDEX_NAME
    if not path.is_file():
        found = (
            "no such folder" if not folder.is_dir() else "no index in it; an unfinished merge has none yet"
        )
        raise ShardError(f"{folder}: expected a folder of shards with {INDEX_NAME}, found {found}.")
    with open_marked(path, INDEX_FORMAT, INDEX_VERSION) as file:
        try:
            return _index_of(file)
        except (KeyError, ValueError, TypeError, IndexError, OSError, WordTreeError) as reason:
            raise ShardError(f"{path}: the index is damaged ({one_line(reason)}); merge again.") from None


def join_columns(folder: Path, shards: Sequence[ShardResult]) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of all images of the shards, one shard after the other, but image_split; reads no picture."""
    pieces: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in (*LABEL_COLUMNS, *OFFSET_COLUMNS)}
    for shard in shards:
        with open_marked(folder / shard.name, SHARD_FORMAT, SHARD_VERSION) as file:
            for name, columns in pieces.items():
                columns.append(file[name][:])
    joined = {name: np.concatenate(pieces[name]) for name in LABEL_COLUMNS}
    for name in OFFSET_COLUMNS:
        counts = np.concatenate([np.diff(offsets) for offsets in pieces[name]])
        joined[name] = np.cumsum(np.concatenate([[0], counts]), dtype=np.int64)
    images = [len(flags) for flags in pieces["image_flags"]]
    joined["image_shard"] = np.repeat(np.arange(len(shards), dtype=np.int32), images)
    joined["image_place"] = np.concatenate([np.arange(count, dtype=np.int32) for count in images])
    return joined


def ledger_of(index: Index) -> Ledger:
    """Boxes and image labels of the training split, counted by node."""
    columns, class_node, nodes = index.columns, index.class_node, len(index.tree)
    train = index.split_names.index(TRAIN_SPLIT) if TRAIN_SPLIT in index.split_names else NO_SUCH_SPLIT
    image_is_train = columns["image_split"] == train
    box_counts = np.repeat(image_is_train, np.diff(columns["box_offsets"]))
    box_counts &= (columns["box_flags"] & IGNORED) == 0
    label_counts = np.repeat(image_is_train, np.diff(columns["label_offsets"]))
    label_counts &= (columns["label_flags"] & POSITIVE) != 0
    boxes = class_node[columns["box_class"][box_counts]]
    image_labels = class_node[columns["label_class"][label_counts]]
    return Ledger(
        index.tree,
        np.bincount(boxes[boxes >= 0], minlength=nodes),
        np.bincount(image_labels[image_labels >= 0], minlength=nodes),
    )


def _datasets(index: Index) -> dict[str, Any]:
    sources, classes, shards = index.sources, index.classes, index.shards
    ledger = ledger_of(index)
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
        "vouched_offsets": np.cumsum([0, *(len(source.vouched) for source in sources)], dtype=np.int64),
        "vouched_nodes": np.concatenate([source.vouched for source in sources]).astype(np.int32),
        "class_source": np.array([source_class.source for source_class in classes], dtype=np.int32),
        "class_name": _texts([source_class.name for source_class in classes]),
        "class_alias": _texts([source_class.alias for source_class in classes]),
        "class_node": index.class_node.astype(np.int32),
        "class_reason": _texts([source_class.reason for source_class in classes]),
        "shard_name": _texts([shard.name for shard in shards]),
        "shard_images": np.array([shard.images for shard in shards], dtype=np.int64),
        "shard_size_bytes": np.array([shard.size_bytes for shard in shards], dtype=np.int64),
        "shard_sha256": _texts([shard.sha256 for shard in shards]),
        "shard_content_sha256": _texts([shard.content_sha256 for shard in shards]),
        "ledger_boxes": ledger.boxes,
        "ledger_image_labels": ledger.image_labels,
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
    columns = (
        _read_texts(file, "shard_name"),
        _read_numbers(file, "shard_images"),
        _read_numbers(file, "shard_size_bytes"),
        _read_texts(file, "shard_sha256"),
        _read_texts(file, "shard_content_sha256"),
    )
    places = range(len(columns[0]))
    counts: dict[int, dict[int, dict[str, int]]] = {place: {} for place in (PLANNING, *places)}
    names = ("count_shard", "count_source", "count_number")
    keys = zip(*(_read_numbers(file, name) for name in names), _read_texts(file, "count_reason"), strict=True)
    for place, source, number, reason in keys:
        counts[place].setdefault(source, {})[reason] = number
    left_out: dict[int, list[tuple[int, str, str]]] = {place: [] for place in places}
    shard_of, source_of = _read_numbers(file, "left_out_shard"), _read_numbers(file, "left_out_source")
    ids, reasons = _read_texts(file, "left_out_id"), _read_texts(file, "left_out_reason")
    for place, *row in zip(shard_of, source_of, ids, reasons, strict=True):
        left_out[place].append((row[0], row[1], row[2]))
    shards = tuple(
        ShardResult(*row, counts[place], tuple(left_out[place]))
        for place, row in enumerate(zip(*columns, strict=True))
    )
    return shards, tuple(counts[PLANNING].get(source, {}) for source in range(sources))


def _check_consistent(index: Index) -> None:
    """Raise ValueError where the columns contradict each other."""
    columns, images = index.columns, len(index)
    rows = {"image": images, "box": len(columns["box_class"]), "label": len(columns["label_class"])}
    for kind in ("box", "label"):
        offsets = columns[f"{kind}_offsets"]
        fits = len(offsets) == images + 1 and offsets[0] == 0 and offsets[-1] == rows[kind]
        if not fits or (np.diff(offsets) < 0).any():
            raise ValueError(f"{kind}_offsets does not fit {images} images")
    for name in PLACE_COLUMNS:
        if columns[name].dtype != np.int32 or len(columns[name]) != images:
            raise ValueError(f"{name} is not {images} rows of int32")
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
    shard, place = columns["image_shard"], columns["image_place"]
    shard_images = np.array([one.images for one in index.shards])
    if (place < 0).any() or (place >= shard_images[shard]).any():
        raise ValueError("image_place points outside its shard")
    if ((np.diff(shard) < 0) | ((np.diff(shard) == 0) & (np.diff(place) <= 0))).any():
        raise ValueError("the images are not in the order of the shards")
    if index.class_node.size and index.class_node.max() >= len(index.tree):
        raise ValueError("class_node points outside the tree")


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
