"""The progress bar of long work, on stderr."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from threading import Lock
from typing import Self, TypeVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

LINE_EVERY = 30.0  # seconds between the lines that stand for the bar where stderr is no terminal

Item = TypeVar("Item")


class ProgressBar:
    """Count, rate and remaining time: a bar on a terminal, elsewhere a line every 30 seconds.

    total: None if it is unknown. done: how many were done before.
    notes: lines of text beneath the bar, which may be replaced at any time.
    The rate is measured from the first `advance` on: work of an earlier run does not count.
    """

    def __init__(
        self,
        description: str,
        total: int | None = None,
        *,
        done: int = 0,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.notes: tuple[str, ...] = ()
        self._description, self._total, self._done = description, total, done
        self._enabled, self._clock, self._lock = enabled, clock, Lock()
        self._rate_from: tuple[int, float] | None = None  # count and time of the first `advance`
        self._next_line = clock() + LINE_EVERY
        self._display: _Display | None = None
        if enabled and Console(stderr=True).is_terminal:
            self._renew_display()

    def __enter__(self) -> Self:
        if self._display:
            self._display.start()
        return self

    def _renew_display(self) -> None:
        # Text on the same terminal goes above the bar. Where stdout is a file or a pipe, its text must stay in it.
        self._display = _Display(
            *_COLUMNS, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
        )
        self._task = self._display.add_task(
            self._description, total=self._total, completed=self._done, status=""
        )

    def __exit__(self, *_: object) -> None:
        if self._display:
            self._display.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to others, such as another bar."""
        self.__exit__()
        try:
            yield
        finally:
            if self._display:
                # Rich's display, started again, would erase as many lines above as it had before.
                with self._lock:
                    self._renew_display()
            self.__enter__()

    def advance(self, count: int = 1) -> None:
        """Count more as done; may be called from any thread."""
        with self._lock:
            now = self._clock()
            self._done += count
            if self._rate_from is None:
                self._rate_from = self._done, now
            if self._display:
                self._display.notes = self.notes
                self._display.update(self._task, completed=self._done, status=self.status(now))
            elif self._enabled and now >= self._next_line:
                self._next_line = now + LINE_EVERY
                text = "; ".join([self.status(now), *self.notes])
                print(f"{self._description}: {text}", file=sys.stderr)

    def status(self, now: float) -> str:
        """The numbers as text, for example `1,200/5,000  40/s  1 min 35 s left`."""
        parts = [f"{self._done:,}" if self._total is None else f"{self._done:,}/{self._total:,}"]
        first, began = self._rate_from or (self._done, now)
        if self._done > first and now > began:
            rate = (self._done - first) / (now - began)
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self._total is not None:
                parts.append(f"{duration(max(0, self._total - self._done) / rate)} left")
        return "  ".join(parts)


class _Display(Progress):
    """The bar on a terminal, with the notes beneath."""

    notes: tuple[str, ...] = ()

    def get_renderables(self) -> Iterator[RenderableType]:
        yield from super().get_renderables()
        yield from (Text(note, style="dim") for note in self.notes)


_COLUMNS = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    TextColumn("{task.fields[status]}", markup=False),
)


def track(
    items: Iterable[Item], description: str, *, total: int | None = None, enabled: bool = True
) -> Iterator[Item]:
    """The items; a progress bar counts the items taken. total: by default `len(items)`, where `items` has a length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with ProgressBar(description, total, enabled=enabled) as bar:
        for item in items:
            yield item
            bar.advance()


def duration(seconds: float) -> str:
    """A time in its two largest units: `2 d 3 h`, `1 min 35 s`, `0 s`."""
    rest, parts = round(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])
