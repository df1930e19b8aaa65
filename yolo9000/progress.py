"""A bar for what takes a while."""

from __future__ import annotations

from collections.abc import Iterable
from threading import current_thread, main_thread
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from yolo9000.distributed import is_first

Item = TypeVar("Item")


def shown(description: str, items: Iterable[Item], *, total: int) -> Iterable[Item]:
    """The same items, with a bar on stderr where that is a terminal; not in threads beside others that have theirs."""
    console = Console(stderr=True)
    is_shown = console.is_terminal and is_first() and current_thread() is main_thread()
    return track(items, description, total=total, transient=True, console=console, disable=not is_shown)
