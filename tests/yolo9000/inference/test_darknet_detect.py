"""Post-processing agrees with the original Darknet: classes, boxes, scores, NMS."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from tests.yolo9000.darknet_golden import GoldenCase, golden_cases
from yolo9000.config import EvaluateConfig, PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.inference.node_scores import node_scores
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput, boxes_to_image, clip_to_image
from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.grid import decode_boxes

NEAR = 1e-5  # a score this near to the threshold may go either way
EVERYTHING = 10**6
Overlap = Literal["by_objectness", "by_node"]
Row = tuple[int, float, np.ndarray]  # class, score, xyxy in pixels


def letterbox_of(params: dict[str, Any]) -> Letterbox:
    return Letterbox.fit(
        image_size_px=(params["image_w"], params["image_h"]),
        network_size_px=(params["net_w"], params["net_h"]),
    )


def their_boxes_px(golden: dict[str, np.ndarray], params: dict[str, Any]) -> np.ndarray:
    """Darknet's boxes as xyxy in image pixels, (D, 4), locations in the order anchor, row, column."""
    unit = [params["image_w"], params["image_h"]] * 2 if params["relative"] else [1, 1, 1, 1]
    boxes: np.ndarray = cxcywh_to_xyxy(torch.from_numpy(golden["bbox"]).double() * torch.tensor(unit)).numpy()
    return boxes


def our_rows(case: GoldenCase, raw: torch.Tensor, *, nms: Overlap, nms_iou: float) -> list[Row]:
    """Our detections; with a map, a score for every mapped node at each location."""
    params, box = case.params, letterbox_of(case.params)
    batch = BatchOutput(case.grid_output(raw), case.tree_tensors(), [box])
    shared = {"nms": nms, "nms_iou": nms_iou, "geometry": "darknet"}
    shared |= {"max_locations": EVERYTHING, "max_detections": EVERYTHING}
    if not params["map"]:
        cfg = {
            "descent": "darknet",
            "min_score": params["thresh"],
            "min_absolute": params["tree_thresh"],
            **shared,
        }
        (found,) = detect(batch, ["image"], PredictConfig.model_validate(cfg))
        return list(zip(found.node.tolist(), found.score.tolist(), found.xyxy_px, strict=True))
    nodes = torch.tensor(params["map"])
    class_of_node = {int(node): index for index, node in enumerate(nodes)}
    cfg = {"min_objectness": params["thresh"], **shared}
    (scores,) = node_scores(batch, nodes, EvaluateConfig.model_validate(cfg))
    boxes_px = clip_to_image(scores.xyxy_px, box).numpy()
    classes = [class_of_node[node] for node in scores.node.tolist()]
    return list(zip(classes, scores.score.tolist(), boxes_px, strict=True))


def their_rows(prob: np.ndarray, boxes_px: np.ndarray, params: dict[str, Any]) -> list[Row]:
    clipped = clip_to_image(torch.from_numpy(boxes_px), letterbox_of(params)).numpy()
    return [(int(k), float(prob[d, k]), clipped[d]) for d, k in zip(*np.nonzero(prob), strict=True)]


def assert_same_rows(ours: list[Row], theirs: list[Row], threshold: float) -> None:
    """Each row matches a row of the other side, unless its score is near the threshold."""
    unmatched = list(ours)
    for class_, score, box in theirs:
        same = [
            k
            for k, mine in enumerate(unmatched)
            if mine[0] == class_
            and abs(mine[1] - score) < 1e-5
            and np.allclose(mine[2], box, rtol=1e-5, atol=1e-3)
        ]
        if same:
            unmatched.pop(same[0])
        else:
            assert abs(score - threshold) < NEAR, (
                f"class {class_}, score {score}, box {box} is not among ours"
            )
    assert [row for row in unmatched if abs(row[1] - threshold) >= NEAR] == []


@pytest.mark.parametrize("case", golden_cases("detect"))
def test_decoded_boxes_agree_with_darknet_at_every_location(case: GoldenCase) -> None:
    golden = case.arrays()
    output = case.grid_output(torch.from_numpy(golden["raw"]).double())
    decoded = decode_boxes(output)[0].flatten(0, 2)  # anchor, row, column
    ours = boxes_to_image(decoded, letterbox_of(case.params), "darknet").numpy()
    np.testing.assert_allclose(ours, their_boxes_px(golden, case.params), rtol=1e-5, atol=1e-3)
    objectness = output.objectness[0].flatten().numpy()
    theirs = golden["objectness"]
    sure = np.abs(objectness - case.params["thresh"]) >= NEAR
    np.testing.assert_allclose(
        np.where(objectness > case.params["thresh"], objectness, 0)[sure], theirs[sure], atol=1e-6
    )


@pytest.mark.parametrize("case", golden_cases("detect"))
@pytest.mark.parametrize(
    ("array", "nms", "suppresses"),
    [
        pytest.param("prob", "by_node", False, id="classes and scores"),
        pytest.param("prob_nms_sort", "by_node", True, id="NMS by class"),
        pytest.param("prob_nms_obj", "by_objectness", True, id="NMS by objectness"),
    ],
)
def test_classes_scores_and_nms_agree_with_darknet(
    case: GoldenCase, array: str, nms: Overlap, suppresses: bool
) -> None:
    golden, params = case.arrays(), case.params
    raw = torch.from_numpy(golden["raw"]).double()
    ours = our_rows(case, raw, nms=nms, nms_iou=params["nms_thresh"] if suppresses else 1)
    theirs = their_rows(golden[array], their_boxes_px(golden, params), params)
    assert theirs
    assert_same_rows(ours, theirs, params["thresh"])
