"""Parts of things in flat columns: the parts of thing i are the rows offsets[i] to offsets[i + 1]."""

from typing import Any

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import BoolArray, Int64Array


def offsets_of(counts: npt.NDArray[Any]) -> Int64Array:
    """(n + 1,) offsets of things with so many parts each."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def owner_of_rows(offsets: Int64Array) -> Int64Array:
    """(rows,) the thing that each row is a part of."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def rows_of(offsets: Int64Array, chosen: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The offsets of the chosen things alone, and the rows of their parts, in the order in which they are chosen."""
    counts = np.diff(offsets)[chosen]
    taken = offsets_of(counts)
    return taken, np.repeat(offsets[:-1][chosen] - taken[:-1], counts) + np.arange(taken[-1])


def offsets_without(offsets: Int64Array, kept: BoolArray) -> Int64Array:
    """The offsets after only the rows that are kept remain."""
    return offsets_of(kept)[offsets]
