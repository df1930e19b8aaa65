"""The columns of a shard, read and checked without its images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.shards.format import (
    RAGGED_COLUMNS,
    READ_ERRORS,
    SHARD_DATASETS,
    SHARD_FORMAT,
    SHARD_VERSION,
    Arrays,
    ShardError,
    open_hdf5,
)
from data_prep.shards.offsets import fits
from wordtree.support.lines import one_line

KIND_OF_COLUMN = {
    name: kind for kind, names in RAGGED_COLUMNS.items() for name in names
}  # others: one row per image


def read_shard_columns(path: Path, images: int) -> dict[str, np.ndarray[Any, Any]]:
    """All columns of a shard but the bytes of images and names. Raises ShardError where they do not fit each other."""
    with open_hdf5(path, path, SHARD_FORMAT, SHARD_VERSION) as file:
        try:
            types = {name: dtype for name, dtype in SHARD_DATASETS.items() if not name.endswith("_bytes")}
            columns = {name: file[name] for name in types}
            sizes = {kind: file.column(f"{kind}_bytes").size_bytes for kind in ("picture", "source_id")}
            check_shapes(columns, types, images, sizes)
        except READ_ERRORS as reason:
            raise ShardError(
                f"{path}: the shard is damaged ({one_line(reason)}); run `data-prep check`."
            ) from None
    return columns


def check_shapes(
    columns: Arrays, types: Mapping[str, str], images: int, sizes: Mapping[str, int] | None = None
) -> None:
    """Raise ValueError where a column has another type or another number of rows than `images` images need.

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
