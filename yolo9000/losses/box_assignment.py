"""Which place answers for which box (paper, section 2; darknet region_layer.c, C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from yolo9000.data.batch import BoxColumns, IgnoreColumns
from yolo9000.models.boxes import aligned_iou, cxcywh_to_xyxy, shape_iou, xyxy_to_cxcywh
from yolo9000.models.grid import GridOutput, Locations, cells_inside


@dataclass(frozen=True)
class MatchedBoxes:
    """Where each of M boxes belongs; of several at one place the last owns it (darknet), so M' ≤ M own a place."""

    location_of_box: Locations  # (M,) of every box
    index: Tensor  # (M',) the boxes that own their place
    location: Locations  # (M',) theirs; what follows is theirs too
    offset: Tensor  # (M', 2) what the logistic of the offset logits should be
    log_size: Tensor  # (M', 2) what the size logits should be
    area_unit: Tensor  # (M',)


def match_boxes(
    output: GridOutput, boxes: BoxColumns, *, match: Literal["anchor", "prediction"] = "anchor"
) -> MatchedBoxes:
    """Each box goes to the cell of its centre, and there to the anchor whose shape is most like its own.

    match: `prediction` compares its shape with those of the boxes predicted there instead.
    """
    rows, columns = output.box_logits.shape[2:4]
    box_cell = xyxy_to_cxcywh(boxes.xyxy_unit) * output.grid_wh.repeat(2)  # (M, 4)
    row = box_cell[:, 1].long().clamp(0, rows - 1)
    column = box_cell[:, 0].long().clamp(0, columns - 1)
    if match == "anchor":
        overlap = shape_iou(box_cell[:, 2:], output.anchors_cell)  # (M, A)
    else:
        overlap = _overlap_with_predicted_shapes(output, boxes.image, row, column, box_cell[:, 2:])
    everyone = Locations(boxes.image, overlap.argmax(dim=1), row, column)  # the first of equal anchors
    index = last_of_each(everyone.flat_index(output))
    location, box_cell = everyone[index], box_cell[index]
    corner = torch.stack([location.column, location.row], dim=1)
    return MatchedBoxes(
        everyone,
        index,
        location,
        offset=box_cell[:, :2] - corner,
        log_size=(box_cell[:, 2:] / output.anchors_cell[location.anchor]).clamp_min(1e-6).log(),
        area_unit=box_cell[:, 2:].prod(1) / output.grid_wh.prod(),
    )


@torch.no_grad()
def _overlap_with_predicted_shapes(
    output: GridOutput, image: Tensor, row: Tensor, column: Tensor, wh_cell: Tensor
) -> Tensor:
    """IoU of each shape (M, 2) with those of its cell's A predicted boxes, all laid on one centre, (M, A)."""
    size_cell = output.size_logits[image, :, row, column].exp() * output.anchors_cell  # (M, A, 2)
    return aligned_iou(_centred(size_cell), _centred(wh_cell)[:, None])


def _centred(wh: Tensor) -> Tensor:
    return cxcywh_to_xyxy(torch.cat([torch.zeros_like(wh), wh], dim=-1))


def last_of_each(keys: Tensor) -> Tensor:
    """The rows (ascending) whose key, of `keys` (Q,) int64, comes in no later row."""
    _, group = keys.unique(return_inverse=True)
    row = torch.arange(len(keys), device=keys.device)
    last = torch.full_like(keys, -1).scatter_reduce(0, group, row, "amax")
    return (last[group] == row).nonzero()[:, 0]


def best_overlap(decoded_xyxy: Tensor, boxes: BoxColumns) -> Tensor:
    """The largest IoU of each predicted box (B, A, H, W, 4) with a box of its image, (B, A, H, W); 0 if none."""
    images = decoded_xyxy.shape[0]
    locations = decoded_xyxy.flatten(1, 3)  # (B, AHW, 4)
    overlap = aligned_iou(locations[boxes.image], boxes.xyxy_unit[:, None])  # (M, AHW)
    best = locations.new_zeros(images, locations.shape[1])
    best = best.scatter_reduce(0, boxes.image[:, None].expand_as(overlap), overlap, "amax")
    return best.view(decoded_xyxy.shape[:4])


def ignored_cells(output: GridOutput, ignore: IgnoreColumns) -> Tensor:
    """Cells in a region about whose things nothing is known, (B, H, W) bool."""
    images, _, rows, columns, _ = output.box_logits.shape
    inside = cells_inside(output, ignore.xyxy_unit)  # (R, H, W)
    count = torch.zeros(images, rows, columns, dtype=torch.int64, device=inside.device)
    return count.index_add(0, ignore.image, inside.long()) > 0
