"""Detections that almost reach `min_score`, for the report page."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wordtree.support.arrays import BoolArray
from yolo9000.inference.detections import Detections

if TYPE_CHECKING:
    from yolo9000.inference.predict import AnyPredictor

SHARE = 0.5  # of min_score, above which an object is almost detected


@dataclass(frozen=True)
class AlmostDetected:
    """The rule that separates the detections of a predictor with a lower `min_score`."""

    predictor: AnyPredictor
    has_query: bool

    def lowered(self) -> AnyPredictor:
        """The predictor with `SHARE` of its `min_score`, and room for twice as many detections."""
        settings = self.predictor.settings
        lowered = copy(self.predictor)
        lowered.settings = settings.model_copy(
            update={"min_score": SHARE * settings.min_score, "max_detections": 2 * settings.max_detections}
        )
        return lowered

    def split(self, detections: Detections) -> tuple[Detections, Detections]:
        """The detections of the predictor itself, and the almost detected objects."""
        settings = self.predictor.settings
        is_detected = self._compared(detections) > settings.min_score
        found = detections[is_detected][: settings.max_detections]
        return found, detections[~is_detected][: settings.max_detections]

    def _compared(self, detections: Detections) -> np.ndarray:
        """The quantity that is compared with `min_score`: decision 34."""
        if self.has_query or self.predictor.settings.descent == "darknet":
            return detections.score
        top = [
            float(np.prod(path[: 1 + self._first_allowed(detections, row)]))
            for row, path in enumerate(detections.conditional)
        ]
        return detections.objectness * np.array(top, np.float32)

    def _first_allowed(self, detections: Detections, row: int) -> int:
        """The depth of the topmost class on the path that may be predicted."""
        if self.predictor.vocabulary is None:
            return 0
        allowed: BoolArray = self.predictor.vocabulary.allowed
        path = detections.tree.path(int(detections.node[row]))
        return next(depth for depth, node in enumerate(path) if allowed[node])
