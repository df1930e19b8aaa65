"""The outcome of each labelled object: correctly classified, wrongly classified, or not detected."""

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

NOT_DETECTED = -1  # in place of a node


@dataclass(frozen=True, eq=False)
class ObjectOutcomes:
    """The O labelled objects of all images, in the order of the images, without ignored objects.

    image               (O,) position of the image among the evaluated images
    node                (O,) labelled class
    xyxy_px             (O, 4) labelled box, image pixels
    predicted           (O,) class of the matched detection; −1 where the object is not detected
    detection_xyxy_px   (O, 4) box of the matched detection; NaN where the object is not detected
    score               (O,) score of the matched detection; NaN where the object is not detected
    """

    image: Int64Array
    node: Int64Array
    xyxy_px: Float64Array
    predicted: Int64Array
    detection_xyxy_px: Float64Array
    score: Float64Array

    def __len__(self) -> int:
        return len(self.node)

    @property
    def is_detected(self) -> BoolArray:
        """Whether a detection of any class matches the object, (O,)."""
        detected: BoolArray = self.predicted != NOT_DETECTED
        return detected

    @property
    def is_correct(self) -> BoolArray:
        """Whether the matched detection has the class of the object, (O,)."""
        correct: BoolArray = self.predicted == self.node
        return correct


NO_OUTCOMES = ObjectOutcomes(
    image=np.zeros(0, np.int64),
    node=np.zeros(0, np.int64),
    xyxy_px=np.zeros((0, 4)),
    predicted=np.zeros(0, np.int64),
    detection_xyxy_px=np.zeros((0, 4)),
    score=np.zeros(0),
)


def object_outcomes(
    truths: Sequence[GroundTruth],
    detections: Sequence[ScoredBoxes],
    *,
    tree: WordTree,
    min_iou: float = 0.5,
) -> ObjectOutcomes:
    """The outcome of each object. Both sequences have one entry for each image, in the same order.

    Each detection is assigned to the object that it overlaps most, if their IoU is at least `min_iou`. Of the
    detections of an object, the one of highest score is the matched detection. A detection of an ancestor of the
    object's class is matched only if the object has no other detection.
    """
    check_same_images(len(truths), len(detections))
    parts = [NO_OUTCOMES]
    for image, (truth, detected) in enumerate(zip(truths, detections, strict=True)):
        is_object = ~truth.ignored
        match = _matches(truth, detected, tree, min_iou)[is_object]
        parts.append(
            ObjectOutcomes(
                image=np.full(len(match), image, np.int64),
                node=truth.node[is_object],
                xyxy_px=truth.xyxy_px[is_object],
                predicted=_take(detected.node, match, NOT_DETECTED),
                detection_xyxy_px=_take(detected.xyxy_px, match, np.nan),
                score=_take(detected.score, match, np.nan),
            )
        )
    names = [field.name for field in fields(ObjectOutcomes)]
    return ObjectOutcomes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _matches(truth: GroundTruth, detected: ScoredBoxes, tree: WordTree, min_iou: float) -> Int64Array:
    """For each labelled box the row of its matched detection, −1 where there is none; shape (M,)."""
    match = np.full(len(truth.node), -1, np.int64)
    if not len(truth.node):
        return match
    iou = iou_xyxy(torch.from_numpy(detected.xyxy_px), torch.from_numpy(truth.xyxy_px)).numpy()  # (K, M)
    best_object = iou.argmax(axis=1)
    ancestors = [set(tree.ancestors(int(node))) for node in truth.node]
    for row in np.argsort(detected.score, kind="stable"):  # ascending: the highest score is written last
        index, node = best_object[row], int(detected.node[row])
        if iou[row, index] >= min_iou and (match[index] < 0 or node not in ancestors[index]):
            match[index] = row
    return match


def _take(column: npt.NDArray[Any], rows: Int64Array, missing: float) -> npt.NDArray[Any]:
    """The entries of a column at the given rows; `missing` where the row is −1."""
    taken = np.full((len(rows), *column.shape[1:]), missing, column.dtype)
    taken[rows >= 0] = column[rows[rows >= 0]]
    return taken


@dataclass(frozen=True)
class ClassCounts:
    """Numbers of objects of one class: all, detected (as any class), and correctly classified."""

    objects: int
    detected: int
    correct: int

    @property
    def recall(self) -> float | None:
        """Percentage of the objects that are detected, 0..100; None if there are none."""
        return 100 * self.detected / self.objects if self.objects else None

    @property
    def accuracy(self) -> float | None:
        """Percentage of the detected objects that are correctly classified, 0..100; None if none is detected."""
        return 100 * self.correct / self.detected if self.detected else None


def counts_by_class(objects: ObjectOutcomes) -> dict[int, ClassCounts]:
    """Counts of each class (node) that has objects, by ascending node."""
    nodes, row = np.unique(objects.node, return_inverse=True)
    counts = (
        np.bincount(row, minlength=len(nodes)),
        np.bincount(row[objects.is_detected], minlength=len(nodes)),
        np.bincount(row[objects.is_correct], minlength=len(nodes)),
    )
    return {
        int(node): ClassCounts(int(total), int(detected), int(correct))
        for node, total, detected, correct in zip(nodes, *counts, strict=True)
    }


@dataclass(frozen=True)
class Confusion:
    """The number of objects of one class that are classified as another class, and the relation of both classes.

    common_ancestor   name of the deepest node that is equal to or above both; None if they have no root in common
    distance          edges between both in the tree; None if they have no root in common
    """

    id: str
    name: str
    predicted_id: str
    predicted: str
    count: int
    common_ancestor: str | None
    distance: int | None


def confusions(objects: ObjectOutcomes, tree: WordTree) -> tuple[Confusion, ...]:
    """All pairs of class and wrongly predicted class, the most frequent first."""
    wrong = objects.is_detected & ~objects.is_correct
    pairs = Counter(zip(objects.node[wrong].tolist(), objects.predicted[wrong].tolist(), strict=True))
    return tuple(
        _confusion(node, predicted, count, tree)
        for (node, predicted), count in sorted(pairs.items(), key=lambda row: (-row[1], row[0]))
    )


def _confusion(node: int, predicted: int, count: int, tree: WordTree) -> Confusion:
    common = tree.lowest_common_ancestor(node, predicted)
    return Confusion(
        id=tree.ids[node],
        name=tree.names[node],
        predicted_id=tree.ids[predicted],
        predicted=tree.names[predicted],
        count=count,
        common_ancestor=None if common is None else tree.names[common],
        distance=tree.distance(node, predicted),
    )


@dataclass(frozen=True)
class DistanceCount:
    """The number of wrongly classified objects with one tree distance between class and predicted class.

    distance   edges between both; None for classes without a common root
    """

    distance: int | None
    count: int


def count_by_distance(pairs: Sequence[Confusion]) -> tuple[DistanceCount, ...]:
    """The counts by ascending distance, classes without a common root last."""
    counts: Counter[int | None] = Counter()
    for pair in pairs:
        counts[pair.distance] += pair.count
    order = sorted(counts, key=lambda distance: (distance is None, distance or 0))
    return tuple(DistanceCount(distance, counts[distance]) for distance in order)
