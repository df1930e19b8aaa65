"""Detections, and other labelled boxes, drawn on images."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from wordtree.support.arrays import FloatArray, Int64Array
from wordtree.support.files import write_atomically
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import Detections
from yolo9000.inference.scored_boxes import GroundTruth

if TYPE_CHECKING:
    from torch import Tensor

Colour = tuple[int, int, int]
RectanglePx = tuple[float, float, float, float]

PALETTE: tuple[Colour, ...] = (  # far apart in hue or lightness, none as dark as the outline
    (244, 84, 74),
    (64, 160, 255),
    (255, 205, 40),
    (72, 200, 120),
    (214, 120, 255),
    (255, 150, 30),
    (60, 214, 214),
    (255, 130, 180),
    (180, 220, 60),
    (150, 150, 255),
    (205, 150, 100),
    (120, 230, 170),
)
ABOVE_BRANCHES: Colour = (190, 190, 190)
MISSED: Colour = (255, 255, 255)
OUTLINE: Colour = (16, 18, 22)
SHEET: Colour = (24, 26, 31)
MIN_DRAWN_PX = 480  # smaller images are enlarged before names are written on them


def draw_detections(
    image: Image.Image, detections: Detections, *, truth: GroundTruth | None = None, min_side_px: int = 0
) -> Image.Image:
    """A copy of the image with box, name and score of each detection, coloured by branch of the tree.

    truth: the labelled boxes. A wrongly classified detection (IoU of at least 0.5 with an object of another class)
    also shows the correct class. Missed objects are drawn dashed.
    min_side_px: an image whose longer side is shorter is first enlarged to this length, so that captions are legible.
    """
    colour_of = branch_colours(detections.tree)
    notes, missed = ([""] * len(detections), []) if truth is None else _notes_and_missed(detections, truth)
    columns = (detections.xyxy_px, detections.node, detections.names, detections.score, notes)
    marks = [
        Mark(box, f"{name} {without_leading_zero(score)}{note}", colour_of(int(node)), dashed=False)
        for box, node, name, score, note in zip(*columns, strict=True)
    ]
    return draw_marks(image, marks + missed, min_side_px)


def to_pillow(image: Tensor) -> Image.Image:
    """The image of a uint8 tensor of shape (3, H, W)."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())


