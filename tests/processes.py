"""Waiting for processes that a test has started or killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable


def wait_for(happened: Callable[[], bool], *, seconds: float) -> None:
    """Wait until `happened()` is true; fail after that many seconds."""
    ends = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.1)


def has_processes(group: int) -> bool:
    """Whether a process of this process group is alive."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
