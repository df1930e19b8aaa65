"""The effect of each rule for image labels on one image with two objects (assignment: test_label_assignment.py).

┌─────────┬─────────┬─────────┐   2 × 3 cells, one anchor of a cell's size. Upper left: a certain object (logit 2),
│ vehicle │    ·    │    ·    │   a vehicle (6). Lower right: a less certain object (1), an animal and a dog (4 each).
├─────────┼─────────┼─────────┤   All others: hardly an object (−3), of no particular class.
│    ·    │    ·    │   dog   │
└─────────┴─────────┴─────────┘
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.yolo9000.made import grid_output
from wordtree import WordTree
from wordtree.tree.node_sets import at_or_under
from yolo9000.config import LossConfig
from yolo9000.data.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.models.tree_tensors import TreeTensors

ANIMAL, VEHICLE, DOG, CAT, CAR, BOAT = range(6)
UPPER_LEFT, LOWER_RIGHT = (0, 0), (1, 2)
WHOLE, RIGHT_COLUMN = [0.0, 0.0, 1.0, 1.0], [2 / 3, 0.0, 1.0, 1.0]
CERTAIN, LESS_CERTAIN, UNLIKELY = (1 / (1 + math.exp(-logit)) for logit in (2, 1, -3))  # their objectness


@dataclass
class Gradients:
    """The loss terms of the image, and the gradients of objectness (2, 3) and classes (2, 3, 7)."""

    terms: LossTerms
    objectness: Tensor
    classes: Tensor

    @property
    def cells_with_class_gradient(self) -> list[tuple[int, ...]]:
        return [tuple(cell) for cell in self.classes.abs().sum(-1).nonzero().tolist()]


def gradients_of(
    tree: WordTree,
    *,
    labels: tuple[int, ...] = (),
    missing: tuple[int, ...] = (),
    ignored: tuple[list[float], ...] = (WHOLE,),
    exhaustive: tuple[int, ...] | None = None,
    non_exclusive: tuple[int, int] | None = None,
    **changes: object,
) -> Gradients:
    """The gradients for an image with the labels `labels` and the negative labels `missing`.

    exhaustive: nodes for which the image is exhaustively annotated.
    """
    boxes = torch.zeros(1, 1, 2, 3, 5, dtype=torch.float64)
    boxes[..., 4] = -3
    classes = torch.zeros(1, 1, 2, 3, len(tree), dtype=torch.float64)
    boxes[0, 0, *UPPER_LEFT, 4], classes[0, 0, *UPPER_LEFT, VEHICLE] = 2, 6
    boxes[0, 0, *LOWER_RIGHT, 4], classes[0, 0, *LOWER_RIGHT, [ANIMAL, DOG]] = 1, 4
    boxes.requires_grad_()
    classes.requires_grad_()
    cfg = LossConfig.model_validate(
        {"anchor_warm_up_images": 0, "label_assignment": "max_score", **changes}
    )  # the paper's rule
    pairs = None if non_exclusive is None else np.array([non_exclusive])
    known = (
        None
        if exhaustive is None
        else torch.from_numpy(at_or_under(tree, np.array(exhaustive, np.int64))[None])
    )
    criterion = JointLoss(cfg, TreeTensors(tree, non_exclusive=pairs))
    output = grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes)
    image_targets = replace(targets_of_one_image(labels, missing, ignored), exhaustive=known)
    terms = criterion(output, image_targets, images_seen=1)
    gradients = torch.autograd.grad(terms.total, [boxes, classes])
    return Gradients(terms, gradients[0][0, 0, ..., 4], gradients[1][0, 0])


def targets_of_one_image(
    labels: tuple[int, ...], missing: tuple[int, ...], ignored: tuple[list[float], ...]
) -> Targets:
    def columns(nodes: tuple[int, ...]) -> ImageLabelColumns:
        ones = torch.zeros(len(nodes), dtype=torch.int64)
        return ImageLabelColumns(
            ones, torch.tensor(nodes, dtype=torch.int64), torch.tensor([WHOLE] * len(nodes))
        )

    none = torch.zeros(0, dtype=torch.int64)
    where = torch.tensor(ignored, dtype=torch.float64).view(-1, 4)
    return Targets(
        BoxColumns(none, torch.zeros(0, 4, dtype=torch.float64), none),
        columns(labels) if labels else ImageLabelColumns.none(),
        IgnoreColumns(torch.zeros(len(ignored), dtype=torch.int64), where),
        torch.zeros(1, dtype=torch.int64),
        negative_labels=columns(missing) if missing else ImageLabelColumns.none(),
    )


def test_the_papers_rule_raises_the_objectness_of_the_dog_up_to_the_assumed_iou(toy_tree: WordTree) -> None:
    higher = gradients_of(toy_tree, labels=(DOG,), assumed_iou=0.9)
    assert higher.terms.label_objectness.item() == pytest.approx(5 * (LESS_CERTAIN - 0.9) ** 2 / 2)
    assert higher.objectness.nonzero().tolist() == [list(LOWER_RIGHT)]
    assert higher.objectness[LOWER_RIGHT] < 0  # the loss falls as objectness rises
    reached = gradients_of(toy_tree, labels=(DOG,), assumed_iou=0.3)
    assert reached.terms.label_objectness == 0
    assert (reached.objectness == 0).all()


def test_darknets_rule_lowers_the_objectness_of_all_locations_but_the_dog(toy_tree: WordTree) -> None:
    found = gradients_of(toy_tree, labels=(DOG,), label_objectness="darknet")
    assert found.terms.label_objectness.item() == pytest.approx((CERTAIN**2 + 4 * UNLIKELY**2) / 2)
    assert found.objectness[LOWER_RIGHT] == 0
    assert (found.objectness > 0).sum() == 5


def test_the_rule_ignore_trains_classes_only(toy_tree: WordTree) -> None:
    found = gradients_of(toy_tree, labels=(DOG,), label_objectness="ignore")
    assert found.terms.label_objectness == 0
    assert (found.objectness == 0).all()
    assert found.cells_with_class_gradient == [LOWER_RIGHT]
    likely = math.exp(4) / (math.exp(4) + 1)  # at either level
    assert found.terms.label_class.item() == pytest.approx(-2 * math.log(likely))


@pytest.mark.parametrize(
    ("assign", "cells"),
    [
        ("max_score", [LOWER_RIGHT]),
        ("max_objectness", [UPPER_LEFT]),
        ("max_size", [UPPER_LEFT]),  # all boxes are of a cell's size, so the most objective
        ("top_k", [UPPER_LEFT, LOWER_RIGHT]),
    ],
)
def test_the_label_dog_is_assigned_by_the_rule(
    toy_tree: WordTree, assign: str, cells: list[tuple[int, int]]
) -> None:
    assert (
        gradients_of(toy_tree, labels=(DOG,), label_assignment=assign, top_k=2).cells_with_class_gradient
        == cells
    )


def test_each_of_several_labels_has_its_own_location_and_path(toy_tree: WordTree) -> None:
    found = gradients_of(toy_tree, labels=(DOG, CAR))
    assert found.cells_with_class_gradient == [UPPER_LEFT, LOWER_RIGHT]
    assert found.classes[UPPER_LEFT].nonzero()[:, 0].tolist() == [ANIMAL, VEHICLE, CAR, BOAT]
    assert found.classes[LOWER_RIGHT].nonzero()[:, 0].tolist() == [ANIMAL, VEHICLE, DOG, CAT]


def test_the_label_animal_is_assigned_to_the_dog_and_leaves_the_level_below_alone(toy_tree: WordTree) -> None:
    found = gradients_of(toy_tree, labels=(ANIMAL,))
    assert found.cells_with_class_gradient == [LOWER_RIGHT]
    assert found.classes[LOWER_RIGHT].nonzero()[:, 0].tolist() == [ANIMAL, VEHICLE]


def test_an_image_with_a_vehicle_and_no_dog_trains_both(toy_tree: WordTree) -> None:
    found = gradients_of(toy_tree, labels=(VEHICLE,), missing=(DOG,))
    assert found.cells_with_class_gradient == [UPPER_LEFT, LOWER_RIGHT]
    assert found.classes[UPPER_LEFT][VEHICLE] < 0  # rises as the loss falls
    assert found.classes[LOWER_RIGHT][DOG] > 0
    assert found.objectness[LOWER_RIGHT] == 0  # something may well be there


def test_an_ignored_region_is_left_alone_and_everything_around_it_is_background(toy_tree: WordTree) -> None:
    found = gradients_of(toy_tree, ignored=(RIGHT_COLUMN,))
    assert (found.objectness[:, 2] == 0).all()
    assert (found.objectness[:, :2] > 0).all()
    assert found.terms.no_object.item() == pytest.approx((CERTAIN**2 + 3 * UNLIKELY**2) / 2)


@pytest.mark.parametrize(
    ("exhaustive", "left_alone"),
    [
        ((VEHICLE,), [LOWER_RIGHT]),
        ((ANIMAL,), [UPPER_LEFT]),
        ((ANIMAL, VEHICLE), []),
        ((), [UPPER_LEFT, LOWER_RIGHT]),
        ((CAT,), [UPPER_LEFT, LOWER_RIGHT]),
    ],
    ids=["vehicles", "animals", "both", "nothing", "cats"],
)
def test_objects_that_the_source_does_not_annotate_are_not_background(
    toy_tree: WordTree, exhaustive: tuple[int, ...], left_alone: list[tuple[int, int]]
) -> None:
    """An image without boxes: a predicted object is background only if its node is exhaustively annotated."""
    found = gradients_of(toy_tree, ignored=(), exhaustive=exhaustive)
    assert [tuple(cell) for cell in (found.objectness == 0).nonzero().tolist()] == left_alone
    assert (found.objectness >= 0).all()


def test_a_non_exclusive_sibling_gets_no_gradient(toy_tree: WordTree) -> None:
    plain, with_pair = (
        gradients_of(toy_tree, labels=(DOG,), non_exclusive=pair) for pair in (None, (DOG, CAT))
    )
    assert plain.classes[LOWER_RIGHT][CAT] > 0  # falls with the loss
    assert with_pair.classes[LOWER_RIGHT][CAT] == 0
    torch.testing.assert_close(with_pair.classes[LOWER_RIGHT][:2], plain.classes[LOWER_RIGHT][:2])
