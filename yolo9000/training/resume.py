"""Starting a run, and resuming one from its last.pt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.config_files import with_paths
from wordtree.support.lines import one_line
from yolo9000.checkpoints.backbone_weights import load_backbone_weights
from yolo9000.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    DamagedCheckpoint,
    SettingsT,
    refuse_other_tree,
)
from yolo9000.checkpoints.start_from import InitialWeights, with_network_of
from yolo9000.config import Config, PretrainConfig
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.distributed import is_first
from yolo9000.training.optim import learning_rate_at, set_learning_rate
from yolo9000.training.run import NetworkT, Run
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.task import DataT, ResultT, Task


def start_or_resume(
    task: Task[SettingsT, NetworkT, DataT, ResultT], cfg: SettingsT, folder: Path, *, resume: bool
) -> Run[SettingsT, NetworkT]:
    """A new run, or with `resume` the run in `folder` after the step of its last.pt.

    Raises TrainingError, DataMismatch, CheckpointError.
    """
    return _resumed(task, cfg, folder) if resume else _started(task, cfg, folder)


def _started(
    task: Task[SettingsT, NetworkT, DataT, ResultT], cfg: SettingsT, folder: Path
) -> Run[SettingsT, NetworkT]:
    if (folder / "last.pt").exists():
        raise TrainingError(
            f"{folder} holds a run already. Continue it with --resume, or choose another name."
        )
    reader = ShardReader(cfg.data.shards)
    initial = InitialWeights.read(cfg.model.start_from) if cfg.model.start_from else None
    if initial:
        cfg = cast(SettingsT, cfg.model_copy(update={"model": initial.network_settings(cfg.model)}))
    cfg = with_paths(task.complete_settings(cfg, reader, None), Path.absolute)
    torch.manual_seed(cfg.seed)
    model = task.build_model(cfg, reader)
    refuse_sizes_off_grid(cfg, model.backbone.stride)
    teacher = task.class_teacher(cfg, reader)
    loaded: tuple[str, ...] = ()
    if initial:
        loaded = initial.load_into(model, reader.tree)
        summary: str | None = initial.summary(loaded, reader.tree)
    else:
        summary = load_backbone_weights(model.backbone, cfg.model)
    if teacher and "head" in loaded:
        raise TrainingError(
            f"{cfg.model.start_from} has class rows already; set model.classes_from or model.start_from to null."
        )
    run = Run.of(cfg, reader, model)
    run.class_teacher = teacher
    if initial:
        run.seen_before, run.darknet = initial.inherited(loaded)
    if summary and is_first():
        print(summary, file=sys.stderr)
    return run


def _resumed(
    task: Task[SettingsT, NetworkT, DataT, ResultT], cfg: SettingsT, folder: Path
) -> Run[SettingsT, NetworkT]:
    path = folder / "last.pt"
    saved = _load_last(path, task.load)
    if cfg.model.start_from:
        model = with_network_of(cfg.model, saved.config.model)
        cfg = cast(SettingsT, cfg.model_copy(update={"model": model}))
    _refuse_changed_settings(folder, task.fixed_settings, cfg, saved.config)
    reader = ShardReader(cfg.data.shards)
    refuse_other_tree(saved, path, reader)
    cfg = with_paths(task.complete_settings(cfg, reader, saved), Path.absolute)
    if saved.training is None:
        raise TrainingError(f"{path} holds weights only, without the optimizer state that resuming needs.")
    if saved.step > cfg.schedule.max_steps:
        raise TrainingError(
            f"{path} is at step {saved.step} already, more than schedule.max_steps, {cfg.schedule.max_steps}. "
            "Raise schedule.max_steps to continue."
        )
    try:
        run: Run[SettingsT, NetworkT] = _restored(saved, saved.training, cfg, reader)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, CheckpointError) as reason:
        message = one_line(reason)[:200]  # only a file written by hand comes here
        raise CheckpointError(f"{path}: its state of training does not fit this run ({message}).") from None
    _report_changes(saved, cfg)
    return run


def _load_last(path: Path, load: Callable[[Path], Checkpoint[SettingsT]]) -> Checkpoint[SettingsT]:
    """The run's last.pt; TrainingError if it is missing or damaged."""
    if not path.exists():
        raise TrainingError(f"{path.parent}: nothing to resume, there is no last.pt. Start without --resume.")
    try:
        return load(path)
    except DamagedCheckpoint as reason:
        best = path.with_name("best.pt")
        from_best = f"start another run from its best.pt (--set name=NEW --set model.start_from={best})"
        advice = f"{from_best}, or " if best.exists() else ""
        raise TrainingError(
            f"{reason} The run cannot be resumed: {advice}remove {path} and start again."
        ) from None


