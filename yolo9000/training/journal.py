"""`Journal`: the record of a run while it trains, in metrics.csv, in TensorBoard and on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from wordtree.support.progress import ProgressBar
from yolo9000.distributed import is_first
from yolo9000.training.run import Run
from yolo9000.training.run_folder import TrainingError, write_line

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SHORT_NAMES = {  # of loss terms on the terminal; the others keep their names
    "coordinates": "coords",
    "objectness": "object",
    "label_objectness": "label object",
    "negative_label": "negative",
    "exclusion": "excluded",
    "anchor_warm_up": "warm-up",
}


class Journal:
    """Records the steps and evaluations of a run from its present step on; a context manager.

    Raises TrainingError if TensorBoard is required and not installed.
    """

    def __init__(
        self, run: Run[Any, Any], folder: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run, self._folder, self._clock = run, folder, clock
        self._measured_from = run.step, clock()
        wanted = run.cfg.log.tensorboard if is_first() else False
        self._tensorboard = tensorboard_log_for(folder, wanted=wanted, first_step=run.step + 1)
        steps = run.cfg.schedule.max_steps
        self._bar = ProgressBar(run.cfg.name, steps, done=run.step, enabled=is_first(), clock=clock)

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, stopped_by: type[BaseException] | None, *_: object) -> None:
        self._bar.__exit__()
        if self._tensorboard:
            self._tensorboard.close()
        if stopped_by in (KeyboardInterrupt, SystemExit) and is_first():
            print(f"Interrupted after step {self._run.step:,}{self._how_to_continue()}", file=sys.stderr)

    def _how_to_continue(self) -> str:
        if self._run.saved_step == self._run.step:
            return ", which is saved; --resume continues."
        every = f"A checkpoint is written every {self._run.cfg.log.checkpoint_every:,} steps"
        if (self._folder / "last.pt").exists():
            return f". {every}; --resume continues from the last one."
        return f". {every}, and there is none yet: start again without --resume."

    def step(self, learning_rate: float, terms: Mapping[str, Tensor], *, input_px: int) -> None:
        """Record a step; its numbers only every `log.every` steps, because reading the loss waits for the device.

        terms: of the loss, with `total`.
        """
        if self._run.should_log:
            losses = {name: float(value) for name, value in terms.items()}
            measured = {
                "images_per_second": self._images_per_second(),
                "input_px": float(input_px),
                "memory_mib": peak_memory_mib(self._run.device),
            }
            write_line(self._folder, self._run.step, {"learning_rate": learning_rate, **losses, **measured})
            if self._tensorboard:
                self._tensorboard.add("loss", losses, step=self._run.step)
                self._tensorboard.add(
                    "run", {"learning_rate": learning_rate, **measured}, step=self._run.step
                )
            self._bar.notes = step_notes(learning_rate, losses, measured)
        self._bar.advance()

    def record_evaluation(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Record the metrics of a step's weights and print them; the last step prints a scorecard instead."""
        write_line(self._folder, step, metrics)
        if self._tensorboard:
            self._tensorboard.add("metrics", metrics, step=step)
        steps = self._run.cfg.schedule.max_steps
        if step < steps and is_first():
            values = ", ".join(f"{_readable(name)} {value:.1f}" for name, value in metrics.items())
            print(f"step {step:,} of {steps:,}: {values}", file=sys.stderr)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the progress bar and leave the time out of the measured speed, for work that is not a step."""
        with self._bar.paused():
            yield
        self._measured_from = self._run.step, self._clock()

    def _images_per_second(self) -> float:
        """Speed of the steps since the last call or pause."""
        (step, began), now = self._measured_from, self._clock()
        self._measured_from = self._run.step, now
        images: int = (self._run.step - step) * self._run.cfg.data.batch_size
        return images / max(1e-9, now - began)


def step_notes(
    learning_rate: float, losses: Mapping[str, float], measured: Mapping[str, float]
) -> tuple[str, str]:
    """The numbers of a step in two lines for the terminal, without loss terms that are 0."""
    facts = (
        f"{_three_digits(measured['images_per_second'])} images/s",
        f"{measured['input_px']:.0f} px",
        f"memory {measured['memory_mib'] / 1024:.1f} GiB",
        f"learning rate {learning_rate:.2e}",
    )
    terms = [
        f"{SHORT_NAMES.get(name, _readable(name))} {_three_digits(value)}"
        for name, value in losses.items()
        if name != "total" and value != 0
    ]
    loss = " = ".join([f"loss {_three_digits(losses['total'])}", *([" + ".join(terms)] if terms else [])])
    return "   ".join(facts), loss


def peak_memory_mib(device: torch.device) -> float:
    """The peak memory of the run so far: on a GPU that of the device, else that of the process; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere


def _readable(name: str) -> str:
    return name.replace("ap50", "AP50").replace("_", " ")


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


class TensorBoardLog:
    """TensorBoard's event files in `folder`/tensorboard, created with the first number.

    first_step: TensorBoard drops the points of earlier files from this step on, which an interrupted run repeats.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._folder, self._first_step = folder / "tensorboard", first_step
        self._writer: SummaryWriter | None = None

    def add(self, group: str, values: Mapping[str, float], *, step: int) -> None:
        """Add a point to each curve `group`/NAME and write it to disk."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = self._writer or SummaryWriter(self._folder, purge_step=self._first_step)
        for name, value in values.items():
            self._writer.add_scalar(f"{group}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def tensorboard_log_for(folder: Path, *, wanted: bool | None, first_step: int) -> TensorBoardLog | None:
    """The event files of a run; None if they are not wanted or TensorBoard is not installed.

    wanted: `log.tensorboard`; None: if TensorBoard is installed. Raises TrainingError if True and it is not installed.
    """
    if wanted is False:
        return None
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        if wanted:
            raise TrainingError(
                "log.tensorboard is true, but TensorBoard is not installed: pip install tensorboard, "
                "or set log.tensorboard to null."
            ) from None
        return None
    return TensorBoardLog(folder, first_step=first_step)
