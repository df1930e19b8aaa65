"""Joint training: the loop, on one screen."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from data_prep import ShardReader, kmeans_anchors
from data_prep.anchors import box_sizes_px
from wordtree.files import write_atomically
from yolo9000 import Yolo9000Error
from yolo9000.batch import LossTerms
from yolo9000.checkpoint import Checkpoint, load_checkpoint, refuse_other_tree, save_checkpoint
from yolo9000.config import Config, ModelConfig
from yolo9000.data import DataMismatch, TrainingData, split_of
from yolo9000.evaluate import TestPictures, evaluate
from yolo9000.loss import JointLoss
from yolo9000.model import Detector, build_model
from yolo9000.optim import WeightAverage, build_optimizer, set_learning_rate
from yolo9000.schedule import learning_rate_at
from yolo9000.scorecard import Scorecard

ADVICE = (
    "The last checkpoint is kept; try a lower optimizer.learning_rate, a longer schedule.burn_in_steps or "
    "optimizer.clip_norm."
)


class TrainingError(Yolo9000Error):
    """Training cannot start or go on: a run in the way, nothing to resume, a loss that is no number."""


@dataclass
class Run:
    """Everything that a step changes, and what a checkpoint of it needs."""

    cfg: Config
    reader: ShardReader
    model: Detector
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    step: int = 0
    best: float = math.nan

    @property
    def device(self) -> torch.device:
        return self.model.hierarchy.parent.device

    def checkpoint(self, *, to_go_on: bool) -> Checkpoint:
        live = {name: value.cpu() for name, value in self.model.state_dict().items()}
        training = {"weights": live, "optimizer": self.optimizer.state_dict()}
        if self.average:
            training["average"] = self.average.state_dict()
        with self.averaged_weights() as model:
            weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return Checkpoint(
            config=self.cfg,
            tree=self.reader.tree,
            ledger=self.reader.ledger,
            step=self.step,
            weights=weights,
            training=training if to_go_on else None,
            score=self.best,
        )

    @contextmanager
    def averaged_weights(self) -> Iterator[Detector]:
        """The model in evaluation mode with its averaged weights, for the time of a `with` block."""
        if self.average:
            self.average.swap()
        self.model.eval()
        try:
            yield self.model
        finally:
            self.model.train()
            if self.average:
                self.average.swap()


def train(cfg: Config, folder: Path, *, resume: bool = False) -> Scorecard:
    """Train to `cfg.schedule.max_steps` in a run folder; the scorecard of the last evaluation.

    The folder gets last.pt (to go on from), best.pt (by AP50 on boxed classes), config.yaml and metrics.csv.
    Raises TrainingError, DataMismatch, CheckpointError.
    """
    run = _resumed(cfg, folder) if resume else _started(cfg, folder)
    cfg, schedule = run.cfg, run.cfg.schedule
    criterion = JointLoss(cfg.loss, run.model.hierarchy, vouched=_vouched(run.reader)).to(run.device)
    data, guard, scorecard = TrainingData(run.reader, cfg), Guard(), None
    TestPictures.of(run.reader, cfg.evaluate)  # what cannot be scored is better told now than after hours
    _prepare_folder(run, folder)
    autocast = torch.autocast(run.device.type, torch.bfloat16, enabled=_computes_in_bfloat16(cfg, run.device))
    with _progress(run) as show:
        for batch in data.batches(run.step + 1, schedule.max_steps):
            run.step += 1
            rate = learning_rate_at(run.step, cfg.optimizer.learning_rate, schedule)
            set_learning_rate(run.optimizer, rate)
            batch = batch.to(run.device)
            with autocast:
                output = run.model(batch.images)
            terms = criterion(output, batch.targets, images_seen=run.step * cfg.data.batch_size)
            guard.check(terms, run.step)
            run.optimizer.zero_grad(set_to_none=True)
            terms.total.backward()
            if cfg.optimizer.clip_norm:
                torch.nn.utils.clip_grad_norm_(run.model.parameters(), cfg.optimizer.clip_norm)
            run.optimizer.step()
            if run.average:
                run.average.update()

            last = run.step == schedule.max_steps
            evaluates = last or (cfg.evaluate.every is not None and run.step % cfg.evaluate.every == 0)
            saves = evaluates or run.step % cfg.log.checkpoint_every == 0
            if run.step % cfg.log.every == 0 or last:
                line = {name: float(value) for name, value in terms.detached().items()}
                write_line(folder, run.step, {"learning_rate": rate, **line})
                show(line["total"], rate)
            if saves:
                guard.settle()
                _refuse_broken_weights(run)
            if evaluates:
                scorecard = _scored(run)
                _keep_score(run, folder, scorecard)
            if saves:
                save_checkpoint(folder / "last.pt", run.checkpoint(to_go_on=True))
    return scorecard or _scored(run)


class Guard:
    """Stops a run whose loss is no number; looks at the step before, so it never waits for the device."""

    def __init__(self) -> None:
        self._before: tuple[int, LossTerms] | None = None

    def check(self, terms: LossTerms, step: int) -> None:
        """Look at the step before, and keep this one for the next call."""
        self.settle()
        self._before = step, terms

    def settle(self) -> None:
        """Look at the last step now, before its weights are used or written."""
        if self._before and not math.isfinite(self._before[1].total.detach()):
            numbers = ", ".join(
                f"{name} {float(value):g}" for name, value in self._before[1].detached().items()
            )
            raise TrainingError(f"Step {self._before[0]}: the loss is not finite ({numbers}). {ADVICE}")


def _refuse_broken_weights(run: Run) -> None:
    """A finite loss may have a gradient that is not: look before anything is written."""
    state = run.model.state_dict()
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise TrainingError(
            f"Step {run.step}: {len(broken)} of {len(state)} weights are not finite, {broken[0]} first. {ADVICE}"
        )


def write_line(folder: Path, step: int, values: dict[str, float]) -> None:
    """Add a line to metrics.csv; columns that the file does not know yet start empty."""
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    row: dict[str, Any] = {"step": step, **{name: f"{value:.6g}" for name, value in values.items()}}
    columns = list(rows[0]) if rows else list(row)
    if rows and set(row) <= set(columns):
        with path.open("a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)
        return
    _write_metrics(path, [*rows, row])


def read_metrics(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _write_metrics(path: Path, rows: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _started(cfg: Config, folder: Path) -> Run:
    if (folder / "last.pt").exists():
        raise TrainingError(f"{folder} holds a run already. Go on with --resume, or choose another name.")
    reader = ShardReader(cfg.data.shards)
    split_of(reader, cfg.data.train_split)
    return _built(cfg.model_copy(update={"model": settled(cfg.model, reader, cfg)}), reader)


def _resumed(cfg: Config, folder: Path) -> Run:
    path = folder / "last.pt"
    if not path.exists():
        raise TrainingError(f"{folder}: nothing to resume, there is no last.pt. Start without --resume.")
    found = load_checkpoint(path)
    if found.training is None:
        raise TrainingError(f"{path} holds weights only, nothing to go on from.")
    _refuse_other_network(cfg, found.config, folder)
    reader = ShardReader(cfg.data.shards)
    refuse_other_tree(found, path, reader)
    model = cfg.model.model_copy(update={"anchors": found.config.model.anchors})
    run = _built(cfg.model_copy(update={"model": model}), reader)
    run.model.load_state_dict(found.training["weights"])
    # The settings of its groups, such as the weight decay, stay those of cfg.
    moments = found.training["optimizer"]["state"]
    run.optimizer.load_state_dict({**run.optimizer.state_dict(), "state": moments})
    if run.average and "average" in found.training:
        run.average.load_state_dict(found.training["average"])
    run.step, run.best = found.step, found.score
    return run


def _refuse_other_network(cfg: Config, made: Config, folder: Path) -> None:
    """TrainingError where a setting differs that decides what the weights and the optimizer's state mean."""
    fixed = ["architecture", "width", "anchor_count", *(["anchors"] if cfg.model.anchors else [])]
    pairs = {f"model.{name}": (getattr(cfg.model, name), getattr(made.model, name)) for name in fixed}
    pairs["optimizer.name"] = (cfg.optimizer.name, made.optimizer.name)
    for name, (asked, used) in pairs.items():
        if asked != used:
            raise TrainingError(
                f"{folder}: {name} is {asked}, but the run was made with {used}. Set it back, or choose another name."
            )


