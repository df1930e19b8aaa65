"""Training a classifier on image labels, from which a detector may start: the loop, on one screen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from data_prep import ShardReader
from yolo9000.checkpoints.checkpoint import load_classifier, refuse_other_tree
from yolo9000.checkpoints.start_from import Start, with_network_of
from yolo9000.config import PretrainConfig
from yolo9000.data.classifier_data import ClassifierData, LabelledPictures, labelled_images, taught_nodes
from yolo9000.distributed import is_first, joined_processes
from yolo9000.evaluation.classification import ClassificationScore
from yolo9000.evaluation.evaluate import score_classifier
from yolo9000.models.classifier import Classifier, build_classifier, label_loss
from yolo9000.training.gradients import summed_gradients
from yolo9000.training.journal import Journal
from yolo9000.training.optim import learning_rate_at, set_learning_rate
from yolo9000.training.run import Guard, Run, refuse_odd_sizes, saved_run, with_absolute_paths
from yolo9000.training.run_folder import (
    TrainingError,
    locked_run,
    prepare_folder,
    refuse_changed_settings,
    refuse_run_in_the_way,
)
from yolo9000.training.run_report import refuse_missing_attribution, write_pretrain_report
from yolo9000.training.validation import Scoring, Validation

ClassifierRun: TypeAlias = Run[PretrainConfig, Classifier]


@joined_processes()
def pretrain(cfg: PretrainConfig, folder: Path, *, resume: bool = False) -> ClassificationScore:
    """Train to `cfg.schedule.max_steps` in a run folder; the score of the last evaluation.

    The folder gets last.pt (to go on from), best.pt (by top-1), config.yaml, metrics.csv and, at each evaluation,
    report.html.
    Raises TrainingError, DataMismatch, CheckpointError.
    """
    run = started_or_resumed(cfg, folder, resume=resume)
    cfg, schedule = run.cfg, run.cfg.schedule
    data, guard = ClassifierData(run.reader, cfg), Guard()
    report = partial(write_pretrain_report, run, folder)
    scoring = Scoring(_score_of(run), headline, best_by="accuracy_top1", report=report)
    # What cannot be scored or told is better told now than after hours.
    labelled_images(run.reader, cfg.evaluate.split)
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
            terms = summed_gradients(run.model, parts, lambda part: classifier_terms(run, part))
            guard.check(terms, run.step)
            run.update()

            journal.step(rate, terms, input_px=parts[0].images.shape[-1])
            if run.saves:
                guard.settle(run)
            if run.saves or validation.is_done:
                validation.collect()
            if run.saves:
                run.save(folder)
            if run.evaluates:  # with all of training safe
                validation.start()
        run.save_new_score(folder)
    data.damage.report_total()
    assert validation.score is not None, "the last step is scored"
    return validation.score


def headline(score: ClassificationScore) -> dict[str, float]:
    """The columns of metrics.csv that an evaluation fills."""
    parts = {"top1": score.top1, "top5": score.top5, "path": score.path}
    return {f"accuracy_{name}": value for name, value in parts.items() if value is not None}


def classifier_terms(run: ClassifierRun, part: LabelledPictures) -> dict[str, Tensor]:
    """The loss of a step's batch, or of a part of it, as its `total`."""
    part = part.to(run.device)
    with run.autocast():
        logits = run.model(part.images)
    log_probability = run.model.softmax.log_probability(logits, part.image, part.node)
    return {"total": label_loss(log_probability, part.image, pictures=run.cfg.data.batch_size)}


def started_or_resumed(cfg: PretrainConfig, folder: Path, *, resume: bool) -> ClassifierRun:
    """The run before its first step or, of a run in `folder`, after its last one."""
    return _resumed(cfg, folder) if resume else _started(cfg, folder)


def _started(cfg: PretrainConfig, folder: Path) -> ClassifierRun:
    refuse_run_in_the_way(folder)
    reader = ShardReader(cfg.data.shards)
    start = Start.read(cfg.model.start_from) if cfg.model.start_from else None
    if start:
        cfg = cfg.model_copy(update={"model": start.network_for(cfg.model)})
    model = _built(cfg, reader)
    taken = start.give(model, reader.tree) if start else ()
    run = Run.of(with_absolute_paths(cfg), reader, model)
    if start:
        run.seen_before, _ = start.carried(taken)
        if is_first():
            print(start.in_words(taken, reader.tree), file=sys.stderr)
    return run


def _resumed(cfg: PretrainConfig, folder: Path) -> ClassifierRun:
    found, path = saved_run(folder, load_classifier)
    if cfg.model.start_from:
        cfg = cfg.model_copy(update={"model": with_network_of(cfg.model, found.config.model)})
    refuse_changed_settings(folder, _network_settings(cfg, found.config))
    reader = ShardReader(cfg.data.shards)
    refuse_other_tree(found, path, reader)
    model = _built(cfg, reader)
    if not torch.equal(model.softmax.classes, found.weights["softmax.classes"]):
        raise TrainingError(
            f"{folder}: the run was made with labels of {len(found.weights['softmax.classes'])} nodes, but split "
            f"'{cfg.data.train_split}' of {reader.folder} has labels of {len(model.softmax.classes)}, not the same "
            "ones. Use the shards of the run, or choose another name and start from its best.pt."
        )
    run = Run.of(with_absolute_paths(cfg), reader, model)
    run.go_on_from(found, path)
    return run


def _network_settings(cfg: PretrainConfig, made: PretrainConfig) -> dict[str, tuple[Any, Any]]:
    """What decides the meaning of weights and optimizer state: as asked now, and as the run was made."""
    fixed = ("architecture", "width", "softmax")
    settings = {f"model.{name}": (getattr(cfg.model, name), getattr(made.model, name)) for name in fixed}
    return {**settings, "optimizer.name": (cfg.optimizer.name, made.optimizer.name)}


def _built(cfg: PretrainConfig, reader: ShardReader) -> Classifier:
    classes = torch.from_numpy(taught_nodes(reader, cfg))
    torch.manual_seed(cfg.seed)
    model = build_classifier(cfg.model, reader.tree, classes)
    refuse_odd_sizes(cfg, model.backbone.stride)
    return model


def _score_of(run: ClassifierRun) -> Callable[[Classifier], ClassificationScore]:
    cfg, reader = run.cfg, run.reader
    return lambda model: score_classifier(model, reader, cfg.model.side_px, cfg.evaluate)