def save_png(image: Image.Image, path: Path) -> None:
    """Write the image as PNG, atomically."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def branch_colours(tree: WordTree) -> Callable[[int], Colour]:
    """A function from a node to its colour: one colour for each branch of the tree, the same for every image.

    A WordNet tree has nearly all nodes under one root. The branches are therefore found by replacing the largest
    branch by its children as long as the palette has colours for them. Nodes above the branches are grey.
    """
    branches = _branches(tree)
    order = np.argsort(tree.enter[branches])
    starts = tree.enter[branches][order]

    def colour_of(node: int) -> Colour:
        rank = int(np.searchsorted(starts, tree.enter[node], side="right")) - 1
        branch = branches[order[rank]] if rank >= 0 else None
        if branch is None or tree.enter[node] >= tree.leave[branch]:
            return ABOVE_BRANCHES
        return PALETTE[rank % len(PALETTE)]

    return colour_of


@lru_cache(maxsize=4)
def _branches(tree: WordTree) -> Int64Array:
    """The nodes whose subtrees are the branches: all roots, or descendants of roots, at most one for each colour."""
    roots = tree.group_size[0]
    waiting = [(-(tree.leave[node] - tree.enter[node]), node) for node in range(roots)]
    heapq.heapify(waiting)
    final: list[int] = []
    while waiting:
        _, node = heapq.heappop(waiting)
        children = tree.children(node)
        if len(children) and len(final) + len(waiting) + len(children) <= len(PALETTE):
            for child in children:
                heapq.heappush(waiting, (-(tree.leave[child] - tree.enter[child]), child))
        else:
            final.append(int(node))
    return np.array(sorted(final), np.int64)


@dataclass(frozen=True)
class Mark:
    """A box to draw, as xyxy in image pixels, shape (4,). An empty caption is not drawn."""

    xyxy_px: FloatArray
    caption: str
    colour: Colour
    dashed: bool


def _notes_and_missed(detections: Detections, truth: GroundTruth) -> tuple[list[str], list[Mark]]:
    """A note on the error of each detection, empty if there is none, and a mark for each missed object."""
    import torch

    from yolo9000.models.boxes import iou_xyxy

    detected_px = torch.from_numpy(detections.xyxy_px.astype(np.float64))
    is_match = iou_xyxy(detected_px, torch.from_numpy(truth.xyxy_px)).numpy() >= 0.5  # (K, M)
    notes = [
        _note(detections.tree, int(node), truth.node[row])
        for node, row in zip(detections.node, is_match, strict=True)
    ]
    missed = ~is_match.any(axis=0) & ~truth.ignored
    return notes, [
        Mark(box, f"missed: {detections.tree.names[node]}", MISSED, dashed=True)
        for box, node in zip(truth.xyxy_px[missed], truth.node[missed], strict=True)
    ]


def _note(tree: WordTree, detected: int, labelled: Int64Array) -> str:
    """Empty if the detected node is a labelled node, above it or below it; else the correct class, or background."""
    if any(
        tree.is_at_or_under([node], detected)[0] or tree.is_at_or_under([detected], int(node))[0]
        for node in labelled
    ):
        return ""
    return f" (is {tree.names[labelled[0]]})" if len(labelled) else " (background)"


def draw_marks(
    image: Image.Image, marks: Sequence[Mark], min_side_px: int = 0, *, line_px: int | None = None
) -> Image.Image:
    """A copy of the image with the marks drawn on it, the first mark on top.

    min_side_px: as for `draw_detections`; line_px: width of the lines, None: chosen by the size of the image.
    """
    scale = max(1.0, min_side_px / max(image.size))
    canvas = image.convert("RGB")
    if scale > 1:
        size = (round(image.width * scale), round(image.height * scale))
        canvas = canvas.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=max(13, round(max(canvas.size) / 32)))
    line_px = line_px or max(2, round(max(canvas.size) / 160))
    rectangles = [_clipped(mark.xyxy_px * scale, canvas.size) for mark in marks]
    for mark, rectangle in reversed(list(zip(marks, rectangles, strict=True))):  # the first mark on top
        _draw_box(draw, rectangle, mark, line_px)
    taken: list[RectanglePx] = []
    for mark, rectangle in zip(marks, rectangles, strict=True):
        if mark.caption:
            taken.append(_draw_caption(draw, rectangle, mark, font, taken))
    return canvas


def _clipped(xyxy_px: FloatArray, size: tuple[int, int]) -> RectanglePx:
    """The box clipped to the image, at least one pixel wide and high."""
    left, top = (min(max(float(value), 0), side - 2) for value, side in zip(xyxy_px[:2], size, strict=True))
    right, bottom = (min(float(value), side - 1) for value, side in zip(xyxy_px[2:], size, strict=True))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _draw_box(draw: ImageDraw.ImageDraw, rectangle: RectanglePx, mark: Mark, line_px: int) -> None:
    left, top, right, bottom = rectangle
    if mark.dashed:
        for start, end in _dashes(rectangle, step=4 * line_px):
            draw.line([start, end], fill=OUTLINE, width=line_px + 2)
        for start, end in _dashes(rectangle, step=4 * line_px):
            draw.line([start, end], fill=mark.colour, width=max(1, line_px - 1))
        return
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=OUTLINE, width=line_px + 2)
    draw.rectangle(rectangle, outline=mark.colour, width=line_px)


def _dashes(rectangle: RectanglePx, step: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Start and end of each dash around the rectangle. Dashes and gaps are `step` long."""
    left, top, right, bottom = rectangle
    dashes = []
    for y in (top, bottom):
        for x in np.arange(left, right, 2 * step):
            dashes.append(((float(x), y), (min(float(x) + step, right), y)))
    for x in (left, right):
        for y in np.arange(top, bottom, 2 * step):
            dashes.append(((x, float(y)), (x, min(float(y) + step, bottom))))
    return dashes


def _draw_caption(
    draw: ImageDraw.ImageDraw,
    rectangle: RectanglePx,
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    taken: Sequence[RectanglePx],
) -> RectanglePx:
    """Write the caption on a patch of the mark's colour, clear of the patches in `taken` if possible; the new patch."""
    pad = 3
    text_left, text_top, text_right, text_bottom = draw.textbbox((0, 0), mark.caption, font=font)
    width, height = text_right - text_left + 2 * pad, text_bottom - text_top + 2 * pad
    patch = _free_rectangle(rectangle, width, height, draw.im.size, taken)
    draw.rounded_rectangle(patch, radius=pad, fill=mark.colour, outline=OUTLINE)
    draw.text(
        (patch[0] + pad - text_left, patch[1] + pad - text_top),
        mark.caption,
        fill=_text_colour_on(mark.colour),
        font=font,
    )
    return patch


def _free_rectangle(
    rectangle: RectanglePx, width: float, height: float, size: tuple[int, int], taken: Sequence[RectanglePx]
) -> RectanglePx:
    """The first free rectangle above the box, inside its top, below it, inside its bottom; else the first of all."""
    left, top, right, bottom = rectangle
    corners = [(x, y) for x in (left, right - width) for y in (top - height, top, bottom, bottom - height)]
    rectangles = []
    for x, y in corners:
        x, y = max(0.0, min(x, size[0] - width - 1)), max(0.0, min(y, size[1] - height - 1))
        rectangles.append((x, y, x + width, y + height))
    free = (candidate for candidate in rectangles if not any(_overlap(candidate, other) for other in taken))
    return next(free, rectangles[0])


def _overlap(a: RectanglePx, b: RectanglePx) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _text_colour_on(colour: Colour) -> Colour:
    """Black or white, whichever is more legible on the colour."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)


def without_leading_zero(score: float) -> str:
    """The score with two decimals and no zero before the point, such as .81."""
    return f"{score:.2f}".removeprefix("0")
