"""The two inputs of a scorecard: the labelled boxes of an image, and the scored boxes of a detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.errors import Yolo9000Error


class InvalidScores(Yolo9000Error):
    """Ground truth or detections cannot be evaluated, because columns or numbers of images do not match."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The M labelled boxes of one image. Raises InvalidScores for columns that do not fit together.

    xyxy_px     (M, 4) float64, image pixels
    node        (M,) int64
    ignored     (M,) bool, a detection of an ignored box counts neither as correct nor as wrong
    crowd       (M,) bool, ignored boxes around several objects, which a detection is of if it lies inside; a detection
                is of any other box if their IoU is high enough. None: all ignored boxes
    """

    xyxy_px: Float64Array
    node: Int64Array
    ignored: BoolArray
    crowd: BoolArray = None  # type: ignore[assignment]  # never None once made

    def __post_init__(self) -> None:
        if self.crowd is None:
            object.__setattr__(self, "crowd", self.ignored)
        _set_columns(self, xyxy_px=np.float64, node=np.int64, ignored=np.bool_, crowd=np.bool_)


@dataclass(frozen=True, eq=False)
class ScoredBoxes:
    """K scored boxes in one image, in any order. A box with scores for several nodes has a row for each.

    xyxy_px     (K, 4) float64, image pixels
    node        (K,) int64
    score       (K,) float64, objectness × absolute probability of the node

    Raises InvalidScores.
    """

    xyxy_px: Float64Array
    node: Int64Array
    score: Float64Array

    def __post_init__(self) -> None:
        _set_columns(self, xyxy_px=np.float64, node=np.int64, score=np.float64)
        if not np.isfinite(self.score).all():
            raise InvalidScores("ScoredBoxes: expected finite scores, found infinity or NaN.")

    def __len__(self) -> int:
        return len(self.node)


def check_same_images(truths: int, detections: int) -> None:
    """Raise InvalidScores unless each image has an entry in both lists."""
    if truths != detections:
        raise InvalidScores(
            f"Expected detections for each of {truths} images, in their order, found detections for {detections}."
        )


def _set_columns(columns: GroundTruth | ScoredBoxes, **dtypes: type[np.generic]) -> None:
    """Convert each column to its dtype and check that all columns have one row for each box."""
    for column, dtype in dtypes.items():
        object.__setattr__(columns, column, np.asarray(getattr(columns, column), dtype))
    boxes, name = columns.xyxy_px, type(columns).__name__
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InvalidScores(f"{name}: expected finite boxes of shape (rows, 4), found shape {boxes.shape}.")
    if (boxes[:, 2:] < boxes[:, :2]).any():  # COCO's evaluator would silently leave such a detection out
        raise InvalidScores(f"{name}: expected left, top, right, bottom, found right < left or bottom < top.")
    for column in dtypes:
        rows = getattr(columns, column).shape[:1]
        if rows != (len(boxes),):
            raise InvalidScores(
                f"{name}: expected {len(boxes)} rows in every column, found {rows} in {column}."
            )
