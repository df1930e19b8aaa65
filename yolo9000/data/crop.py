"""Crops for a classifier: random in training (darknet image.c), otherwise of the centre."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from yolo9000.config import CropConfig
from yolo9000.data.colour import factor_or_inverse
from yolo9000.data.image import resized


def random_crop(image: Tensor, size_px: int, cfg: CropConfig, rng: Generator) -> Tensor:
    """A random square crop, scaled, stretched, rotated, shifted and perhaps mirrored, (3, size_px, size_px).

    The pixels are float32 in 0..255. image: uint8, (3, H, W). Pixels outside the image are black.
    """
    aspect = factor_or_inverse(cfg.aspect, rng)
    stretched = np.array([image.shape[1], image.shape[2] / aspect])
    scale = rng.uniform(*cfg.shorter_side) * size_px / stretched.min()
    sides = stretched * scale  # height and width of the whole image, in pixels of the crop
    angle = math.radians(rng.uniform(-cfg.angle, cfg.angle))
    room = (sides - size_px) / 2  # how far the crop may move and stay inside the image
    down, right = room * rng.uniform(-1, 1, 2)
    height, width = (max(1, min(old, round(new))) for old, new in zip(image.shape[1:], sides, strict=True))
    shrunk = resized(image, height, width)  # antialiased; the rotation does any enlargement
    crop = rotated_crop(shrunk, size_px, sides_px=tuple(sides), shift_px=(right, down), angle=angle)
    return crop.flip(2) if cfg.flip and rng.random() < 0.5 else crop


def centre_crop(image: Tensor, size_px: int) -> Tensor:
    """The central square of the image, as large as its shorter side, scaled to (3, side, side), uint8."""
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resized(image[:, top : top + side, left : left + side], size_px, size_px)


def rotated_crop(
    image: Tensor, size_px: int, *, sides_px: tuple[float, float], shift_px: tuple[float, float], angle: float
) -> Tensor:
    """A square crop from the image scaled to height and width `sides_px`, (3, side, side) float32.

    shift_px: how far the centre of the crop lies to the right of and below the image's; angle: rotation in radians.
    Bilinear; pixels outside the image are black.
    """
    (height, width), (right, down) = sides_px, shift_px
    cos, sin = math.cos(angle), math.sin(angle)
    rows = [  # from coordinates −1..1 in the crop to −1..1 in the image
        [cos * size_px / width, -sin * size_px / width, 2 * (cos * right - sin * down) / width],
        [sin * size_px / height, cos * size_px / height, 2 * (sin * right + cos * down) / height],
    ]
    grid = F.affine_grid(
        torch.tensor([rows], dtype=torch.float32), [1, 3, size_px, size_px], align_corners=False
    )
    return F.grid_sample(image[None].float(), grid, padding_mode="zeros", align_corners=False)[0]
