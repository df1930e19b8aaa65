"""Boxes on the grid: decoding, matching, regions."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.yolo9000.made import grid_output
from yolo9000.data.batch import BoxColumns, IgnoreColumns
from yolo9000.losses.box_assignment import assign_boxes, best_iou, ignored_cells, last_occurrences
from yolo9000.models.boxes import iou_xyxy
from yolo9000.models.grid import Locations, cells_in_regions, decode_boxes


def columns(*boxes: tuple[int, float, float, float, float]) -> BoxColumns:
    table = torch.tensor(boxes, dtype=torch.float64).view(-1, 5)
    return BoxColumns(table[:, 0].long(), table[:, 1:], torch.zeros(len(table), dtype=torch.int64))


def test_a_zero_output_decodes_to_its_anchor_at_the_centre_of_the_cell() -> None:
    output = grid_output(anchors=[[2.0, 1.0]], rows=2, columns=4)
    box = decode_boxes(output)[0, 0, 1, 2]  # row 1, column 2 of a 4 × 2 grid
    torch.testing.assert_close(box, torch.tensor([1.5 / 4, 1 / 2, 3.5 / 4, 2 / 2], dtype=torch.float64))


def test_a_box_is_assigned_to_the_anchor_or_the_prediction_of_its_shape() -> None:
    anchors = [[1.0, 1.0], [3.0, 2.0]]
    logits = torch.zeros(1, 2, 1, 1, 5, dtype=torch.float64)
    logits[0, 0, 0, 0, 2:4] = torch.tensor([3.0, 2.0]).log()  # each predicts the shape of the other's anchor
    logits[0, 1, 0, 0, 2:4] = -torch.tensor([3.0, 2.0]).log()
    output = grid_output(anchors=anchors, box_logits=logits)
    boxes = columns(
        (0, 0.1, 0.1, 1.1, 1.1), (0, -0.9, -0.4, 2.1, 1.6)
    )  # of either anchor's shape; the grid is one cell
    assert assign_boxes(output, boxes).location_of_box.anchor.tolist() == [0, 1]
    assert assign_boxes(output, boxes, rule="prediction").location_of_box.anchor.tolist() == [1, 0]


@given(cx=st.floats(0.02, 0.98), cy=st.floats(0.02, 0.98), w=st.floats(0.02, 0.9), h=st.floats(0.02, 0.9))
def test_decoding_the_targets_of_a_box_gives_the_box(cx: float, cy: float, w: float, h: float) -> None:
    output = grid_output(anchors=[[1.0, 1.0], [3.0, 2.0]], rows=5, columns=6)
    box = columns((0, cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))
    assigned = assign_boxes(output, box)
    location, logits = assigned.location, output.box_logits.clone()
    logits[location.image, location.anchor, location.row, location.column, :2] = assigned.offset.clamp(
        1e-9, 1 - 1e-9
    ).logit()
    logits[location.image, location.anchor, location.row, location.column, 2:4] = assigned.log_size
    decoded = location.gather(decode_boxes(grid_output(anchors=[[1.0, 1.0], [3.0, 2.0]], box_logits=logits)))
    np.testing.assert_allclose(decoded, box.xyxy_unit, atol=1e-6)


def test_a_box_is_assigned_to_the_cell_of_its_centre_and_the_anchor_of_its_shape() -> None:
    output = grid_output(anchors=[[1.0, 1.0], [1.0, 3.0]], rows=4, columns=4)
    assigned = assign_boxes(output, columns((0, 0.0, 0.0, 0.2, 0.2), (0, 0.55, 0.1, 0.7, 0.9)))
    assert assigned.location.anchor.tolist() == [0, 1]
    assert assigned.location.row.tolist() == [0, 2]
    assert assigned.location.column.tolist() == [0, 2]


def test_of_two_boxes_at_one_location_the_last_keeps_it() -> None:
    output = grid_output(anchors=[[1.0, 1.0]], rows=2, columns=2)
    assigned = assign_boxes(
        output, columns((0, 0.1, 0.1, 0.3, 0.3), (0, 0.1, 0.1, 0.4, 0.4), (0, 0.6, 0, 0.9, 0.3))
    )
    assert assigned.index.tolist() == [1, 2]
    assert len(assigned.location_of_box) == 3


def test_a_centre_on_the_right_border_belongs_to_the_last_cell() -> None:
    output = grid_output(anchors=[[1.0, 1.0]], rows=2, columns=2)
    assigned = assign_boxes(output, columns((0, 1.0, 1.0, 1.0, 1.0)))
    assert (assigned.location.row.item(), assigned.location.column.item()) == (1, 1)
    assert torch.isfinite(assigned.log_size).all()


@given(keys=st.lists(st.integers(0, 5), max_size=20))
def test_last_occurrences_agree_with_a_loop(keys: list[int]) -> None:
    expected = [row for row, key in enumerate(keys) if key not in keys[row + 1 :]]
    assert last_occurrences(torch.tensor(keys, dtype=torch.int64)).tolist() == expected


def test_the_best_iou_agrees_with_a_loop_over_images() -> None:
    torch.manual_seed(0)
    decoded = torch.rand(3, 2, 4, 4, 4, dtype=torch.float64).sort(-1).values
    boxes = columns((0, 0.1, 0.1, 0.6, 0.6), (2, 0.2, 0.0, 0.9, 0.5), (0, 0.5, 0.5, 0.9, 0.9))
    best = best_iou(decoded, boxes)
    for image in range(3):
        own = boxes.xyxy_unit[boxes.image == image]
        expected = iou_xyxy(decoded[image].view(-1, 4), own).amax(1) if len(own) else torch.zeros(32).double()
        torch.testing.assert_close(best[image].flatten(), expected)


def test_a_cell_is_in_a_region_if_its_centre_is() -> None:
    output = grid_output(anchors=[[1.0, 1.0]], rows=2, columns=4)
    inside = cells_in_regions(output, torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.3, 0.0, 1.0, 1.0]]))
    assert inside[0].tolist() == [[True, True, False, False], [False] * 4]
    assert inside[1].tolist() == [[False, True, True, True]] * 2


def test_ignored_cells_are_the_union_of_the_regions_of_each_image() -> None:
    output = grid_output(anchors=[[1.0, 1.0]], rows=1, columns=4, images=2)
    regions = torch.tensor([[0.0, 0, 0.25, 1], [0.5, 0, 0.75, 1], [0, 0, 1, 1]])
    ignored = ignored_cells(output, IgnoreColumns(torch.tensor([0, 0, 1]), regions))
    assert ignored[:, 0].tolist() == [[True, False, True, False], [True] * 4]


def test_flat_indices_and_locations_are_inverse() -> None:
    output = grid_output(anchors=[[1.0, 1.0], [2.0, 2.0], [3.0, 1.0]], rows=4, columns=5, images=2)
    index = torch.arange(2 * 3 * 4 * 5)
    location = Locations.from_flat_index(output, index)
    torch.testing.assert_close(location.flat_index(output), index)
    grid: Tensor = index.view(2, 3, 4, 5)
    torch.testing.assert_close(location.gather(grid), index)
    assert isinstance(location[index < 3], Locations)
