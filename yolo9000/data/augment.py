"""Geometric augmentation of an image and its labels: resizing, tiles, crops, flips.

`compose` draws images into rectangles of a canvas. The other functions choose these rectangles, crop or flip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from wordtree.support.arrays import Float32Array
from yolo9000.data.image import resized
from yolo9000.data.sample import Rectangle, Sample

GREY = 127  # darknet: canvas of .5
ROUNDING_PX = 1e-3  # tolerance for the rounding of boxes in the unit square
MAX_HIDDEN_SHARE = 0.6  # a box of which more is hidden becomes an ignore region


def fit_with_jitter(sample: Sample, area: Rectangle, *, jitter: float, rng: Generator) -> Rectangle:
    """A random rectangle in `area` for the image, as wide or as high as `area`.

    jitter: largest change of the image's width and height before the fit, as a share.
    """
    height, width = sample.image.shape[1:]
    aspect = width * (1 + rng.uniform(-jitter, jitter)) / (height * (1 + rng.uniform(-jitter, jitter)))
    relative_aspect = aspect * (area.height_px / area.width_px)  # at least 1: the image fills the width
    fit_width = area.width_px if relative_aspect >= 1 else max(1, int(area.width_px * relative_aspect))
    fit_height = area.height_px if relative_aspect < 1 else max(1, int(area.height_px / relative_aspect))
    left = area.left_px + int(rng.uniform(0, area.width_px - fit_width + 1))
    top = area.top_px + int(rng.uniform(0, area.height_px - fit_height + 1))
    return Rectangle(left, top, fit_width, fit_height)


def random_rectangle(
    area: Rectangle, side: tuple[float, float], *, overhang: float = 0.0, rng: Generator
) -> Rectangle:
    """A random rectangle in `area`.

    side: smallest and largest side of the rectangle, as shares of the area's side.
    overhang: share of the rectangle's side by which it may reach over the edge of `area`.
    """
    share = rng.uniform(*side)
    width, height = max(1, int(area.width_px * share)), max(1, int(area.height_px * share))
    left = area.left_px + _random_start(width, area.width_px, overhang, rng)
    top = area.top_px + _random_start(height, area.height_px, overhang, rng)
    return Rectangle(left, top, width, height)


def _random_start(length: int, limit: int, overhang: float, rng: Generator) -> int:
    """Random start of an interval that lies in 0 … limit, or reaches over an end by up to `overhang` of its length."""
    over = int(length * overhang)
    return int(rng.uniform(0, limit - length + 2 * over + 1)) - over


def mosaic_tiles(area: Rectangle, *, rng: Generator) -> list[Rectangle]:
    """Four tiles that meet at a point near the centre of `area`."""
    x, y = int(area.width_px * rng.uniform(0.35, 0.65)), int(area.height_px * rng.uniform(0.35, 0.65))
    return [
        Rectangle(area.left_px, area.top_px, x, y),
        Rectangle(area.left_px + x, area.top_px, area.width_px - x, y),
        Rectangle(area.left_px, area.top_px + y, x, area.height_px - y),
        Rectangle(area.left_px + x, area.top_px + y, area.width_px - x, area.height_px - y),
    ]


def compose(
    placed: Sequence[tuple[Sample, Rectangle]], canvas_px: int, *, min_box_side_unit: float
) -> Sample:
    """Images drawn on a square canvas, each into its rectangle, with their labels.

    A later image hides the earlier ones. A mostly hidden box becomes an ignore region, and so does an image without
    box annotations; a box with a side below `min_box_side_unit` is dropped. The result is exhaustively annotated for a
    node if all its images with box annotations are.
    """
    canvas = torch.full((3, canvas_px, canvas_px), GREY, dtype=torch.uint8)
    whole = Sample.unlabelled(canvas)
    for sample, rectangle in placed:
        _draw(canvas, sample.image, rectangle)
        visible = _without_hidden(whole, rectangle.xyxy_unit(canvas_px))
        whole = _with_labels_of(visible, _on_canvas(sample, rectangle.xyxy_unit(canvas_px)))
    sides = whole.boxes_xyxy_unit[:, 2:] - whole.boxes_xyxy_unit[:, :2]
    keep = (sides >= min_box_side_unit).all(1)
    return replace(whole, boxes_xyxy_unit=whole.boxes_xyxy_unit[keep], box_nodes=whole.box_nodes[keep])


def crop_around_box(sample: Sample, row: int, box_share: tuple[float, float], *, rng: Generator) -> Sample:
    """A square crop of an image around box number `row`; box_share: as in `window_around`.

    Other boxes that are mostly outside the crop become ignore regions. Image labels are dropped, because the crop may
    not show their objects; negative labels stay.
    """
    height, width = sample.image.shape[1:]
    crop = window_around(sample.boxes_xyxy_unit[row], width, height, box_share, rng=rng)
    right, bottom = crop.left_px + crop.width_px, crop.top_px + crop.height_px
    window = np.array(
        [crop.left_px / width, crop.top_px / height, right / width, bottom / height], np.float32
    )
    scale = np.array([width / crop.width_px, height / crop.height_px] * 2, np.float32)

    def move(xyxy_unit: Float32Array) -> Float32Array:
        moved: Float32Array = np.clip((xyxy_unit - np.tile(window[:2], 2)) * scale, 0, 1)
        return moved

    visible_share = _covered_share(sample.boxes_xyxy_unit, window)
    is_kept, is_visible = visible_share >= 1 - MAX_HIDDEN_SHARE, visible_share > 0
    ignored = move(np.concatenate([sample.ignored_xyxy_unit, sample.boxes_xyxy_unit[is_visible & ~is_kept]]))
    return replace(
        Sample.unlabelled(sample.image[:, crop.top_px : bottom, crop.left_px : right]),
        boxes_xyxy_unit=move(sample.boxes_xyxy_unit[is_kept]),
        box_nodes=sample.box_nodes[is_kept],
        negative_nodes=sample.negative_nodes,
        negative_regions_xyxy_unit=sample.negative_regions_xyxy_unit,
        ignored_xyxy_unit=ignored[(ignored[:, 2:] > ignored[:, :2]).all(1)],
        exhaustive=sample.exhaustive,
    )


def window_around(
    box_xyxy_unit: Float32Array,
    width_px: int,
    height_px: int,
    box_share: tuple[float, float],
    *,
    rng: Generator,
) -> Rectangle:
    """A random square window around a box (4,), clipped to the image of `width_px` × `height_px`.

    box_share: smallest and largest length of the box's longer side, as shares of the window's side.
    """
    left, top, right, bottom = box_xyxy_unit * np.array([width_px, height_px, width_px, height_px])
    side = max(right - left, bottom - top) / rng.uniform(*box_share)
    x, window_width = _random_interval(left, right, side, width_px, rng)
    y, window_height = _random_interval(top, bottom, side, height_px, rng)
    return Rectangle(x, y, window_width, window_height)


def _random_interval(low: float, high: float, length: float, limit: int, rng: Generator) -> tuple[int, int]:
    """Start and length in pixels of a random interval of 0 … limit that contains low … high, where possible."""
    start, end = int(low + ROUNDING_PX), int(np.ceil(high - ROUNDING_PX))
    size = int(np.clip(round(length), max(1, end - start), limit))
    first, last = max(0, end - size), min(start, limit - size)
    return int(rng.integers(min(first, last), max(first, last) + 1)), size


def flip_horizontally(sample: Sample) -> Sample:
    """The mirror image, with its labels."""

    def flip(xyxy_unit: Float32Array) -> Float32Array:
        columns = [1 - xyxy_unit[:, 2], xyxy_unit[:, 1], 1 - xyxy_unit[:, 0], xyxy_unit[:, 3]]
        return np.stack(columns, axis=1)

    return replace(
        sample,
        image=sample.image.flip(2),
        boxes_xyxy_unit=flip(sample.boxes_xyxy_unit),
        label_regions_xyxy_unit=flip(sample.label_regions_xyxy_unit),
        negative_regions_xyxy_unit=flip(sample.negative_regions_xyxy_unit),
        ignored_xyxy_unit=flip(sample.ignored_xyxy_unit),
    )


def _draw(canvas: Tensor, image: Tensor, rectangle: Rectangle) -> None:
    """Resize the image to the rectangle and draw it on the canvas, in place."""
    size = (rectangle.height_px, rectangle.width_px)
    image = resized(image, *size)
    image_rows, rows = _overlap(rectangle.top_px, rectangle.height_px, canvas.shape[1])
    image_columns, columns = _overlap(rectangle.left_px, rectangle.width_px, canvas.shape[2])
    image = image[:, image_rows, image_columns]
    if rectangle.soft_edge:
        down, across = (_opacity(pixels, rectangle.soft_edge) for pixels in size)
        below = canvas[:, rows, columns].float()
        image = below.lerp(image.float(), down[image_rows, None] * across[image_columns]).round_()
    canvas[:, rows, columns] = image


def _overlap(start: int, length: int, limit: int) -> tuple[slice, slice]:
    """The part of an interval that lies in 0 … limit: within the interval, and within 0 … limit."""
    first, last = max(0, -start), min(length, limit - start)
    return slice(first, last), slice(start + first, start + last)


def _opacity(pixels: int, soft_edge: float) -> Tensor:
    """Opacity along a side, (pixels,): rises from 0 to 1 over the share `soft_edge`, and falls again at the end."""
    centre = (torch.arange(pixels) + 0.5) / pixels
    return (torch.minimum(centre, 1 - centre) / soft_edge).clamp_(max=1)


def _on_canvas(sample: Sample, xyxy_unit: Float32Array) -> Sample:
    """The labels of an image that fills the rectangle (4,) of a canvas, in the unit square of the canvas."""
    left, top, right, bottom = xyxy_unit
    scale = np.array([right - left, bottom - top] * 2, np.float32)
    shift = np.array([left, top] * 2, np.float32)
    visible_part = np.array([-left, -top, 1 - left, 1 - top], np.float32) / scale  # of the image

    def move(xyxy_unit: Float32Array) -> Float32Array:
        moved: Float32Array = np.clip(xyxy_unit * scale + shift, 0, 1)
        return moved

    visible_share = _covered_share(sample.boxes_xyxy_unit, visible_part)
    is_kept, is_visible = visible_share >= 1 - MAX_HIDDEN_SHARE, visible_share > 1e-6
    return replace(
        sample,
        boxes_xyxy_unit=move(sample.boxes_xyxy_unit[is_kept]),
        box_nodes=sample.box_nodes[is_kept],
        label_regions_xyxy_unit=move(sample.label_regions_xyxy_unit),
        negative_regions_xyxy_unit=move(sample.negative_regions_xyxy_unit),
        ignored_xyxy_unit=move(
            np.concatenate([sample.ignored_xyxy_unit, sample.boxes_xyxy_unit[is_visible & ~is_kept]])
        ),
    )


def _without_hidden(sample: Sample, cover_xyxy_unit: Float32Array) -> Sample:
    """The labels that still hold when a rectangle is drawn over the image.

    A box that is mostly hidden becomes an ignore region. A negative label is dropped where its region is partly
    hidden, because the image on top may show such an object.
    """
    hidden_share = _covered_share(sample.boxes_xyxy_unit, cover_xyxy_unit)
    is_kept = hidden_share <= MAX_HIDDEN_SHARE
    is_uncovered = _covered_share(sample.negative_regions_xyxy_unit, cover_xyxy_unit) < 1e-6
    return replace(
        sample,
        boxes_xyxy_unit=sample.boxes_xyxy_unit[is_kept],
        box_nodes=sample.box_nodes[is_kept],
        negative_nodes=sample.negative_nodes[is_uncovered],
        negative_regions_xyxy_unit=sample.negative_regions_xyxy_unit[is_uncovered],
        ignored_xyxy_unit=np.concatenate(
            [sample.ignored_xyxy_unit, sample.boxes_xyxy_unit[~is_kept & (hidden_share < 1 - 1e-6)]]
        ),
    )


def _covered_share(xyxy: Float32Array, cover: Float32Array) -> Float32Array:
    """Share of the area of each rectangle (M, 4) that lies in the rectangle `cover` (4,), (M,) in 0..1."""
    overlap = np.minimum(xyxy[:, 2:], cover[2:]) - np.maximum(xyxy[:, :2], cover[:2])
    share: Float32Array = overlap.clip(min=0).prod(1) / (xyxy[:, 2:] - xyxy[:, :2]).prod(1).clip(min=1e-9)
    return share


def _with_labels_of(a: Sample, b: Sample) -> Sample:
    """The image of `a` with the labels of `a` and `b`."""
    if a.exhaustive is None or b.exhaustive is None:
        exhaustive = b.exhaustive if a.exhaustive is None else a.exhaustive
    else:
        exhaustive = a.exhaustive & b.exhaustive
    return Sample(
        a.image,
        np.concatenate([a.boxes_xyxy_unit, b.boxes_xyxy_unit]),
        np.concatenate([a.box_nodes, b.box_nodes]),
        np.concatenate([a.label_nodes, b.label_nodes]),
        np.concatenate([a.label_regions_xyxy_unit, b.label_regions_xyxy_unit]),
        np.concatenate([a.negative_nodes, b.negative_nodes]),
        np.concatenate([a.negative_regions_xyxy_unit, b.negative_regions_xyxy_unit]),
        np.concatenate([a.ignored_xyxy_unit, b.ignored_xyxy_unit]),
        exhaustive,
    )
