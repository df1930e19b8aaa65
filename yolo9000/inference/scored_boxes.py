"""What is scored: the labelled boxes of an image, and a detector's answers for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.errors import Yolo9000Error


class InvalidScores(Yolo9000Error):
    """Ground truth or answers that cannot be scored: columns or numbers of images that do not match."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The M labelled boxes of one image. Raises InvalidScores for columns that do not fit together.

    xyxy_px     (M, 4) float64, pixels
    node        (M,) int64
    ignored     (M,) bool: a crowd or a group; finding it is neither right nor wrong
    """

    xyxy_px: Float64Array
    node: Int64Array
    ignored: BoolArray

    def __post_init__(self) -> None:
        _set_columns(self, xyxy_px=np.float64, node=np.int64, ignored=np.bool_)


@dataclass(frozen=True, eq=False)
class ScoredBoxes:
    """K answers for one image, in any order; one box may answer for several nodes, each with its own row.

    xyxy_px     (K, 4) float64, pixels
    node        (K,) int64
    score       (K,) float64, objectness × absolute probability of the node
    """

    xyxy_px: Float64Array
    node: Int64Array
    score: Float64Array

    def __post_init__(self) -> None:
        _set_columns(self, xyxy_px=np.float64, node=np.int64, score=np.float64)
        if not np.isfinite(self.score).all():
            raise InvalidScores("Answers: expected finite scores, found infinity or NaN.")

    def __len__(self) -> int:
        return len(self.node)


def check_same_images(truths: int, answers: int) -> None:
    """Raise InvalidScores unless there is one entry of answers for each image."""
    if truths != answers:
        raise InvalidScores(
            f"Expected answers for each of {truths} images, in their order, found them for {answers}."
        )


def _set_columns(columns: object, **dtypes: type[np.generic]) -> None:
    """Convert each column to its dtype and check that all have a row for each box."""
    for column, dtype in dtypes.items():
        object.__setattr__(columns, column, np.asarray(getattr(columns, column), dtype))
    boxes = getattr(columns, "xyxy_px")  # noqa: B009 (the type checker knows no attributes of object)
    kind = type(columns).__name__
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise InvalidScores(f"{kind}: expected finite boxes of shape (rows, 4), found shape {boxes.shape}.")
    if (boxes[:, 2:] < boxes[:, :2]).any():  # COCO's evaluator would silently leave such an answer out
        raise InvalidScores(f"{kind}: expected left, top, right, bottom, found right < left or bottom < top.")
    for column in dtypes:
        rows = getattr(columns, column).shape[:1]
        if rows != (len(boxes),):
            raise InvalidScores(
                f"{kind}: expected {len(boxes)} rows in every column, found {rows} in {column}."
            )
