"""Where an image label goes, on outputs made by hand."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from tests.yolo9000.made import grid_output
from wordtree import WordTree
from yolo9000.batch import ImageLabelColumns
from yolo9000.grid import GridOutput
from yolo9000.hierarchy import Hierarchy
from yolo9000.weak_labels import (
    log_absolute_at,
    negative_errors,
    place_of_max_objectness,
    place_of_max_score,
    places_in_regions,
)

ANIMAL, VEHICLE, DOG, CAT = range(4)


def one_label(*region: float) -> ImageLabelColumns:
    return ImageLabelColumns(
        torch.tensor([0]), torch.tensor([DOG]), torch.tensor([region or (0.0, 0.0, 1.0, 1.0)])
    )


def scene() -> GridOutput:
    """2 × 3 cells, one anchor: the most object-like cell (0, 0) shows a vehicle; a dog, less so, is at (1, 2)."""
    box_logits = torch.zeros(1, 1, 2, 3, 5, dtype=torch.float64)
    box_logits[..., 4] = -3
    box_logits[0, 0, 0, 0, 4] = 2
    box_logits[0, 0, 1, 2, 4] = 1
    class_logits = torch.zeros(1, 1, 2, 3, 7, dtype=torch.float64)
    class_logits[0, 0, 0, 0, 1] = 6  # vehicle, not animal
    class_logits[0, 0, 1, 2, [0, DOG]] = 4
    return grid_output(anchors=[[1.0, 1.0]], box_logits=box_logits, class_logits=class_logits)


def cell(place: object) -> tuple[int, int]:
    return place.row.item(), place.column.item()  # type: ignore[attr-defined]


def test_max_objectness_takes_the_most_object_like_place() -> None:
    assert cell(place_of_max_objectness(scene(), one_label())) == (0, 0)


def test_max_score_takes_the_place_that_is_most_likely_to_show_the_label(toy_tree: WordTree) -> None:
    assert cell(place_of_max_score(scene(), one_label(), Hierarchy(toy_tree))) == (1, 2)


def test_a_label_is_looked_for_in_its_region_only(toy_tree: WordTree) -> None:
    lower = one_label(0.0, 0.5, 1.0, 1.0)
    assert cell(place_of_max_objectness(scene(), lower)) == (1, 2)
    left = one_label(0.0, 0.5, 0.6, 1.0)
    assert cell(place_of_max_score(scene(), left, Hierarchy(toy_tree)))[1] < 2


def test_a_region_without_a_cell_centre_falls_back_to_the_whole_picture() -> None:
    assert places_in_regions(scene(), one_label(0.0, 0.0, 0.01, 0.01)).all()


def test_no_labels_give_no_places(toy_tree: WordTree) -> None:
    none = ImageLabelColumns(torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(0, 4))
    assert len(place_of_max_objectness(scene(), none)) == 0
    assert len(place_of_max_score(scene(), none, Hierarchy(toy_tree))) == 0


def test_the_probability_at_a_place_is_the_product_along_the_path(toy_tree: WordTree) -> None:
    place = place_of_max_score(scene(), one_label(), Hierarchy(toy_tree))
    found: Tensor = log_absolute_at(scene(), Hierarchy(toy_tree), place, torch.tensor([DOG]))
    siblings = torch.tensor([4.0, 0.0], dtype=torch.float64).softmax(0)[0]
    torch.testing.assert_close(found.exp(), (siblings * siblings)[None])


def test_no_dog_costs_what_the_likeliest_place_of_its_region_says(toy_tree: WordTree) -> None:
    """Hand calculation: at (1, 2) both levels say e^4 / (e^4 + 1), at objectness 1 / (1 + e^-1)."""
    level, objectness = math.exp(4) / (math.exp(4) + 1), 1 / (1 + math.exp(-1))
    found = negative_errors(scene(), one_label(), Hierarchy(toy_tree))
    assert found.tolist() == pytest.approx([-objectness * math.log(1 - level**2)], rel=1e-4)
    upper_middle = one_label(0.34, 0.0, 0.66, 0.5)  # cell (0, 1): even odds at both levels
    found = negative_errors(scene(), upper_middle, Hierarchy(toy_tree))
    assert found.tolist() == pytest.approx([-math.log(1 - 0.25) / (1 + math.exp(3))], rel=1e-4)


@pytest.mark.parametrize("siblings", ["exclusive", "independent"])
def test_no_dog_changes_the_classes_on_its_path_and_leaves_the_box_alone(
    toy_tree: WordTree, siblings: Literal["exclusive", "independent"]
) -> None:
    output, boxes, classes = learnable_scene()
    loss = negative_errors(output, one_label(), Hierarchy(toy_tree, siblings=siblings)).sum()
    box_gradient, class_gradient = torch.autograd.grad(loss, [boxes, classes], allow_unused=True)
    assert box_gradient is None or (box_gradient == 0).all()
    (place,) = class_gradient.abs().sum(-1).nonzero().tolist()
    assert place == [0, 0, 1, 2]
    at_place = class_gradient[0, 0, 1, 2]
    assert at_place[ANIMAL] > 0  # falls with the loss
    assert at_place[DOG] > 0
    others = at_place[[VEHICLE, CAT]]
    assert (others < 0).all() if siblings == "exclusive" else (others == 0).all()
    assert (at_place[[4, 5, 6]] == 0).all()  # neither vehicles nor the kinds of dogs are asked


def test_what_is_surely_an_animal_stays_one_when_told_that_it_is_no_dog(toy_tree: WordTree) -> None:
    output, _, classes = learnable_scene()
    with torch.no_grad():
        classes[0, 0, 1, 2, [ANIMAL, DOG]] = torch.tensor([12.0, 1.0], dtype=torch.float64)
    loss = negative_errors(output, one_label(), Hierarchy(toy_tree)).sum()
    (gradient,) = torch.autograd.grad(loss, classes)
    assert gradient[0, 0, 1, 2, ANIMAL] < 0.001 * gradient[0, 0, 1, 2, DOG]


def test_kinds_of_what_is_not_there_become_less_likely_too(toy_tree: WordTree) -> None:
    hierarchy, terrier = Hierarchy(toy_tree), torch.tensor([6])
    output, _, classes = learnable_scene()
    place = place_of_max_score(output, one_label(), hierarchy)
    before = log_absolute_at(output, hierarchy, place, terrier)
    (gradient,) = torch.autograd.grad(negative_errors(output, one_label(), hierarchy).sum(), classes)
    with torch.no_grad():
        classes -= gradient
    assert log_absolute_at(output, hierarchy, place, terrier) < before


def test_the_error_of_a_sure_mistake_is_finite_and_has_a_gradient(toy_tree: WordTree) -> None:
    output, boxes, classes = learnable_scene()
    with torch.no_grad():
        boxes[0, 0, 1, 2, 4], classes[0, 0, 1, 2, [ANIMAL, DOG]] = 100, 12
    loss = negative_errors(output, one_label(), Hierarchy(toy_tree)).sum()
    (gradient,) = torch.autograd.grad(loss, classes)
    assert 10 < loss.item() < 14
    assert gradient[0, 0, 1, 2, DOG] > 0.1
    with torch.no_grad():
        classes[0, 0, 1, 2, [ANIMAL, DOG]] = 1000
    assert negative_errors(output, one_label(), Hierarchy(toy_tree)).isfinite().all()


def learnable_scene() -> tuple[GridOutput, Tensor, Tensor]:
    """The scene with its box and class logits as leaves of the graph."""
    boxes = scene().box_logits.clone().requires_grad_()
    classes = scene().dense_class_logits().clone().requires_grad_()
    return grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes), boxes, classes
