"""The labelled and the detected boxes of all images as flat columns, the input of matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes, check_same_images


@dataclass(frozen=True, eq=False)
class TruthTable:
    """The M labelled boxes of all images, sorted by image and node.

    image      (M,) position of the image
    node       (M,)
    xyxy_px    (M, 4)
    ignored    (M,) bool, detections of the box count neither as correct nor as wrong
    crowd      (M,) bool, the box stands for several objects: overlap is intersection / area of the detection
    """

    image: Int64Array
    node: Int64Array
    xyxy_px: Float64Array
    ignored: BoolArray
    crowd: BoolArray

    def __len__(self) -> int:
        return len(self.node)

    def rows(self, chosen: BoolArray) -> TruthTable:
        """The chosen boxes."""
        return TruthTable(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @classmethod
    def of(cls, truths: Sequence[GroundTruth]) -> TruthTable:
        """The table of one entry for each image."""
        image = _image_of_rows([len(truth.node) for truth in truths])
        node = _joined([truth.node for truth in truths], np.int64)
        order = np.lexsort((node, image))
        return cls(
            image[order],
            node[order],
            _joined([truth.xyxy_px for truth in truths], np.float64, 4)[order],
            _joined([truth.ignored for truth in truths], np.bool_)[order],
            _joined([truth.crowd for truth in truths], np.bool_)[order],
        )


@dataclass(frozen=True, eq=False)
class DetectionTable:
    """K detections of all images, sorted by image, node and descending score; equal scores keep their order.

    image     (K,) position of the image
    node      (K,)
    xyxy_px   (K, 4)
    score     (K,)
    """

    image: Int64Array
    node: Int64Array
    xyxy_px: Float64Array
    score: Float64Array

    def __len__(self) -> int:
        return len(self.node)

    def __getitem__(self, rows: npt.NDArray[Any]) -> DetectionTable:
        return DetectionTable(self.image[rows], self.node[rows], self.xyxy_px[rows], self.score[rows])

    @classmethod
    def of(cls, detections: Sequence[ScoredBoxes]) -> DetectionTable:
        """The table of one entry for each image."""
        image = _image_of_rows([len(boxes) for boxes in detections])
        table = cls(
            image,
            _joined([boxes.node for boxes in detections], np.int64),
            _joined([boxes.xyxy_px for boxes in detections], np.float64, 4),
            _joined([boxes.score for boxes in detections], np.float64),
        )
        return table[np.lexsort((-table.score, table.node, image))]

    def of_nodes(self, nodes: Int64Array) -> DetectionTable:
        """The detections of these nodes; nodes: ascending."""
        position = np.searchsorted(nodes, self.node).clip(max=max(0, len(nodes) - 1))
        return self[nodes[position] == self.node if len(nodes) else np.zeros(len(self), bool)]

    def best_of_each_class(self, count: int) -> DetectionTable:
        """At most `count` detections of each node in each image, those of highest score."""
        key = group_key(self.image, self.node, int(self.node.max(initial=0)) + 1)
        return self[rank_in_run(key) < count]

    def best_of_each_image(self, count: int) -> DetectionTable:
        """At most `count` detections in each image, those of highest score."""
        return self._best_of_each(self.image, count)

    def best_of_each_node(self, count: int) -> DetectionTable:
        """At most `count` detections of each node in all images, those of highest score."""
        return self._best_of_each(self.node, count)

    def _best_of_each(self, key: Int64Array, count: int) -> DetectionTable:
        order = np.lexsort((-self.score, key))
        return self[np.sort(order[rank_in_run(key[order]) < count])]


def tables_of(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes]
) -> tuple[TruthTable, DetectionTable]:
    """Both tables. Raises InvalidScores unless both sequences have one entry for each image."""
    check_same_images(len(truths), len(detections))
    return TruthTable.of(truths), DetectionTable.of(detections)


def group_key(image: Int64Array, node: Int64Array, nodes: int) -> Int64Array:
    """One number for each pair of image and node, ascending in the order of a table; nodes: above all nodes."""
    return image * nodes + node


def rank_in_run(key: Int64Array) -> Int64Array:
    """The position of each row within the run of rows of its key, from 0."""
    rows = np.arange(len(key))
    is_first = np.diff(key, prepend=key[:1] - 1) != 0
    return rows - np.maximum.accumulate(np.where(is_first, rows, 0))


def _image_of_rows(counts: list[int]) -> Int64Array:
    return np.repeat(np.arange(len(counts)), counts)


def _joined(columns: list[npt.NDArray[Any]], dtype: type[np.generic], width: int = 0) -> npt.NDArray[Any]:
    return np.concatenate([np.zeros((0, width) if width else 0, dtype), *columns])
