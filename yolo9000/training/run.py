"""What the two loops share: the state that a step changes, its cadence, what stops it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from data_prep import ShardReader
from yolo9000.checkpoints.checkpoint import (
    CheckpointError,
    DamagedCheckpoint,
    DarknetOrigin,
    SavedRun,
    Settings,
    save_checkpoint,
)
from yolo9000.config import Config, PretrainConfig
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.distributed import is_first, usual_device
from yolo9000.models.batch_norm import set_training, synchronised
from yolo9000.training.optim import WeightAverage, build_optimizer, learning_rate_at, set_learning_rate
from yolo9000.training.run_folder import TrainingError, checkpoint_to_resume

Network = TypeVar("Network", bound=nn.Module)

ADVICE = (
    "The last checkpoint is kept; try a lower optimizer.learning_rate, a longer schedule.burn_in_steps or "
    "optimizer.clip_norm."
)


@dataclass
class Run(Generic[Settings, Network]):
    """Everything that a step changes, and what a checkpoint of it needs."""

    cfg: Settings
    reader: ShardReader
    model: Network
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    step: int = 0
    best: float = math.nan
    saved_best: float = math.nan  # as it is in last.pt
    # Images that the weights had seen when the run began; less, down to below 0, where its batches have grown.
    seen_before: int = 0
    darknet: DarknetOrigin | None = None  # of the detector that it began with
    pseudo_boxes: PseudoBoxes = field(default_factory=PseudoBoxes.none)  # drawn so far

    @classmethod
    def of(cls, cfg: Settings, reader: ShardReader, model: Network) -> Run[Settings, Network]:
        """A run before its first step, on the GPU where there is one."""
        model = model.to(usual_device())
        if cfg.batch_statistics == "synchronised":
            model = synchronised(model)
        set_training(model, cfg.batch_statistics)
        average = WeightAverage(model, decay=cfg.optimizer.ema) if cfg.optimizer.ema else None
        return cls(cfg, reader, model, build_optimizer(model, cfg.optimizer), average)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def images_seen(self) -> int:
        return self.seen_before + self.step * self.cfg.data.batch_size

    @property
    def is_last(self) -> bool:
        return self.step >= self.cfg.schedule.max_steps

    @property
    def evaluates(self) -> bool:
        every = self.cfg.evaluate.every
        return self.is_last or (every is not None and self.step > 0 and self.step % every == 0)

    @property
    def saves(self) -> bool:
        return self.evaluates or self.step % self.cfg.log.checkpoint_every == 0

    @property
    def logs(self) -> bool:
        return self.is_last or self.step % self.cfg.log.every == 0

    def autocast(self) -> torch.autocast:
        """Where the network computes; the losses stay outside."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._computes_in_bfloat16())

    def update(self) -> None:
        """One step of the optimizer, and of the average, down the gradient that the model's parameters have."""
        if self.cfg.optimizer.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.cfg.optimizer.clip_norm)
        self.optimizer.step()
        if self.average:
            self.average.update()

    @contextmanager
    def averaged_weights(self) -> Iterator[Network]:
        """The model in evaluation mode with its averaged weights, for the time of a `with` block."""
        if self.average:
            self.average.swap()
        self.model.eval()
        try:
            yield self.model
        finally:
            set_training(self.model, self.cfg.batch_statistics)
            if self.average:
                self.average.swap()

    def averaged_copy(self) -> Network:
        """The model with its averaged weights in evaluation mode, which training leaves as it is now."""
        with self.averaged_weights() as model:
            return deepcopy(model)

    def checkpoint(self, *, to_go_on: bool) -> SavedRun[Settings]:
        live = {name: value.cpu() for name, value in self.model.state_dict().items()}
        training = {"weights": live, "optimizer": self.optimizer.state_dict()}
        if self.average:
            training["average"] = self.average.state_dict()
        if len(self.pseudo_boxes.label):
            training["pseudo_boxes"] = self.pseudo_boxes.state_dict()
        with self.averaged_weights() as model:
            weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return SavedRun(
            config=self.cfg,
            tree=self.reader.tree,
            label_counts=self.reader.label_counts,
            step=self.step,
            weights=weights,
            training=training if to_go_on else None,
            score=self.best,
            seen_before=self.seen_before,
            darknet=self.darknet,
        )

    def go_on_from(self, found: SavedRun[Settings], path: Path) -> None:
        """Take over weights, optimizer, average, step and best score of a checkpoint that lies at `path`."""
        if found.training is None:
            raise TrainingError(f"{path} holds weights only, nothing to go on from.")
        try:
            self._take_over(found.training, found.step)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as reason:  # of a file by hand
            message = " ".join(str(reason).split())[:200]
            raise CheckpointError(
                f"{path}: its state of training does not fit this run ({message})."
            ) from None
        if found.step > self.cfg.schedule.max_steps:
            raise TrainingError(
                f"{path} is at step {found.step} already, more than schedule.max_steps, {self.cfg.schedule.max_steps}. "
                "Set that higher to go on."
            )
        _report_changes(found, self.cfg)
        self.step, self.darknet = found.step, found.darknet
        self.best = self.saved_best = found.score
        self.seen_before = found.images_seen - self.step * self.cfg.data.batch_size

    def _take_over(self, training: dict[str, Any], step: int) -> None:
        self.model.load_state_dict(training["weights"])
        # The settings of its groups, such as the weight decay, stay those of cfg.
        moments = training["optimizer"]["state"]
        for number, parameter in enumerate(
            p for group in self.optimizer.param_groups for p in group["params"]
        ):
            for name, value in moments.get(number, {}).items():
                if isinstance(value, Tensor) and value.ndim and value.shape != parameter.shape:
                    raise ValueError(f"{name} of parameter {number} is of shape {tuple(value.shape)}")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        rate, schedule = self.cfg.optimizer.learning_rate, self.cfg.schedule
        set_learning_rate(self.optimizer, learning_rate_at(step, rate, schedule))
        if self.average and "average" in training:
            self.average.load_state_dict(training["average"])
        elif self.average:  # begins now, with these weights
            self.average = WeightAverage(self.model, decay=self.cfg.optimizer.ema)
        if "pseudo_boxes" in training:
            self.pseudo_boxes = PseudoBoxes.of_state(training["pseudo_boxes"]).in_index_of(self.reader)

    def save(self, folder: Path) -> None:
        """Write last.pt, to go on from."""
        save_checkpoint(folder / "last.pt", self.checkpoint(to_go_on=True))
        self.saved_best = self.best

    def save_new_score(self, folder: Path) -> None:
        """The same again, where a step that was saved has got a better score since."""
        if self.best != self.saved_best and not math.isnan(self.best):
            self.save(folder)

    def keep_if_best(self, folder: Path, value: float | None, scored: SavedRun[Settings]) -> None:
        """Write best.pt where no earlier value was better; of equals the latest is best."""
        if value is None or not value < self.best:  # NaN before the first
            self.best = self.best if value is None else value
            save_checkpoint(folder / "best.pt", replace(scored, score=self.best))

    def _computes_in_bfloat16(self) -> bool:
        if self.cfg.precision != "auto":
            return self.cfg.precision == "bfloat16"
        if self.device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported())
        return bool(torch.cpu._is_avx512_bf16_supported())


