"""The joint loss against the region layer of the original program (`DARKNET_GOLDEN`/region)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.yolo9000.made import TableHead
from wordtree import WordTree
from yolo9000.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.boxes import cxcywh_to_xyxy
from yolo9000.config import LossConfig
from yolo9000.grid import GridOutput
from yolo9000.hierarchy import Hierarchy
from yolo9000.loss import JointLoss

GOLDEN = Path(os.environ.get("DARKNET_GOLDEN", ""))
LABEL_MARK = 999999  # x = y of a picture that has a label and no box


def golden_cases() -> list[str]:
    path = GOLDEN / "region" / "params.json"
    if not os.environ.get("DARKNET_GOLDEN") or not path.exists():
        return []
    cases = json.loads(path.read_text())
    # Anchors chosen by predicted size and logistic classes come with the Darknet files (docs/decisions.md).
    return [name for name, case in cases.items() if case["bias_match"] and (case["softmax"] or case["tree"])]


def output_of(raw: Tensor, case: dict[str, Any]) -> GridOutput:
    anchors, classes = case["num"], case["classes"]
    entries = raw.unflatten(1, (anchors, 5 + classes))
    return GridOutput(
        box_logits=entries[:, :, :5].permute(0, 1, 3, 4, 2),
        features=entries[:, :, 5:].flatten(1, 2),
        anchors_cell=torch.tensor(case["anchors"], dtype=raw.dtype).view(-1, 2),
        class_head=TableHead(anchors),
    )


def targets_of(truth: np.ndarray, node_of_class: list[int] | None) -> Targets:
    boxes, labels = [], []
    for image, rows in enumerate(truth):
        end = np.flatnonzero(rows[:, 0] == 0)
        rows = rows[: end[0]] if len(end) else rows
        marked = rows[rows[:, 0] == LABEL_MARK]
        if len(marked):
            labels.append((image, int(marked[0, 4])))
            continue
        for x, y, w, h, kind in rows:
            node = node_of_class[int(kind)] if node_of_class else int(kind)
            boxes.append((image, node, x, y, w, h))
    box = torch.tensor(boxes, dtype=torch.float64).view(-1, 6)
    label = torch.tensor(labels, dtype=torch.int64).view(-1, 2)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(len(label), 4)
    return Targets(
        BoxColumns(box[:, 0].long(), cxcywh_to_xyxy(box[:, 2:]), box[:, 1].long()),
        ImageLabelColumns(label[:, 0], label[:, 1], whole),
        IgnoreColumns(label[:, 0], whole),
        torch.zeros(len(truth), dtype=torch.int64),
    )


def tree_of(case: dict[str, Any]) -> WordTree:
    if case["tree"]:
        return WordTree.load(GOLDEN / case["tree"])
    return WordTree([f"class{k}" for k in range(case["classes"])], [-1] * case["classes"])


@pytest.mark.skipif(not golden_cases(), reason="DARKNET_GOLDEN is not set: Darknet's numbers are not at hand")
@pytest.mark.parametrize("name", golden_cases())
def test_gradients_of_the_joint_loss_agree_with_darknets_region_layer(name: str) -> None:
    case = json.loads((GOLDEN / "region" / "params.json").read_text())[name]
    golden = np.load(GOLDEN / "region" / f"{name}.npz")
    raw = torch.from_numpy(golden["raw"]).double().requires_grad_()
    cfg = LossConfig(
        object_weight=case["object_scale"],
        no_object_weight=case["noobject_scale"],
        class_weight=case["class_scale"],
        label_weight=case["class_scale"],
        coordinate_weight=case["coord_scale"],
        ignore_iou=case["thresh"],
        objectness_target="iou" if case["rescore"] else "one",
        warm_up_images=12800,
        assign="max_score",
        label_objectness="darknet",
    )
    loss = JointLoss(cfg, Hierarchy(tree_of(case)))
    terms = loss(output_of(raw, case), targets_of(golden["truth"], case["map"]), images_seen=case["seen"])

    (terms.total * case["batch"]).backward()

    np.testing.assert_allclose(-raw.grad.numpy(), golden["grad"], atol=2e-5)
