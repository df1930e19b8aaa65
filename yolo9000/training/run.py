"""`Run`: the state of a training run, and when it is logged, saved and evaluated."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch

from data_prep import ShardReader
from wordtree.support.config_files import with_paths
from yolo9000.checkpoints.checkpoint import Checkpoint, DarknetOrigin, SettingsT, save_checkpoint
from yolo9000.checkpoints.flat_classifier import ClassTeacher
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.distributed import computes_in_bfloat16, default_device
from yolo9000.models.backbone import freeze
from yolo9000.models.batch_norm import set_training, synchronised
from yolo9000.models.classifier import Classifier
from yolo9000.models.detector import Detector
from yolo9000.training.gradients import clip_gradients
from yolo9000.training.lazy_rows import LazyRows, build_lazy_rows
from yolo9000.training.optim import ModelEma, build_optimizer

NetworkT = TypeVar("NetworkT", bound=Detector | Classifier)


def without_folders(cfg: SettingsT) -> SettingsT:
    """The configuration with the last part of each path only, for files that people share."""
    cfg = with_paths(cfg, lambda path: Path(path.name))
    if isinstance(cfg.data.shards, str):  # an address
        cfg = with_settings(cfg, "data", shards=cfg.data.shards.rstrip("/").rpartition("/")[2])
    return cfg


def with_settings(cfg: SettingsT, section: str, **changes: object) -> SettingsT:
    """A copy of the configuration with other settings in one section, such as `model`."""
    changed = getattr(cfg, section).model_copy(update=changes)
    return cast(SettingsT, cfg.model_copy(update={section: changed}))


@dataclass
class Run(Generic[SettingsT, NetworkT]):
    """The state of a training run: everything that a step changes and a checkpoint holds."""

    cfg: SettingsT
    reader: ShardReader
    model: NetworkT
    optimizer: torch.optim.Optimizer
    ema: ModelEma | None
    lazy_rows: LazyRows | None = None  # the class weights, where they are updated row by row
    step: int = 0
    best: float = math.nan
    saved_best: float = math.nan  # `best` as in last.pt
    saved_step: int | None = None  # of last.pt, once this process has written it
    # The weights that are being evaluated in the background: a run that is stopped meanwhile has them in its last.pt.
    unevaluated: Checkpoint[SettingsT] | None = None
    # Images that the weights had seen before step 1, so that `images_seen` stays right when the batch size changes.
    seen_before: int = 0
    darknet: DarknetOrigin | None = None  # of the weights that the run started from
    pseudo_boxes: PseudoBoxes = field(default_factory=PseudoBoxes.none)
    class_teacher: ClassTeacher | None = None  # of a run whose class rows are still to be fitted

    @classmethod
    def of(cls, cfg: SettingsT, reader: ShardReader, model: NetworkT) -> Run[SettingsT, NetworkT]:
        """A run before its first step, on the GPU where there is one."""
        model.to(default_device())
        if cfg.batch_statistics == "synchronised":
            model = synchronised(model)
        freeze(model, cfg.model.freeze)
        set_training(model, cfg.batch_statistics)
        ema = ModelEma(model, decay=cfg.optimizer.ema) if cfg.optimizer.ema else None
        optimizer = build_optimizer(model, cfg.optimizer)
        lazy_rows = build_lazy_rows(model, optimizer, ema, cfg.optimizer)
        return cls(cfg, reader, model, optimizer, ema, lazy_rows)

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
    def should_evaluate(self) -> bool:
        """Whether the weights after this step are evaluated."""
        every = self.cfg.evaluate.every
        return self.is_last or (every is not None and self.step > 0 and self.step % every == 0)

    @property
    def should_save(self) -> bool:
        """Whether last.pt is written after this step."""
        return self.should_evaluate or self.step % self.cfg.log.checkpoint_every == 0

    @property
    def should_log(self) -> bool:
        """Whether the numbers of this step are recorded."""
        return self.is_last or self.step % self.cfg.log.every == 0

    def autocast(self) -> torch.autocast:
        """Autocast for the forward pass of the network; losses are computed outside it."""
        enabled = computes_in_bfloat16(self.cfg.precision, self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def restart_ema(self) -> None:
        """Begin the EMA with the present weights."""
        if self.ema:
            self.ema.restart()

    def update(self) -> None:
        """Update the weights by their gradients, and then the EMA of the weights."""
        if self.cfg.optimizer.clip_norm:
            clip_gradients(self.model, self.cfg.optimizer.clip_norm, self.lazy_rows)
        self.optimizer.step()
        if self.ema:
            self.ema.update()
        if self.lazy_rows:
            self.lazy_rows.update()

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """All weights, moments and EMA up to date within the `with` block."""
        with self.lazy_rows.flushed() if self.lazy_rows else nullcontext():
            yield

    @contextmanager
    def ema_weights(self) -> Iterator[NetworkT]:
        """The model in evaluation mode with the EMA of its weights, if it has one, within the `with` block."""
        with self.whole_weights():
            if self.ema:
                self.ema.swap()
            self.model.eval()
            try:
                yield self.model
            finally:
                set_training(self.model, self.cfg.batch_statistics)
                if self.ema:
                    self.ema.swap()

    def ema_copy(self) -> NetworkT:
        """A copy of the model in evaluation mode with the EMA of its weights, if it has one."""
        with self.ema_weights() as model:
            return deepcopy(model)

    def checkpoint(self) -> Checkpoint[SettingsT]:
        """The content of last.pt: everything that resuming needs."""
        with self.whole_weights():
            live = {name: value.cpu() for name, value in self.model.state_dict().items()}
            training = {"weights": live, "optimizer": self.optimizer.state_dict()}
            if self.ema:
                training["average"] = self.ema.state_dict()
        if len(self.pseudo_boxes.label):
            training["pseudo_boxes"] = self.pseudo_boxes.state_dict()
        if self.unevaluated:
            training["unevaluated"] = {"step": self.unevaluated.step, "weights": self.unevaluated.weights}
        return replace(self.weights_checkpoint(), training=training)

    def weights_checkpoint(self) -> Checkpoint[SettingsT]:
        """The content of best.pt: the weights that evaluation uses, without the state of training."""
        with self.ema_weights() as model:
            weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return Checkpoint(
            config=self.cfg,
            tree=self.reader.tree,
            label_counts=self.reader.label_counts,
            step=self.step,
            weights=weights,
            training=None,
            best_metric=self.best,
            seen_before=self.seen_before,
            darknet=self.darknet,
        )

    def save(self, folder: Path) -> None:
        """Write last.pt."""
        save_checkpoint(folder / "last.pt", self.checkpoint())
        self.saved_best, self.saved_step = self.best, self.step

    def save_new_best(self, folder: Path) -> None:
        """Write last.pt once more if the best metric has changed since it was saved."""
        if self.best != self.saved_best and not math.isnan(self.best):
            self.save(folder)

    def keep_if_best(self, folder: Path, metric: float | None, evaluated: Checkpoint[SettingsT]) -> None:
        """Write best.pt unless an earlier evaluation was better; metric: of `Task.best_by`, None if it has no value.

        People share this file, so it contains no folders of this machine.
        """
        if metric is None or not metric < self.best:  # self.best is NaN at first
            self.best = self.best if metric is None else metric
            shared = without_folders(evaluated.config)
            save_checkpoint(folder / "best.pt", replace(evaluated, best_metric=self.best, config=shared))
