"""Where an image label goes, on outputs made by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.yolo9000.made import grid_output
from wordtree import WordTree
from yolo9000.batch import ImageLabelColumns
from yolo9000.grid import GridOutput
from yolo9000.hierarchy import Hierarchy
from yolo9000.weak_labels import (
    log_absolute_at,
    place_of_max_objectness,
    place_of_max_score,
    places_in_regions,
)

DOG = 2


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
