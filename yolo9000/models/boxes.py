"""Box formats and overlaps, on tensors.

Formats: `xyxy` is left, top, right, bottom; `cxcywh` is centre, width, height; `wh` is a shape without a position.
Every function works in any unit (pixels, unit square, grid cells) that all its arguments share, keeps the floating
dtype of its arguments (half precision is computed in float32), and is differentiable. A box whose right edge is left of
its left edge, or whose bottom is above its top, is empty: its area and its IoU with any box are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def xyxy_to_cxcywh(xyxy: Tensor) -> Tensor:
    """Boxes as centre and size; shape (..., 4) to (..., 4)."""
    left_top, right_bottom = xyxy[..., :2], xyxy[..., 2:]
    return torch.cat([(left_top + right_bottom) / 2, right_bottom - left_top], dim=-1)


def cxcywh_to_xyxy(cxcywh: Tensor) -> Tensor:
    """Boxes as corners; shape (..., 4) to (..., 4)."""
    centre, half_size = cxcywh[..., :2], cxcywh[..., 2:] / 2
    return torch.cat([centre - half_size, centre + half_size], dim=-1)


def scale_xyxy(xyxy: Tensor, scale: float) -> Tensor:
    """Boxes with the same centres, and with sides multiplied by `scale`; shape (..., 4)."""
    centre, half_size = (xyxy[..., :2] + xyxy[..., 2:]) / 2, (xyxy[..., 2:] - xyxy[..., :2]) * (scale / 2)
    return torch.cat([centre - half_size, centre + half_size], dim=-1)


def clip_xyxy(xyxy: Tensor, *, width: float, height: float) -> Tensor:
    """Boxes clipped to an image of this size, which is in the unit of the boxes; shape (..., 4)."""
    limit = xyxy.new_tensor([width, height, width, height])
    return torch.minimum(xyxy.clamp_min(0), limit)


def area_xyxy(xyxy: Tensor) -> Tensor:
    """Area of each box, shape (..., 4) to (...); 0 if the box is empty."""
    width, height = (xyxy[..., 2:] - xyxy[..., :2]).clamp_min(0).unbind(-1)
    return width * height


def iou_xyxy(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of every pair, 0..1; shapes (n, 4) and (m, 4) to (n, m)."""
    return aligned_iou(a_xyxy[:, None], b_xyxy[None, :])


def aligned_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of corresponding boxes, 0..1; shapes (..., 4), broadcast, to (...).

    Two empty boxes have IoU 0 and gradient 0.
    """
    a, b = _at_least_float32(a_xyxy), _at_least_float32(b_xyxy)
    left_top = torch.maximum(a[..., :2], b[..., :2])
    right_bottom = torch.minimum(a[..., 2:], b[..., 2:])
    intersection = area_xyxy(torch.cat([left_top, right_bottom], dim=-1))
    return _ratio(intersection, area_xyxy(a) + area_xyxy(b) - intersection).to(_result_dtype(a_xyxy, b_xyxy))


def shape_iou(a_wh: Tensor, b_wh: Tensor) -> Tensor:
    """Intersection over union of every pair of shapes on one centre, 0..1; shapes (n, 2) and (m, 2) to (n, m).

    This IoU selects the anchor of a box (paper, section 2, dimension clusters).
    """
    a, b = _at_least_float32(a_wh).clamp_min(0)[:, None], _at_least_float32(b_wh).clamp_min(0)[None, :]
    intersection = torch.minimum(a, b).prod(dim=-1)  # (n, m)
    return _ratio(intersection, a.prod(dim=-1) + b.prod(dim=-1) - intersection).to(_result_dtype(a_wh, b_wh))


def _ratio(intersection: Tensor, union: Tensor) -> Tensor:
    # Dividing by 1 where the union is empty, instead of adding an epsilon, keeps the IoU of small unit boxes exact and
    # the gradient free of 0/0.
    is_covered = union > 0
    return torch.where(is_covered, intersection / torch.where(is_covered, union, 1), 0)


def _at_least_float32(values: Tensor) -> Tensor:
    # Areas in pixels overflow float16, and bfloat16 has only three digits.
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _result_dtype(a: Tensor, b: Tensor) -> torch.dtype:
    dtype = torch.promote_types(a.dtype, b.dtype)
    return dtype if dtype.is_floating_point else torch.float32
