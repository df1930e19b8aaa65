"""`Task`: where training a detector (train.py) and training a classifier (pretrain.py) differ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import Int64Array
from yolo9000.checkpoints.checkpoint import Checkpoint, SettingsT
from yolo9000.checkpoints.flat_classifier import ClassTeacher
from yolo9000.data.classifier_data import ClassifierData
from yolo9000.data.detector_data import DetectorData
from yolo9000.training.journal import Journal
from yolo9000.training.run import NetworkT, Run

DataT = TypeVar("DataT", DetectorData, ClassifierData)
ResultT = TypeVar("ResultT")


class Task(Protocol[SettingsT, NetworkT, DataT, ResultT]):
    """The parts of a training run that depend on the network; the rest is in loop.py and resume.py."""

    # Dotted names of the settings that a resumed run may not change.
    fixed_settings: ClassVar[tuple[str, ...]]
    best_by: ClassVar[str]  # the column of metrics.csv that selects best.pt
    evaluation_labels: ClassVar[str]  # the labels that an image needs to be evaluated, in words

    # The network of a new or a resumed run

    def load(self, path: Path) -> Checkpoint[SettingsT]:
        """The checkpoint at `path`; CheckpointError if it is not of this task."""

    def complete_settings(
        self, cfg: SettingsT, reader: ShardReader, saved: Checkpoint[SettingsT] | None
    ) -> SettingsT:
        """The configuration with the settings that follow from the shards or the saved run; saved: None for a new run.

        Raises DataMismatch, and TrainingError if the shards do not fit the saved run.
        """

    def build_model(self, cfg: SettingsT, reader: ShardReader) -> NetworkT:
        """The network with random weights."""

    def class_teacher(self, cfg: SettingsT, reader: ShardReader) -> ClassTeacher | None:
        """The classifier to which the class rows of a new run are fitted; None if there is none.

        Raises CheckpointError, BackboneError, TrainingError.
        """

    # A step

    def before_first_step(self, run: Run[SettingsT, NetworkT], folder: Path, journal: Journal) -> None:
        """Work before the first step of this process, also if resumed; `run.class_teacher` is set in a new run only."""

    def training_data(self, run: Run[SettingsT, NetworkT]) -> DataT:
        """The batches of the run, as micro-batches of each step."""

    def loss_function(self, run: Run[SettingsT, NetworkT], data: DataT) -> Callable[[Any], dict[str, Tensor]]:
        """A function from a micro-batch of `data` to its named loss terms, with their sum as `total`."""

    def after_step(self, run: Run[SettingsT, NetworkT], data: DataT, journal: Journal) -> None:
        """Work between two steps, before the checkpoint is saved."""

    # An evaluation

    def evaluation_images(self, cfg: SettingsT, reader: ShardReader) -> Int64Array:
        """The images that an evaluation uses; DataMismatch if there are none."""

    def evaluate(self, run: Run[SettingsT, NetworkT], model: NetworkT) -> ResultT:
        """The metrics of the model, which is in evaluation mode: the run's own or a copy of it."""

    def csv_columns(self, result: ResultT) -> dict[str, float]:
        """The columns of metrics.csv that an evaluation fills, without those that have no value."""

    def report(self, run: Run[SettingsT, NetworkT], folder: Path, result: ResultT, step: int) -> str:
        """The page about the run as HTML; step: of the evaluated weights. Raises InvalidReport, OSError."""
