"""AP equals that of pycocotools, with crowds, equal scores, absent classes and images without boxes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest

from tests.yolo9000.evaluation.made_boxes import crowded_world
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


@pytest.mark.parametrize("max_detections", [1, 3, 100])
@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_pycocotools(seed: int, max_detections: int) -> None:
    truths, detections = crowded_world(seed, images=40, nodes=7)
    found = average_precision(truths, detections, max_detections=max_detections)
    expected = pycocotools_precision(truths, detections, sorted(found), max_detections)
    assert len(found) == 7
    assert [row.ap50 for row in found.values()] == pytest.approx(100 * expected[0].mean(axis=0), abs=1e-9)
    assert [row.ap for row in found.values()] == pytest.approx(100 * expected.mean(axis=(0, 1)), abs=1e-9)
    assert 1 < np.mean([row.ap for row in found.values()]) < 99


def test_ap_equals_pycocotools_in_crowded_images_of_one_class() -> None:
    truths, detections = crowded_world(9, images=3, nodes=1, boxes=60, copies=4)
    found = average_precision(truths, detections, max_detections=1000)
    expected = pycocotools_precision(truths, detections, [0], 1000)
    assert found[0].ap == pytest.approx(100 * expected.mean(), abs=1e-9)


def pycocotools_precision(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], nodes: list[int], max_detections: int
) -> Any:
    """Precision by IoU threshold, recall and node, from COCO's own evaluator."""
    pytest.importorskip("pycocotools", reason="pycocotools is not installed (pip install pycocotools)")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [{"id": node} for node in nodes],
            "annotations": [row | {"id": number} for number, row in enumerate(annotations(truths), start=1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results(detections)), "bbox")
        evaluation.params.catIds, evaluation.params.maxDets = nodes, [max_detections]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0, 0]


def annotations(truths: Sequence[GroundTruth]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": int(node), "bbox": box, "area": box[2] * box[3], "iscrowd": int(crowd)}
        for image, truth in enumerate(truths)
        for box, node, crowd in zip(xywh(truth), truth.node, truth.crowd, strict=True)
    ]  # fmt: skip


def results(detections: Sequence[ScoredBoxes]) -> list[dict[str, Any]]:
    return [
        {"image_id": image, "category_id": int(node), "bbox": box, "score": float(score)}
        for image, boxes in enumerate(detections)
        for box, node, score in zip(xywh(boxes), boxes.node, boxes.score, strict=True)
    ]


def xywh(boxes: GroundTruth | ScoredBoxes) -> list[list[float]]:
    corner, size = boxes.xyxy_px[:, :2], boxes.xyxy_px[:, 2:] - boxes.xyxy_px[:, :2]
    rows: list[list[float]] = np.concatenate([corner, size], axis=1).tolist()
    return rows
