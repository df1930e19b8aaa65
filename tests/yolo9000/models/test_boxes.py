"""Box formats and overlaps: laws, hand-made cases, and darknet's numbers."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from yolo9000.models.boxes import (
    aligned_iou,
    area_xyxy,
    clip_xyxy,
    cxcywh_to_xyxy,
    iou_xyxy,
    shape_iou,
    xyxy_to_cxcywh,
)

coordinate = st.floats(-1000, 1000, width=32)
extent = st.floats(0, 1000, width=32)


@st.composite
def xyxy_boxes(draw: st.DrawFn) -> Tensor:
    """Up to five boxes, some of them without area."""
    rows = draw(st.lists(st.tuples(coordinate, coordinate, extent, extent), max_size=5))
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows]).reshape(-1, 4)


@given(xyxy_boxes())
def test_converting_to_centre_and_size_and_back_changes_nothing(xyxy: Tensor) -> None:
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(xyxy)), xyxy, rtol=0, atol=1e-3)


@given(xyxy_boxes(), xyxy_boxes())
def test_iou_is_symmetric_and_between_zero_and_one(a: Tensor, b: Tensor) -> None:
    iou = iou_xyxy(a, b)
    assert iou.shape == (len(a), len(b))
    assert torch.equal(iou, iou_xyxy(b, a).T)
    assert bool(((iou >= 0) & (iou <= 1)).all())


@given(xyxy_boxes())
def test_a_box_overlaps_itself_completely_unless_it_has_no_area(xyxy: Tensor) -> None:
    assert torch.equal(aligned_iou(xyxy, xyxy), (area_xyxy(xyxy) > 0).float())
    assert torch.equal(iou_xyxy(xyxy, xyxy).diagonal(), aligned_iou(xyxy, xyxy))


@given(st.lists(st.tuples(extent, extent, extent, extent), min_size=1, max_size=5))
def test_shape_iou_is_the_iou_of_centred_boxes(rows: list[tuple[float, float, float, float]]) -> None:
    shapes = torch.tensor(rows, dtype=torch.float64)
    a, b = (
        cxcywh_to_xyxy(torch.cat([torch.zeros_like(wh), wh], -1)) for wh in (shapes[:, :2], shapes[:, 2:])
    )
    torch.testing.assert_close(shape_iou(shapes[:, :2], shapes[:, 2:]), iou_xyxy(a, b))


@given(xyxy_boxes())
def test_clipped_boxes_lie_in_the_image_and_clipping_twice_is_clipping_once(xyxy: Tensor) -> None:
    clipped = clip_xyxy(xyxy, width=64, height=48)
    assert bool((clipped >= 0).all())
    assert bool((clipped <= torch.tensor([64, 48, 64, 48])).all())
    assert torch.equal(clip_xyxy(clipped, width=64, height=48), clipped)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param([0, 0, 0, 0], [0, 0, 0, 0], 0.0, id="two empty boxes"),
        pytest.param([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, id="one of seven squares shared"),
        pytest.param([0, 0, 2, 2], [2, 0, 4, 2], 0.0, id="touching edges"),
        pytest.param([0, 0, 4, 4], [1, 1, 3, 3], 0.25, id="inside"),
        pytest.param([2, 2, 0, 0], [0, 0, 2, 2], 0.0, id="inside out"),
        pytest.param(
            [0, 0, 1e-6, 1e-6], [0, 0, 1e-6, 2e-6], 0.5, id="tiny boxes are not eaten by an epsilon"
        ),
    ],
)
def test_iou_of_hand_made_boxes(a: list[float], b: list[float], expected: float) -> None:
    assert aligned_iou(torch.tensor(a), torch.tensor(b)).item() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_iou_keeps_the_dtype_and_does_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    large = torch.tensor([[0, 0, 600, 600]], dtype=dtype)
    assert iou_xyxy(large, large).dtype == dtype
    assert shape_iou(large[:, 2:], large[:, 2:]).dtype == dtype
    assert iou_xyxy(large, large).item() == 1


def test_the_gradient_of_iou_is_finite_even_for_empty_boxes() -> None:
    a = torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 5], [0, 0, 2, 2]], requires_grad=True)
    b = torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 5], [1, 1, 3, 3]])
    (gradient,) = torch.autograd.grad(aligned_iou(a, b).sum(), a)
    assert bool(gradient.isfinite().all())
    assert bool((gradient[:2] == 0).all())
    assert bool((gradient[2] != 0).any())


def test_iou_agrees_with_darknet() -> None:
    folder = os.environ.get("DARKNET_GOLDEN")
    if not folder:
        pytest.skip("DARKNET_GOLDEN is not set")
    golden = np.load(Path(folder) / "detect" / "iou.npz")
    pairs = cxcywh_to_xyxy(torch.from_numpy(golden["boxes"]))  # (n, 2, 4)
    assert len(pairs) > 0
    torch.testing.assert_close(aligned_iou(pairs[:, 0], pairs[:, 1]), torch.from_numpy(golden["iou"]))
