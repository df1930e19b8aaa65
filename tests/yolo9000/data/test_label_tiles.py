"""One image, made by hand, and what each rule for weak labels does to it (where labels go: test_weak_labels.py).

┌─────────┬─────────┬─────────┐   2 × 3 cells, one anchor of a cell's size. Upper left: surely a thing (logit 2) and a
│ vehicle │    ·    │    ·    │   vehicle (6). Lower right: less surely a thing (1), likely an animal, a dog (4 each).
├─────────┼─────────┼─────────┤   All others: hardly a thing (−3), of no kind in particular.
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
SURE, LESS_SURE, HARDLY = (1 / (1 + math.exp(-logit)) for logit in (2, 1, -3))  # their objectness


@dataclass
class Taught:
    """What the loss says of the image, and its gradients: objectness (2, 3), classes (2, 3, 7)."""

    terms: LossTerms
    objectness: Tensor
    classes: Tensor

    @property
    def cells_of_classes(self) -> list[tuple[int, ...]]:
        """The cells whose classes are told anything."""
        return [tuple(cell) for cell in self.classes.abs().sum(-1).nonzero().tolist()]


def teach(
    tree: WordTree,
    *,
    labels: tuple[int, ...] = (),
    missing: tuple[int, ...] = (),
    ignored: tuple[list[float], ...] = (WHOLE,),
    exhaustive: tuple[int, ...] | None = None,
    non_exclusive: tuple[int, int] | None = None,
    **changes: object,
) -> Taught:
    """The image, said to show `labels` and not to show `missing`; vouched: what its source boxes wherever it is."""
    boxes = torch.zeros(1, 1, 2, 3, 5, dtype=torch.float64)
    boxes[..., 4] = -3
    classes = torch.zeros(1, 1, 2, 3, len(tree), dtype=torch.float64)
    boxes[0, 0, *UPPER_LEFT, 4], classes[0, 0, *UPPER_LEFT, VEHICLE] = 2, 6
    boxes[0, 0, *LOWER_RIGHT, 4], classes[0, 0, *LOWER_RIGHT, [ANIMAL, DOG]] = 1, 4
    boxes.requires_grad_()
    classes.requires_grad_()
    cfg = LossConfig.model_validate(
        {"warm_up_images": 0, "assign": "max_score", **changes}
    )  # the paper's rule
    pairs = None if non_exclusive is None else np.array([non_exclusive])
    known = (
        None
        if exhaustive is None
        else torch.from_numpy(at_or_under(tree, np.array(exhaustive, np.int64))[None])
    )
    criterion = JointLoss(cfg, TreeTensors(tree, non_exclusive=pairs))
    output = grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes)
    said = replace(said_of_one_image(labels, missing, ignored), exhaustive=known)
    terms = criterion(output, said, images_seen=1)
    gradients = torch.autograd.grad(terms.total, [boxes, classes])
    return Taught(terms, gradients[0][0, 0, ..., 4], gradients[1][0, 0])


def said_of_one_image(
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


def test_the_papers_rule_pulls_the_dog_up_to_the_assumed_overlap_and_no_further(toy_tree: WordTree) -> None:
    higher = teach(toy_tree, labels=(DOG,), assumed_iou=0.9)
    assert higher.terms.label_objectness.item() == pytest.approx(5 * (LESS_SURE - 0.9) ** 2 / 2)
    assert higher.objectness.nonzero().tolist() == [list(LOWER_RIGHT)]
    assert higher.objectness[LOWER_RIGHT] < 0  # the loss falls as objectness rises
    reached = teach(toy_tree, labels=(DOG,), assumed_iou=0.3)
    assert reached.terms.label_objectness == 0
    assert (reached.objectness == 0).all()


def test_darknets_rule_pushes_all_but_the_dog_down_and_leaves_the_dog(toy_tree: WordTree) -> None:
    found = teach(toy_tree, labels=(DOG,), label_objectness="darknet")
    assert found.terms.label_objectness.item() == pytest.approx((SURE**2 + 4 * HARDLY**2) / 2)
    assert found.objectness[LOWER_RIGHT] == 0
    assert (found.objectness > 0).sum() == 5


def test_the_rule_ignore_teaches_the_class_alone(toy_tree: WordTree) -> None:
    found = teach(toy_tree, labels=(DOG,), label_objectness="ignore")
    assert found.terms.label_objectness == 0
    assert (found.objectness == 0).all()
    assert found.cells_of_classes == [LOWER_RIGHT]
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
def test_the_dog_is_taught_where_the_rule_looks(
    toy_tree: WordTree, assign: str, cells: list[tuple[int, int]]
) -> None:
    assert teach(toy_tree, labels=(DOG,), assign=assign, top_k=2).cells_of_classes == cells


def test_each_of_several_labels_goes_to_its_own_place_and_teaches_its_own_path(toy_tree: WordTree) -> None:
    found = teach(toy_tree, labels=(DOG, CAR))
    assert found.cells_of_classes == [UPPER_LEFT, LOWER_RIGHT]
    assert found.classes[UPPER_LEFT].nonzero()[:, 0].tolist() == [ANIMAL, VEHICLE, CAR, BOAT]
    assert found.classes[LOWER_RIGHT].nonzero()[:, 0].tolist() == [ANIMAL, VEHICLE, DOG, CAT]


def test_the_label_animal_finds_the_dog_and_says_nothing_of_its_kind(toy_tree: WordTree) -> None:
    found = teach(toy_tree, labels=(ANIMAL,))
    assert found.cells_of_classes == [LOWER_RIGHT]
    assert found.classes[LOWER_RIGHT].nonzero()[:, 0].tolist() == [ANIMAL, VEHICLE]


def test_a_image_with_a_vehicle_and_no_dog_is_taught_both(toy_tree: WordTree) -> None:
    found = teach(toy_tree, labels=(VEHICLE,), missing=(DOG,))
    assert found.cells_of_classes == [UPPER_LEFT, LOWER_RIGHT]
    assert found.classes[UPPER_LEFT][VEHICLE] < 0  # rises as the loss falls
    assert found.classes[LOWER_RIGHT][DOG] > 0
    assert found.objectness[LOWER_RIGHT] == 0  # something may well be there


def test_an_ignored_region_is_left_alone_and_all_around_it_is_reported_no_object(toy_tree: WordTree) -> None:
    found = teach(toy_tree, ignored=(RIGHT_COLUMN,))
    assert (found.objectness[:, 2] == 0).all()
    assert (found.objectness[:, :2] > 0).all()
    assert found.terms.no_object.item() == pytest.approx((SURE**2 + 3 * HARDLY**2) / 2)


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
def test_what_its_source_does_not_box_may_be_there_without_a_box(
    toy_tree: WordTree, exhaustive: tuple[int, ...], left_alone: list[tuple[int, int]]
) -> None:
    """An image of a boxed source without any box: what looks like a thing is background only if it is vouched for."""
    found = teach(toy_tree, ignored=(), exhaustive=exhaustive)
    assert [tuple(cell) for cell in (found.objectness == 0).nonzero().tolist()] == left_alone
    assert (found.objectness >= 0).all()


def test_a_sibling_that_may_be_the_same_thing_is_not_pushed_down(toy_tree: WordTree) -> None:
    plain, message = (teach(toy_tree, labels=(DOG,), non_exclusive=pair) for pair in (None, (DOG, CAT)))
    assert plain.classes[LOWER_RIGHT][CAT] > 0  # falls with the loss
    assert message.classes[LOWER_RIGHT][CAT] == 0
    torch.testing.assert_close(message.classes[LOWER_RIGHT][:2], plain.classes[LOWER_RIGHT][:2])
