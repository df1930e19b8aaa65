"""How many objects are found at all, whatever they are called, and how many of these get their right name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from wordtree.tree import WordTree
from yolo9000.boxes import iou_xyxy
from yolo9000.scorecard.inputs import GroundTruth, ScoredBoxes, check_same_pictures


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


def localisation(
    truths: Sequence[GroundTruth], answers: Sequence[ScoredBoxes], *, tree: WordTree, min_iou: float = 0.5
) -> dict[int, Localisation]:
    """Of each node that has a box in the ground truth which is not ignored, what is found and rightly named.

    Each answer speaks for the one object that it overlaps most, if by at least `min_iou`. An object is found
    if an answer speaks for it, and is called what the best scored of these says.
    """
    check_same_pictures(len(truths), len(answers))
    counts: dict[int, list[int]] = {}
    for truth, answer in zip(truths, answers, strict=True):
        called = _names_given(truth, answer, tree, min_iou)
        for row in np.flatnonzero(~truth.ignored):
            count = counts.setdefault(int(truth.node[row]), [0, 0, 0])
            count[0] += 1
            count[1] += int(called[row] >= 0)
            count[2] += int(called[row] == truth.node[row])
    return {node: Localisation(*counts[node]) for node in sorted(counts)}


def _names_given(
    truth: GroundTruth, answer: ScoredBoxes, tree: WordTree, min_iou: float
) -> npt.NDArray[np.int64]:
    """For each labelled box the node that it is called, -1 where nothing is found there; (M,)."""
    called = np.full(len(truth.node), -1, np.int64)
    if not len(truth.node):
        return called
    overlap = iou_xyxy(torch.from_numpy(answer.xyxy_px), torch.from_numpy(truth.xyxy_px)).numpy()  # (K, M)
    spoken_for = overlap.argmax(axis=1)
    is_too_general = [set(tree.ancestors(int(node))) for node in truth.node]
    for row in np.argsort(answer.score, kind="stable"):  # the best one last, so its word stays
        truth_row, node = spoken_for[row], int(answer.node[row])
        if overlap[row, truth_row] >= min_iou and (
            called[truth_row] < 0 or node not in is_too_general[truth_row]
        ):
            called[truth_row] = node
    return called
