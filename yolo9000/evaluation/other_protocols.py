"""Correct and wrong detections by the rules of LVIS, the OpenImages challenge and ILSVRC DET.

The tests compare the average precision of each with a reference: the `lvis` package, TensorFlow's object_detection,
and cases by hand. All functions take one entry for each image, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wordtree.support.arrays import BoolArray, Int64Array
from yolo9000.evaluation.average_precision import IOU_THRESHOLDS, DetectionOutcomes, coco_outcomes
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable, tables_of
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.matching import Pairs, match, overlapping_pairs
from yolo9000.evaluation.verified_labels import VerifiedLabels, is_of_partly_annotated_class, keep_verified
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

LVIS_DETECTIONS_PER_IMAGE = 300
LVIS_DETECTIONS_PER_CLASS = 10_000  # AP-fixed (arXiv 2102.01066)


def lvis_outcomes(
    truths: Sequence[GroundTruth],
    detections: Sequence[ScoredBoxes],
    labels: Sequence[VerifiedLabels],
    *,
    fixed: bool = False,
) -> DetectionOutcomes:
    """LVIS' federated rules.

    Detections do not count if annotators did not look for their class in the image. Unmatched detections do not count
    if their class is not exhaustively annotated in the image.
    fixed: AP-fixed, with at most 10,000 detections of each class; otherwise at most 300 in each image.
    """
    labelled, detected = tables_of(truths, detections)
    nodes = _counted(labelled)
    detected = (
        detected.best_of_each_node(LVIS_DETECTIONS_PER_CLASS)
        if fixed
        else detected.best_of_each_image(LVIS_DETECTIONS_PER_IMAGE)
    )
    detected = keep_verified(detected, labelled, labels).of_nodes(nodes)
    pairs = overlapping_pairs(detected, labelled, min_overlap=float(IOU_THRESHOLDS[0]))
    matches = match(pairs, detected, labelled, IOU_THRESHOLDS)
    outcomes = DetectionOutcomes.of_matches(matches, detected, labelled, nodes)
    is_partly_annotated = is_of_partly_annotated_class(detected, labels)
    return replace(outcomes, counted=outcomes.correct | (outcomes.counted & ~is_partly_annotated))


def openimages_outcomes(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], labels: Sequence[VerifiedLabels]
) -> DetectionOutcomes:
    """The rules of the OpenImages challenge at IoU 0.5. Crowds are group-of boxes; boxes and labels are expanded.

    A detection can only match the box that it overlaps most. If it does not, it may belong to the group-of box that
    contains most of it, at least half. The best detection of a group is correct and the others do not count. A group
    without detections is missed like a single object.
    """
    labelled, detected = tables_of(truths, detections)
    nodes = np.unique(labelled.node)
    detected = keep_verified(detected, labelled, labels).of_nodes(nodes)
    of_box = _best_box(overlapping_pairs(detected, labelled.rows(~labelled.crowd), min_overlap=0.5), detected)
    correct = _first_of_each(of_box)
    groups = labelled.rows(labelled.crowd)
    of_group = _best_box(overlapping_pairs(detected, groups, min_overlap=0.5), detected)
    of_group[correct] = -1
    is_best = _first_of_each(of_group)
    correct, counted = correct | is_best, (of_group < 0) | is_best
    return DetectionOutcomes(
        detected, nodes, correct[None], counted[None], labelled.image, labelled.node, recalls="all"
    )


def ilsvrc_outcomes(truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes]) -> DetectionOutcomes:
    """The rules of ILSVRC DET: a match needs IoU 0.5, less for small boxes, min(0.5, wh / ((w + 10)(h + 10)))."""
    labelled, detected = tables_of(truths, detections)
    nodes = _counted(labelled)
    detected = detected.of_nodes(nodes)
    size = labelled.xyxy_px[:, 2:] - labelled.xyxy_px[:, :2]
    required = np.minimum(0.5, size.prod(axis=1) / (size + 10).prod(axis=1))
    pairs = overlapping_pairs(detected, labelled, min_overlap=np.finfo(float).tiny)
    is_enough = pairs.overlap >= required[pairs.truth]
    pairs = Pairs(pairs.detection[is_enough], pairs.truth[is_enough], pairs.overlap[is_enough])
    matches = match(pairs, detected, labelled, np.zeros(1))
    return replace(DetectionOutcomes.of_matches(matches, detected, labelled, nodes), recalls="all")


def outcomes_by_protocol(
    images: EvaluationSet, detections: Sequence[ScoredBoxes], *, max_detections: int
) -> DetectionOutcomes:
    """The outcomes of the detections by the protocol of the images."""
    match images.protocol:
        case "coco":
            return coco_outcomes(images.truths, detections, max_detections=max_detections)
        case "lvis" | "lvis_fixed":
            fixed = images.protocol == "lvis_fixed"
            return lvis_outcomes(images.truths, detections, images.verified_labels(), fixed=fixed)
        case "openimages":
            return openimages_outcomes(images.truths, detections, images.verified_labels())
        case "ilsvrc":
            return ilsvrc_outcomes(images.truths, detections)


def _counted(labelled: TruthTable) -> Int64Array:
    """The nodes with boxes that are not ignored."""
    return np.unique(labelled.node[~labelled.ignored])


def _best_box(pairs: Pairs, detections: DetectionTable) -> Int64Array:
    """The box that each detection overlaps most, the first of equal ones; −1 for none, (K,)."""
    order = np.lexsort((pairs.truth, -pairs.overlap, pairs.detection))
    detection, first = np.unique(pairs.detection[order], return_index=True)
    best = np.full(len(detections), -1)
    best[detection] = pairs.truth[order][first]
    return best


def _first_of_each(box: Int64Array) -> BoolArray:
    """Whether each detection is the first, of highest score, of its box, (K,); −1 is no box."""
    is_first = np.zeros(len(box), bool)
    is_first[np.unique(box, return_index=True)[1]] = True
    return is_first & (box >= 0)
