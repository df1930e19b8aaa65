"""Image and labels together: placing on the network's canvas, tiles, flip, colours (darknet semantics, section 7).

A `Sample` is one image with its labels in its own unit square. `compose` draws samples into rectangles of a canvas;
everything geometric is a choice of rectangles. Randomness enters as a generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn.functional import interpolate

from wordtree.support.arrays import BoolArray, Float32Array, Int64Array
from yolo9000.data.sample import Rectangle, Sample

GREY = 127  # darknet's canvas, .5
NO_PIXEL = 1e-3  # of a pixel: what rounding adds to a box in the unit square
COVERED = 0.6  # a box hidden by a pasted tile to more than this share is dropped


def fitted(sample: Sample, area: Rectangle, *, jitter: float, rng: Generator) -> Rectangle:
    """A place inside `area` where the image touches two opposite borders, its aspect changed by up to `jitter`."""
    height, width = sample.image.shape[1:]
    aspect = width * (1 + rng.uniform(-jitter, jitter)) / (height * (1 + rng.uniform(-jitter, jitter)))
    aspect *= area.height / area.width
    fit_width = area.width if aspect >= 1 else max(1, int(area.width * aspect))
    fit_height = area.height if aspect < 1 else max(1, int(area.height / aspect))
    left = area.left + int(rng.uniform(0, area.width - fit_width + 1))
    top = area.top + int(rng.uniform(0, area.height - fit_height + 1))
    return Rectangle(left, top, fit_width, fit_height)


def compose(parts: Sequence[tuple[Sample, Rectangle]], canvas_px: int, *, min_box_side: float) -> Sample:
    """The parts drawn one over the other on a square canvas, with their labels, less hidden boxes and slivers.

    Where a box is mostly hidden, nobody says what is left to see. The whole vouches for the nodes that all of its parts
    with boxes vouch for; parts without are ignored regions.
    """
    canvas = torch.full((3, canvas_px, canvas_px), GREY, dtype=torch.uint8)
    whole = Sample(canvas, *_no_labels())
    for sample, rectangle in parts:
        _draw(canvas, sample.image, rectangle)
        whole = _joined(_uncovered(whole, rectangle.unit(canvas_px)), _moved(sample, rectangle, canvas_px))
    sides = whole.boxes_xyxy[:, 2:] - whole.boxes_xyxy[:, :2]
    keep = (sides >= min_box_side).all(1)
    return replace(whole, boxes_xyxy=whole.boxes_xyxy[keep], box_nodes=whole.box_nodes[keep])


def crop_around(sample: Sample, row: int, part: tuple[float, float], *, rng: Generator) -> Sample:
    """A square window of an image that holds one of its boxes, whose longer side is a part between the two of it.

    Of other things what is hardly inside becomes an ignored region. Image labels are left out, for nobody knows whether
    the window shows what they name; negative ones stay.
    """
    height, width = sample.image.shape[1:]
    x, y, window_width, window_height = window_around(sample.boxes_xyxy[row], width, height, part, rng=rng)
    window = np.array(
        [x / width, y / height, (x + window_width) / width, (y + window_height) / height], np.float32
    )
    scale = np.array([width / window_width, height / window_height] * 2, np.float32)

    def move(xyxy: Float32Array) -> Float32Array:
        moved: Float32Array = np.clip((xyxy - np.tile(window[:2], 2)) * scale, 0, 1)
        return moved

    visible = _hidden_share(sample.boxes_xyxy, window)
    kept, seen = visible >= 1 - COVERED, visible > 0
    ignored = move(np.concatenate([sample.ignored, sample.boxes_xyxy[seen & ~kept]]))
    return Sample(
        sample.image[:, y : y + window_height, x : x + window_width],
        move(sample.boxes_xyxy[kept]),
        sample.box_nodes[kept],
        *_no_labels()[2:4],
        sample.negative_nodes,
        sample.negative_regions,
        ignored[(ignored[:, 2:] > ignored[:, :2]).all(1)],
        sample.exhaustive,
    )


def window_around(
    box_xyxy: Float32Array, width: int, height: int, part: tuple[float, float], *, rng: Generator
) -> tuple[int, int, int, int]:
    """Left, top, width and height, in pixels, of a square window that holds a box, whose longer side is a part between
    the two of it; less what would lie outside of the image.

    box_xyxy: (4,), unit; width, height: of the image, in pixels.
    """
    left, top, right, bottom = box_xyxy * np.array([width, height, width, height])
    side = max(right - left, bottom - top) / rng.uniform(*part)
    x, window_width = _window(left, right, side, width, rng)
    y, window_height = _window(top, bottom, side, height, rng)
    return x, y, window_width, window_height


def mirrored(sample: Sample) -> Sample:
    """Left and right exchanged."""
    return replace(
        sample,
        image=sample.image.flip(2),
        boxes_xyxy=_mirrored(sample.boxes_xyxy),
        label_regions=_mirrored(sample.label_regions),
        negative_regions=_mirrored(sample.negative_regions),
        ignored=_mirrored(sample.ignored),
    )


def shrunk(area: Rectangle, side: tuple[float, float], *, beyond: float = 0.0, rng: Generator) -> Rectangle:
    """A rectangle of a part of the side between the two given, anywhere in `area` or over its edge by up to the part
    `beyond` of its own side."""
    part = rng.uniform(*side)
    width, height = max(1, int(area.width * part)), max(1, int(area.height * part))
    left = area.left + _shift(width, area.width, beyond, rng)
    return Rectangle(left, area.top + _shift(height, area.height, beyond, rng), width, height)


def quarters(area: Rectangle, *, rng: Generator) -> list[Rectangle]:
    """Four tiles that meet at a point near the middle."""
    x, y = int(area.width * rng.uniform(0.35, 0.65)), int(area.height * rng.uniform(0.35, 0.65))
    return [
        Rectangle(area.left, area.top, x, y),
        Rectangle(area.left + x, area.top, area.width - x, y),
        Rectangle(area.left, area.top + y, x, area.height - y),
        Rectangle(area.left + x, area.top + y, area.width - x, area.height - y),
    ]


def _draw(canvas: Tensor, image: Tensor, rectangle: Rectangle) -> None:
    size = (rectangle.height, rectangle.width)
    if tuple(image.shape[1:]) != size:
        image = interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
    (above, rows), (before, columns) = (
        _inside(start, pixels, limit)
        for start, pixels, limit in zip((rectangle.top, rectangle.left), size, canvas.shape[1:], strict=True)
    )
    image = image[:, above, before]
    if rectangle.soft:
        down, across = (_fading_in_and_out(pixels, rectangle.soft) for pixels in size)
        below = canvas[:, rows, columns].float()
        image = below.lerp(image.float(), down[above, None] * across[before]).round_()
    canvas[:, rows, columns] = image


def _inside(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """Which part of a piece of this length lies in 0 … limit, and where there."""
    first, last = max(0, -start), min(length, limit - start)
    return slice(first, last), slice(start + first, start + last)


def _shift(length: int, limit: int, beyond: float, rng: Generator) -> int:
    """Where a piece of this length begins, in 0 … limit or over its edges by up to the part `beyond` of itself."""
    over = int(length * beyond)
    return int(rng.uniform(0, limit - length + 2 * over + 1)) - over


def _fading_in_and_out(pixels: int, part: float) -> Tensor:
    """From nearly 0 to 1 over a part of so many pixels, and back at the end, (pixels,)."""
    middle = (torch.arange(pixels) + 0.5) / pixels
    return (torch.minimum(middle, 1 - middle) / part).clamp_(max=1)


def _window(low: float, high: float, length: float, limit: int, rng: Generator) -> tuple[int, int]:
    """Start and length in pixels of a piece of 0 … limit that holds low … high, where that is possible."""
    begins, ends = int(low + NO_PIXEL), int(np.ceil(high - NO_PIXEL))
    size = int(np.clip(round(length), max(1, ends - begins), limit))
    first, last = max(0, ends - size), min(begins, limit - size)
    return int(rng.integers(min(first, last), max(first, last) + 1)), size


def _moved(sample: Sample, rectangle: Rectangle, canvas_px: int) -> Sample:
    left, top, right, bottom = rectangle.unit(canvas_px)
    scale = np.array([right - left, bottom - top] * 2, np.float32)
    shift = np.array([left, top] * 2, np.float32)
    visible = (
        np.array([-left, -top, 1 - left, 1 - top], np.float32) / scale
    )  # of the image, in its own unit square

    def move(xyxy: Float32Array) -> Float32Array:
        moved: Float32Array = np.clip(xyxy * scale + shift, 0, 1)
        return moved

    inside = _hidden_share(sample.boxes_xyxy, visible)
    kept, seen = inside >= 1 - COVERED, inside > 1e-6
    return replace(
        sample,
        boxes_xyxy=move(sample.boxes_xyxy[kept]),
        box_nodes=sample.box_nodes[kept],
        label_regions=move(sample.label_regions),
        negative_regions=move(sample.negative_regions),
        ignored=move(np.concatenate([sample.ignored, sample.boxes_xyxy[seen & ~kept]])),
    )


def _uncovered(sample: Sample, cover: Float32Array) -> Sample:
    """The labels that a rectangle drawn over the image leaves visible and true; what is left of things that are
    mostly hidden becomes an ignored region."""
    hidden = _hidden_share(sample.boxes_xyxy, cover)
    keep = hidden <= COVERED
    # Where a part is hidden, the missing thing may stand in what is new.
    true = _hidden_share(sample.negative_regions, cover) < 1e-6
    return replace(
        sample,
        boxes_xyxy=sample.boxes_xyxy[keep],
        box_nodes=sample.box_nodes[keep],
        negative_nodes=sample.negative_nodes[true],
        negative_regions=sample.negative_regions[true],
        ignored=np.concatenate([sample.ignored, sample.boxes_xyxy[~keep & (hidden < 1 - 1e-6)]]),
    )


def _hidden_share(xyxy: Float32Array, cover: Float32Array) -> Float32Array:
    """The part of each rectangle (M, 4) that `cover` (4,) hides, (M,) in 0..1."""
    overlap = np.minimum(xyxy[:, 2:], cover[2:]) - np.maximum(xyxy[:, :2], cover[:2])
    share: Float32Array = overlap.clip(min=0).prod(1) / (xyxy[:, 2:] - xyxy[:, :2]).prod(1).clip(min=1e-9)
    return share


def _joined(a: Sample, b: Sample) -> Sample:
    return Sample(
        a.image,
        np.concatenate([a.boxes_xyxy, b.boxes_xyxy]),
        np.concatenate([a.box_nodes, b.box_nodes]),
        np.concatenate([a.label_nodes, b.label_nodes]),
        np.concatenate([a.label_regions, b.label_regions]),
        np.concatenate([a.negative_nodes, b.negative_nodes]),
        np.concatenate([a.negative_regions, b.negative_regions]),
        np.concatenate([a.ignored, b.ignored]),
        _exhaustive_in_both(a.exhaustive, b.exhaustive),
    )


def _exhaustive_in_both(a: BoolArray | None, b: BoolArray | None) -> BoolArray | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _no_labels() -> tuple[
    Float32Array, Int64Array, Int64Array, Float32Array, Int64Array, Float32Array, Float32Array, None
]:
    boxes, nodes = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    return boxes, nodes, nodes, boxes, nodes, boxes, boxes, None


def _mirrored(xyxy: Float32Array) -> Float32Array:
    return np.stack([1 - xyxy[:, 2], xyxy[:, 1], 1 - xyxy[:, 0], xyxy[:, 3]], axis=1)
