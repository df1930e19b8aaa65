"""How many objects are found at all, whatever they are called, and how many of these get their right name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo9000.scorecard.outcomes import Outcomes


@dataclass(frozen=True)
class Localisation:
    """Counts of one class: its objects, those found (by an answer of any class), those also rightly named."""

    objects: int
    found: int
    named: int

    @property
    def recall(self) -> float:
        """The percentage of the objects that are found, 0..100."""
        return 100 * self.found / self.objects

    @property
    def accuracy(self) -> float | None:
        """The percentage of the found objects that are rightly named, 0..100; None if nothing is found."""
        return 100 * self.named / self.found if self.found else None


def localisation(objects: Outcomes) -> dict[int, Localisation]:
    """Of each node that labels an object, how many there are, are found and rightly named; nodes ascending."""
    nodes, row = np.unique(objects.node, return_inverse=True)
    counts = (
        np.bincount(row, minlength=len(nodes)),
        np.bincount(row[objects.is_found], minlength=len(nodes)),
        np.bincount(row[objects.is_named], minlength=len(nodes)),
    )
    return {
        int(node): Localisation(int(all_), int(found), int(named))
        for node, all_, found, named in zip(nodes, *counts, strict=True)
    }
