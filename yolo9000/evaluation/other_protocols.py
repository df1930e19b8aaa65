"""Average precision by the protocols of LVIS, of the OpenImages challenge and of ILSVRC DET.

Each is compared with another implementation in the tests: the `lvis` package, TensorFlow's object_detection, and cases
by hand. All take one entry for each image, in the same order, and return a value for each node that has a box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wordtree.support.arrays import BoolArray, Int64Array
from yolo9000.evaluation.average_precision import (
    IOU_THRESHOLDS,
    AveragePrecision,
    Ranking,
    area_under_curve,
    average_precision,
    mean_precision_at_101_recalls,
    precision_at_correct,
)
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable, tables_of
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.matching import Pairs, match, overlapping_pairs
from yolo9000.evaluation.verified_labels import VerifiedLabels, is_of_unfinished_class, keep_verified
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

LVIS_DETECTIONS_PER_IMAGE = 300
LVIS_DETECTIONS_PER_CLASS = 10_000  # AP-fixed (arXiv 2102.01066)


def lvis_average_precision(
    truths: Sequence[GroundTruth],
    detections: Sequence[ScoredBoxes],
    labels: Sequence[VerifiedLabels],
    *,
    fixed: bool = False,
) -> dict[int, AveragePrecision]:
    """LVIS' federated AP: detections of classes that nobody looked for in an image do not count.

    Nor do unmatched detections of a class that is not exhaustively annotated in the image.
    fixed: AP-fixed, with at most 10,000 detections of each class; otherwise at most 300 in each image.
    """
    labelled, detected = tables_of(truths, detections)
    nodes, objects = _counted(labelled)
    detected = (
        detected.best_of_each_node(LVIS_DETECTIONS_PER_CLASS)
        if fixed
        else detected.best_of_each_image(LVIS_DETECTIONS_PER_IMAGE)
    )
    detected = keep_verified(detected, labelled, labels).of_nodes(nodes)
    is_unfinished = is_of_unfinished_class(detected, labels)
    pairs = overlapping_pairs(detected, labelled, min_overlap=float(IOU_THRESHOLDS[0]))
    matches, ranking = match(pairs, detected, labelled, IOU_THRESHOLDS), Ranking.of(detected, nodes)
    by_threshold = []
    for matched in matches.truth:
        box = np.full(len(detected), -1)
        box[matches.detection] = matched
        is_ignored = (
            np.where(box >= 0, labelled.ignored[box], is_unfinished) if len(labelled) else is_unfinished
        )
        curve = precision_at_correct(ranking, (box >= 0) & ~is_ignored, counted=~is_ignored)
        by_threshold.append(mean_precision_at_101_recalls(curve, objects))
    values = 100 * np.stack(by_threshold)
    return {
        int(node): AveragePrecision(ap50=float(values[0, column]), ap=float(values[:, column].mean()))
        for column, node in enumerate(nodes)
    }


def openimages_average_precision(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], labels: Sequence[VerifiedLabels]
) -> dict[int, float]:
    """AP50 of the OpenImages challenge, 0..100, with crowds as group-of boxes; boxes and labels are expanded already.

    A detection looks only at the box that it overlaps most. If it does not detect that box, it may be of the group-of
    box in which most of it lies, at least half. The best detection of a group is correct, the others do not count, and
    a group without detections is missed like a single object.
    """
    labelled, detected = tables_of(truths, detections)
    nodes, objects = np.unique(labelled.node, return_counts=True)
    detected = keep_verified(detected, labelled, labels).of_nodes(nodes)
    of_box = _best_box(overlapping_pairs(detected, labelled.rows(~labelled.crowd), min_overlap=0.5), detected)
    correct = _first_of_each(of_box)
    groups = labelled.rows(labelled.crowd)
    of_group = _best_box(overlapping_pairs(detected, groups, min_overlap=0.5), detected)
    of_group[correct] = -1
    is_best = _first_of_each(of_group)
    counted = (of_group < 0) | is_best
    curve = precision_at_correct(Ranking.of(detected, nodes), correct | is_best, counted=counted)
    return _percentages(nodes, area_under_curve(curve, objects))


def ilsvrc_average_precision(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes]
) -> dict[int, float]:
    """AP of ILSVRC DET, 0..100: a match needs IoU 0.5, less for small boxes, min(0.5, wh / ((w + 10)(h + 10)))."""
    labelled, detected = tables_of(truths, detections)
    nodes, objects = _counted(labelled)
    detected = detected.of_nodes(nodes)
    size = labelled.xyxy_px[:, 2:] - labelled.xyxy_px[:, :2]
    required = np.minimum(0.5, size.prod(axis=1) / (size + 10).prod(axis=1))
    pairs = overlapping_pairs(detected, labelled, min_overlap=np.finfo(float).tiny)
    is_enough = pairs.overlap >= required[pairs.truth]
    pairs = Pairs(pairs.detection[is_enough], pairs.truth[is_enough], pairs.overlap[is_enough])
    matches = match(pairs, detected, labelled, np.zeros(1))
    box = np.full(len(detected), -1)
    box[matches.detection] = matches.truth[0]
    is_ignored = (box >= 0) & labelled.ignored[box] if len(labelled) else np.zeros(len(box), bool)
    curve = precision_at_correct(Ranking.of(detected, nodes), (box >= 0) & ~is_ignored, counted=~is_ignored)
    return _percentages(nodes, area_under_curve(curve, objects))


def precision_by_protocol(
    images: EvaluationSet, detections: Sequence[ScoredBoxes], *, max_detections: int
) -> dict[int, AveragePrecision]:
    """The average precision of each class by the protocol of the images."""
    match images.protocol:
        case "coco":
            return average_precision(images.truths, detections, max_detections=max_detections)
        case "lvis" | "lvis_fixed":
            fixed = images.protocol == "lvis_fixed"
            return lvis_average_precision(images.truths, detections, images.verified_labels(), fixed=fixed)
        case "openimages":
            ap50 = openimages_average_precision(images.truths, detections, images.verified_labels())
        case "ilsvrc":
            ap50 = ilsvrc_average_precision(images.truths, detections)
    return {node: AveragePrecision(ap50=value, ap=None) for node, value in ap50.items()}


def _counted(labelled: TruthTable) -> tuple[Int64Array, Int64Array]:
    """The nodes with boxes that are not ignored, and the number of these boxes."""
    return np.unique(labelled.node[~labelled.ignored], return_counts=True)


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


def _percentages(nodes: Int64Array, values: np.ndarray) -> dict[int, float]:
    return dict(zip(nodes.tolist(), (100 * values).tolist(), strict=True))
