"""Box formats and overlaps, on tensors.

Formats: `xyxy` is left, top, right, bottom; `cxcywh` is centre, width, height; `wh` is a shape without a
place. Every function works in any unit (pixels, unit square, grid cells) as long as all its arguments share
it, keeps the floating dtype it is given (half precision is computed in float32), and is differentiable. A box
whose right edge is left of its left edge (or whose bottom is above its top) covers nothing: its area and
every overlap with it are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def xyxy_to_cxcywh(xyxy: Tensor) -> Tensor:
    """The same boxes as centre and size; shape (..., 4) to (..., 4)."""
    left_top, right_bottom = xyxy[..., :2], xyxy[..., 2:]
    return torch.cat([(left_top + right_bottom) / 2, right_bottom - left_top], dim=-1)


def cxcywh_to_xyxy(cxcywh: Tensor) -> Tensor:
    """The same boxes as corners; shape (..., 4) to (..., 4)."""
    centre, half_size = cxcywh[..., :2], cxcywh[..., 2:] / 2
    return torch.cat([centre - half_size, centre + half_size], dim=-1)


def clip_xyxy(xyxy: Tensor, *, width: float, height: float) -> Tensor:
    """The boxes cut to an image of that size, in the unit of the boxes; shape (..., 4)."""
    limit = xyxy.new_tensor([width, height, width, height])
    return torch.minimum(xyxy.clamp_min(0), limit)


def area_xyxy(xyxy: Tensor) -> Tensor:
    """Area of each box, shape (..., 4) to (...); 0 where a box is inside out."""
    width, height = (xyxy[..., 2:] - xyxy[..., :2]).clamp_min(0).unbind(-1)
    return width * height


def iou_xyxy(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of every pair, 0..1; shapes (n, 4) and (m, 4) to (n, m)."""
    return aligned_iou(a_xyxy[:, None], b_xyxy[None, :])


def aligned_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of each box with its partner, 0..1; shapes (..., 4), broadcast, to (...).

    Two boxes that both cover nothing have overlap 0 and gradient 0.
    """
    a, b = _computable(a_xyxy), _computable(b_xyxy)
    left_top = torch.maximum(a[..., :2], b[..., :2])
    right_bottom = torch.minimum(a[..., 2:], b[..., 2:])
    intersection = area_xyxy(torch.cat([left_top, right_bottom], dim=-1))
    return _ratio(intersection, area_xyxy(a) + area_xyxy(b) - intersection).to(_result_dtype(a_xyxy, b_xyxy))


def shape_iou(a_wh: Tensor, b_wh: Tensor) -> Tensor:
    """Overlap of every pair of shapes laid on one centre, 0..1; shapes (n, 2) and (m, 2) to (n, m).

    What decides which anchor answers for a box (paper, section 2, dimension clusters).
    """
    a, b = _computable(a_wh).clamp_min(0)[:, None], _computable(b_wh).clamp_min(0)[None, :]
    intersection = torch.minimum(a, b).prod(dim=-1)  # (n, m)
    return _ratio(intersection, a.prod(dim=-1) + b.prod(dim=-1) - intersection).to(_result_dtype(a_wh, b_wh))


def _ratio(intersection: Tensor, union: Tensor) -> Tensor:
    # Dividing by 1 where there is no union, instead of adding an epsilon, keeps small unit boxes exact and
    # 0/0 out of the gradient.
    covered = union > 0
    return torch.where(covered, intersection / torch.where(covered, union, 1), 0)


def _computable(values: Tensor) -> Tensor:
    # Areas in pixels overflow float16, and bfloat16 keeps three digits.
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def _result_dtype(a: Tensor, b: Tensor) -> torch.dtype:
    dtype = torch.promote_types(a.dtype, b.dtype)
    return dtype if dtype.is_floating_point else torch.float32
