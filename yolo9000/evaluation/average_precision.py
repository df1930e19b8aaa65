"""COCO's average precision, in time and memory that do not depend on the number of classes.

Equal to pycocotools, which the tests compare with (Lin et al., "Microsoft COCO", 2014; pycocotools/cocoeval.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable, tables_of
from yolo9000.evaluation.matching import Matches, match, overlapping_pairs
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

IOU_THRESHOLDS: Float64Array = np.linspace(0.5, 0.95, 10)
RECALLS: Float64Array = np.linspace(0, 1, 101)  # at which COCO reads the precision


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of one class, 0..100: `ap50` at IoU 0.5, `ap` the mean over IoU 0.5, 0.55 … 0.95.

    ap: None if a protocol does not define it.
    """

    ap50: float
    ap: float | None


@dataclass(frozen=True, eq=False)
class DetectionOutcomes:
    """Whether each of K detections is correct and whether it counts, at each threshold: the input of average precision.

    Each is decided within an image, so the outcomes also hold for any other selection of the images.

    detections    the detections of the classes
    nodes         (E,) the classes, ascending
    correct       (thresholds, K) bool, the detection is the first of an object
    counted       (thresholds, K) bool, the detection is correct or wrong; the others are ignored
    object_image  (O,) position of the image of each object
    object_node   (O,) its class
    recalls       at which the precision is read: at 101 fixed ones (COCO), or at `all` that are reached (VOC 2010)
    """

    detections: DetectionTable
    nodes: Int64Array
    correct: BoolArray
    counted: BoolArray
    object_image: Int64Array
    object_node: Int64Array
    recalls: Literal["101", "all"] = "101"

    @classmethod
    def of_matches(
        cls, matches: Matches, detected: DetectionTable, labelled: TruthTable, nodes: Int64Array
    ) -> DetectionOutcomes:
        """The outcomes of COCO's rules: a detection that matches an ignored box does not count."""
        is_matched = matches.truth >= 0
        is_ignored = is_matched & (labelled.ignored[matches.truth] if len(labelled) else False)
        correct, ignored = np.zeros((2, len(matches.truth), len(detected)), bool)
        correct[:, matches.detection] = is_matched & ~is_ignored
        ignored[:, matches.detection] = is_ignored
        objects = labelled.rows(~labelled.ignored)
        return cls(detected, nodes, correct, ~ignored, objects.image, objects.node)


def average_precision(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], *, max_detections: int = 100
) -> dict[int, AveragePrecision]:
    """COCO's average precision of each node that has a box in the ground truth, apart from ignored boxes."""
    return precision_of(coco_outcomes(truths, detections, max_detections=max_detections))


def coco_outcomes(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], *, max_detections: int = 100
) -> DetectionOutcomes:
    """The outcomes at IoU 0.5, 0.55 … 0.95 by COCO's rules.

    truths, detections: one entry for each image, in the same order. Detections of other nodes do not count. Of the
    detections of a node in an image only the best `max_detections` count. A detection of an ignored box counts neither
    as correct nor as wrong; it is one if their IoU reaches the threshold, or for a crowd the share of the detection
    that lies inside.
    """
    labelled, detected = tables_of(truths, detections)
    nodes = np.unique(labelled.node[~labelled.ignored])
    detected = detected.of_nodes(nodes).best_of_each_class(max_detections)
    pairs = overlapping_pairs(detected, labelled, min_overlap=float(IOU_THRESHOLDS[0]))
    matches = match(pairs, detected, labelled, IOU_THRESHOLDS)
    return DetectionOutcomes.of_matches(matches, detected, labelled, nodes)


