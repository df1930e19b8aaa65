"""Assignment of detections to labelled boxes of their class, by the rules of COCO's evaluator.

Only pairs of boxes that overlap are kept, so time and memory depend on the numbers of boxes, not on the number of
classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable, group_key, rank_in_run

NO_MATCH = -1
PAIRS_AT_ONCE = 1_000_000  # whose overlaps are computed together


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a detection and a labelled box of its image and class that overlap, in the order of the detections.

    detection, truth   (pairs,) rows of the tables
    overlap            (pairs,) IoU; for a crowd intersection / area of the detection
    """

    detection: Int64Array
    truth: Int64Array
    overlap: Float64Array

    def __len__(self) -> int:
        return len(self.detection)


@dataclass(frozen=True, eq=False)
class Matches:
    """The labelled box that each detection matches, at each threshold of the overlap.

    detection   (matched,) rows of the detections that overlap a box; all others match nothing
    truth       (thresholds, matched) row of the matched box, −1 for none
    """

    detection: Int64Array
    truth: Int64Array


def overlapping_pairs(detections: DetectionTable, truths: TruthTable, *, min_overlap: float) -> Pairs:
    """The pairs whose overlap is at least `min_overlap`, which is above 0.

    The pairs of a detection are in ascending order of preference: ignored boxes before others, then by overlap.
    """
    parts = list(_chunks_of_pairs(detections, truths, min_overlap))
    detection, truth, overlap = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((truth, overlap, ~truths.ignored[truth], detection))
    return Pairs(detection[order], truth[order], overlap[order])


def match(pairs: Pairs, detections: DetectionTable, truths: TruthTable, thresholds: Float64Array) -> Matches:
    """The matches at each threshold (thresholds,).

    In each image, the detections of a class choose by descending score. Each takes the box of largest overlap that no
    earlier one has taken; an ignored box only if there is no other, and any number of detections may take the same.
    """
    first = np.flatnonzero(np.diff(pairs.detection, prepend=-1))  # first pair of each detection
    rows = pairs.detection[first]
    count = np.diff(first, append=len(pairs))
    nodes = int(detections.node.max(initial=0)) + 1
    round_of = rank_in_run(group_key(detections.image[rows], detections.node[rows], nodes))
    taken = np.zeros((len(thresholds), len(truths)), bool)
    matched = np.full((len(thresholds), len(rows)), NO_MATCH, np.int64)
    by_round = np.argsort(round_of, kind="stable")
    ends = np.cumsum(np.bincount(round_of)) if len(rows) else ()
    for members in np.split(by_round, ends[:-1]) if len(rows) else ():
        pair = runs(first[members], count[members])
        truth, start = pairs.truth[pair], np.cumsum(count[members]) - count[members]
        is_free = (pairs.overlap[pair] >= thresholds[:, None]) & ~taken[:, truth]
        best = np.maximum.reduceat(np.where(is_free, np.arange(len(pair)), NO_MATCH), start, axis=1)
        found = np.where(best >= 0, truth[best], NO_MATCH)
        matched[:, members] = found
        threshold, column = np.nonzero((found >= 0) & ~truths.ignored[found])
        taken[threshold, found[threshold, column]] = True
    return Matches(rows, matched)


def runs(start: Int64Array, length: Int64Array) -> Int64Array:
    """The numbers start … start + length − 1 of all runs, one run after the other."""
    offset = np.cumsum(length) - length
    return np.arange(int(length.sum())) - np.repeat(offset - start, length)


def overlaps(detected: Float64Array, labelled: Float64Array, is_crowd: BoolArray) -> Float64Array:
    """Overlap of each detected box with the labelled box of its row, (pairs,); both (pairs, 4) xyxy."""
    size = np.minimum(detected[:, 2:], labelled[:, 2:]) - np.maximum(detected[:, :2], labelled[:, :2])
    intersection = size.clip(min=0).prod(axis=1)
    area = (detected[:, 2:] - detected[:, :2]).prod(axis=1)
    other = (labelled[:, 2:] - labelled[:, :2]).prod(axis=1)
    union = np.where(is_crowd, area, area + other - intersection)
    overlap: Float64Array = np.divide(intersection, union, out=np.zeros(len(union)), where=union > 0)
    return overlap


def _chunks_of_pairs(
    detections: DetectionTable, truths: TruthTable, min_overlap: float
) -> Iterator[tuple[Int64Array, Int64Array, Float64Array]]:
    """Detection, labelled box and overlap of the pairs, a bounded number of candidates at a time."""
    nodes = int(max(detections.node.max(initial=0), truths.node.max(initial=0))) + 1
    key = group_key(detections.image, detections.node, nodes)
    truth_key = group_key(truths.image, truths.node, nodes)
    start = np.searchsorted(truth_key, key, side="left")
    count = np.searchsorted(truth_key, key, side="right") - start
    rows = np.flatnonzero(count)
    chunk = np.cumsum(count[rows]) // PAIRS_AT_ONCE
    yield np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    for part in np.split(rows, np.flatnonzero(np.diff(chunk)) + 1):
        detection, truth = np.repeat(part, count[part]), runs(start[part], count[part])
        overlap = overlaps(detections.xyxy_px[detection], truths.xyxy_px[truth], truths.crowd[truth])
        kept = overlap >= min_overlap
        yield detection[kept], truth[kept], overlap[kept]
