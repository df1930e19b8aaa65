"""What became of each labelled object: found and named, found and called something else, or not found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from wordtree.tree.tree import WordTree
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes, check_same_images
from yolo9000.models.boxes import iou_xyxy


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The O objects of all images that are not ignored, image by image.

    image         (O,) the image's position among the scored ones
    node, xyxy_px   (O,), (O, 4) the object as it is labelled
    called          (O,) the node of the answer that speaks for it; −1 where nothing is found there
    answer_xyxy_px  (O, 4) and its box, and
    score           (O,) its score; NaN where nothing is found
    """

    picture: Int64Array
    node: Int64Array
    xyxy_px: Float64Array
    called: Int64Array
    detection_xyxy_px: Float64Array
    score: Float64Array

    def __len__(self) -> int:
        return len(self.node)

    @property
    def is_detected(self) -> BoolArray:
        found: BoolArray = self.called >= 0
        return found

    @property
    def is_correct(self) -> BoolArray:
        named: BoolArray = self.called == self.node
        return named


NOTHING = Outcomes(
    picture=np.zeros(0, np.int64),
    node=np.zeros(0, np.int64),
    xyxy_px=np.zeros((0, 4)),
    called=np.zeros(0, np.int64),
    detection_xyxy_px=np.zeros((0, 4)),
    score=np.zeros(0),
)


@dataclass(frozen=True)
class Confusion:
    """How often objects of one class are called by the name of another, and how far apart these are in the tree.

    common    the name of the lowest node above both, or one of them; None if they have no root in common
    distance  edges between the two in the tree; None likewise
    """

    id: str
    name: str
    called_id: str
    called: str
    count: int
    common: str | None
    distance: int | None


def outcomes(
    truths: Sequence[GroundTruth], answers: Sequence[ScoredBoxes], *, tree: WordTree, min_iou: float = 0.5
) -> Outcomes:
    """What becomes of each object under these answers; one entry of both for each image, in the same order.

    Each answer speaks for the one object that it overlaps most, if by at least `min_iou`. An object is found
    if an answer speaks for it, and is called what the best scored of these says; an answer of a kind above the
    object's own counts only where no other speaks for it.
    """
    check_same_images(len(truths), len(answers))
    parts = [NOTHING]
    for image, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        speaker = _speakers(truth, answer, tree, min_iou)
        parts.append(_of_image(image, truth, answer, speaker))
    return Outcomes(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Outcomes)))


def confusions(found: Outcomes, tree: WordTree) -> tuple[Confusion, ...]:
    """The pairs of class and wrong name, the most frequent first."""
    wrong = found.is_detected & ~found.is_correct
    pairs = Counter(zip(found.node[wrong].tolist(), found.called[wrong].tolist(), strict=True))
    return tuple(
        _confusion(node, called, count, tree)
        for (node, called), count in sorted(pairs.items(), key=lambda row: (-row[1], row[0]))
    )


def _confusion(node: int, called: int, count: int, tree: WordTree) -> Confusion:
    common = tree.lowest_common_ancestor(node, called)
    return Confusion(
        id=tree.ids[node],
        name=tree.names[node],
        called_id=tree.ids[called],
        called=tree.names[called],
        count=count,
        common=None if common is None else tree.names[common],
        distance=tree.distance(node, called),
    )


def _of_image(picture: int, truth: GroundTruth, answer: ScoredBoxes, speaker: Int64Array) -> Outcomes:
    asked = ~truth.ignored
    speaker = speaker[asked]
    return Outcomes(
        picture=np.full(len(speaker), picture, np.int64),
        node=truth.node[asked],
        xyxy_px=truth.xyxy_px[asked],
        called=_taken(answer.node, speaker, -1),
        detection_xyxy_px=_taken(answer.xyxy_px, speaker, np.nan),
        score=_taken(answer.score, speaker, np.nan),
    )


def _taken(column: npt.NDArray[Any], rows: Int64Array, missing: float) -> npt.NDArray[Any]:
    """The column at each of the rows; `missing` where the row is −1."""
    taken = np.full((len(rows), *column.shape[1:]), missing, column.dtype)
    taken[rows >= 0] = column[rows[rows >= 0]]
    return taken


def _speakers(truth: GroundTruth, answer: ScoredBoxes, tree: WordTree, min_iou: float) -> Int64Array:
    """For each labelled box the row of the answer that names it, −1 where nothing is found there; (M,)."""
    speaker = np.full(len(truth.node), -1, np.int64)
    if not len(truth.node):
        return speaker
    overlap = iou_xyxy(torch.from_numpy(answer.xyxy_px), torch.from_numpy(truth.xyxy_px)).numpy()  # (K, M)
    spoken_for = overlap.argmax(axis=1)
    is_too_general = [set(tree.ancestors(int(node))) for node in truth.node]
    for row in np.argsort(answer.score, kind="stable"):  # the best one last, so its word stays
        truth_row, node = spoken_for[row], int(answer.node[row])
        if overlap[row, truth_row] >= min_iou and (
            speaker[truth_row] < 0 or node not in is_too_general[truth_row]
        ):
            speaker[truth_row] = row
    return speaker


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
        np.bincount(row[objects.is_detected], minlength=len(nodes)),
        np.bincount(row[objects.is_correct], minlength=len(nodes)),
    )
    return {
        int(node): Localisation(int(all_), int(found), int(named))
        for node, all_, found, named in zip(nodes, *counts, strict=True)
    }
