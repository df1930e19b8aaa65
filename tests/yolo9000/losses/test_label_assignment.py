"""The rules that assign image labels to locations, on outputs made by hand."""

from __future__ import annotations

import math
from itertools import product
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.yolo9000.made import grid_output
from wordtree import WordTree
from yolo9000.data.batch import ImageLabelColumns
from yolo9000.losses.label_assignment import (
    LabelRule,
    assign_labels,
    assign_top_k,
    location_of_max_objectness,
    location_of_max_score,
    location_of_max_size,
    locations_in_regions,
    log_absolute_at,
    negative_errors,
    path_logits,
)
from yolo9000.models.boxes import area_xyxy, iou_xyxy
from yolo9000.models.grid import GridOutput, Locations, decode_boxes
from yolo9000.models.tree_tensors import TreeTensors

ANIMAL, VEHICLE, DOG, CAT = range(4)


def one_label(*region: float) -> ImageLabelColumns:
    return ImageLabelColumns(
        torch.tensor([0]), torch.tensor([DOG]), torch.tensor([region or (0.0, 0.0, 1.0, 1.0)])
    )


def scene() -> GridOutput:
    """2 × 3 cells, one anchor. The cell of highest objectness, (0, 0), shows a vehicle; (1, 2) shows a dog."""
    box_logits = torch.zeros(1, 1, 2, 3, 5, dtype=torch.float64)
    box_logits[..., 4] = -3
    box_logits[0, 0, 0, 0, 4] = 2
    box_logits[0, 0, 1, 2, 4] = 1
    class_logits = torch.zeros(1, 1, 2, 3, 7, dtype=torch.float64)
    class_logits[0, 0, 0, 0, 1] = 6  # vehicle, not animal
    class_logits[0, 0, 1, 2, [0, DOG]] = 4
    return grid_output(anchors=[[1.0, 1.0]], box_logits=box_logits, class_logits=class_logits)


def cell(location: object) -> tuple[int, int]:
    return location.row.item(), location.column.item()  # type: ignore[attr-defined]


def test_max_objectness_takes_the_location_of_highest_objectness() -> None:
    assert cell(location_of_max_objectness(scene(), one_label())) == (0, 0)


def test_max_score_takes_the_location_of_highest_score_for_the_label(toy_tree: WordTree) -> None:
    assert cell(location_of_max_score(scene(), one_label(), TreeTensors(toy_tree))) == (1, 2)


def test_a_label_is_assigned_within_its_region_only(toy_tree: WordTree) -> None:
    lower = one_label(0.0, 0.5, 1.0, 1.0)
    assert cell(location_of_max_objectness(scene(), lower)) == (1, 2)
    left = one_label(0.0, 0.5, 0.6, 1.0)
    assert cell(location_of_max_score(scene(), left, TreeTensors(toy_tree)))[1] < 2


def test_a_region_without_a_cell_centre_falls_back_to_the_cell_of_its_middle() -> None:
    output = scene()
    anchors, rows, columns = output.box_logits.shape[1:4]
    for row, column in ((0, 0), (rows - 1, columns - 1), (0, 1)):
        left, top = column / columns + 0.01, row / rows + 0.01
        inside = locations_in_regions(output, one_label(left, top, left + 0.01, top + 0.01))
        cells = inside.view(anchors, rows, columns).nonzero().tolist()
        assert cells == [[anchor, row, column] for anchor in range(anchors)]
    assert locations_in_regions(output, one_label(1.0, 1.0, 1.0, 1.0)).sum() == anchors


@pytest.mark.parametrize("rule", ["max_score", "max_objectness", "max_size", "top_k"])
def test_a_label_is_assigned_to_the_location_of_a_box_only_if_there_is_no_other(
    toy_tree: WordTree, rule: LabelRule
) -> None:
    output, tree_tensors = scene(), TreeTensors(toy_tree)

    def locations(label: ImageLabelColumns, taken: Locations | None) -> set[int]:
        chosen = assign_labels(output, label, tree_tensors, rule=rule, top_k=2, taken=taken)
        return set(chosen.location.flat_index(output).tolist())

    label = one_label()
    first = locations(label, None)
    taken = Locations.from_flat_index(output, torch.tensor(sorted(first)))
    assert len(locations(label, taken)) == len(first)
    assert not locations(label, taken) & first
    cell_of_first = taken[torch.tensor([0])]
    rows, columns = output.box_logits.shape[2:4]
    left, top = float(cell_of_first.column) / columns, float(cell_of_first.row) / rows
    alone = one_label(left, top, left + 1 / columns, top + 1 / rows)
    everything = Locations.from_flat_index(output, torch.arange(output.objectness.numel()))
    assert locations(alone, everything) == locations(alone, None)


