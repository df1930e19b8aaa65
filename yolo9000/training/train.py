"""Joint training: the loop, on one screen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from data_prep import ShardReader, kmeans_anchors
from data_prep.anchors import box_sizes_px
from yolo9000.checkpoints.checkpoint import load_checkpoint, refuse_other_tree
from yolo9000.checkpoints.start_from import Start, with_network_of
from yolo9000.config import Config, ModelConfig
from yolo9000.data.batch import Batch
from yolo9000.data.detector_data import TrainingData
from yolo9000.data.sample import exhaustive_by_source
from yolo9000.data.sampler import DataMismatch, split_of
from yolo9000.distributed import is_first, joined_processes
from yolo9000.evaluation.evaluate import ScoredImages, evaluate
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.losses.non_exclusive import non_exclusive_pairs
from yolo9000.models.detector import Detector, build_model
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.draw_pseudo_boxes import draw_pseudo_boxes
from yolo9000.training.gradients import summed_gradients
from yolo9000.training.journal import Journal
from yolo9000.training.optim import learning_rate_at, set_learning_rate
from yolo9000.training.run import Guard, Run, refuse_odd_sizes, saved_run, with_absolute_paths
from yolo9000.training.run_folder import (
    locked_run,
    prepare_folder,
    refuse_changed_settings,
    refuse_run_in_the_way,
)
from yolo9000.training.run_report import NO_WORDS, Words, refuse_missing_attribution, write_run_report
from yolo9000.training.validation import Scoring, Validation

DetectorRun: TypeAlias = Run[Config, Detector]


@joined_processes()
def train(cfg: Config, folder: Path, *, resume: bool = False, words: Words = NO_WORDS) -> Scorecard:
    """Train to `cfg.schedule.max_steps` in a run folder; the scorecard of the last evaluation.

    The folder gets last.pt (to go on from), best.pt (by AP50 on boxed classes), config.yaml, metrics.csv and, at each
    evaluation, report.html; words: what that says beyond what the run knows.
    Raises TrainingError, DataMismatch, CheckpointError.
    """
    run = started_or_resumed(cfg, folder, resume=resume)
    cfg, schedule = run.cfg, run.cfg.schedule
    criterion = build_criterion(cfg, run.reader).to(run.device)
    data, guard = TrainingData(run.reader, cfg, run.pseudo_boxes), Guard()
    report = partial(write_run_report, run, folder, words)  # best_by: label-only classes would leak
    scoring = Scoring(_score_of(run), headline, best_by="ap50_boxed", report=report)
    # What cannot be scored or told is better told now than after hours.
    ScoredImages.of(run.reader, cfg.evaluate)
    refuse_missing_attribution(cfg)
    with (
        locked_run(folder),
        Journal(run, folder) as journal,
        Validation(run, folder, journal, scoring) as validation,
    ):
        prepare_folder(folder, cfg, step=run.step)
        if run.evaluates:  # what a killed run may have lost
            validation.start()
        for parts in data.parts(run.step + 1, schedule.max_steps):
            run.step += 1
            rate = learning_rate_at(run.step, cfg.optimizer.learning_rate, schedule)
            set_learning_rate(run.optimizer, rate)
            terms = summed_gradients(run.model, parts, lambda part: detector_terms(run, criterion, part))
            guard.check(terms, run.step)
            run.update()

            journal.step(rate, terms, input_px=parts[0].images.shape[-1])
            if run.saves:
                guard.settle(run)
            if run.saves or validation.is_done:
                validation.collect()
            if run.step in cfg.pseudo_boxes.at_steps:
                with journal.paused(), run.averaged_weights() as model, run.autocast():
                    run.pseudo_boxes = draw_pseudo_boxes(model, data)
                data.pseudo_boxes = run.pseudo_boxes
            if run.saves:
                run.save(folder)
            if run.evaluates:  # with all of training safe
                validation.start()
        run.save_new_score(folder)
    data.damage.report_total()
    assert validation.score is not None, "the last step is scored"
    return validation.score


def detector_terms(run: DetectorRun, criterion: JointLoss, part: Batch) -> dict[str, Tensor]:
    """The terms of the loss of a step's batch, or of a part of it, by their names."""
    part = part.to(run.device)
    with run.autocast():
        output = run.model(part.images)
    seen, images = run.images_seen, run.cfg.data.batch_size
    terms: LossTerms = criterion(output, part.targets, images_seen=seen, pictures=images)
    return terms.by_name()