def _prepare_folder(run: Run, folder: Path) -> None:
    """The effective configuration, and of metrics.csv what belongs to the steps that are done."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.yaml", config_yaml(run.cfg))
    path = folder / "metrics.csv"
    rows = [row for row in (read_metrics(path) if path.exists() else []) if int(row["step"]) <= run.step]
    if rows:
        _write_metrics(path, rows)
    else:
        path.unlink(missing_ok=True)


def _built(cfg: Config, reader: ShardReader) -> Run:
    data = cfg.data.model_copy(update={"shards": cfg.data.shards.absolute()})  # config.yaml lies elsewhere
    cfg = cfg.model_copy(update={"data": data})
    torch.manual_seed(cfg.seed)
    model = build_model(cfg.model, reader.tree).to("cuda" if torch.cuda.is_available() else "cpu").train()
    average = WeightAverage(model, decay=cfg.optimizer.ema) if cfg.optimizer.ema else None
    return Run(cfg, reader, model, build_optimizer(model, cfg.optimizer), average)


def settled(model: ModelConfig, reader: ShardReader, cfg: Config) -> ModelConfig:
    """The same with its anchors: those given, or k-means on the boxes of the training split (paper, section 2)."""
    if model.anchors is not None:
        return model
    sizes_px = box_sizes_px(reader, cfg.data.train_split, model.input_size_px)
    if len(np.unique(sizes_px, axis=0)) < model.anchor_count:
        raise DataMismatch(
            f"{cfg.data.shards}: split '{cfg.data.train_split}' has {len(sizes_px)} boxes, too few to find "
            f"{model.anchor_count} anchors. Merge a source with boxes, or set model.anchors (in grid cells)."
        )
    found = kmeans_anchors(sizes_px / model.stride, model.anchor_count, seed=cfg.seed)
    anchors = tuple((round(float(w), 4), round(float(h), 4)) for w, h in found.anchors)
    return model.model_copy(update={"anchors": anchors})


def config_yaml(cfg: Config) -> str:
    return yaml.safe_dump(cfg.model_dump(mode="json"), sort_keys=False)


def _scored(run: Run) -> Scorecard:
    cfg = run.cfg
    with run.averaged_weights() as model:
        return evaluate(model, run.reader, run.reader.ledger, cfg.model.input_size_px, cfg.evaluate)


def _keep_score(run: Run, folder: Path, scorecard: Scorecard) -> None:
    """A line in metrics.csv, and best.pt where no earlier one was better; of equals the latest is best."""
    write_line(folder, run.step, headline(scorecard))
    boxed = scorecard.boxed.ap50  # anything else would choose by what training never saw
    if boxed is None or not boxed < run.best:  # NaN before the first
        run.best = run.best if boxed is None else boxed
        save_checkpoint(folder / "best.pt", run.checkpoint(to_go_on=False))


def headline(scorecard: Scorecard) -> dict[str, float]:
    """The columns of metrics.csv that an evaluation fills."""
    parts = {"boxed": scorecard.boxed, "label_only": scorecard.label_only}
    return {f"ap50_{name}": part.ap50 for name, part in parts.items() if part.ap50 is not None}


def _vouched(reader: ShardReader) -> Tensor:
    """Which nodes each source annotates with boxes wherever they occur, (sources, N) bool."""
    nodes = np.arange(len(reader.tree))
    vouched = torch.zeros(len(reader.sources), len(reader.tree), dtype=torch.bool)
    for row, source in zip(vouched, reader.sources, strict=True):
        for node in source.vouched:
            row |= torch.from_numpy(reader.tree.is_under(nodes, int(node)))
    return vouched


def _computes_in_bfloat16(cfg: Config, device: torch.device) -> bool:
    if cfg.precision != "auto":
        return cfg.precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def _progress(run: Run) -> Iterator[Any]:
    """A bar with speed, loss and remaining time on stderr; yields what moves it."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"training {run.cfg.name}", total=run.cfg.schedule.max_steps, note="")
        progress.update(task, completed=run.step)
        first, started = run.step, progress.get_time()

        def show(loss: float, rate: float) -> None:
            speed = (run.step - first) * run.cfg.data.batch_size / max(1e-9, progress.get_time() - started)
            note = f"{speed:.0f} images/s  loss {loss:.2f}  rate {rate:.1e}"
            progress.update(task, completed=run.step, note=note)

        yield show
