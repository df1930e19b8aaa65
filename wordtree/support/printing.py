"""How the commands print: tables, lines, numbers in words, and the bar of long work."""

import sys
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PIPED_WIDTH = 140  # columns where the output is no terminal

Row = dict[str, Any]


def new_console() -> Console:
    """What tables are printed to."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def line(console: Console, text: str) -> None:
    """Print a text as it is, but control characters, which names of files may have: those are shown, not obeyed."""
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    console.print(shown, markup=False, highlight=False, soft_wrap=True)


def counts_lines(console: Console, counts: Mapping[str, Mapping[str, int]]) -> None:
    """Print for each source what was left out or changed, by reason."""
    for source, count in counts.items():
        for reason, number in count.items():
            line(console, f"{source}: {reason}: {number}")


def many(number: int, noun: str, plural: str = "") -> str:
    """`1 shard`, `2 shards`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def splits_text(splits: Mapping[str, int]) -> str:
    """`train`, or where there are several, how many images each has."""
    return ", ".join(splits if len(splits) == 1 else [f"{name}: {images}" for name, images in splits.items()])


class Bar:
    """Images done, their rate and the time that remains, on stderr where that is a terminal.

    images: how many there are; None where that is not known.
    """

    def __init__(self, pictures: int | None, what: str = "pictures") -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task(what, total=pictures, rate="")
        self._begun = False

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, pictures: int) -> None:
        """So many more are done. The first call tells how many were done before: they say nothing of the rate."""
        if not self._begun:
            self._progress.reset(self._task, completed=pictures)
            self._begun = True
            return
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, advance=pictures, rate=f"{speed:.0f}/s" if speed else "")
