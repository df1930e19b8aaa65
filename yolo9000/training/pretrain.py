"""`yolo9000 pretrain`: the task of training a classifier, from which a detector may start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import Int64Array
from yolo9000.checkpoints.checkpoint import Checkpoint, load_classifier
from yolo9000.config import PretrainConfig
from yolo9000.data.classifier_data import ClassifierBatch, ClassifierData, labelled_images, training_nodes
from yolo9000.data.sampler import some_of_each_source
from yolo9000.distributed import joined_processes
from yolo9000.evaluation.classification import ClassificationMetrics
from yolo9000.evaluation.evaluate import evaluate_classifier
from yolo9000.models.classifier import Classifier, build_classifier, label_loss
from yolo9000.training.journal import Journal
from yolo9000.training.loop import run_training
from yolo9000.training.run import Run
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.run_report import classifier_report

ClassifierRun: TypeAlias = Run[PretrainConfig, Classifier]


@joined_processes()
def pretrain(cfg: PretrainConfig, folder: Path, *, resume: bool = False) -> ClassificationMetrics:
    """Train a classifier to `cfg.schedule.max_steps` in a run folder; returns the metrics of the last evaluation.

    The folder gets last.pt (to resume from), best.pt (by top-1), config.yaml, metrics.csv and, at each evaluation,
    report.html.
    Raises TrainingError, DataMismatch, CheckpointError.
    """
    return run_training(ClassifierTask(), cfg, folder, resume=resume)


@dataclass(frozen=True)
class ClassifierTask:
    """The `Task` of a classifier that learns from image labels and is evaluated by top-1 accuracy."""

    fixed_settings: ClassVar[tuple[str, ...]] = (
        "model.architecture", "model.backbone", "model.freeze", "model.width", "model.softmax", "optimizer.name",
        "optimizer.backbone_lr_scale",
    )  # fmt: skip
    best_by: ClassVar[str] = "accuracy_top1"
    evaluation_labels: ClassVar[str] = "image labels"

    def load(self, path: Path) -> Checkpoint[PretrainConfig]:
        return load_classifier(path)

    def complete_settings(
        self, cfg: PretrainConfig, reader: ShardReader, saved: Checkpoint[PretrainConfig] | None
    ) -> PretrainConfig:
        if saved:
            refuse_other_classes(cfg, reader, saved)
        return cfg

    def build_model(self, cfg: PretrainConfig, reader: ShardReader) -> Classifier:
        return build_classifier(cfg.model, reader.tree, torch.from_numpy(training_nodes(reader, cfg)))

    def class_teacher(self, cfg: PretrainConfig, reader: ShardReader) -> None:
        """A classifier has no `model.classes_from`."""

    def before_first_step(self, run: ClassifierRun, folder: Path, journal: Journal) -> None:
        """Nothing to do."""

    def training_data(self, run: ClassifierRun) -> ClassifierData:
        return ClassifierData(run.reader, run.cfg)

    def loss_function(
        self, run: ClassifierRun, data: ClassifierData
    ) -> Callable[[ClassifierBatch], dict[str, Tensor]]:
        def terms_of(micro_batch: ClassifierBatch) -> dict[str, Tensor]:
            micro_batch = micro_batch.to(run.device)
            with run.autocast():
                logits = run.model(micro_batch.images)
            log_probability = run.model.softmax.log_probability(logits, micro_batch.image, micro_batch.node)
            return {"total": label_loss(log_probability, micro_batch.image, images=run.cfg.data.batch_size)}

        return terms_of

    def after_step(self, run: ClassifierRun, data: ClassifierData, journal: Journal) -> None:
        """Nothing to do."""

    def evaluation_images(self, cfg: PretrainConfig, reader: ShardReader) -> Int64Array:
        images = labelled_images(reader, cfg.evaluate.split)
        return some_of_each_source(reader, images, cfg.evaluate.limit)

    def evaluate(self, run: ClassifierRun, model: Classifier) -> ClassificationMetrics:
        return evaluate_classifier(model, run.reader, run.cfg.model.side_px, run.cfg.evaluate)

    def csv_columns(self, result: ClassificationMetrics) -> dict[str, float]:
        parts = {"top1": result.top1, "top5": result.top5, "path": result.path}
        return {f"accuracy_{name}": value for name, value in parts.items() if value is not None}

    def report(self, run: ClassifierRun, folder: Path, result: ClassificationMetrics, step: int) -> str:
        return classifier_report(run, folder, result, step)


def refuse_other_classes(cfg: PretrainConfig, reader: ShardReader, saved: Checkpoint[PretrainConfig]) -> None:
    """Raise TrainingError unless the training split has labels of the nodes that the saved run was made with."""
    now, before = training_nodes(reader, cfg), saved.weights["softmax.classes"].numpy()
    if not np.array_equal(now, before):
        raise TrainingError(
            f"The run was made with labels of {len(before)} nodes, but split '{cfg.data.train_split}' of "
            f"{reader.folder} has labels of a different set of {len(now)}. Use the shards of the run, or choose "
            "another name and start from its best.pt."
        )
