"""Assignment of ground-truth boxes to grid locations (paper, section 2; darknet region_layer.c)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from yolo9000.data.batch import BoxColumns, IgnoreColumns
from yolo9000.models.boxes import aligned_iou, cxcywh_to_xyxy, shape_iou, xyxy_to_cxcywh
from yolo9000.models.grid import GridOutput, Locations, cells_in_regions


@dataclass(frozen=True)
class BoxAssignment:
    """The grid location of each of M boxes, and the regression targets of the M' ≤ M boxes that keep their location.

    Of several boxes at one location the last keeps it (darknet).
    """

    location_of_box: Locations  # (M,)
    index: Tensor  # (M',) rows of the boxes that keep their location; the fields below are of these boxes
    location: Locations  # (M',)
    offset: Tensor  # (M', 2) target for the sigmoid of the offset logits
    log_size: Tensor  # (M', 2) target for the size logits
    area_unit: Tensor  # (M',)


def assign_boxes(
    output: GridOutput, boxes: BoxColumns, *, rule: Literal["anchor", "prediction"] = "anchor"
) -> BoxAssignment:
    """Assign each box to the cell of its centre, and to the anchor that has the highest IoU with the box's shape.

    rule: `prediction` compares the shape with the predicted boxes of that cell instead of the anchors.
    """
    rows, columns = output.box_logits.shape[2:4]
    box_cell = xyxy_to_cxcywh(boxes.xyxy_unit) * output.grid_wh.repeat(2)  # (M, 4)
    row = box_cell[:, 1].long().clamp(0, rows - 1)
    column = box_cell[:, 0].long().clamp(0, columns - 1)
    if rule == "anchor":
        iou = shape_iou(box_cell[:, 2:], output.anchors_cell)  # (M, A)
    else:
        iou = _iou_with_predicted_shapes(output, boxes.image, row, column, box_cell[:, 2:])
    location_of_box = Locations(boxes.image, iou.argmax(dim=1), row, column)  # the first of equal anchors
    index = last_occurrences(location_of_box.flat_index(output))
    location, box_cell = location_of_box[index], box_cell[index]
    corner = torch.stack([location.column, location.row], dim=1)
    return BoxAssignment(
        location_of_box,
        index,
        location,
        offset=box_cell[:, :2] - corner,
        log_size=(box_cell[:, 2:] / output.anchors_cell[location.anchor]).clamp_min(1e-6).log(),
        area_unit=box_cell[:, 2:].prod(1) / output.grid_wh.prod(),
    )


@torch.no_grad()
def _iou_with_predicted_shapes(
    output: GridOutput, image: Tensor, row: Tensor, column: Tensor, wh_cell: Tensor
) -> Tensor:
    """IoU of each shape (M, 2) with the A shapes predicted in its cell, all on one centre, (M, A)."""

    def centred(wh: Tensor) -> Tensor:
        return cxcywh_to_xyxy(torch.cat([torch.zeros_like(wh), wh], dim=-1))

    predicted_cell = output.size_logits[image, :, row, column].exp() * output.anchors_cell  # (M, A, 2)
    return aligned_iou(centred(predicted_cell), centred(wh_cell)[:, None])


def last_occurrences(keys: Tensor) -> Tensor:
    """The last row of each distinct key, ascending; keys: (Q,) int64."""
    ordered, row = keys.sort(stable=True)
    is_last = torch.ones_like(ordered, dtype=torch.bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return row[is_last].sort().values


def best_iou(predicted_xyxy_unit: Tensor, boxes: BoxColumns) -> Tensor:
    """Highest IoU of each predicted box (B, A, H, W, 4) with a ground-truth box of its image, (B, A, H, W).

    0 in images without boxes.
    """
    images = predicted_xyxy_unit.shape[0]
    predicted = predicted_xyxy_unit.flatten(1, 3)  # (B, AHW, 4)
    iou = aligned_iou(predicted[boxes.image], boxes.xyxy_unit[:, None])  # (M, AHW)
    best = predicted.new_zeros(images, predicted.shape[1])
    best = best.scatter_reduce(0, boxes.image[:, None].expand_as(iou), iou, "amax")
    return best.view(predicted_xyxy_unit.shape[:4])


def ignored_cells(output: GridOutput, ignore: IgnoreColumns) -> Tensor:
    """Cells whose centre lies in an ignore region of their image, (B, H, W) bool."""
    images, _, rows, columns, _ = output.box_logits.shape
    inside = cells_in_regions(output, ignore.xyxy_unit)  # (R, H, W)
    count = torch.zeros(images, rows, columns, dtype=torch.int64, device=inside.device)
    return count.index_add(0, ignore.image, inside.long()) > 0
