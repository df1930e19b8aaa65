"""Images with their detections on them, and contact sheets of several."""

from __future__ import annotations

import heapq
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from wordtree.support.arrays import FloatArray, Int64Array
from wordtree.support.files import write_atomically
from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import Detections
from yolo9000.inference.scored_boxes import GroundTruth
from yolo9000.models.boxes import iou_xyxy

Colour = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

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


def draw_detections(
    picture: Image.Image, detections: Detections, *, truth: GroundTruth | None = None, min_side_px: int = 0
) -> Image.Image:
    """A copy of the image with box, name and score of each detection, coloured by branch of the tree.

    truth: the labelled boxes. An answer on another branch than the object that it covers (IoU .5) says what
    that is; objects that no box covers are drawn dashed.
    min_side_px: an image whose longer side is shorter is enlarged to it first, so that labels are legible.
    """
    colour_of = branch_colours(detections.tree)
    notes, missed = ([""] * len(detections), []) if truth is None else _compare(detections, truth)
    columns = (detections.xyxy_px, detections.node, detections.names, detections.score, notes)
    marks = [
        Mark(box, f"{name} {_two_digits(score)}{note}", colour_of(int(node)), dashed=False)
        for box, node, name, score, note in zip(*columns, strict=True)
    ]
    return draw_marks(picture, marks + missed, min_side_px)


def draw_truth(
    picture: Image.Image, truth: GroundTruth, tree: WordTree, *, min_side_px: int = 0
) -> Image.Image:
    """A copy of the image with its labelled boxes and their names, by branch; ignored ones dashed."""
    colour_of = branch_colours(tree)
    marks = [
        Mark(box, tree.names[node], colour_of(int(node)), dashed=bool(ignored))
        for box, node, ignored in zip(truth.xyxy_px, truth.node, truth.ignored, strict=True)
    ]
    return draw_marks(picture, marks, min_side_px)


def contact_sheet(pictures: Sequence[Image.Image], *, columns: int, gap_px: int = 8) -> Image.Image:
    """The images in rows on one dark sheet, each centred in a cell of the size of the largest."""
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    width = max((image.width for image in pictures), default=0)
    height = max((image.height for image in pictures), default=0)
    sheet = Image.new("RGB", (columns * (width + gap_px) + gap_px, rows * (height + gap_px) + gap_px), SHEET)
    for location, image in enumerate(pictures):
        row, column = divmod(location, columns)
        left = gap_px + column * (width + gap_px) + (width - image.width) // 2
        top = gap_px + row * (height + gap_px) + (height - image.height) // 2
        sheet.paste(image, (left, top))
    return sheet


def to_pillow(image: Tensor) -> Image.Image:
    """The image of a uint8 tensor of shape (3, H, W)."""
    return Image.fromarray(image.permute(1, 2, 0).contiguous().cpu().numpy())


def save_png(picture: Image.Image, path: Path) -> None:
    """Write the image as PNG, whole or not at all."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def branch_colours(tree: WordTree) -> Callable[[int], Colour]:
    """The colour of each node: one for each top-level branch, the same for every image of this tree.

    A WordNet tree has nearly everything under one root, so the largest branch is replaced by its children as
    long as there are colours for them; nodes above the branches are grey.
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
    """As many nodes as there are colours at most (or all roots), together above as much as can be."""
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
    """One box on an image; an empty text gives no label."""

    xyxy_px: FloatArray
    text: str
    colour: Colour
    dashed: bool


def _compare(detections: Detections, truth: GroundTruth) -> tuple[list[str], list[Mark]]:
    """What to add to the text of each detection where it errs, and a mark for each object that is missed."""
    found, labelled = detections.xyxy_px.astype(np.float64), truth.xyxy_px
    covers = iou_xyxy(torch.from_numpy(found), torch.from_numpy(labelled)).numpy() >= 0.5  # (K, M)
    notes = [
        _note(detections.tree, int(node), truth.node[row])
        for node, row in zip(detections.node, covers, strict=True)
    ]
    missed = ~covers.any(axis=0) & ~truth.ignored
    return notes, [
        Mark(box, f"missed: {detections.tree.names[node]}", MISSED, dashed=True)
        for box, node in zip(truth.xyxy_px[missed], truth.node[missed], strict=True)
    ]


