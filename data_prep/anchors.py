"""Dimension clusters (section 2 of the paper): k-means over box sizes with the distance 1 − IoU."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data_prep.errors import DataPrepError

if TYPE_CHECKING:
    from data_prep.shard_reader import ShardReader

Floats = npt.NDArray[np.float64]

RESTARTS = 8
MAX_ROUNDS = 300


class AnchorError(DataPrepError):
    """Boxes from which no anchors can be found."""


@dataclass(frozen=True)
class AnchorClusters:
    """(k, 2) widths and heights in the unit of the boxes, by area; the average IoU of a box with its best."""

    anchors: Floats
    average_iou: float


def kmeans_anchors(boxes_wh: npt.ArrayLike, k: int, seed: int = 0) -> AnchorClusters:
    """The k sizes of best average IoU, by seeded restarts; boxes_wh (M, 2) with at least k different rows.

    The mean of a cluster is not its best member under 1 − IoU, so rounds can lose; the best round counts.
    """
    boxes = np.asarray(boxes_wh, dtype=np.float64).reshape(-1, 2)
    if k < 1 or len(np.unique(boxes, axis=0)) < k:
        raise AnchorError(
            f"Cannot find {k} anchors among {len(np.unique(boxes, axis=0))} different box sizes."
        )
    if not np.isfinite(boxes).all() or (boxes <= 0).any():
        raise AnchorError("Every box needs a positive width and height to find anchors.")
    generator = np.random.default_rng(seed)
    runs = [_one_run(boxes, _spread_seeds(boxes, k, generator)) for _ in range(RESTARTS)]
    best = max(runs, key=lambda run: run.average_iou)
    by_area = np.argsort(best.anchors.prod(axis=1), kind="stable")
    return AnchorClusters(best.anchors[by_area], best.average_iou)


def iou_of_sizes(boxes_wh: Floats, anchors_wh: Floats) -> Floats:
    """(M, k) IoU of boxes (M, 2) and anchors (k, 2) that share their centre."""
    width = np.minimum(boxes_wh[:, None, 0], anchors_wh[None, :, 0])
    height = np.minimum(boxes_wh[:, None, 1], anchors_wh[None, :, 1])
    shared = width * height
    union = boxes_wh.prod(axis=1)[:, None] + anchors_wh.prod(axis=1)[None] - shared
    return np.asarray(shared / union, dtype=np.float64)


def box_sizes_px(reader: "ShardReader", split: str, size_px: float) -> Floats:
    """(M, 2) sizes of the split's boxes, crowds apart, when its pictures are letterboxed to size_px."""
    image_of_box = np.repeat(np.arange(len(reader)), np.diff(reader.box_offsets))
    chosen = np.isin(image_of_box, reader.split(split)) & ~reader.box_ignored
    image = image_of_box[chosen]
    image_wh = np.stack([reader.image_width[image], reader.image_height[image]], axis=1).astype(np.float64)
    corners = reader.boxes_xyxy_unit[chosen].astype(np.float64)
    scale = size_px / image_wh.max(axis=1, keepdims=True, initial=1)
    return np.asarray((corners[:, 2:] - corners[:, :2]) * image_wh * scale, dtype=np.float64)


def _spread_seeds(boxes: Floats, k: int, generator: np.random.Generator) -> Floats:
    """k-means++: each next seed is a box drawn in proportion to its squared distance from those so far."""
    chosen = [int(generator.integers(len(boxes)))]
    distance = 1 - iou_of_sizes(boxes, boxes[chosen])[:, 0]
    while len(chosen) < k:
        chosen.append(int(generator.choice(len(boxes), p=distance**2 / (distance**2).sum())))
        distance = np.minimum(distance, 1 - iou_of_sizes(boxes, boxes[chosen[-1:]])[:, 0])
    return boxes[chosen]


def _one_run(boxes: Floats, anchors: Floats) -> AnchorClusters:
    best = AnchorClusters(anchors, 0.0)
    cluster = np.full(len(boxes), -1)
    for _ in range(MAX_ROUNDS):
        iou = iou_of_sizes(boxes, anchors)
        nearest = iou.argmax(axis=1)
        average_iou = float(iou.max(axis=1).mean())
        if average_iou > best.average_iou:
            best = AnchorClusters(anchors, average_iou)
        if (nearest == cluster).all():
            break
        cluster = nearest
        anchors = _means(boxes, cluster, anchors)
    return best


def _means(boxes: Floats, cluster: npt.NDArray[np.intp], anchors: Floats) -> Floats:
    """The mean size of each cluster; an empty one keeps its anchor."""
    k = len(anchors)
    members = np.bincount(cluster, minlength=k)
    sums = np.stack([np.bincount(cluster, boxes[:, axis], minlength=k) for axis in (0, 1)], axis=1)
    return np.where(members[:, None] > 0, sums / np.maximum(members, 1)[:, None], anchors)