def test_no_labels_give_no_locations(toy_tree: WordTree) -> None:
    none = ImageLabelColumns(torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(0, 4))
    assert len(location_of_max_objectness(scene(), none)) == 0
    assert len(location_of_max_score(scene(), none, TreeTensors(toy_tree))) == 0


def test_the_probability_at_a_location_is_the_product_along_the_path(toy_tree: WordTree) -> None:
    location = location_of_max_score(scene(), one_label(), TreeTensors(toy_tree))
    found: Tensor = log_absolute_at(scene(), TreeTensors(toy_tree), location, torch.tensor([DOG]))
    siblings = torch.tensor([4.0, 0.0], dtype=torch.float64).softmax(0)[0]
    torch.testing.assert_close(found.exp(), (siblings * siblings)[None])


def errors_of(output: GridOutput, labels: ImageLabelColumns, tree_tensors: TreeTensors) -> Tensor:
    """Errors of negative labels at their locations."""
    location = location_of_max_score(output, labels, tree_tensors)
    return negative_errors(output, tree_tensors, *path_logits(output, tree_tensors, (location, labels.node)))


def test_a_negative_label_costs_the_score_of_the_most_likely_location_of_its_region(
    toy_tree: WordTree,
) -> None:
    """Calculated by hand: at (1, 2) the probability at both levels is e^4 / (e^4 + 1), objectness 1 / (1 + e^-1)."""
    level, objectness = math.exp(4) / (math.exp(4) + 1), 1 / (1 + math.exp(-1))
    found = errors_of(scene(), one_label(), TreeTensors(toy_tree))
    assert found.tolist() == pytest.approx([-objectness * math.log(1 - level**2)], rel=1e-4)
    upper_middle = one_label(0.34, 0.0, 0.66, 0.5)  # cell (0, 1): even odds at both levels
    found = errors_of(scene(), upper_middle, TreeTensors(toy_tree))
    assert found.tolist() == pytest.approx([-math.log(1 - 0.25) / (1 + math.exp(3))], rel=1e-4)


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
def test_a_negative_label_trains_the_classes_on_its_path_and_leaves_the_box_alone(
    toy_tree: WordTree, siblings: Literal["softmax", "sigmoid"]
) -> None:
    output, boxes, classes = learnable_scene()
    loss = errors_of(output, one_label(), TreeTensors(toy_tree, siblings=siblings)).sum()
    box_gradient, class_gradient = torch.autograd.grad(loss, [boxes, classes], allow_unused=True)
    assert box_gradient is None or (box_gradient == 0).all()
    (location,) = class_gradient.abs().sum(-1).nonzero().tolist()
    assert location == [0, 0, 1, 2]
    at_location = class_gradient[0, 0, 1, 2]
    assert at_location[ANIMAL] > 0  # falls with the loss
    assert at_location[DOG] > 0
    others = at_location[[VEHICLE, CAT]]
    assert (others < 0).all() if siblings == "softmax" else (others == 0).all()
    assert (at_location[[4, 5, 6]] == 0).all()  # not on the path


def test_a_certain_animal_stays_an_animal_with_the_negative_label_dog(toy_tree: WordTree) -> None:
    output, _, classes = learnable_scene()
    with torch.no_grad():
        classes[0, 0, 1, 2, [ANIMAL, DOG]] = torch.tensor([12.0, 1.0], dtype=torch.float64)
    loss = errors_of(output, one_label(), TreeTensors(toy_tree)).sum()
    (gradient,) = torch.autograd.grad(loss, classes)
    assert gradient[0, 0, 1, 2, ANIMAL] < 0.001 * gradient[0, 0, 1, 2, DOG]


def test_descendants_of_a_negative_label_become_less_likely_too(toy_tree: WordTree) -> None:
    tree_tensors, terrier = TreeTensors(toy_tree), torch.tensor([6])
    output, _, classes = learnable_scene()
    location = location_of_max_score(output, one_label(), tree_tensors)
    before = log_absolute_at(output, tree_tensors, location, terrier)
    (gradient,) = torch.autograd.grad(errors_of(output, one_label(), tree_tensors).sum(), classes)
    with torch.no_grad():
        classes -= gradient
    assert log_absolute_at(output, tree_tensors, location, terrier) < before


