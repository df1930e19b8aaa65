"""`Task`: where training a detector (train.py) and training a classifier (pretrain.py) differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import Int64Array
from yolo9000.checkpoints.checkpoint import Checkpoint, Settings
from yolo9000.data.classifier_data import ClassifierData
from yolo9000.data.detector_data import DetectorData
from yolo9000.training.journal import Journal
from yolo9000.training.run import Network, Run

Data = TypeVar("Data", DetectorData, ClassifierData)
Score = TypeVar("Score")


class Task(Protocol[Settings, Network, Data, Score]):
    """The parts of a training run that depend on the network; everything else is in loop.py and resume.py.

    fixed_settings: dotted names of the settings that a resumed run may not change, because weights and optimizer state
    mean nothing without them. best_by: column of metrics.csv that selects best.pt. scored_labels: labels that an image
    needs to be scored, in words.
    """

    fixed_settings: ClassVar[tuple[str, ...]]
    best_by: ClassVar[str]
    scored_labels: ClassVar[str]

    # The network of a new or a resumed run

    def load(self, path: Path) -> Checkpoint[Settings]:
        """A checkpoint of this kind of network; CheckpointError for any other file."""

    def complete(self, cfg: Settings, reader: ShardReader, saved: Checkpoint[Settings] | None) -> Settings:
        """The configuration with the settings that shards or the saved run decide; saved: None for a new run.

        Raises DataMismatch, and TrainingError where the shards do not fit the saved run.
        """

    def build_model(self, cfg: Settings, reader: ShardReader) -> Network:
        """The network with random weights."""

    # A step

    def training_data(self, run: Run[Settings, Network]) -> Data:
        """The batches of the run, in micro-batches (`parts`)."""

    def loss_terms(self, run: Run[Settings, Network]) -> Callable[[Any], dict[str, Tensor]]:
        """A function from a micro-batch to its named loss terms; their sum is `total`."""

    def after_step(self, run: Run[Settings, Network], data: Data, journal: Journal) -> None:
        """Work between two steps, before the checkpoint is saved."""

    # An evaluation

    def scored_images(self, cfg: Settings, reader: ShardReader) -> Int64Array:
        """The images that an evaluation scores; DataMismatch if there are none."""

    def evaluate(self, run: Run[Settings, Network], model: Network) -> Score:
        """The score of `model`, which is a copy of the run's model in evaluation mode or that model itself."""

    def metrics(self, score: Score) -> dict[str, float]:
        """The columns of metrics.csv that an evaluation fills, without those that have no value."""

    def report(self, run: Run[Settings, Network], folder: Path, score: Score, step: int) -> str:
        """The page about the run as HTML; step: of the scored weights. Raises InvalidReport, OSError."""