def _restored(
    saved: Checkpoint[SettingsT], training: dict[str, Any], cfg: SettingsT, reader: ShardReader
) -> Run[SettingsT, NetworkT]:
    """The run with the weights, optimizer state, EMA, pseudo-boxes, step and best metric of the checkpoint."""
    live: Checkpoint[Any] = replace(saved, config=cfg, tree=reader.tree, weights=training["weights"])
    run: Run[SettingsT, NetworkT] = Run.of(cfg, reader, cast(Any, live).build_model())
    refuse_sizes_off_grid(cfg, run.model.backbone.stride)
    _load_moments(run.optimizer, training["optimizer"]["state"])
    # As in last.pt, which may be saved again before the next step.
    set_learning_rate(run.optimizer, learning_rate_at(saved.step, cfg.optimizer.learning_rate, cfg.schedule))
    if run.ema and "average" in training:  # else the EMA begins now, with the loaded weights
        run.ema.load_state_dict(training["average"])
    if "pseudo_boxes" in training:
        run.pseudo_boxes = PseudoBoxes.from_state_dict(training["pseudo_boxes"]).transferred_to(reader)
    if "unevaluated" in training:
        run.unevaluated = replace(live, **training["unevaluated"], training=None)
        cast(Any, run.unevaluated).build_model()  # raises where the weights do not fit
    run.step, run.darknet = saved.step, saved.darknet
    run.best = run.saved_best = saved.best_metric
    run.seen_before = saved.images_seen - saved.step * cfg.data.batch_size
    return run


def _load_moments(optimizer: torch.optim.Optimizer, moments: Mapping[int, Mapping[str, Any]]) -> None:
    """Load the optimizer's moments only; its settings, such as the weight decay, may have changed."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        for name, value in moments.get(number, {}).items():
            if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                raise ValueError(f"{name} of parameter {number} is of shape {tuple(value.shape)}")
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})


def _refuse_changed_settings(folder: Path, names: tuple[str, ...], cfg: BaseModel, saved: BaseModel) -> None:
    """Raise TrainingError if one of the named settings differs from the saved run; None means: as in the saved run."""
    requested, used = flat_settings(cfg), flat_settings(saved)
    for name in names:
        if requested[name] not in (None, used[name]):
            raise TrainingError(
                f"{folder}: {name} is {requested[name]}, but the run was made with {used[name]}. Set it back, or "
                "choose another name."
            )


def _report_changes(saved: Checkpoint[Any], cfg: BaseModel) -> None:
    """Print the settings that differ from those of the saved run on stderr."""
    before, now = flat_settings(saved.config), flat_settings(cfg)
    changed = [
        f"{name} {before.get(name)} → {value}" for name, value in now.items() if before.get(name) != value
    ]
    if not changed or not is_first():
        return
    line = f"Resuming after step {saved.step}, with {', '.join(changed)}."
    if "schedule." in " ".join(changed):
        line += " The learning rate is that of the new schedule."
    print(line, file=sys.stderr)


def flat_settings(cfg: BaseModel) -> dict[str, Any]:
    """Every setting by its dotted name."""
    return {
        f"{name}.{key}" if isinstance(value, dict) else name: leaf
        for name, value in cfg.model_dump(mode="json").items()
        for key, leaf in (value.items() if isinstance(value, dict) else [("", value)])
    }


def refuse_sizes_off_grid(cfg: Config | PretrainConfig, stride: int) -> None:
    """Raise TrainingError if a side of the input, which must be square, is not a multiple of the stride."""
    off_grid = [size for size in (cfg.model.side_px, *cfg.schedule.sizes_px) if size % stride]
    if off_grid:
        raise TrainingError(
            f"model.input_size_px and schedule.sizes_px must be multiples of {stride} for this network, found "
            f"{off_grid}."
        )
