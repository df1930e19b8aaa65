"""The columns of a shard, read and checked without its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.shards.format import RAGGED_COLUMNS, SHARD_DATASETS, Arrays
from data_prep.shards.frame import open_shard
from data_prep.shards.offsets import fits
from data_prep.shards.writer import ShardResult

KIND_OF_COLUMN = {
    name: kind for kind, names in RAGGED_COLUMNS.items() for name in names
}  # others: one row per image


def read_shard_columns(path: Path, shard: ShardResult) -> dict[str, np.ndarray[Any, Any]]:
    """All columns of a shard but the bytes of images and names.

    Raises ShardError as `open_shard` does, and where they do not fit each other.
    """
    types = {name: dtype for name, dtype in SHARD_DATASETS.items() if not name.endswith("_bytes")}
    with open_shard(path, path, shard) as file:
        columns = {name: file[name] for name in types}
        sizes = {kind: file.column(f"{kind}_bytes").size_bytes for kind in ("picture", "source_id")}
        check_shapes(columns, types, shard.images, sizes)
    return columns


def check_shapes(
    columns: Arrays, types: Mapping[str, str], images: int, sizes: Mapping[str, int] | None = None
) -> None:
    """Raise ValueError if a column has another type or another number of rows than `images` images need.

    sizes: the rows to which further offsets point, by the name of the offsets.
    """
    rows = {kind: len(columns[f"{kind}_class"]) for kind in RAGGED_COLUMNS} | dict(sizes or {})
    for name, dtype in types.items():
        column, owner = columns[name], name.removesuffix("_offsets")
        count = rows[KIND_OF_COLUMN[name]] if name in KIND_OF_COLUMN else images + (owner != name)
        shape = (count, 4) if name == "boxes_xyxy_unit" else (count,)
        if column.dtype != dtype or column.shape != shape:
            raise ValueError(f"{name} is not {count} rows of {dtype}")
        if owner != name and not fits(column, rows[owner]):
            raise ValueError(f"{name} does not fit {images} images")
