"""In what circumstances objects are found and rightly named: by size, at the image's edge, behind others.

Where classes without boxes do worse than those with boxes in one circumstance alone, training lacks images of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.evaluation.outcomes import Outcomes
from yolo9000.evaluation.supervision import PARTS, Part

SIZES = 4  # classes of size, with equally many objects in each
AT_EDGE = 0.01  # of the image's side: as near a box has to come to its edge
COVERED = 0.2  # of a box: the least part that another must overlap


@dataclass(frozen=True)
class BreakdownRow:
    """What becomes of the objects that are alike in one respect, of one part of the classes.

    name     the respect, in words
    objects  how many      found, named   how many of these
    """

    name: str
    part: Part
    objects: int
    found: int
    named: int


def breakdown(
    objects: Outcomes, sizes_px: Sequence[tuple[int, int]], part_of: Callable[[int], Part]
) -> tuple[BreakdownRow, ...]:
    """Every circumstance that some object is in, for each part that has objects in it.

    sizes_px: (width, height) of each image; part_of: of a node.
    """
    if not len(objects):
        return ()
    parts = {node: part_of(node) for node in set(objects.node.tolist())}
    own = np.array([PARTS.index(parts[node]) for node in objects.node.tolist()])
    found = []
    for name, alike in _respects(objects, np.array(sizes_px, float)[objects.picture]):
        for number, part in enumerate(PARTS):
            these = alike & (own == number)
            counts = [int((these & what).sum()) for what in (these, objects.is_detected, objects.is_correct)]
            if counts[0]:
                found.append(BreakdownRow(name, part, *counts))
    return tuple(found)


def _respects(objects: Outcomes, image_px: Float64Array) -> Iterator[tuple[str, BoolArray]]:
    """Each circumstance in words, and which objects are in it, (O,); picture_px: (O, 2) of each one's image."""
    yield from _sizes(objects.xyxy_px, image_px)
    unit = objects.xyxy_px / np.tile(image_px, 2)
    is_cut: BoolArray = np.any((unit < AT_EDGE) | (unit > 1 - AT_EDGE), axis=1)
    is_covered = _most_covered(objects) >= COVERED
    yield "at the image’s edge", is_cut
    yield f"overlapped by {100 * COVERED:.0f} % or more", is_covered
    yield "neither of these two", ~is_cut & ~is_covered


def _sizes(xyxy_px: Float64Array, image_px: Float64Array) -> Iterator[tuple[str, BoolArray]]:
    """Quarters of the objects, by their longer side as a part of their image's."""
    side = (xyxy_px[:, 2:] - xyxy_px[:, :2]).max(axis=1) / image_px.max(axis=1)
    edges = np.unique(np.quantile(side, np.linspace(0, 1, SIZES + 1)).round(2))
    which = np.searchsorted(edges[1:-1], side)
    for number, (low, high) in enumerate(pairwise(edges if len(edges) > 1 else np.tile(edges, 2))):
        yield f"{100 * low:.0f}–{100 * high:.0f} % of the side", which == number


def _most_covered(objects: Outcomes) -> Float64Array:
    """The largest part of each object's box that another one's box of its image overlaps, (O,)."""
    covered = np.zeros(len(objects))
    for start, stop in _runs(objects.picture):
        boxes = objects.xyxy_px[start:stop]
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        overlap = (high - low).clip(min=0).prod(axis=2)
        np.fill_diagonal(overlap, 0)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        covered[start:stop] = overlap.max(axis=1) / area.clip(min=1e-9)
    return covered


def _runs(values: Int64Array) -> Iterator[tuple[int, int]]:
    """Where runs of equal values begin and end."""
    bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from pairwise(bounds)
