"""`--check`: all that a training needs is tried with one batch, nothing is written; what would be done, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from yolo9000.config import Config, PretrainConfig
from yolo9000.data.classifier_data import ClassifierData, labelled_images
from yolo9000.data.detector_data import TrainingData
from yolo9000.distributed import joined_processes
from yolo9000.evaluation.evaluate import ScoredImages
from yolo9000.training.gradients import summed_gradients
from yolo9000.training.journal import board_for, peak_memory_mib
from yolo9000.training.pretrain import classifier_terms
from yolo9000.training.pretrain import started_or_resumed as classifier_run
from yolo9000.training.run import Guard, Run
from yolo9000.training.run_report import refuse_missing_attribution
from yolo9000.training.train import build_criterion, detector_terms, started_or_resumed

Facts = dict[str, str]


@joined_processes()
def check_training(cfg: Config, folder: Path, *, resume: bool = False) -> Facts:
    """What `train` would do. Raises what it would raise before its second step."""
    run = started_or_resumed(cfg, folder, resume=resume)
    _refuse_missing(run.cfg, folder)
    criterion = build_criterion(run.cfg, run.reader).to(run.device)
    data = TrainingData(run.reader, _at_largest_size(run.cfg), run.pseudo_boxes)
    scored = len(ScoredImages.of(run.reader, run.cfg.evaluate).images)
    parts = next(iter(data.parts(run.step + 1, run.step + 1)))
    terms = summed_gradients(run.model, parts, lambda part: detector_terms(run, criterion, part))
    return _facts(run, cfg, data, terms, scored=f"{scored} images with boxes")


@joined_processes()
def check_pretraining(cfg: PretrainConfig, folder: Path, *, resume: bool = False) -> Facts:
    """What `pretrain` would do. Raises what it would raise before its second step."""
    run = classifier_run(cfg, folder, resume=resume)
    _refuse_missing(run.cfg, folder)
    data = ClassifierData(run.reader, _at_largest_size(run.cfg))
    scored = len(labelled_images(run.reader, run.cfg.evaluate.split)[: run.cfg.evaluate.limit])
    parts = next(iter(data.parts(run.step + 1, run.step + 1)))
    terms = summed_gradients(run.model, parts, lambda part: classifier_terms(run, part))
    return _facts(run, cfg, data, terms, scored=f"{scored} images with image labels")


def _at_largest_size(cfg: Any) -> Any:
    """The same, every batch at the largest of its sizes, which takes the most memory."""
    sizes = cfg.schedule.sizes_px and (max(cfg.schedule.sizes_px),)
    return cfg.model_copy(update={"schedule": cfg.schedule.model_copy(update={"sizes_px": sizes})})


def _facts(
    run: Run[Any, Any],
    cfg: Config | PretrainConfig,
    data: TrainingData | ClassifierData,
    terms: Mapping[str, Tensor],
    *,
    scored: str,
) -> Facts:
    _refuse_broken(run, terms)
    label_counts, sampler, steps = run.reader.label_counts, data.sampler, cfg.schedule.max_steps
    boxed = label_counts.boxes_rolled_up > 0
    label_only = ~boxed & (label_counts.image_labels_rolled_up > 0)
    sizes = cfg.schedule.sizes_px or (cfg.model.side_px,)
    mixture = zip(sampler.names, sampler.images, sampler.shares, sampler.passes(steps).values(), strict=True)
    parameters = sum(p.numel() for p in run.model.parameters())
    losses = ", ".join(f"{name} {float(value):.3g}" for name, value in terms.items() if float(value))
    start = f"from its step {run.step}" if run.step else "from the start"
    return {
        "run": f"{cfg.name}, {start}, on {run.device.type}",
        "network": f"{run.cfg.model.network}, {parameters:,} parameters",
        "nodes": f"{boxed.sum()} with boxes, {label_only.sum()} with image labels only, "
        f"{len(boxed) - boxed.sum() - label_only.sum()} with neither",
        **{
            f"source {name}": f"{len(images):,} images, {share:.0%} of each batch, seen {times:.3g} times"
            for name, images, share, times in mixture
        },
        "steps": f"{steps:,} of {cfg.data.batch_size} images, in {', '.join(map(str, sizes))} px",
        "scored on": f"{scored} of split '{cfg.evaluate.split}'",
        "first loss": losses,
        "memory": f"{peak_memory_mib(run.device) / 1024:.1f} GiB so far, with one batch of {max(sizes)} px",
    }


def _refuse_missing(cfg: Config | PretrainConfig, folder: Path) -> None:
    """TrainingError where a run would lack the licences that its page should show, or TensorBoard."""
    refuse_missing_attribution(cfg)
    board_for(folder, asked=cfg.log.tensorboard, first_step=1)


def _refuse_broken(run: Run[Any, Any], terms: Mapping[str, Tensor]) -> None:
    """TrainingError where the loss of the batch, or what a step down its gradient leaves, is no number."""
    guard = Guard()
    guard.check(terms, run.step + 1)
    run.update()
    guard.settle(run)
