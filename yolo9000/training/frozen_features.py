"""Features of a frozen backbone, computed once for each batch that training repeats (decision 37)."""

from __future__ import annotations

from dataclasses import replace

import torch

from yolo9000.config import Config
from yolo9000.data.batch import Batch
from yolo9000.data.detector_data import DetectorData
from yolo9000.models.detector import Detector, Features
from yolo9000.models.grid import GridOutput
from yolo9000.training.run import Run


class FrozenFeatures:
    """Keeps the features of repeated batches in memory, and replaces the images of these batches by an empty canvas.

    The backbone is frozen and its batch norm uses running statistics, so its features never change.
    """

    def __init__(self, run: Run[Config, Detector], data: DetectorData) -> None:
        self._model = run.model
        self._data = data if run.cfg.model.freeze == "all" else None
        self._features: dict[tuple[int, int], Features] = {}

    def output(self, batch: Batch) -> GridOutput:
        """The output of the network for a batch."""
        if self._data is None or batch.key is None:
            return self._model(batch.images)  # type: ignore[no-any-return]
        if batch.key not in self._features:
            with torch.no_grad():
                self._features[batch.key] = self._model.features(batch.images)
            canvas = batch.images.new_empty(1).expand_as(batch.images)  # of the same shape, without memory
            self._data.kept[batch.key] = replace(batch, images=canvas)
        return self._model.output_of(self._features[batch.key])
