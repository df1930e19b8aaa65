"""Refuses an index whose columns contradict each other, whoever wrote it."""

from collections.abc import Sized
from typing import Final

import numpy as np

from data_prep.dataset.index import Index
from data_prep.shards.columns import check_shapes
from data_prep.shards.format import INDEX_ONLY_COLUMNS, LABEL_COLUMNS, OFFSET_COLUMNS, SHARD_DATASETS

COLUMN_TYPES: Final = INDEX_ONLY_COLUMNS | {
    name: SHARD_DATASETS[name] for name in (*LABEL_COLUMNS, *OFFSET_COLUMNS)
}
BOX_TOLERANCE: Final = 1e-4  # of the image's side, for rounding


def check_consistent(index: Index) -> None:
    """Raise ValueError if lengths, types or row numbers of the columns do not fit each other."""
    check_shapes(index.columns, COLUMN_TYPES, len(index))
    _check_row_numbers(index)
    _check_tables(index)
    _check_positions(index)
    _check_values(index)


def _check_row_numbers(index: Index) -> None:
    tables: dict[str, tuple[int, Sized]] = {
        "image_source": (0, index.sources),
        "image_shard": (0, index.shards),
        "image_split": (-1, index.split_names),
        "box_class": (0, index.classes),
        "label_class": (0, index.classes),
    }
    for name, (least, table) in tables.items():
        column = index.columns[name]
        if column.size and not least <= column.min() <= column.max() < len(table):
            raise ValueError(f"{name} points outside its table")
    nodes = index.class_node
    if nodes.size and not -1 <= nodes.min() <= nodes.max() < len(index.tree):
        raise ValueError("the node of a class is outside the tree")


def _check_tables(index: Index) -> None:
    """Raise ValueError if a row of a table names another row that is not there."""
    sources = len(index.sources)
    named = [*(row.source for row in index.classes), *(source for source, _, _ in index.plan_left_out)]
    for shard in index.shards:
        named += [*shard.counts, *(source for source, _, _ in shard.left_out)]
        if not shard.bytes_start <= shard.bytes_end <= shard.size_bytes:
            raise ValueError(f"the images of {shard.name} lie outside the file")
    if len(index.plan_counts) > sources or any(source >= sources for source in named):
        raise ValueError("a class or a count is of a source that is not there")
    for row in index.sources:
        if row.exhaustive.size and row.exhaustive.max() >= len(index.tree):
            raise ValueError(f"a node of source {row.name} is outside the tree")


def _check_values(index: Index) -> None:
    """Raise ValueError for sizes and boxes that no image has."""
    columns = index.columns
    if (columns["image_width"] < 1).any() or (columns["image_height"] < 1).any():
        raise ValueError("an image has no pixels")
    boxes = columns["boxes_xyxy_unit"]
    inside = (boxes >= -BOX_TOLERANCE) & (boxes <= 1 + BOX_TOLERANCE)  # NaN is outside
    if not inside.all() or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("a box is outside its image")


def _check_positions(index: Index) -> None:
    """Raise ValueError if images lie outside their shards, or not in their order."""
    columns, shard = index.columns, index.columns["image_shard"]
    position, start, size = (columns[name] for name in ("image_place", "picture_start", "picture_size"))
    images, first, end = (
        np.array([getattr(result, name) for result in index.shards], dtype=np.int64)[shard]
        for name in ("images", "bytes_start", "bytes_end")
    )
    if (position < 0).any() or (position >= images).any():
        raise ValueError("image_place points outside its shard")
    if (start < first).any() or (size < 0).any() or (size > end - start).any():
        raise ValueError("picture_start points outside its shard")
    if ((np.diff(shard) < 0) | ((np.diff(shard) == 0) & (np.diff(position) <= 0))).any():
        raise ValueError("the images are not in the order of the shards")
