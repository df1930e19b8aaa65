"""COCO's average precision, computed by COCO's own evaluator."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes, check_same_images


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of one class, 0..100: `ap50` at IoU 0.5, `ap` the mean over IoU 0.5, 0.55 … 0.95."""

    ap50: float
    ap: float


def average_precision(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], *, max_detections: int = 100
) -> dict[int, AveragePrecision]:
    """The average precision of each node that has a box in the ground truth, apart from ignored boxes.

    truths, detections: one entry for each image, in the same order. Detections of other nodes do not count. Of the
    detections of a node in an image only the best `max_detections` count.
    """
    check_same_images(len(truths), len(detections))
    nodes = nodes_with_boxes(truths)
    precision = _coco_precision(truths, detections, nodes, max_detections)  # (IoU thresholds, recalls, nodes)
    return {
        node: AveragePrecision(
            ap50=100 * float(precision[0, :, column].mean()), ap=100 * float(precision[:, :, column].mean())
        )
        for column, node in enumerate(nodes)
    }


def nodes_with_boxes(truths: Sequence[GroundTruth]) -> list[int]:
    """The nodes with a box that is not ignored, ascending: the classes that can be scored."""
    return sorted({int(node) for truth in truths for node in truth.node[~truth.ignored]})


def _coco_precision(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], nodes: list[int], max_detections: int
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    results = _coco_results(detections, set(nodes))
    if not nodes or not results:
        return np.zeros((10, 101, len(nodes)))
    with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco_truth = COCO()
        coco_truth.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [{"id": node} for node in nodes],
            "annotations": _coco_annotations(truths),
        }
        coco_truth.createIndex()
        evaluation = COCOeval(coco_truth, coco_truth.loadRes(results), "bbox")
        evaluation.params.catIds = nodes
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 0]


def _coco_annotations(truths: Sequence[GroundTruth]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image, truth in enumerate(truths):
        for xywh, node, ignored in zip(_xywh(truth), truth.node, truth.ignored, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,  # COCOeval takes id 0 for "no match"
                    "image_id": image,
                    "category_id": int(node),
                    "bbox": xywh,
                    "area": xywh[2] * xywh[3],
                    "iscrowd": int(ignored),
                }
            )
    return annotations


def _coco_results(detections: Sequence[ScoredBoxes], nodes: set[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": int(node), "bbox": xywh, "score": float(score)}
        for image, boxes in enumerate(detections)
        for xywh, node, score in zip(_xywh(boxes), boxes.node, boxes.score, strict=True)
        if int(node) in nodes
    ]


def _xywh(boxes: GroundTruth | ScoredBoxes) -> list[list[float]]:
    """Left, top, width, height of each box, COCO's format."""
    corner, size = boxes.xyxy_px[:, :2], boxes.xyxy_px[:, 2:] - boxes.xyxy_px[:, :2]
    rows: list[list[float]] = np.concatenate([corner, size], axis=1).tolist()
    return rows
