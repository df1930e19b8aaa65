"""Ctrl-C and SIGTERM as a request: the command finishes what it has begun, saves it, and ends."""

from __future__ import annotations

import signal
import time
from threading import current_thread, main_thread
from types import FrameType
from typing import Any, Self


class StopRequest:
    """A context manager in which Ctrl-C and SIGTERM only set `signal_number`; a second one interrupts at once.

    grace_s: time after the first signal in which others count as the same request. A program that starts processes,
    such as torchrun, passes a signal on to processes that have received it already.
    Outside the main thread, where Python gives no signals, it does nothing.
    """

    def __init__(self, *, grace_s: float = 0) -> None:
        self.signal_number: int | None = None
        self._grace_s, self._received_at = grace_s, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if current_thread() is main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Restore the former handlers of both signals."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _received(self, number: int, _: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at >= self._grace_s:
            raise KeyboardInterrupt


def end_by_signal(number: int) -> None:
    """End the process with 128 + the signal: raise KeyboardInterrupt for Ctrl-C, otherwise SystemExit."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
