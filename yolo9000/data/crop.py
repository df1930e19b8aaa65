"""Which part of an image a classifier sees: in training a random piece (darknet image.c), otherwise the middle."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from yolo9000.config import CropConfig
from yolo9000.data.colour import factor_or_inverse


def random_crop(image: Tensor, size_px: int, cfg: CropConfig, rng: Generator) -> Tensor:
    """A square of the image, scaled, stretched, turned, shifted and perhaps mirrored, float32 in 0..255, (3, S, S).

    image: uint8, (3, H, W). What lies outside the image is black.
    """
    aspect = factor_or_inverse(cfg.aspect, rng)
    stretched = np.array([image.shape[1], image.shape[2] / aspect])
    scale = rng.uniform(*cfg.shorter_side) * size_px / stretched.min()
    sides = stretched * scale  # height, width in the crop's px
    turn = math.radians(rng.uniform(-cfg.angle, cfg.angle))
    room = (sides - size_px) / 2  # as far as the piece may move and stay inside
    down, right = room * rng.uniform(-1, 1, 2)
    height, width = (max(1, min(old, round(new))) for old, new in zip(image.shape[1:], sides, strict=True))
    shrunk = resized(image, height, width)  # without aliases; what is enlarged is so while it is turned
    crop = turned_piece(shrunk, size_px, sides_px=tuple(sides), right=right, down=down, turn=turn)
    return crop.flip(2) if cfg.flip and rng.random() < 0.5 else crop


def centre_crop(image: Tensor, size_px: int) -> Tensor:
    """The square of the shorter side in the middle of the image, scaled to (3, S, S), uint8."""
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resized(image[:, top : top + side, left : left + side], size_px, size_px)


def turned_piece(
    image: Tensor, size_px: int, *, sides_px: tuple[float, float], right: float, down: float, turn: float
) -> Tensor:
    """A square (3, S, S) of S pixels out of the image as if that had the height and width `sides_px`.

    It lies `right` and `down` of the middle, turned about it by `turn` radians. Float32 in the range of the image,
    bilinear; black outside.
    """
    height, width = sides_px
    cos, sin = math.cos(turn), math.sin(turn)
    rows = [  # from the unit square −1..1 of the piece to that of the image
        [cos * size_px / width, -sin * size_px / width, 2 * (cos * right - sin * down) / width],
        [sin * size_px / height, cos * size_px / height, 2 * (sin * right + cos * down) / height],
    ]
    grid = F.affine_grid(
        torch.tensor([rows], dtype=torch.float32), [1, 3, size_px, size_px], align_corners=False
    )
    return F.grid_sample(image[None].float(), grid, padding_mode="zeros", align_corners=False)[0]


def resized(image: Tensor, height: int, width: int) -> Tensor:
    if tuple(image.shape[1:]) == (height, width):
        return image
    return F.interpolate(image[None], size=(height, width), mode="bilinear", antialias=True)[0]
