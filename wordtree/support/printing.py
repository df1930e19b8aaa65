"""Printed output of the commands: consoles, lines, numbers in words."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

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
