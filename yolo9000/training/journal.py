"""`Journal`: what people see of a run while it goes on: metrics.csv, TensorBoard, a bar on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolo9000.training.run_folder import TrainingError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text
from torch import Tensor

from yolo9000.distributed import is_first
from yolo9000.training.run import Run
from yolo9000.training.run_folder import write_line

SHORT = {  # terms of the loss on the terminal; the others by their own names
    "coordinates": "coords",
    "objectness": "object",
    "label_objectness": "label object",
    "negative_label": "negative",
    "exclusion": "excluded",
    "anchor_warm_up": "warm-up",
}


class Journal:
    """Writes down what happens in a run, from its present step on; a context manager.

    Raises TrainingError where TensorBoard is asked for and not installed. The speed is that of the steps alone, since
    the line before or the last pause; the time left counts pauses too.
    """

    def __init__(
        self, run: Run[Any, Any], folder: Path, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._run, self._folder, self._clock = run, folder, clock
        self._began = self._mark = run.step, clock()
        asked = run.cfg.log.tensorboard if is_first() else False
        self._board = board_for(folder, asked=asked, first_step=run.step + 1)
        self._console = Console(stderr=True, quiet=not is_first())
        self._bar = _Bar(run, self._console)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, stopped_by: type[BaseException] | None, *_: object) -> None:
        self._bar.stop()
        if self._board:
            self._board.close()
        if stopped_by is KeyboardInterrupt:
            every = self._run.cfg.log.checkpoint_every
            message = (
                f"Interrupted after step {self._run.step:,}. A checkpoint is written every {every:,} steps"
            )
            self._console.print(
                f"{message}; what goes on begins at the last one.", highlight=False, soft_wrap=True
            )

    def step(self, learning_rate: float, terms: Mapping[str, Tensor], *, input_px: int) -> None:
        """After each step: the bar goes on; the numbers are written down where log.every says so.

        terms: of the loss, their `total` among them. Only then they are read, which waits for the device.
        """
        if self._run.logs:
            losses = {name: float(value) for name, value in terms.items()}
            measured = {
                "images_per_second": self._speed(),
                "input_px": float(input_px),
                "memory_mib": peak_memory_mib(self._run.device),
            }
            state = {"learning_rate": learning_rate, **measured}
            write_line(self._folder, self._run.step, {"learning_rate": learning_rate, **losses, **measured})
            if self._board:
                self._board.numbers("loss", losses, step=self._run.step)
                self._board.numbers("run", state, step=self._run.step)
            self._bar.notes = in_words(learning_rate, losses, measured)
        self._bar.go_on(self._time_left())

    def scores(self, values: Mapping[str, float], *, step: int) -> None:
        """What a step's weights scored: written down and told on stderr, but for the last, whose scorecard is shown."""
        write_line(self._folder, step, values)
        if self._board:
            self._board.numbers("score", values, step=step)
        if step >= self._run.cfg.schedule.max_steps:
            return
        message = ", ".join(f"{_spoken(name)} {value:.1f}" for name, value in values.items())
        text = f"step {step:,} of {self._run.cfg.schedule.max_steps:,}: {message}"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While a run evaluates: that is no time of its steps, and has a bar of its own."""
        self._bar.stop()
        try:
            yield
        finally:
            self._mark = self._run.step, self._clock()
            self._bar.start()

    def _speed(self) -> float:
        """Images a second since the mark, which moves here."""
        (step, before), now = self._mark, self._clock()
        self._mark = self._run.step, now
        images: int = (self._run.step - step) * self._run.cfg.data.batch_size
        return images / max(1e-9, now - before)

    def _time_left(self) -> float:
        """Seconds, if the rest goes as what has been done since the start, or since it was resumed."""
        step, began = self._began
        rest: int = self._run.cfg.schedule.max_steps - self._run.step
        return rest * (self._clock() - began) / max(1, self._run.step - step)


class _Bar(Progress):
    """Steps and time left, and below them lines of numbers; nothing where stderr is no terminal."""

    def __init__(self, run: Run[Any, Any], console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self.notes: tuple[str, ...] = ()
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._run = run
        self._steps = self.add_task(
            run.cfg.name, total=run.cfg.schedule.max_steps, completed=run.step, left=""
        )

    def go_on(self, seconds_left: float) -> None:
        self.update(self._steps, completed=self._run.step, left=f"{_duration(seconds_left)} left")

    def stop(self) -> None:
        if not self.disable:  # rich 13 ends even a disabled bar with an empty line
            super().stop()

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(note, style="dim") for note in self.notes)


def in_words(
    learning_rate: float, losses: Mapping[str, float], measured: Mapping[str, float]
) -> tuple[str, str]:
    """The numbers of a step in two lines for the terminal; terms of the loss that are 0 are left out."""
    terms = [
        f"{SHORT.get(name, _spoken(name))} {_three_digits(value)}"
        for name, value in losses.items()
        if name != "total" and value != 0
    ]
    facts = (
        f"{_three_digits(measured['images_per_second'])} images/s",
        f"{measured['input_px']:.0f} px",
        f"memory {measured['memory_mib'] / 1024:.1f} GiB",
        f"learning rate {learning_rate:.2e}",
    )
    loss = f"loss {_three_digits(losses['total'])}"
    return "   ".join(facts), f"{loss} = {' + '.join(terms)}" if terms else loss


def peak_memory_mib(device: torch.device) -> float:
    """The most memory the run has taken so far: on a GPU that of the device, else the process's; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB elsewhere


def _spoken(name: str) -> str:
    return name.replace("ap50", "AP50").replace("_", " ")


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}" if abs(value) >= 0.001 else f"{value:.1e}"


def _duration(seconds: float) -> str:
    """Days, hours, minutes, seconds: the two uppermost that are not 0."""
    rest, parts = round(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        parts.append((count, unit))
    first = next((location for location, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


class Board:
    """The event files in `folder`/tensorboard, begun with the first number.

    first_step: of an interrupted run, TensorBoard forgets what an earlier file holds of this step and later ones.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        self._folder, self._first_step = folder / "tensorboard", first_step
        self._open: SummaryWriter | None = None

    def numbers(self, group: str, values: Mapping[str, float], *, step: int) -> None:
        """A point of each curve `group`/NAME; on disk when this returns."""
        writer = self._writer()
        for name, value in values.items():
            writer.add_scalar(f"{group}/{name}", value, step)
        writer.flush()

    def close(self) -> None:
        if self._open:
            self._open.close()

    def _writer(self) -> Any:
        if self._open is None:
            from torch.utils.tensorboard import SummaryWriter

            self._open = SummaryWriter(self._folder, purge_step=self._first_step)
        return self._open


def board_for(folder: Path, *, asked: bool | None, first_step: int) -> Board | None:
    """None where TensorBoard is not installed, or not wanted; TrainingError where it is asked for in vain."""
    if asked is False:
        return None
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        if asked:
            raise TrainingError(
                "log.tensorboard is true, but TensorBoard is not installed: pip install tensorboard, "
                "or set log.tensorboard to null."
            ) from None
        return None
    return Board(folder, first_step=first_step)
