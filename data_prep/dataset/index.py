"""The content of an index: tree, sources, classes, splits, counts and label columns of the shards beside it.

`data_prep.dataset.index_file` writes it as index.h5, after the shards: a folder with an index is complete. Another
tree, label map, split or choice of exhaustively annotated nodes is another index over the same shards.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.dataset.label_counts import LabelCounts
from data_prep.shards.columns import read_shard_columns
from data_prep.shards.format import (
    IGNORED,
    INDEX_ONLY_COLUMNS,
    LABEL_COLUMNS,
    OFFSET_COLUMNS,
    POSITIVE,
    RAGGED_COLUMNS,
    Arrays,
)
from data_prep.shards.hdf5_reader import Hdf5File
from data_prep.shards.offsets import offsets_of, rows_of
from data_prep.shards.writer import ShardResult
from wordtree import WordTree
from wordtree.support.arrays import Int64Array

INDEX_COLUMNS = (*LABEL_COLUMNS, *OFFSET_COLUMNS, *INDEX_ONLY_COLUMNS)
TRAIN_SPLIT = "train"  # label counts are of this split
DAMAGED_IMAGE = "image damaged in its shard"
LOST_SHARD = "image of a shard that was lost"
LOSSES = frozenset({DAMAGED_IMAGE, LOST_SHARD})  # reasons for which a repair leaves images out
NO_SUCH_SPLIT = -2  # a split's number that no image has


@dataclass(frozen=True)
class SourceInfo:
    """A data set that was merged.

    has_boxes: some of its images have boxes drawn on them.
    exhaustive: nodes for which the source is exhaustively annotated: every object at or under them has its box in
        every image of the source that has boxes drawn.
    repeat: how many times an epoch shows each of its images.
    is_federated: the classes that were searched for differ from image to image; only image labels name them.
    """

    name: str
    has_boxes: bool
    exhaustive: Int64Array
    repeat: float
    is_federated: bool = False


@dataclass(frozen=True)
class SourceClass:
    """A class of a source, its node (-1: left out), and the reason for this node.

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

    columns: INDEX_COLUMNS of all images, in the order of the shards.
    plan_counts: for each source, by reason, how much planning left out or changed; shards have their own counts.
    plan_left_out: source, image or place, and reason of the first images and labels that planning left out.
    provenance: the configuration, the plan's digests and the versions of libraries.
    """

    tree: WordTree
    sources: tuple[SourceInfo, ...]
    split_names: tuple[str, ...]
    classes: tuple[SourceClass, ...]
    shards: tuple[ShardResult, ...]
    columns: Arrays
    plan_counts: tuple[dict[str, int], ...]
    provenance: dict[str, Any]
    plan_left_out: tuple[tuple[int, str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.columns["image_source"])

    @property
    def class_node(self) -> Int64Array:
        """The node of each source class, shape (classes,); -1 where it is left out."""
        return np.array([source_class.node for source_class in self.classes], dtype=np.int64)

    @property
    def counts(self) -> tuple[dict[str, int], ...]:
        """For each source how much was left out or changed, by reason."""
        totals = [Counter(count) for count in self.plan_counts]
        for shard in self.shards:
            for source, count in shard.counts.items():
                totals[source].update(count)
        return tuple(dict(sorted(total.items())) for total in totals)

    @property
    def left_out(self) -> tuple[tuple[str, str, str], ...]:
        """Source, source id and reason of each image that could not be packed."""
        return tuple(
            (self.sources[source].name, source_id, reason)
            for shard in self.shards
            for source, source_id, reason in shard.left_out
        )


def read_columns(file: Hdf5File) -> dict[str, np.ndarray[Any, Any]]:
    """INDEX_COLUMNS of an open index."""
    return {name: file[name] for name in INDEX_COLUMNS}


def join_columns(folder: Path, shards: Sequence[ShardResult]) -> dict[str, np.ndarray[Any, Any]]:
    """INDEX_COLUMNS except `image_split`, for all images of the shards in order; reads no image. Raises ShardError."""
    stored = (*LABEL_COLUMNS, *OFFSET_COLUMNS, "picture_crc32")
    pieces: defaultdict[str, list[np.ndarray[Any, Any]]] = defaultdict(list)
    for shard in shards:
        columns = read_shard_columns(folder / shard.name, shard)
        offsets = columns["picture_offsets"]
        for name in stored:
            pieces[name].append(columns[name])
        pieces["picture_start"].append(shard.bytes_start + offsets[:-1])
        pieces["picture_size"].append(np.diff(offsets))
    joined = {
        name: offsets_of(np.concatenate(list(map(np.diff, columns))))
        if name in OFFSET_COLUMNS
        else np.concatenate(columns)
        for name, columns in pieces.items()
    }
    joined["image_shard"] = np.repeat(np.arange(len(shards)), [shard.images for shard in shards])
    joined["image_place"] = np.concatenate([np.arange(shard.images) for shard in shards])
    for name in set(INDEX_ONLY_COLUMNS) & set(joined):
        joined[name] = joined[name].astype(INDEX_ONLY_COLUMNS[name], copy=False)
    return joined


def take_images(columns: Arrays, images: Int64Array) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of the given images, in their order."""
    taken = {
        name: column[images] for name, column in columns.items() if name.startswith(("image_", "picture_"))
    }
    for kind, names in RAGGED_COLUMNS.items():
        taken[f"{kind}_offsets"], rows = rows_of(columns[f"{kind}_offsets"], images)
        taken |= {name: columns[name][rows] for name in names}
    return taken


def images_of_shard(index: Index, number: int) -> Int64Array:
    """Images of the index that lie in a shard, ascending."""
    first, end = np.searchsorted(index.columns["image_shard"], [number, number + 1])
    return np.arange(first, end)


def whole_shards(index: Index) -> list[ShardResult]:
    """The shards without losses: no repair has left one of their images out of the index."""
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
    is_counted_box = np.repeat(image_is_train, np.diff(columns["box_offsets"]))
    is_counted_box &= (columns["box_flags"] & IGNORED) == 0
    is_counted_label = np.repeat(image_is_train, np.diff(columns["label_offsets"]))
    is_counted_label &= (columns["label_flags"] & POSITIVE) != 0
    boxes = class_node[columns["box_class"][is_counted_box]]
    image_labels = class_node[columns["label_class"][is_counted_label]]
    return LabelCounts(
        index.tree,
        np.bincount(boxes[boxes >= 0], minlength=nodes),
        np.bincount(image_labels[image_labels >= 0], minlength=nodes),
    )