def _note(tree: WordTree, answer: int, labelled: Int64Array) -> str:
    """Nothing if the answer is right at its level or deeper than the label can tell; else what is there."""
    if any(tree.is_under([node], answer)[0] or tree.is_under([answer], int(node))[0] for node in labelled):
        return ""
    return f" (is {tree.names[labelled[0]]})" if len(labelled) else " (nothing)"


def draw_marks(
    picture: Image.Image, marks: Sequence[Mark], min_side_px: int = 0, *, line_px: int | None = None
) -> Image.Image:
    """A copy of the image with the marks on it, the first on top; enlarged as by `draw_detections`."""
    scale = max(1.0, min_side_px / max(picture.size))
    canvas = picture.convert("RGB")
    if scale > 1:
        size = (round(picture.width * scale), round(picture.height * scale))
        canvas = canvas.resize(size, Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=max(13, round(max(canvas.size) / 32)))
    line_px = line_px or max(2, round(max(canvas.size) / 160))
    rectangles = [_inside(mark.xyxy_px * scale, canvas.size) for mark in marks]
    for mark, rectangle in reversed(list(zip(marks, rectangles, strict=True))):  # the best one on top
        _draw_box(draw, rectangle, mark, line_px)
    taken: list[Rectangle] = []
    for mark, rectangle in zip(marks, rectangles, strict=True):
        if mark.text:
            taken.append(_draw_label(draw, rectangle, mark, font, taken))
    return canvas


def _inside(xyxy_px: FloatArray, size: tuple[int, int]) -> Rectangle:
    """The box cut to the image, at least one pixel wide and high."""
    left, top = (min(max(float(value), 0), side - 2) for value, side in zip(xyxy_px[:2], size, strict=True))
    right, bottom = (min(float(value), side - 1) for value, side in zip(xyxy_px[2:], size, strict=True))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _draw_box(draw: ImageDraw.ImageDraw, rectangle: Rectangle, mark: Mark, line_px: int) -> None:
    left, top, right, bottom = rectangle
    if mark.dashed:
        for start, end in _dashes(rectangle, step=4 * line_px):
            draw.line([start, end], fill=OUTLINE, width=line_px + 2)
        for start, end in _dashes(rectangle, step=4 * line_px):
            draw.line([start, end], fill=mark.colour, width=max(1, line_px - 1))
        return
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=OUTLINE, width=line_px + 2)
    draw.rectangle(rectangle, outline=mark.colour, width=line_px)


def _dashes(rectangle: Rectangle, step: int) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Start and end of each dash around the rectangle; dash and gap are of equal length."""
    left, top, right, bottom = rectangle
    dashes = []
    for y in (top, bottom):
        for x in np.arange(left, right, 2 * step):
            dashes.append(((float(x), y), (min(float(x) + step, right), y)))
    for x in (left, right):
        for y in np.arange(top, bottom, 2 * step):
            dashes.append(((x, float(y)), (x, min(float(y) + step, bottom))))
    return dashes


def _draw_label(
    draw: ImageDraw.ImageDraw,
    rectangle: Rectangle,
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Write the text on a patch of the mark's colour that hides no earlier one if possible; the patch."""
    pad = 3
    text_left, text_top, text_right, text_bottom = draw.textbbox((0, 0), mark.text, font=font)
    width, height = text_right - text_left + 2 * pad, text_bottom - text_top + 2 * pad
    patch = _free_location(rectangle, width, height, draw.im.size, taken)
    draw.rounded_rectangle(patch, radius=pad, fill=mark.colour, outline=OUTLINE)
    draw.text(
        (patch[0] + pad - text_left, patch[1] + pad - text_top),
        mark.text,
        fill=_ink_on(mark.colour),
        font=font,
    )
    return patch


def _free_location(
    rectangle: Rectangle, width: float, height: float, size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Above the box, inside its top, below it, inside its bottom: the first that is free, else the first."""
    left, top, right, bottom = rectangle
    corners = [(x, y) for x in (left, right - width) for y in (top - height, top, bottom, bottom - height)]
    locations = []
    for x, y in corners:
        x, y = max(0.0, min(x, size[0] - width - 1)), max(0.0, min(y, size[1] - height - 1))
        locations.append((x, y, x + width, y + height))
    return next(
        (location for location in locations if not any(_meet(location, other) for other in taken)),
        locations[0],
    )


def _meet(a: Rectangle, b: Rectangle) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _ink_on(colour: Colour) -> Colour:
    """Black or white, whichever reads better on the colour."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else (255, 255, 255)


def _two_digits(score: float) -> str:
    return f"{score:.2f}".removeprefix("0")
