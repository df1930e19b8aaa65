"""Recall and classification broken down by object size, truncation and occlusion.

A condition in which only classes without boxes do worse shows what their training images lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array
from yolo9000.evaluation.outcomes import ObjectOutcomes
from yolo9000.evaluation.supervision import CLASS_GROUPS, ClassGroup

SIZE_BINS = 4  # with equally many objects in each
TRUNCATED_WITHIN = 0.01  # share of the image's side: a box this near to the edge counts as truncated
OCCLUDED_FROM = 0.2  # share of a box that another box must at least cover


@dataclass(frozen=True)
class BreakdownRow:
    """Numbers of all, detected and correctly classified objects of one group of classes under one condition."""

    condition: str
    group: ClassGroup
    objects: int
    detected: int
    correct: int


def breakdown(
    objects: ObjectOutcomes, sizes_px: Sequence[tuple[int, int]], group_of: Callable[[int], ClassGroup]
) -> tuple[BreakdownRow, ...]:
    """A row for each condition and group of classes that has objects.

    sizes_px: (width, height) of each image; group_of: a function from a node to the group of its class.
    """
    if not len(objects):
        return ()
    group_of_node = {node: group_of(node) for node in set(objects.node.tolist())}
    group_number = np.array([CLASS_GROUPS.index(group_of_node[node]) for node in objects.node.tolist()])
    rows = []
    for condition, is_met in _conditions(objects, np.array(sizes_px, float)[objects.image]):
        for number, group in enumerate(CLASS_GROUPS):
            chosen = is_met & (group_number == number)
            detected, correct = chosen & objects.is_detected, chosen & objects.is_correct
            if chosen.any():
                rows.append(
                    BreakdownRow(condition, group, int(chosen.sum()), int(detected.sum()), int(correct.sum()))
                )
    return tuple(rows)


def _conditions(objects: ObjectOutcomes, image_wh_px: Float64Array) -> Iterator[tuple[str, BoolArray]]:
    """Each condition and the objects that meet it, (O,); image_wh_px: size of the image of each object, (O, 2)."""
    yield from _size_bins(objects.xyxy_px, image_wh_px)
    xyxy_unit = objects.xyxy_px / np.tile(image_wh_px, 2)
    near_edge = (xyxy_unit < TRUNCATED_WITHIN) | (xyxy_unit > 1 - TRUNCATED_WITHIN)
    is_truncated: BoolArray = np.any(near_edge, axis=1)
    is_occluded = _covered_share(objects) >= OCCLUDED_FROM
    yield "truncated: at the image edge", is_truncated
    yield f"occluded: another box covers {100 * OCCLUDED_FROM:.0f} % or more", is_occluded
    yield "neither truncated nor occluded", ~is_truncated & ~is_occluded


def _size_bins(xyxy_px: Float64Array, image_wh_px: Float64Array) -> Iterator[tuple[str, BoolArray]]:
    """Quarters of the objects, by the ratio of their longer side to the longer side of their image."""
    side = (xyxy_px[:, 2:] - xyxy_px[:, :2]).max(axis=1) / image_wh_px.max(axis=1)
    edges = np.unique(np.quantile(side, np.linspace(0, 1, SIZE_BINS + 1)).round(2))
    bin_of = np.searchsorted(edges[1:-1], side)
    for number, (low, high) in enumerate(pairwise(edges if len(edges) > 1 else np.tile(edges, 2))):
        yield f"size: {100 * low:.0f}–{100 * high:.0f} % of the image side", bin_of == number


def _covered_share(objects: ObjectOutcomes) -> Float64Array:
    """The largest share of each object's box that is covered by one other box of its image, 0..1, (O,)."""
    covered = np.zeros(len(objects))
    ends = np.flatnonzero(np.diff(objects.image)) + 1  # the objects of an image follow one another
    for start, stop in pairwise([0, *ends.tolist(), len(objects)]):
        boxes = objects.xyxy_px[start:stop]
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        overlap = (high - low).clip(min=0).prod(axis=2)
        np.fill_diagonal(overlap, 0)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        covered[start:stop] = overlap.max(axis=1) / area.clip(min=1e-9)
    return covered
