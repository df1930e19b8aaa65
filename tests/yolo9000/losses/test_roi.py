"""The loss of the RoI head: its samples, and what it learns."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.yolo9000.losses.test_joint import BOAT, CAR, DOG, PAPER, targets
from tests.yolo9000.made import grid_output
from wordtree import WordTree
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.losses.roi import MIN_IOU, roi_samples
from yolo9000.models.boxes import iou_xyxy
from yolo9000.models.grid import GridOutput, decode_boxes
from yolo9000.models.roi_head import RoiHead, RoiOutput, pooled
from yolo9000.models.tree_tensors import TreeTensors

CAR_BOX, DOG_BOX = [0.1, 0.1, 0.4, 0.5], [0.5, 0.4, 0.9, 0.9]


def random_output() -> GridOutput:
    torch.manual_seed(0)
    return grid_output(
        anchors=[[1.0, 1.0], [2.0, 1.5]],
        box_logits=torch.randn(3, 2, 6, 6, 5, dtype=torch.float64),
        class_logits=torch.randn(3, 2, 6, 6, 9, dtype=torch.float64),
    )


def test_samples_overlap_an_object_of_their_image_by_the_iou_they_are_given() -> None:
    output, truth = random_output(), targets(boxes=[(2, DOG, DOG_BOX), (0, CAR, CAR_BOX), (2, CAR, CAR_BOX)])
    samples = roi_samples(decode_boxes(output), output.objectness, truth.boxes)
    assert set(samples.image.tolist()) == {0, 2}
    assert len(samples.iou) > 40
    for image in (0, 2):
        rows = samples.image == image
        boxes = truth.boxes.xyxy_unit[truth.boxes.image == image]
        best = iou_xyxy(samples.xyxy_unit[rows], boxes).amax(dim=1)
        torch.testing.assert_close(samples.iou[rows], best)
    assert samples.iou.min() >= MIN_IOU
    assert samples.iou.max() > 0.99


def test_samples_are_the_same_for_the_same_batch() -> None:
    output, truth = random_output(), targets(boxes=[(1, CAR, CAR_BOX)])
    first, second = (roi_samples(decode_boxes(output), output.objectness, truth.boxes) for _ in range(2))
    assert torch.equal(first.xyxy_unit, second.xyxy_unit)


def terms_of(
    tree: WordTree, head: RoiHead, feature_map: Tensor, siblings: Literal["softmax", "sigmoid"] = "softmax"
) -> LossTerms:
    """Loss terms of a box of a car in image 0 and an image label of a boat in image 1."""
    torch.manual_seed(0)
    grid = grid_output(
        anchors=[[1.0, 1.0]],
        box_logits=torch.randn(2, 1, 4, 4, 5, dtype=torch.float64),
        class_logits=torch.randn(2, 1, 4, 4, len(tree), dtype=torch.float64),
    )
    output = replace(grid, roi=RoiOutput(head, [feature_map], grid))
    loss = JointLoss(PAPER, TreeTensors(tree, siblings=siblings))
    return loss(output, targets(boxes=[(0, CAR, CAR_BOX)], labels=[(1, BOAT)]), images_seen=1)


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
def test_the_head_learns_the_iou_of_boxes_and_the_classes_of_boxes_and_image_labels(
    toy_tree: WordTree, siblings: Literal["softmax", "sigmoid"]
) -> None:
    torch.manual_seed(0)
    feature_map = torch.zeros(2, 3, 16, 16)
    feature_map[0, 0, 2:8, 2:6] = 1  # the car
    feature_map[1, 1] = 1
    feature_map += 0.1 * torch.randn_like(feature_map)
    head = RoiHead(3, nodes=len(toy_tree))
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        terms = terms_of(toy_tree, head, feature_map, siblings)
        optimizer.zero_grad()
        (terms.roi_objectness + terms.roi_class).backward()
        optimizer.step()
        losses.append((float(terms.roi_objectness.detach()), float(terms.roi_class.detach())))
    assert losses[-1][0] < 0.95 * losses[0][0]
    assert losses[-1][1] < 0.1 * losses[0][1]
    boxes = torch.tensor([CAR_BOX, [0.25, 0.1, 0.55, 0.5], [0.1, 0.3, 0.4, 0.7]])
    with torch.no_grad():
        logits = head.objectness_logits(pooled([feature_map], torch.zeros(3, dtype=torch.int64), boxes))
    assert logits[0] > logits[1]
    assert logits[0] > logits[2]


def test_images_without_boxes_have_no_objectness_term(toy_tree: WordTree) -> None:
    torch.manual_seed(0)
    grid = grid_output(anchors=[[1.0, 1.0]], box_logits=torch.randn(2, 1, 4, 4, 5, dtype=torch.float64))
    grid = replace(grid, features=torch.randn(2, len(toy_tree), 4, 4, dtype=torch.float64))
    head = RoiHead(3, nodes=len(toy_tree))
    output = replace(grid, roi=RoiOutput(head, [torch.randn(2, 3, 4, 4)], grid))
    terms = JointLoss(PAPER, TreeTensors(toy_tree))(output, targets(labels=[(1, BOAT)]), images_seen=1)
    assert terms.roi_objectness == 0
    assert terms.roi_class > 0


def test_the_backbone_gets_no_gradient_from_the_roi_head(toy_tree: WordTree) -> None:
    feature_map = torch.randn(2, 3, 8, 8, requires_grad=True)
    terms = terms_of(toy_tree, RoiHead(3, nodes=len(toy_tree)), feature_map)
    (terms.roi_objectness + terms.roi_class).backward()
    assert feature_map.grad is None


def test_an_image_label_is_learnt_from_the_middle_of_its_region_and_from_its_predicted_box(
    toy_tree: WordTree,
) -> None:
    """The label is assigned to a small box in the corner of its image, outside the middle of its region."""
    torch.manual_seed(0)
    head, box_logits = RoiHead(3, nodes=len(toy_tree)), torch.zeros(2, 1, 12, 12, 5, dtype=torch.float64)
    torch.nn.init.normal_(head.classes.weight)
    box_logits[1, 0, 0, 0, 4] = 5
    grid = grid_output(anchors=[[1.0, 1.0]], box_logits=box_logits)
    grid = replace(grid, features=torch.zeros(2, len(toy_tree), 12, 12, dtype=torch.float64))

    def loss_of(feature_map: Tensor) -> float:
        output = replace(grid, roi=RoiOutput(head, [feature_map], grid))
        terms = JointLoss(PAPER, TreeTensors(toy_tree))(output, targets(labels=[(1, BOAT)]), images_seen=1)
        return float(terms.roi_class.detach())

    plain = torch.randn(2, 3, 48, 48)
    corner, middle, edge = (plain.clone() for _ in range(3))
    corner[1, :, :4, :4] += torch.tensor([5.0, 0, -5])[:, None, None]
    middle[1, :, 10:38, 10:38] += torch.tensor([5.0, 0, -5])[:, None, None]
    edge[1, :, 44:, 44:] += torch.tensor([5.0, 0, -5])[:, None, None]
    assert abs(loss_of(corner) - loss_of(plain)) > 1e-3
    assert abs(loss_of(middle) - loss_of(plain)) > 1e-3
    assert loss_of(edge) == loss_of(plain)
