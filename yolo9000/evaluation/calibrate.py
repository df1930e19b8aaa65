"""Thresholds for a requested accuracy of predictions (conformal prediction along the path in the tree).

A prediction at threshold θ is correct if and only if θ is at least the probability of the shallowest wrong node on its
path, its *required threshold*. So the accuracy at θ is the share of boxes whose required threshold is at most θ, and a
rank of the required thresholds of the calibration images bounds the accuracy on new images of the same kind.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from data_prep import LabelCounts, ShardReader
from wordtree.support.arrays import Float64Array, Int64Array
from yolo9000.checkpoints.calibration import (
    Calibration,
    CalibrationError,
    Grouping,
    GroupThreshold,
    RequestedAccuracy,
    Rule,
    group_names,
    weights_sha256,
)
from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.data.sampler import DataMismatch, images_of_split
from yolo9000.engines.engine import AnyDetector
from yolo9000.evaluation.evaluate import predict_paths
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.predicted_paths import MatchedPaths, match_paths
from yolo9000.evaluation.temperature import fit_temperatures
from yolo9000.inference.scored_boxes import GroundTruth


@dataclass(frozen=True)
class CalibrationChoice:
    """The options of a calibration. Defaults: a requested accuracy of 95 %, reached with a probability of 95 %.

    boxes_per_image  largest number of boxes in an image, for the rule `per_image`; None: `predict.max_detections`
    """

    accuracies: tuple[float, ...] = (0.95,)
    confidence: float = 0.95
    by: Grouping = "all"
    rule: Rule = "confident"
    boxes_per_image: int | None = None


def calibrate(
    checkpoint: DetectorCheckpoint, model: AnyDetector, reader: ShardReader, choice: CalibrationChoice
) -> Calibration:
    """The calibration of a detector on the images of `evaluate.split`, which training must not have seen.

    The temperatures come from every third image, the thresholds from the others. Label-only classes without boxes in
    the split are calibrated on label images. Raises CalibrationError, DataMismatch.
    """
    cfg = checkpoint.config
    images = EvaluationSet.of(reader, cfg.evaluate)
    temperatures, boxes = calibration_boxes(checkpoint, model, reader)
    labels = _of_label_images(model, reader, checkpoint) if choice.by == "supervision" else None
    choice = replace(choice, boxes_per_image=choice.boxes_per_image or cfg.predict.max_detections)
    targets = tuple(
        RequestedAccuracy(
            accuracy=accuracy,
            groups=_thresholds(accuracy, boxes, labels, choice, checkpoint.label_counts),
        )
        for accuracy in choice.accuracies
    )
    return Calibration(
        by=choice.by,
        rule=choice.rule,
        confidence=choice.confidence,
        targets=targets,
        temperatures=tuple(temperatures),
        min_score=cfg.predict.min_score,
        nms_iou=cfg.predict.nms_iou,
        input_size_px=cfg.model.input_size_px,
        images=len(images.images),
        images_sha256=_images_sha256(images),
        weights_sha256=weights_sha256(checkpoint.weights),
    )


def calibration_boxes(
    checkpoint: DetectorCheckpoint, model: AnyDetector, reader: ShardReader
) -> tuple[list[float], MatchedPaths]:
    """The temperatures, from every third image, and the matched detections in the other images.

    The model keeps the temperatures.
    """
    cfg = checkpoint.config
    images = EvaluationSet.of(reader, cfg.evaluate)
    is_for_temperature = np.arange(len(images.images)) % 3 == 0
    temperatures = fit_temperatures(model, _subset(images, is_for_temperature), cfg)
    model.tree_tensors.set_temperatures(temperatures)
    return temperatures, _matched_paths(model, _subset(images, ~is_for_temperature), checkpoint)


def threshold_of(
    required: Float64Array, accuracy: float, rule: Rule, *, confidence: float, boxes_per_image: int
) -> float | None:
    """The smallest threshold that the rule allows; None: too few boxes; infinity: too many roots are wrong.

    required: (n,) smallest threshold at which each calibration prediction is correct
    """
    count = len(required)
    match rule:
        case "marginal":
            rank = math.ceil((count + 1) * accuracy - 1e-9)
        case "confident":
            rank = confident_rank(count, accuracy, confidence)
        case "per_image":
            # Conformal risk control (arXiv 2208.02814), with at most `boxes_per_image` errors in an image.
            errors = math.floor((1 - accuracy) * count - accuracy * boxes_per_image + 1e-9)
            rank = count - errors if errors >= 0 else count + 1
    return float(np.sort(required)[rank - 1]) if 1 <= rank <= count else None


def confident_rank(count: int, accuracy: float, confidence: float) -> int:
    """The smallest k with P(Bin(count, accuracy) ≥ k) ≤ 1 − confidence; count + 1 if there is none."""
    k = np.arange(count + 1)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    log_p = (
        log_factorial[count]
        - log_factorial[k]
        - log_factorial[count - k]
        + k * math.log(accuracy)
        + (count - k) * math.log1p(-accuracy)
    )
    tail = np.cumsum(np.exp(log_p)[::-1])[::-1]  # P(Bin ≥ k)
    enough = np.flatnonzero(tail <= 1 - confidence + 1e-12)
    return int(enough[0]) if len(enough) else count + 1


def thresholds_by_group(
    required: Float64Array,
    group: Sequence[str],
    accuracy: float,
    choice: CalibrationChoice,
) -> list[GroupThreshold]:
    """The threshold of all predictions and of each group; a group with too few boxes takes that of all.

    group: n names. Raises CalibrationError if all together are too few.
    """
    rows = []
    of_all = _checked_threshold(required, accuracy, choice)
    rows.append(GroupThreshold(group="all", threshold=of_all, boxes=len(required)))
    names = np.array(group, dtype=object)
    for name in sorted(set(group) - {"all"}):
        own = required[names == name]
        found = _threshold(own, accuracy, choice)
        rows.append(
            GroupThreshold(
                group=name,
                threshold=of_all if found is None else min(found, 1.0),
                boxes=len(own),
                is_inherited=found is None,
                is_reached=found is None or found <= 1,
            )
        )
    return rows


def _threshold(required: Float64Array, accuracy: float, choice: CalibrationChoice) -> float | None:
    assert choice.boxes_per_image is not None
    return threshold_of(
        required,
        accuracy,
        choice.rule,
        confidence=choice.confidence,
        boxes_per_image=choice.boxes_per_image,
    )


def _checked_threshold(required: Float64Array, accuracy: float, choice: CalibrationChoice) -> float:
    found = _threshold(required, accuracy, choice)
    if found is None:
        raise CalibrationError(
            f"{len(required)} matched boxes are too few for a requested accuracy of {accuracy:g} by the rule "
            f"'{choice.rule}'. Merge more images into the split, or request a lower accuracy or confidence."
        )
    if math.isinf(found):
        raise CalibrationError(
            f"The requested accuracy of {accuracy:g} cannot be reached: for {100 * np.isinf(required).mean():.1f} % "
            "of the boxes, even the root of the predicted class is wrong. Request a lower accuracy."
        )
    return found


def _thresholds(
    accuracy: float,
    boxes: MatchedPaths,
    labels: MatchedPaths | None,
    choice: CalibrationChoice,
    counts: LabelCounts,
) -> tuple[GroupThreshold, ...]:
    names = group_names(choice.by, boxes.tree, counts)
    required = boxes.required_threshold()
    group = [names[leaf] for leaf in boxes.leaf.tolist()]
    rows = thresholds_by_group(required, group, accuracy, choice)
    if labels is None or _has_boxes_of_label_only_classes(boxes, counts):
        return tuple(rows)
    of_labels = labels.required_threshold()[[names[leaf] == "image labels" for leaf in labels.leaf.tolist()]]
    found = _threshold(of_labels, accuracy, choice)
    if found is None:
        return tuple(rows)
    own = GroupThreshold(
        group="image labels",
        threshold=min(found, 1.0),
        boxes=len(of_labels),
        source="image labels",
        is_reached=found <= 1,
    )
    return (*(row for row in rows if row.group != "image labels"), own)


def _has_boxes_of_label_only_classes(boxes: MatchedPaths, counts: LabelCounts) -> bool:
    """Whether the boxes can tell right from wrong predictions of these classes: without any, all of them are wrong."""
    return any(counts.supervision(int(node)) == "image labels" for node in np.unique(boxes.node))


def _matched_paths(model: AnyDetector, images: EvaluationSet, checkpoint: DetectorCheckpoint) -> MatchedPaths:
    """The matched detections above `predict.min_score`."""
    cfg = checkpoint.config
    paths = predict_paths(model, images, cfg.model.input_size_px, cfg.evaluate, cfg.predict)
    found = match_paths(images.annotated, paths, checkpoint.tree)
    return found.rows(found.is_matched & (found.score > cfg.predict.min_score))


def _of_label_images(
    model: AnyDetector, reader: ShardReader, checkpoint: DetectorCheckpoint
) -> MatchedPaths | None:
    """The detection of highest objectness in each label image, compared with its image label."""
    cfg = checkpoint.config
    rows = images_of_split(reader, cfg.evaluate.split)
    rows = rows[~reader.image_boxed[rows]]
    label = np.array([_only_label(reader, int(image)) for image in rows], np.int64)
    rows, label = rows[label >= 0], label[label >= 0]
    if not len(rows):
        return None
    images = EvaluationSet(reader, rows, [])
    paths = predict_paths(model, images, cfg.model.input_size_px, cfg.evaluate, cfg.predict)
    truths = [
        GroundTruth(
            found.xyxy_px[:1], np.full(len(found.leaf[:1]), node), np.zeros(len(found.leaf[:1]), bool)
        )
        for found, node in zip(paths, label, strict=True)
    ]
    found = match_paths(truths, paths, checkpoint.tree)
    return found.rows(found.is_matched & (found.score > cfg.predict.min_score))


def _only_label(reader: ShardReader, image: int) -> int:
    """The node of an image with exactly one positive label, else −1."""
    rows = slice(*reader.label_offsets[image : image + 2])
    positive = reader.label_nodes[rows][reader.label_positive[rows]]
    return int(positive[0]) if len(positive) == 1 else -1


def _subset(images: EvaluationSet, chosen: np.ndarray) -> EvaluationSet:
    if not chosen.any():
        raise DataMismatch(f"{images.reader.folder}: the split has too few images to calibrate with.")
    numbers: Int64Array = np.flatnonzero(chosen)
    return replace(
        images, images=images.images[numbers], annotated=[images.annotated[number] for number in numbers]
    )


def _images_sha256(images: EvaluationSet) -> str:
    """The SHA-256 of the names and labelled boxes of the images."""
    digest = hashlib.sha256()
    for image, truth in zip(images.images.tolist(), images.annotated, strict=True):
        digest.update(images.reader.source_id(image).encode())
        digest.update(truth.xyxy_px.tobytes() + truth.node.tobytes())
    return digest.hexdigest()
