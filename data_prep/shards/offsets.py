"""Ragged columns: the rows of owner i (an image) are offsets[i] to offsets[i + 1]."""

from typing import Any

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import BoolArray, Int64Array


def offsets_of(counts: npt.NDArray[Any]) -> Int64Array:
    """The offsets of n owners from the number of rows of each, (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def fits(offsets: Int64Array, rows: int) -> bool:
    """Whether the offsets rise from 0 to the number of rows."""
    return bool(
        len(offsets) and offsets[0] == 0 and offsets[-1] == rows and (offsets[1:] >= offsets[:-1]).all()
    )


def owner_of_rows(offsets: Int64Array) -> Int64Array:
    """The owner of each row, (rows,)."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rows_of(offsets: Int64Array, chosen: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The offsets of the chosen owners alone, and their rows, in the order of `chosen`."""
    counts = np.diff(offsets)[chosen]
    taken = offsets_of(counts)
    return taken, np.repeat(offsets[:-1][chosen] - taken[:-1], counts) + np.arange(taken[-1])


def offsets_without(offsets: Int64Array, kept: BoolArray) -> Int64Array:
    """The offsets after all other rows are removed; kept: (rows,)."""
    return offsets_of(kept)[offsets]