def test_the_error_of_a_certain_mistake_is_finite_and_has_a_gradient(toy_tree: WordTree) -> None:
    output, boxes, classes = learnable_scene()
    with torch.no_grad():
        boxes[0, 0, 1, 2, 4], classes[0, 0, 1, 2, [ANIMAL, DOG]] = 100, 12
    loss = errors_of(output, one_label(), TreeTensors(toy_tree)).sum()
    (gradient,) = torch.autograd.grad(loss, classes)
    assert 10 < loss.item() < 14
    assert gradient[0, 0, 1, 2, DOG] > 0.1
    with torch.no_grad():
        classes[0, 0, 1, 2, [ANIMAL, DOG]] = 1000
    assert errors_of(output, one_label(), TreeTensors(toy_tree)).isfinite().all()


def learnable_scene() -> tuple[GridOutput, Tensor, Tensor]:
    """The scene with its box and class logits as leaves of the graph."""
    boxes = scene().box_logits.clone().requires_grad_()
    classes = scene().dense_class_logits().clone().requires_grad_()
    return grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes), boxes, classes


def several_labels() -> ImageLabelColumns:
    """Two labels of one image, one at an inner node, the other for the upper left only; one label of another image."""
    regions = [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 1.0, 1.0]]
    return ImageLabelColumns(torch.tensor([0, 0, 1]), torch.tensor([ANIMAL, DOG, DOG]), torch.tensor(regions))


def boxes_scene() -> GridOutput:
    """4 × 4 cells of one anchor of a cell's size. Rising with objectness at (0, 0), (1, 1), (2, 2) and (3, 3); the box
    at (1, 1) is two cells wide, that at (0, 0) reaches far out of the image, that at (2, 3) is larger but
    lies on (2, 2), and the largest of all, at (3, 0), is among the least objective."""
    box_logits = torch.zeros(1, 1, 4, 4, 5, dtype=torch.float64)
    box_logits[..., 4] = -5
    for cell, (objectness, width, height) in {
        (0, 0): (1.0, 3.0, 3.0), (1, 1): (2.0, 2.0, 2.0), (2, 2): (4.0, 1.0, 1.0), (3, 3): (5.0, 0.5, 0.5),
        (3, 0): (-6.0, 4.0, 4.0),
    }.items():  # fmt: skip
        box_logits[0, 0, *cell, 2:4] = torch.tensor([width, height]).log()
        box_logits[0, 0, *cell, 4] = objectness
    return grid_output(anchors=[[1.0, 1.0]], box_logits=box_logits)


def test_max_size_takes_the_largest_proposal_after_clipping_to_the_image() -> None:
    """At (0, 0) a box of 3 × 3 cells is centred, of which 2 × 2 are inside: as large as that at (1, 1) to the digit."""
    output = boxes_scene()
    output.box_logits[0, 0, 0, 0, 2] += 0.01
    assert cell(location_of_max_size(many_locations(output), one_label())) == (0, 0)
    output.box_logits[0, 0, 0, 0, 2] -= 0.02
    assert cell(location_of_max_size(many_locations(output), one_label())) == (1, 1)


def many_locations(output: GridOutput) -> GridOutput:
    """The output with four more anchors of lower objectness, so that not all locations are proposals."""
    quiet = torch.zeros(1, 4, 4, 4, 5, dtype=torch.float64)
    quiet[..., 4] = -5.5
    box_logits = torch.cat([output.box_logits, quiet], dim=1)
    return grid_output(anchors=[[1.0, 1.0], *[[0.5, 0.5]] * 4], box_logits=box_logits)


def test_max_size_drops_proposals_that_overlap_a_more_objective_one() -> None:
    output = boxes_scene()
    output.box_logits[0, 0, 1, 1, 2:4] = torch.tensor(1.2).log()
    output.box_logits[0, 0, 1, 2, :] = torch.tensor([-20, 0, *torch.tensor([1.3, 1.3]).log(), 1.9])
    output.box_logits[0, 0, 0, 0, 4] = -9
    moved = output.box_logits.clone()
    moved[0, 0, 1, 1, 0] = 20  # the centres of both on the line between the cells
    covered = grid_output(anchors=[[1.0, 1.0]], box_logits=moved)
    apart = moved.clone()
    apart[0, 0, 1, 2, 0] = 20
    assert cell(location_of_max_size(many_locations(covered), one_label())) == (1, 1)
    beside = grid_output(anchors=[[1.0, 1.0]], box_logits=apart)
    assert cell(location_of_max_size(many_locations(beside), one_label())) == (1, 2)


