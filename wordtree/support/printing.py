"""Printed output of the commands: consoles, lines, numbers in words."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from wordtree.support.lines import printable

PIPED_WIDTH = 140  # columns where stdout is not a terminal

Row = dict[str, Any]


def new_console() -> Console:
    """A console for tables."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)


def print_line(console: Console, text: str) -> None:
    """Print a text as it is, with control characters escaped, which file names may contain."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def print_counts(
    console: Console,
    counts: Mapping[str, Mapping[str, int]],
    examples: Mapping[tuple[str, str], str],
) -> None:
    """Print how many entries of each source were left out or changed, by reason.

    examples: a text to follow the number, by source and reason.
    """
    for source, by_reason in counts.items():
        for reason, number in by_reason.items():
            print_line(console, f"{source}: {reason}: {number}{examples.get((source, reason), '')}")


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 shard`, `2 shards`."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def splits_text(splits: Mapping[str, int]) -> str:
    """`train`, or where there are several splits, `train: 7, val: 2`."""
    return ", ".join(splits if len(splits) == 1 else [f"{name}: {images}" for name, images in splits.items()])
