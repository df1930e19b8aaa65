"""Rare nodes drawn more often (`data.balance`): how many times each picture of a source comes in a pass.

A node is as common as the pictures that show it or anything below it, so a label at *dog* is not rare where kinds of
dogs are many. All memory is per picture and per label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from wordtree import WordTree

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
GOLDEN = (5**0.5 - 1) / 2  # multiples of it, less their whole part, fill 0..1 as evenly as any sequence does


@dataclass(frozen=True)
class Repeats:
    """Passes over n pictures, n draws each, in which a picture comes so often that it has its share of the draws."""

    until: Floats  # (n,) running sum of how often each comes; the last is n
    start: float  # 0..1, differs by seed

    @classmethod
    def of(cls, times: Floats, *, start: float) -> Repeats:
        """times: (n,) how often each picture comes, 1 on average."""
        return cls(np.cumsum(times), start)

    def of_pass(self, turn: int) -> Ints:
        """The pictures of a pass, (n,), ascending: one that should come 2.3 times comes 2 or 3 times.

        Equally spaced marks on the running sums, moved by another part of their distance in each pass: over the passes
        every picture comes as often as it should, within a few times.
        """
        marks = np.arange(len(self.until), dtype=np.float64) + (self.start + turn * GOLDEN) % 1
        return self._at(marks)

    def draw(self, rng: Generator) -> int:
        """Any picture, by its share."""
        return int(self._at(np.array([rng.random() * len(self.until)]))[0])

    def _at(self, marks: Floats) -> Ints:
        return np.searchsorted(self.until, marks, side="right").clip(max=len(self.until) - 1)


def times_in_a_pass(tree: WordTree, picture: Ints, node: Ints, pictures: int, *, balance: float) -> Floats:
    """How often each picture comes in a pass, (pictures,), 1 on average.

    In proportion to (1 / pictures that show it)^balance of the rarest node that it is labelled with. So, with one label
    each, a node shown by c pictures gets draws in proportion to c^(1 − balance). What has no label comes as seldom as
    anything.

    picture, node: (L,) the labels as columns, in any order; a label may be there twice.
    """
    showing = pictures_showing(tree, picture, node).astype(np.float64)
    times = np.zeros(pictures)
    np.maximum.at(times, picture, showing[node] ** -balance)
    times[times == 0] = times.min(initial=1.0, where=times > 0)
    return np.asarray(times * (pictures / times.sum()), np.float64)


def pictures_showing(tree: WordTree, picture: Ints, node: Ints) -> Ints:
    """How many pictures show each node or anything below it, (N,); labels as in `times_in_a_pass`."""
    depth = tree.depth[node]
    counts: Ints = np.zeros(len(tree), np.int64)
    shown: Ints = np.zeros(0, np.int64)  # of one depth: picture × N + node, each once
    for level in range(int(depth.max(initial=-1)), -1, -1):
        labelled = depth == level
        shown = np.sort(np.concatenate([shown, picture[labelled] * len(tree) + node[labelled]]))
        shown = shown[np.diff(shown, prepend=-1) > 0]  # np.unique's hashing takes ten times as long
        node_of = shown % len(tree)
        counts += np.bincount(node_of, minlength=len(tree))
        shown += tree.parent[node_of] - node_of  # of the same pictures
    return counts
