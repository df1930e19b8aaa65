"""Printed output of the commands: consoles, lines, numbers in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wordtree.support.lines import printable

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 140  # columns where stdout is not a terminal

Row = dict[str, Any]


def new_console() -> Console:
    """A console for tables, in which names such as `[red]` and `:car:` stay as they are."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, markup=False, emoji=False)


def print_line(console: Console, text: str) -> None:
    """Print a text as it is, with control characters escaped, which file names may contain."""
    console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def print_text(text: str) -> None:
    """Print a text of several lines: exactly, or on a terminal with control characters escaped."""
    for line in text.splitlines():
        print(printable(line) if sys.stdout.isatty() else line)


def print_json(content: Any, *, indent: int = 2) -> None:
    """Print JSON in readable characters; others are escaped, so that a terminal does not obey them."""
    text = json.dumps(content, ensure_ascii=False, indent=indent)
    escaped = (char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    print("".join(escaped))


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
