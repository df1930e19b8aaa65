"""Refuses an index whose columns contradict each other, whoever wrote it."""

from collections.abc import Sized

import numpy as np

from data_prep.dataset.index import Index
from data_prep.shards.format import INDEX_ONLY_COLUMNS, LABEL_COLUMNS, SHARD_DATASETS


def check_consistent(index: Index) -> None:
    """Raise ValueError where lengths, types or row numbers of the columns do not fit each other."""
    _check_shapes(index)
    _check_row_numbers(index)
    _check_positions(index)


def _check_shapes(index: Index) -> None:
    columns, images = index.columns, len(index)
    rows = {"image": images, "box": len(columns["box_class"]), "label": len(columns["label_class"])}
    for kind in ("box", "label"):
        offsets = columns[f"{kind}_offsets"]
        fits = len(offsets) == images + 1 and offsets[0] == 0 and offsets[-1] == rows[kind]
        if not fits or (np.diff(offsets) < 0).any():
            raise ValueError(f"{kind}_offsets does not fit {images} images")
    for name, dtype in INDEX_ONLY_COLUMNS.items():
        if columns[name].dtype != dtype or len(columns[name]) != images:
            raise ValueError(f"{name} is not {images} rows of {dtype}")
    for name in LABEL_COLUMNS:
        expected = rows["box" if name.startswith("boxes") else name.partition("_")[0]]
        if columns[name].dtype != SHARD_DATASETS[name] or len(columns[name]) != expected:
            raise ValueError(f"{name} is not {expected} rows of {SHARD_DATASETS[name]}")


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


def _check_positions(index: Index) -> None:
    """Raise ValueError where images lie outside their shards, or not in their order."""
    columns, shard = index.columns, index.columns["image_shard"]
    place, start, size = (columns[name] for name in ("image_place", "picture_start", "picture_size"))
    images, first, end = (
        np.array([getattr(result, name) for result in index.shards], dtype=np.int64)[shard]
        for name in ("images", "bytes_start", "bytes_end")
    )
    if (place < 0).any() or (place >= images).any():
        raise ValueError("image_place points outside its shard")
    if (start < first).any() or (size < 0).any() or (start + size > end).any():
        raise ValueError("picture_start points outside its shard")
    if ((np.diff(shard) < 0) | ((np.diff(shard) == 0) & (np.diff(place) <= 0))).any():
        raise ValueError("the images are not in the order of the shards")