def test_max_size_clips_boxes_to_the_tile_and_takes_only_its_cells() -> None:
    lower_right = one_label(0.5, 0.5, 1.0, 1.0)
    assert cell(location_of_max_size(boxes_scene(), lower_right)) == (2, 2)


def test_top_k_locations_share_a_label_and_a_small_tile_has_fewer() -> None:
    chosen = assign_top_k(boxes_scene(), one_label(), 3)
    assert cells(chosen.location) == [(3, 3), (2, 2), (1, 1)]
    assert chosen.label.tolist() == [0, 0, 0]
    assert chosen.weight.tolist() == pytest.approx([1 / 3] * 3)
    one_cell = assign_top_k(boxes_scene(), one_label(0.25, 0.25, 0.5, 0.5), 3)
    assert (cells(one_cell.location), one_cell.weight.tolist()) == ([(1, 1)], [1.0])


def cells(location: Locations) -> list[tuple[int, int]]:
    return list(zip(location.row.tolist(), location.column.tolist(), strict=True))


@pytest.mark.parametrize("rule", ["max_score", "max_objectness", "max_size", "top_k"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_each_rule_agrees_with_a_loop_over_labels_and_locations(
    toy_tree: WordTree, rule: LabelRule, seed: int
) -> None:
    output, tree_tensors, labels = random_scene(seed), TreeTensors(toy_tree), several_labels()
    chosen = assign_labels(output, labels, tree_tensors, rule=rule, top_k=5)
    expected = [
        (label, *location, 1 / len(locations))
        for label in range(len(labels.node))
        for locations in [slow_choice(output, labels, label, tree_tensors, rule)]
        for location in locations
    ]
    columns = (
        chosen.location.image,
        chosen.location.anchor,
        chosen.location.row,
        chosen.location.column,
        chosen.weight,
    )
    found = zip(chosen.label.tolist(), *(column.tolist() for column in columns), strict=True)
    assert list(found) == [pytest.approx(row) for row in expected]


def random_scene(seed: int) -> GridOutput:
    random = torch.Generator().manual_seed(seed)
    box_logits = torch.randn(2, 3, 5, 6, 5, generator=random, dtype=torch.float64)
    class_logits = torch.randn(2, 3, 5, 6, 7, generator=random, dtype=torch.float64)
    return grid_output(
        anchors=[[1.0, 1.0], [2.0, 1.5], [3.0, 4.0]], box_logits=box_logits, class_logits=class_logits
    )


def slow_choice(
    output: GridOutput, labels: ImageLabelColumns, label: int, tree_tensors: TreeTensors, rule: LabelRule
) -> list[tuple[int, int, int, int]]:
    """The rules as loops over locations."""
    image, node = int(labels.image[label]), int(labels.node[label])
    left, top, right, bottom = labels.region_xyxy_unit[label].tolist()
    _, anchors, rows, columns, _ = output.box_logits.shape
    locations = [
        (image, anchor, row, column)
        for anchor, row, column in product(range(anchors), range(rows), range(columns))
        if left <= (column + 0.5) / columns < right and top <= (row + 0.5) / rows < bottom
    ]
    locations.sort(key=lambda location: -output.objectness[location])
    if rule == "max_objectness":
        return locations[:1]
    if rule == "top_k":
        return locations[:5]
    if rule == "max_score":
        logits = output.dense_class_logits()
        return [
            max(
                locations,
                key=lambda p: float(output.objectness[p] * slow_absolute(logits[p], node, tree_tensors.tree)),
            )
        ]
    boxes, kept = decode_boxes(output), []
    limits = torch.tensor([[left, top], [right, bottom]], dtype=torch.float64)
    for location in locations[:32]:
        box = boxes[location].view(2, 2).clamp(limits[0], limits[1]).view(4)
        if all(iou_xyxy(box[None], other[None]) <= 0.5 for _, other in kept):
            kept.append((location, box))
    return [max(kept, key=lambda entry: float(area_xyxy(entry[1])))[0]]


def slow_absolute(logits: Tensor, node: int, tree: WordTree) -> float:
    probability = 1.0
    while node >= 0:
        siblings = (tree.group == tree.group[node]).nonzero()[0]
        probability *= float(logits[node].exp() / logits[siblings].exp().sum())
        node = int(tree.parent[node])
    return probability
