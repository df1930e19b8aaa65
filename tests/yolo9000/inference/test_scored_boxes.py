"""`GroundTruth` and `ScoredBoxes` refuse columns that do not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from tests.yolo9000.evaluation.made_boxes import LEFT, detected, truth
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.inference.scored_boxes import GroundTruth, InvalidScores, ScoredBoxes


def test_invalid_columns_are_refused() -> None:
    with pytest.raises(
        InvalidScores, match=r"GroundTruth: expected 1 rows in every column, found \(2,\) in node"
    ):
        GroundTruth(xyxy_px=np.zeros((1, 4)), node=np.zeros(2, int), ignored=np.zeros(1, bool))
    with pytest.raises(InvalidScores, match=r"ScoredBoxes: expected finite boxes of shape \(rows, 4\)"):
        ScoredBoxes(xyxy_px=np.zeros(4), node=np.zeros(1, int), score=np.zeros(1))
    with pytest.raises(InvalidScores, match=r"ScoredBoxes: expected left, top, right, bottom"):
        detected(([10, 0, 0, 10], 2, 0.5))
    with pytest.raises(InvalidScores, match="finite scores"):
        detected((LEFT, 2, float("nan")))
    with pytest.raises(InvalidScores, match="each of 2 images, in their order, found detections for 1"):
        average_precision([truth(), truth()], [detected()])
