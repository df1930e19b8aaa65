"""Dimension clusters (section 2 of the paper): k-means over box sizes with the distance 1 − IoU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataPrepError
from data_prep.shards.offsets import owner_of_rows
from wordtree.support.arrays import Float64Array, Int64Array

if TYPE_CHECKING:
    from data_prep.dataset.reader import ShardReader


RESTARTS = 8
MAX_ROUNDS = 300
MAX_SIZES = 8_000  # different sizes in a clustering; if there are more, similar sizes are averaged
SWEPT = range(1, 16)
_BOXES_AT_ONCE = 1 << 16  # whose IoU with the anchors is in memory


class AnchorError(DataPrepError):
    """Boxes that cannot be clustered into anchors."""


@dataclass(frozen=True)
class AnchorClusters:
    """Widths and heights of k anchors in the unit of the boxes, shape (k, 2), sorted by area.

    average_iou: mean IoU of a box with its best anchor.
    """

    anchors: Float64Array
    average_iou: float


def rounded(anchors: AnchorClusters) -> list[list[float]]:
    """Widths and heights in grid cells, rounded to three decimals."""
    return [[round(float(width), 3), round(float(height), 3)] for width, height in anchors.anchors]


def kmeans_anchors(boxes_wh: npt.ArrayLike, k: int, seed: int = 0) -> AnchorClusters:
    """The k sizes with the best average IoU after several restarts.

    boxes_wh: widths and heights, shape (M, 2), with at least k different rows. Raises AnchorError.
    Decision 17: the centre of a cluster is its median, since the mean is far from optimal for the distance 1 − IoU.
    A round may still lower the average IoU, so the best round counts.
    """
    boxes = _checked(boxes_wh)
    return _cluster_sizes(boxes, _Sizes.of(boxes), k, seed)


def sweep_anchors(
    boxes_wh: npt.ArrayLike, counts: Sequence[int] = SWEPT, seed: int = 0
) -> dict[int, AnchorClusters]:
    """Anchors for each of the given numbers, up to the number of different box sizes."""
    boxes = _checked(boxes_wh)
    sizes = _Sizes.of(boxes)
    possible = [k for k in counts if k <= len(sizes)] or counts[:1]
    return {k: _cluster_sizes(boxes, sizes, k, seed) for k in possible}


def elbow(sweep: Mapping[int, AnchorClusters]) -> int:
    """The number of anchors whose IoU is farthest above the line from the first to the last number."""
    counts = np.array(list(sweep), dtype=np.float64)
    ious = np.array([clusters.average_iou for clusters in sweep.values()])
    along = (counts - counts[0]) / max(counts[-1] - counts[0], 1)
    above = ious - ious[0] - along * (ious[-1] - ious[0])
    return int(counts[np.argmax(above.round(9))])


def iou_of_sizes(boxes_wh: Float64Array, anchors_wh: Float64Array) -> Float64Array:
    """IoU of boxes (M, 2) and anchors (k, 2) with a common centre, shape (M, k)."""
    width = np.minimum(boxes_wh[:, None, 0], anchors_wh[None, :, 0])
    height = np.minimum(boxes_wh[:, None, 1], anchors_wh[None, :, 1])
    shared = width * height
    union = boxes_wh.prod(axis=1)[:, None] + anchors_wh.prod(axis=1)[None] - shared
    return np.asarray(shared / union, dtype=np.float64)


def average_iou(boxes_wh: Float64Array, anchors_wh: Float64Array) -> float:
    """Mean IoU of a box with its best anchor; computed in parts, to save memory."""
    starts = range(0, len(boxes_wh), _BOXES_AT_ONCE)
    best = (
        iou_of_sizes(boxes_wh[start : start + _BOXES_AT_ONCE], anchors_wh).max(axis=1).sum()
        for start in starts
    )
    return float(sum(best) / len(boxes_wh))


def box_sizes_px(reader: "ShardReader", split: str, size_px: float) -> Float64Array:
    """Sizes of the split's boxes in images letterboxed to size_px, without ignore regions, shape (M, 2)."""
    in_split = np.zeros(len(reader), dtype=bool)
    in_split[reader.split(split)] = True
    image_of_box = owner_of_rows(reader.box_offsets)
    chosen = in_split[image_of_box] & ~reader.box_ignored
    image = image_of_box[chosen]
    image_wh = np.stack([reader.image_width[image], reader.image_height[image]], axis=1).astype(np.float64)
    corners = reader.boxes_xyxy_unit[chosen].astype(np.float64)
    scale = size_px / image_wh.max(axis=1, keepdims=True, initial=1)
    return np.asarray((corners[:, 2:] - corners[:, :2]) * image_wh * scale, dtype=np.float64)