def _report_changes(found: SavedRun[Any], cfg: BaseModel) -> None:
    """Which settings differ from those that the run had so far, on stderr."""
    before, now = flat_settings(found.config), flat_settings(cfg)
    changed = [
        f"{name} {before.get(name)} → {value}" for name, value in now.items() if before.get(name) != value
    ]
    if changed and is_first():
        message = (
            "The learning rate is that of the new schedule. " if "schedule." in " ".join(changed) else ""
        )
        print(
            f"Going on after step {found.step}, with {', '.join(changed)}. {message}".rstrip(),
            file=sys.stderr,
        )


def flat_settings(cfg: BaseModel) -> dict[str, Any]:
    """Every setting by its dotted name."""
    return {
        f"{name}.{key}" if isinstance(value, dict) else name: leaf
        for name, value in cfg.model_dump(mode="json").items()
        for key, leaf in (value.items() if isinstance(value, dict) else [("", value)])
    }


def saved_run(folder: Path, load: Callable[[Path], SavedRun[Settings]]) -> tuple[SavedRun[Settings], Path]:
    """The run's last.pt to go on from, and where it lies; TrainingError where there is none, or none that is whole."""
    path, best = checkpoint_to_resume(folder), folder / "best.pt"
    try:
        return load(path), path
    except DamagedCheckpoint as reason:
        from_best = f"begin another from its best.pt (--set name=NEW --set model.start_from={best})"
        advice = f"{from_best}, or " if best.exists() else ""
        raise TrainingError(
            f"{reason} The run cannot go on: {advice}remove {path} and start again."
        ) from None


def with_absolute_paths(cfg: Settings) -> Settings:
    """The same, for a config.yaml that lies elsewhere."""
    shards = cfg.data.shards
    credits_ = cfg.data.attribution
    locations = {
        "shards": shards.absolute() if isinstance(shards, Path) else shards,
        "attribution": credits_.absolute() if credits_ else None,
    }
    data = cfg.data.model_copy(update=locations)
    start = cfg.model.start_from
    model = cfg.model.model_copy(update={"start_from": start.absolute() if start else None})
    changes: dict[str, object] = {"data": data, "model": model}
    if isinstance(cfg, Config) and isinstance(cfg.loss.non_exclusive, Path):
        pairs = cfg.loss.non_exclusive.absolute()
        changes["loss"] = cfg.loss.model_copy(update={"non_exclusive": pairs})
    return cast(Settings, cfg.model_copy(update=changes))


def refuse_odd_sizes(cfg: Config | PretrainConfig, stride: int) -> None:
    """TrainingError where the input, which must be square, is not whole grid cells at every size."""
    odd = [size for size in (cfg.model.side_px, *cfg.schedule.sizes_px) if size % stride]
    if odd:
        raise TrainingError(
            f"model.input_size_px and schedule.sizes_px must be multiples of {stride} for this network, found {odd}."
        )


class Guard:
    """Stops a run whose loss is no number; looks at the step before, so it never waits for the device."""

    def __init__(self) -> None:
        self._before: tuple[int, Mapping[str, Tensor]] | None = None

    def check(self, terms: Mapping[str, Tensor], step: int) -> None:
        """Look at the step before, and keep this one, its `total` and other terms, for the next call."""
        self._refuse_broken_loss()
        self._before = step, terms

    def settle(self, run: Run[Settings, Network]) -> None:
        """Look at the last step and at the weights now, before they are used or written.

        A finite loss may have a gradient that is not.
        """
        self._refuse_broken_loss()
        state = run.model.state_dict()
        broken = [name for name, value in state.items() if not value.isfinite().all()]
        if broken:
            raise TrainingError(
                f"Step {run.step}: {len(broken)} of {len(state)} weights are not finite, {broken[0]} first. {ADVICE}"
            )

    def _refuse_broken_loss(self) -> None:
        if self._before and not math.isfinite(self._before[1]["total"]):
            numbers = ", ".join(f"{name} {float(value):g}" for name, value in self._before[1].items())
            raise TrainingError(f"Step {self._before[0]}: the loss is not finite ({numbers}). {ADVICE}")
