"""`yolo9000 train`: the task of joint training on boxes and image labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from data_prep import ShardReader, kmeans_anchors
from data_prep.anchors import box_sizes_px
from wordtree.support.arrays import Int64Array
from yolo9000.checkpoints.checkpoint import Checkpoint, load_detector
from yolo9000.checkpoints.flat_classifier import ClassTeacher, read_class_teacher
from yolo9000.config import Config
from yolo9000.data.batch import Batch
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.sampler import DataMismatch, images_of_split
from yolo9000.distributed import joined_processes
from yolo9000.evaluation.evaluate import evaluate_detector
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.losses.non_exclusive import non_exclusive_pairs
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.class_start import start_classes
from yolo9000.training.draw_pseudo_boxes import draw_pseudo_boxes
from yolo9000.training.frozen_features import FrozenFeatures
from yolo9000.training.journal import Journal
from yolo9000.training.loop import run_training
from yolo9000.training.run import Run, with_settings
from yolo9000.training.run_report import DEFAULT_TEXT, ReportText, detector_report

DetectorRun: TypeAlias = Run[Config, Detector]


@joined_processes()
def train(
    cfg: Config, folder: Path, *, resume: bool = False, report_text: ReportText = DEFAULT_TEXT
) -> Scorecard:
    """Train a detector to `cfg.schedule.max_steps` in a run folder; returns the scorecard of the last evaluation.

    The folder gets last.pt (to resume from), best.pt (by AP50 of boxed classes), config.yaml, metrics.csv and, at each
    evaluation, report.html with `report_text`.
    Raises TrainingError, DataMismatch, CheckpointError.
    """
    return run_training(DetectorTask(report_text), cfg, folder, resume=resume)


@dataclass(frozen=True)
class DetectorTask:
    """The `Task` of a detector that learns from boxes and image labels and is evaluated by AP50."""

    report_text: ReportText = DEFAULT_TEXT

    fixed_settings: ClassVar[tuple[str, ...]] = (
        "model.architecture", "model.backbone", "model.grid_stride", "model.freeze", "model.width", "model.siblings",
        "model.anchor_count", "model.anchors", "model.roi_head", "optimizer.name", "optimizer.backbone_lr_scale",
    )  # fmt: skip
    # Label-only classes do not count: their boxes may not influence training.
    best_by: ClassVar[str] = "ap50_boxed"
    evaluation_labels: ClassVar[str] = "boxes"

    def load(self, path: Path) -> Checkpoint[Config]:
        return load_detector(path)

    def complete_settings(self, cfg: Config, reader: ShardReader, saved: Checkpoint[Config] | None) -> Config:
        if saved:
            return with_settings(cfg, "model", anchors=saved.config.model.anchors)
        return with_anchors(cfg, reader)

    def build_model(self, cfg: Config, reader: ShardReader) -> Detector:
        return build_detector(cfg.model, reader.tree)

    def class_teacher(self, cfg: Config, reader: ShardReader) -> ClassTeacher | None:
        return read_class_teacher(cfg.model, reader.tree)

    def before_first_step(self, run: DetectorRun, folder: Path, journal: Journal) -> None:
        """Fit the class rows to `model.classes_from`, and save them, so that a resumed run has them."""
        if run.class_teacher:
            with journal.paused():
                start_classes(run, run.class_teacher, folder)
            run.class_teacher = None
            run.restart_ema()
            run.save(folder)

    def training_data(self, run: DetectorRun) -> DetectorData:
        return DetectorData(run.reader, run.cfg, run.pseudo_boxes)

    def loss_function(self, run: DetectorRun, data: DetectorData) -> Callable[[Batch], dict[str, Tensor]]:
        criterion = build_criterion(run.cfg, run.reader).to(run.device)
        network = FrozenFeatures(run, data)

        def terms_of(micro_batch: Batch) -> dict[str, Tensor]:
            micro_batch = micro_batch.to(run.device)
            with run.autocast():
                output = network.output(micro_batch)
            terms: LossTerms = criterion(
                output,
                micro_batch.targets,
                images_seen=run.images_seen,
                batch_size=run.cfg.data.batch_size,
            )
            return terms.by_name()

        return terms_of

    def after_step(self, run: DetectorRun, data: DetectorData, journal: Journal) -> None:
        """Draw pseudo-boxes after the steps of `pseudo_boxes.at_steps` (decision 27)."""
        if run.step in run.cfg.pseudo_boxes.at_steps:
            with journal.paused(), run.ema_weights() as model, run.autocast():
                run.pseudo_boxes = data.pseudo_boxes = draw_pseudo_boxes(model, data)

    def evaluation_images(self, cfg: Config, reader: ShardReader) -> Int64Array:
        return EvaluationSet.of(reader, cfg.evaluate).images

    def evaluate(self, run: DetectorRun, model: Detector) -> Scorecard:
        cfg, reader = run.cfg, run.reader
        size_px, counts = cfg.model.input_size_px, reader.label_counts
        return evaluate_detector(model, reader, counts, size_px, cfg.evaluate, predict=cfg.predict)

    def csv_columns(self, result: Scorecard) -> dict[str, float]:
        parts = {"boxed": result.boxed, "label_only": result.label_only}
        return {f"ap50_{name}": part.ap50 for name, part in parts.items() if part.ap50 is not None}

    def report(self, run: DetectorRun, folder: Path, result: Scorecard, step: int) -> str:
        return detector_report(run, folder, self.report_text, result, step)


def with_anchors(cfg: Config, reader: ShardReader) -> Config:
    """The configuration with anchors: its own, or k-means on the boxes of the training split (paper, section 2)."""
    model = cfg.model
    if model.anchors is not None:
        return cfg
    images_of_split(reader, cfg.data.train_split)
    sizes_px = box_sizes_px(reader, cfg.data.train_split, model.side_px)
    if len(np.unique(sizes_px, axis=0)) < model.anchor_count:
        raise DataMismatch(
            f"{cfg.data.shards}: split '{cfg.data.train_split}' has {len(sizes_px)} boxes, too few to find "
            f"{model.anchor_count} anchors. Merge a source with boxes, or set model.anchors (in grid cells)."
        )
    found = kmeans_anchors(sizes_px / model.stride, model.anchor_count, seed=cfg.seed)
    anchors = tuple((round(float(w), 4), round(float(h), 4)) for w, h in found.anchors)
    return with_settings(cfg, "model", anchors=anchors)


def build_criterion(cfg: Config, reader: ShardReader) -> JointLoss:
    """The loss of the configuration, for the tree and the exhaustively annotated nodes of the shards."""
    setting = cfg.loss.non_exclusive
    pairs = None if setting is None else non_exclusive_pairs(setting, reader.tree)
    tree_tensors = TreeTensors(reader.tree, siblings=cfg.model.siblings, non_exclusive=pairs)
    return JointLoss(cfg.loss, tree_tensors, exhaustive=torch.from_numpy(reader.exhaustive_by_source))