@dataclass(frozen=True)
class _Sizes:
    """The different sizes of boxes, shape (n, 2), and the number of boxes of each, shape (n,)."""

    wh: Float64Array
    weight: Float64Array

    def __len__(self) -> int:
        return len(self.wh)

    @classmethod
    def of(cls, boxes: Float64Array) -> "_Sizes":
        """Exact sizes up to MAX_SIZES; beyond, the sizes in a cell of a fine logarithmic grid are averaged."""
        pairs, counts = np.unique(boxes[:, 0] + 1j * boxes[:, 1], return_counts=True)
        sizes = cls(np.stack([pairs.real, pairs.imag], axis=1), counts.astype(np.float64))
        ratio = 1.001  # of a cell's sides
        while len(sizes) > MAX_SIZES:
            sizes = sizes._merged(ratio)
            ratio **= 1.5
        return sizes

    def _merged(self, ratio: float) -> "_Sizes":
        cells = np.floor(np.log(self.wh) / np.log(ratio))
        _, cell = np.unique(cells[:, 0] + 1j * cells[:, 1], return_inverse=True)
        weight = np.asarray(np.bincount(cell, self.weight), dtype=np.float64)
        sums = [np.bincount(cell, self.weight * self.wh[:, axis]) for axis in (0, 1)]
        return _Sizes(np.stack(sums, axis=1) / weight[:, None], weight)


def _checked(boxes_wh: npt.ArrayLike) -> Float64Array:
    boxes = np.asarray(boxes_wh, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(boxes).all() or (boxes <= 0).any():
        raise AnchorError("Expected boxes with positive widths and heights, found others.")
    return boxes


def _cluster_sizes(boxes: Float64Array, sizes: _Sizes, k: int, seed: int) -> AnchorClusters:
    if k < 1 or len(sizes) < k:
        raise AnchorError(
            f"Cannot cluster {len(sizes)} different box sizes into {k} anchors; choose at most as many anchors as "
            "there are different sizes."
        )
    generator = np.random.default_rng(seed)
    runs = [_kmeans_run(sizes, _kmeans_plus_plus(sizes, k, generator)) for _ in range(RESTARTS)]
    anchors = max(runs, key=lambda run: run.average_iou).anchors
    by_area = anchors[np.argsort(anchors.prod(axis=1), kind="stable")]
    return AnchorClusters(by_area, average_iou(boxes, by_area))


def _kmeans_plus_plus(sizes: _Sizes, k: int, generator: np.random.Generator) -> Float64Array:
    """Start sizes by k-means++: each next one is drawn in proportion to its squared distance from the others."""
    chosen = [int(generator.choice(len(sizes), p=sizes.weight / sizes.weight.sum()))]
    distance = 1 - iou_of_sizes(sizes.wh, sizes.wh[chosen])[:, 0]
    while len(chosen) < k:
        share = sizes.weight * distance**2
        chosen.append(int(generator.choice(len(sizes), p=share / share.sum())))
        distance = np.minimum(distance, 1 - iou_of_sizes(sizes.wh, sizes.wh[chosen[-1:]])[:, 0])
    return sizes.wh[chosen]


def _kmeans_run(sizes: _Sizes, anchors: Float64Array) -> AnchorClusters:
    best = AnchorClusters(anchors, 0.0)
    cluster = np.full(len(sizes), -1)
    for _ in range(MAX_ROUNDS):
        iou = iou_of_sizes(sizes.wh, anchors)
        nearest = iou.argmax(axis=1)
        average = float(np.average(iou.max(axis=1), weights=sizes.weight))
        if average > best.average_iou:
            best = AnchorClusters(anchors, average)
        if (nearest == cluster).all():
            break
        cluster = nearest
        anchors = _medians(sizes, cluster, anchors)
    return best


def _medians(sizes: _Sizes, cluster: Int64Array, anchors: Float64Array) -> Float64Array:
    """Lower median width and height of each cluster, shape (k, 2); an empty cluster keeps its anchor."""
    medians = anchors.copy()
    members = np.bincount(cluster, sizes.weight, minlength=len(anchors))
    occupied = np.flatnonzero(members)
    for axis in (0, 1):
        order = np.lexsort((sizes.wh[:, axis], cluster))
        up_to = np.cumsum(sizes.weight[order])
        half = (np.cumsum(members) - members / 2)[occupied]
        medians[occupied, axis] = sizes.wh[order, axis][np.searchsorted(up_to, half)]
    return medians