def started_or_resumed(cfg: Config, folder: Path, *, resume: bool) -> DetectorRun:
    """The run before its first step or, of a run in `folder`, after its last one."""
    return _resumed(cfg, folder) if resume else _started(cfg, folder)


def _started(cfg: Config, folder: Path) -> DetectorRun:
    refuse_run_in_the_way(folder)
    reader = ShardReader(cfg.data.shards)
    split_of(reader, cfg.data.train_split)
    start = Start.read(cfg.model.start_from) if cfg.model.start_from else None
    wanted = start.network_for(cfg.model) if start else cfg.model
    cfg = cfg.model_copy(update={"model": settled(wanted, reader, cfg)})
    model = _built(cfg, reader)
    taken = start.give(model, reader.tree) if start else ()
    run = Run.of(with_absolute_paths(cfg), reader, model)
    if start:
        run.seen_before, run.darknet = start.carried(taken)
        if is_first():
            print(start.in_words(taken, reader.tree), file=sys.stderr)
    return run


def _resumed(cfg: Config, folder: Path) -> DetectorRun:
    found, path = saved_run(folder, load_checkpoint)
    if cfg.model.start_from:
        cfg = cfg.model_copy(update={"model": with_network_of(cfg.model, found.config.model)})
    refuse_changed_settings(folder, _network_settings(cfg, found.config))
    reader = ShardReader(cfg.data.shards)
    refuse_other_tree(found, path, reader)
    anchors = found.config.model.anchors
    cfg = cfg.model_copy(update={"model": cfg.model.model_copy(update={"anchors": anchors})})
    run = Run.of(with_absolute_paths(cfg), reader, _built(cfg, reader))
    run.go_on_from(found, path)
    return run


def _network_settings(cfg: Config, made: Config) -> dict[str, tuple[Any, Any]]:
    """What decides the meaning of weights and optimizer state: as asked now, and as the run was made."""
    fixed = ["architecture", "width", "siblings", "anchor_count", *(["anchors"] if cfg.model.anchors else [])]
    settings = {f"model.{name}": (getattr(cfg.model, name), getattr(made.model, name)) for name in fixed}
    return {**settings, "optimizer.name": (cfg.optimizer.name, made.optimizer.name)}


def _built(cfg: Config, reader: ShardReader) -> Detector:
    torch.manual_seed(cfg.seed)
    model = build_model(cfg.model, reader.tree)
    refuse_odd_sizes(cfg, model.stride)
    return model


def settled(model: ModelConfig, reader: ShardReader, cfg: Config) -> ModelConfig:
    """The same with its anchors: those given, or k-means on the boxes of the training split (paper, section 2)."""
    if model.anchors is not None:
        return model
    sizes_px = box_sizes_px(reader, cfg.data.train_split, model.side_px)
    if len(np.unique(sizes_px, axis=0)) < model.anchor_count:
        raise DataMismatch(
            f"{cfg.data.shards}: split '{cfg.data.train_split}' has {len(sizes_px)} boxes, too few to find "
            f"{model.anchor_count} anchors. Merge a source with boxes, or set model.anchors (in grid cells)."
        )
    found = kmeans_anchors(sizes_px / model.stride, model.anchor_count, seed=cfg.seed)
    anchors = tuple((round(float(w), 4), round(float(h), 4)) for w, h in found.anchors)
    return model.model_copy(update={"anchors": anchors})


def _score_of(run: DetectorRun) -> Callable[[Detector], Scorecard]:
    cfg, reader = run.cfg, run.reader
    return lambda model: evaluate(model, reader, reader.label_counts, cfg.model.input_size_px, cfg.evaluate)


def headline(scorecard: Scorecard) -> dict[str, float]:
    """The columns of metrics.csv that an evaluation fills."""
    parts = {"boxed": scorecard.boxed, "label_only": scorecard.label_only}
    return {f"ap50_{name}": part.ap50 for name, part in parts.items() if part.ap50 is not None}


def build_criterion(cfg: Config, reader: ShardReader) -> JointLoss:
    """The loss that `cfg` describes, for the tree of the shards and what their sources vouch for."""
    asked = cfg.loss.non_exclusive
    pairs = None if asked is None else non_exclusive_pairs(asked, reader.tree)
    tree_tensors = TreeTensors(reader.tree, siblings=cfg.model.siblings, non_exclusive=pairs)
    return JointLoss(cfg.loss, tree_tensors, exhaustive=torch.from_numpy(exhaustive_by_source(reader)))
