"""Random changes of hue, saturation and exposure (darknet image.c)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from numpy.random import Generator
from torch import Tensor

from yolo9000.config import AugmentConfig, CropConfig


@dataclass(frozen=True)
class ColourShift:
    """Changes of hue, saturation and exposure for each of B images; tensors (B,)."""

    hue: Tensor  # added, in turns of the colour circle
    saturation: Tensor  # factor
    exposure: Tensor  # factor for the value of HSV


def draw_colour_shifts(cfg: AugmentConfig | CropConfig, rngs: Sequence[Generator]) -> ColourShift:
    """Random shifts by Darknet's rule: hue uniform; the others a uniform factor or, half the time, its inverse."""
    hue = [rng.uniform(-cfg.hue, cfg.hue) for rng in rngs]
    saturation = [factor_or_inverse(cfg.saturation, rng) for rng in rngs]
    exposure = [factor_or_inverse(cfg.exposure, rng) for rng in rngs]
    return ColourShift(*(torch.tensor(v, dtype=torch.float32) for v in (hue, saturation, exposure)))


def shift_colours(images: Sequence[Tensor], shift: ColourShift) -> Tensor:
    """Images (3, H, W) in 0..255 as a batch (B, 3, H, W) in 0..1, channels last, with shifted colours.

    All images are computed in the same memory, which stays in the processor's cache: 4 times as fast as a whole batch.
    """
    height, width = images[0].shape[1:]
    batch = torch.empty(len(images), 3, height, width, memory_format=torch.channels_last)
    unit, shifted, planes = (torch.empty(count, height, width) for count in (3, 3, 5))
    shifts = (shift.hue.tolist(), shift.saturation.tolist(), shift.exposure.tolist())
    for row, image, *hsv_shift in zip(batch, images, *shifts, strict=True):
        torch.div(image, 255, out=unit)
        _shift_image(unit, shifted, planes, hsv_shift)
        row.copy_(shifted)
    return batch


def _shift_image(image: Tensor, out: Tensor, planes: Tensor, hsv_shift: Sequence[float]) -> None:
    """Write the image with shifted colours to `out` (3, H, W), clipped to 0..1; `planes` (5, H, W) is scratch memory.

    Each channel is value − chroma · clamp(min(k, 4 − k), 0, 1), the closed form of HSV to RGB, where k is 5, 3 or 1
    plus the sector of the hue, modulo 6.
    """
    hue, saturation, exposure = hsv_shift
    value, chroma, sector, other, mask = planes
    red, green, blue = image
    torch.amax(image, 0, out=value)
    torch.sub(value, torch.amin(image, 0, out=chroma), out=chroma)
    torch.sub(red, green, out=sector).add_(chroma, alpha=4)  # where blue is the largest
    torch.sub(blue, red, out=other).add_(chroma, alpha=2)
    torch.lerp(sector, other, torch.eq(value, green, out=mask), out=sector)
    torch.sub(green, blue, out=other)
    torch.lerp(sector, other, torch.eq(value, red, out=mask), out=sector)
    sector.div_(torch.clamp_min(chroma, 1e-6, out=mask)).add_(6 * hue)
    torch.minimum(chroma.mul_(saturation), value, out=chroma).mul_(exposure)  # saturation may not exceed 1
    value.mul_(exposure)
    for plane, k_minus_2 in zip(out, (3, 1, -1), strict=True):  # min(k, 4 − k) = 2 − |k − 2|
        torch.add(sector, k_minus_2, out=plane)
        plane.sub_(torch.mul(plane, 1 / 6, out=other).round_(), alpha=6).abs_().neg_().add_(2).clamp_(0, 1)
        torch.addcmul(value, plane, chroma, value=-1, out=plane).clamp_(0, 1)


def factor_or_inverse(largest: float, rng: Generator) -> float:
    """A random factor in 1 … `largest` or, half the time, the inverse of such a factor."""
    factor = rng.uniform(1, largest)
    return float(factor if rng.random() < 0.5 else 1 / factor)