def precision_of(outcomes: DetectionOutcomes) -> dict[int, AveragePrecision]:
    """The average precision of each class; `ap` is None if there is one threshold only."""
    ranking = Ranking.of(outcomes.detections, outcomes.nodes)
    column = np.searchsorted(outcomes.nodes, outcomes.object_node)
    objects = np.bincount(column, minlength=len(outcomes.nodes))
    mean_precision = mean_precision_at_101_recalls if outcomes.recalls == "101" else area_under_curve
    curves = (
        precision_at_correct(ranking, correct, counted=counted)
        for correct, counted in zip(outcomes.correct, outcomes.counted, strict=True)
    )
    values = 100 * np.stack([mean_precision(curve, objects) for curve in curves])  # (thresholds, E)
    ap = values.mean(axis=0) if len(values) > 1 else None
    return {
        int(node): AveragePrecision(
            ap50=float(values[0, position]), ap=None if ap is None else float(ap[position])
        )
        for position, node in enumerate(outcomes.nodes)
    }


def nodes_with_boxes(truths: Sequence[GroundTruth]) -> list[int]:
    """The nodes with a box that is not ignored, ascending: the classes that can be evaluated."""
    return sorted({int(node) for truth in truths for node in truth.node[~truth.ignored]})


@dataclass(frozen=True, eq=False)
class Ranking:
    """The detections of each of E classes by descending score; of equal scores, those of earlier images first.

    order   (K,) rows of the detections, class after class
    column  (K,) the class of each of these, 0..E-1
    start   (E,) the first of these of each class
    """

    order: Int64Array
    column: Int64Array
    start: Int64Array

    @classmethod
    def of(cls, detections: DetectionTable, nodes: Int64Array) -> Ranking:
        """The ranking of detections of `nodes`, (E,) ascending."""
        order = np.lexsort((-detections.score, detections.node))
        column = np.searchsorted(nodes, detections.node[order])
        return cls(order, column, np.searchsorted(column, np.arange(len(nodes))))


@dataclass(frozen=True, eq=False)
class PrecisionCurve:
    """The precision at each correct detection, class after class.

    column     (correct,) the class
    rank       (correct,) number of the correct detection within its class, from 1
    precision  (correct,) largest precision at this or a later correct detection of the class, 0..1
    """

    column: Int64Array
    rank: Int64Array
    precision: Float64Array


def precision_at_correct(ranking: Ranking, correct: BoolArray, *, counted: BoolArray) -> PrecisionCurve:
    """The curve of all classes; correct, counted: (K,) by row of the detections. All correct ones are counted.

    Precision decreases between correct detections, so these suffice.
    """
    counted, correct = counted[ranking.order], correct[ranking.order]
    counted_before = np.concatenate([[0], np.cumsum(counted)])  # before each row, in all classes
    row = np.flatnonzero(correct)
    column = ranking.column[row]
    position = counted_before[row + 1] - counted_before[ranking.start[column]]
    first = np.searchsorted(column, column)  # the class's first correct detection
    rank = np.arange(len(row)) - first + 1
    return PrecisionCurve(column, rank, _largest_from_here(rank / (position + np.spacing(1)), column))


def mean_precision_at_101_recalls(curve: PrecisionCurve, objects: Int64Array) -> Float64Array:
    """The mean precision of each class over the recalls 0, 0.01 … 1, (E,); objects: (E,) number of boxes."""
    reached = np.searchsorted(RECALLS, curve.rank / objects[curve.column], side="right")  # number of recalls
    is_first = curve.rank == 1
    before = np.where(is_first, 0, np.roll(reached, 1))
    weight = (reached - before) / len(RECALLS)
    return np.bincount(curve.column, weight * curve.precision, minlength=len(objects)).astype(np.float64)


def area_under_curve(curve: PrecisionCurve, objects: Float64Array | Int64Array) -> Float64Array:
    """The mean precision of each class over all its recalls (VOC 2010, ILSVRC, OpenImages), (E,)."""
    return np.bincount(curve.column, curve.precision, minlength=len(objects)) / objects


def _largest_from_here(values: Float64Array, column: Int64Array) -> Float64Array:
    """The largest value at or after each row of the same column; columns are ascending."""
    distinct, number = np.unique(values, return_inverse=True)
    key = (column.max(initial=0) - column) * len(distinct) + number  # later columns are smaller
    largest = np.maximum.accumulate(key[::-1])[::-1]
    result: Float64Array = distinct[largest % max(1, len(distinct))]
    return result
