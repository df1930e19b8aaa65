"""What a merged data set means: tree, sources, classes with their nodes, splits, counts, provenance.

It lies in index.h5 beside the shards (`data_prep.dataset.index_file`), written last: a folder with an index is complete.
Another tree, label map, vouching or split is another index over the same shards.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.dataset.label_counts import LabelCounts
from data_prep.shards.format import (
    IGNORED,
    LABEL_COLUMNS,
    OFFSET_COLUMNS,
    PARTS,
    PLACE_COLUMNS,
    POSITIVE,
    SHARD_FORMAT,
    SHARD_VERSION,
    Arrays,
    open_marked,
)
from data_prep.shards.offsets import offsets_of, rows_of
from data_prep.shards.writer import ShardResult
from wordtree import WordTree
from wordtree.support.arrays import Int64Array

PLANNING = -1  # in place of a shard's number: counted before any image was read
TRAIN_SPLIT = "train"  # the ledger counts the labels of this split
DAMAGED_IMAGE = "image damaged in its shard"
LOST_SHARD = "image of a shard that was lost"
LOSSES = frozenset({DAMAGED_IMAGE, LOST_SHARD})  # why a repair leaves images out
NO_SUCH_SPLIT = -2  # the number of no image's split


@dataclass(frozen=True)
class SourceInfo:
    """A data set: whether any of its images carry boxes, and what it vouches for.

    vouched: nodes; every object at or under them has its box in every image of the source that has boxes drawn.
    repeat: how many times an epoch shows each of its images.
    is_federated: what was looked for differs from image to image, and the image labels say what.
    """

    name: str
    boxes: bool
    exhaustive: Int64Array
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
    def class_node(self) -> Int64Array:
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
        """(source, source id, reason) of each image that could not be used."""
        return tuple(
            (self.sources[source].name, source_id, reason)
            for shard in self.shards
            for source, source_id, reason in shard.left_out
        )


def join_columns(folder: Path, shards: Sequence[ShardResult]) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of all images of the shards, one shard after the other, but image_split; reads no image."""
    names = (*LABEL_COLUMNS, *OFFSET_COLUMNS, "picture_crc32", "picture_start", "picture_size")
    pieces: dict[str, list[np.ndarray[Any, Any]]] = {name: [] for name in names}
    for shard in shards:
        path = folder / shard.name
        with open_marked(path, path, SHARD_FORMAT, SHARD_VERSION) as file:
            offsets = file["picture_offsets"][:]
            for name in names[:-2]:
                pieces[name].append(file[name][:])
        pieces["picture_start"].append(shard.bytes_start + offsets[:-1])
        pieces["picture_size"].append(np.diff(offsets))
    joined = {name: np.concatenate(pieces[name]) for name in names if name not in OFFSET_COLUMNS}
    for name in OFFSET_COLUMNS:
        joined[name] = offsets_of(np.concatenate([np.diff(offsets) for offsets in pieces[name]]))
    joined["image_shard"] = np.repeat(np.arange(len(shards)), [shard.images for shard in shards])
    joined["image_place"] = np.concatenate([np.arange(shard.images) for shard in shards])
    for name in set(PLACE_COLUMNS) & set(joined):
        joined[name] = joined[name].astype(PLACE_COLUMNS[name], copy=False)
    return joined


def take_images(columns: Arrays, images: Int64Array) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of these images alone, in their order."""
    taken = {
        name: column[images] for name, column in columns.items() if name.startswith(("image_", "picture_"))
    }
    for kind, names in PARTS.items():
        taken[f"{kind}_offsets"], rows = rows_of(columns[f"{kind}_offsets"], images)
        taken |= {name: columns[name][rows] for name in names}
    return taken


def images_of_shard(index: Index, number: int) -> Int64Array:
    """The images of the index that lie in a shard, ascending."""
    first, end = np.searchsorted(index.columns["image_shard"], [number, number + 1])
    return np.arange(first, end)


def whole_shards(index: Index) -> list[ShardResult]:
    """The shards of which no repair has left anything out of the index."""
    return [
        shard
        for shard in index.shards
        if not shard.is_lost and not any(LOSSES & count.keys() for count in shard.counts.values())
    ]


def label_counts_of(index: Index) -> LabelCounts:
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
    return LabelCounts(
        index.tree,
        np.bincount(boxes[boxes >= 0], minlength=nodes),
        np.bincount(image_labels[image_labels >= 0], minlength=nodes),
    )
