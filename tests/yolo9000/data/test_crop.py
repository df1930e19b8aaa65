"""Crops for a classifier: geometry against a slow twin, and the effect of each setting."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.random import default_rng
from torch import Tensor

from yolo9000.config import CropConfig
from yolo9000.data.crop import centre_crop, random_crop, rotated_crop

STILL = CropConfig(shorter_side=(1, 1), aspect=1, angle=0, flip=False)


def noise(height: int, width: int) -> Tensor:
    return torch.from_numpy(default_rng(0).integers(0, 256, (3, height, width)).astype(np.uint8))


def with_columns(height: int, width: int) -> Tensor:
    """An image whose pixels hold the number of their column."""
    return torch.arange(width, dtype=torch.uint8).expand(3, height, width).contiguous()


def sampled_by_hand(image: Tensor, size: int, *, right: float, down: float, angle: float) -> Tensor:
    """The centre of each pixel of the crop, rotated and shifted, interpolated between four pixels of the image."""
    _, height, width = image.shape
    crop = torch.zeros(size, size)
    for row in range(size):
        for column in range(size):
            x, y = column + 0.5 - size / 2 + right, row + 0.5 - size / 2 + down
            at_x = math.cos(angle) * x - math.sin(angle) * y + width / 2 - 0.5
            at_y = math.sin(angle) * x + math.cos(angle) * y + height / 2 - 0.5
            for i in (math.floor(at_y), math.floor(at_y) + 1):
                for j in (math.floor(at_x), math.floor(at_x) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        crop[row, column] += (1 - abs(at_y - i)) * (1 - abs(at_x - j)) * float(image[0, i, j])
    return crop


@pytest.mark.parametrize(
    ("right", "down", "angle"),
    [(0, 0, 0), (3, -2, 0), (0.25, 0.5, 0), (0, 0, 0.4), (2.5, -1.25, -0.3), (20, 0, 1.0)],
)
def test_a_rotated_crop_equals_one_sampled_pixel_by_pixel(right: float, down: float, angle: float) -> None:
    image = noise(13, 17)
    found = rotated_crop(image, 9, sides_px=(13, 17), shift_px=(right, down), angle=angle)
    expected = sampled_by_hand(image, 9, right=right, down=down, angle=angle)
    torch.testing.assert_close(found[0], expected, atol=2e-2, rtol=0)


def test_a_rotation_by_90_degrees_is_exact() -> None:
    image = noise(8, 8)
    turned = rotated_crop(image, 8, sides_px=(8, 8), shift_px=(0, 0), angle=math.pi / 2)
    torch.testing.assert_close(turned, torch.rot90(image, 1, (1, 2)).float(), atol=1e-2, rtol=0)


def test_without_randomness_a_square_image_is_unchanged() -> None:
    image = noise(32, 32)
    torch.testing.assert_close(
        random_crop(image, 32, STILL, default_rng(0)), image.float(), atol=1e-2, rtol=0
    )


def test_a_crop_may_be_anywhere_along_the_longer_side() -> None:
    crops = [random_crop(with_columns(16, 64), 16, STILL, default_rng(k)) for k in range(200)]
    left = torch.stack([crop[0, 8, 0] for crop in crops])
    assert left.min() < 3
    assert left.max() > 45
    for crop in crops:
        steps = crop[0, 8].diff()
        torch.testing.assert_close(steps, torch.ones(15), atol=1e-2, rtol=0)


def test_a_shrunk_image_is_completely_inside_the_crop_on_black() -> None:
    cfg, white = (
        STILL.model_copy(update={"shorter_side": (0.5, 0.5)}),
        torch.full((3, 40, 40), 255, dtype=torch.uint8),
    )
    middles = []
    for k in range(50):
        crop = random_crop(white, 32, cfg, default_rng(k))
        assert crop.sum().item() == pytest.approx(3 * 255 * 16 * 16, rel=1e-3)
        lit = crop[0].sum(0)
        middles.append(float((lit * torch.arange(32)).sum() / lit.sum()))
    assert min(middles) < 9
    assert max(middles) > 22


def test_an_enlarged_image_fills_the_crop() -> None:
    cfg = STILL.model_copy(update={"shorter_side": (1.5, 2), "angle": 3.0})
    white = torch.full((3, 30, 50), 255, dtype=torch.uint8)
    shares = [(random_crop(white, 32, cfg, default_rng(k)) > 250).float().mean().item() for k in range(50)]
    assert min(shares) > 0.9  # a turned crop may look past a corner


def test_the_shorter_side_is_measured_after_the_change_of_aspect() -> None:
    cfg = CropConfig(shorter_side=(1, 1), aspect=1.5, angle=0, flip=False)
    white = torch.full((3, 60, 64), 255, dtype=torch.uint8)
    for k in range(30):
        crop = random_crop(white, 32, cfg, default_rng(k))
        assert crop[:, 1:-1, 1:-1].min() > 250  # both sides are at least the crop's


def test_half_of_the_crops_are_mirrored() -> None:
    cfg, image = STILL.model_copy(update={"flip": True}), with_columns(32, 32)
    mirrored = [bool(random_crop(image, 32, cfg, default_rng(k))[0, 0].diff()[0] < 0) for k in range(200)]
    assert 70 < sum(mirrored) < 130


def test_equal_generators_give_equal_crops_in_range() -> None:
    for k in range(20):
        one, other = (random_crop(noise(50, 70), 32, CropConfig(), default_rng(k)) for _ in range(2))
        assert torch.equal(one, other)
        assert one.shape == (3, 32, 32)
        assert one.min() >= 0
        assert one.max() <= 255.01


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_the_smallest_images_are_cropped_too(height: int, width: int) -> None:
    for k in range(10):
        assert random_crop(noise(height, width), 32, CropConfig(), default_rng(k)).isfinite().all()
    assert centre_crop(noise(height, width), 32).shape == (3, 32, 32)


def test_the_invisible_part_of_an_enlarged_image_takes_no_memory() -> None:
    assert rotated_crop(noise(1, 3), 8, sides_px=(1e6, 3e6), shift_px=(0, 0), angle=0).isfinite().all()


def test_the_centre_crop_is_the_central_square() -> None:
    assert torch.equal(centre_crop(with_columns(16, 31), 16)[0, 0], torch.arange(7, 23, dtype=torch.uint8))
    image = noise(40, 20)
    assert torch.equal(centre_crop(image, 20), image[:, 10:30])
    assert centre_crop(noise(50, 90), 32).shape == (3, 32, 32)
