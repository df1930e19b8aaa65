"""Who writes the shards: this process, a pool of processes, or any executor, on this machine or on many."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from threading import Thread

from data_prep.errors import DataPrepError, MergeError
from data_prep.shards.writer import ShardJob, ShardResult, write_shard

IN_FLIGHT = 256  # jobs that an executor holds at once: each carries the columns of its images

Finished = Callable[[ShardResult], None]
Progress = Callable[[int], None]  # called with the number of images that were just done


@dataclass(frozen=True)
class Workers:
    """processes: how many, where no executor is given. report: told how many images were just done."""

    processes: int
    executor: Executor | None
    report: Progress

    def write(self, jobs: Iterator[ShardJob], number: int, finished: Finished) -> None:
        """Write the shards of so many jobs, in any order; `finished` is called in this process with each.

        After a failure or Ctrl-C the shards under way are still finished and told, but none is begun.
        """
        if self.executor is not None:
            self._write_by(self.executor, jobs, finished)
        elif self.processes == 1 or number == 1:
            for job in jobs:
                finished(write_shard(job, on_image=lambda: self.report(1)))
        elif number:
            # Spawned, not forked: the parent's progress bar is a thread, and threads do not survive a fork.
            processes = min(self.processes, number)
            with ProcessPoolExecutor(processes, get_context("spawn"), _begin_worker) as pool:
                self._write_by(pool, jobs, finished)

    def _write_by(self, executor: Executor, jobs: Iterator[ShardJob], finished: Finished) -> None:
        waiting: dict[Future[ShardResult], int] = {}

        def submit(how_many: int) -> None:
            for job in islice(jobs, how_many):
                waiting[executor.submit(write_shard, job)] = len(job.images)

        try:
            with _interrupts_kept_from_children():
                submit(IN_FLIGHT)
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    finished(future.result())
                    self.report(waiting.pop(future))
                submit(len(done))
        except (BrokenExecutor, CancelledError):
            raise MergeError(
                "A worker process died, perhaps for want of memory. Run the command again to continue; "
                "fewer workers or a smaller shard_mb need less memory."
            ) from None
        finally:
            _finish(waiting, finished)


def _finish(waiting: dict[Future[ShardResult], int], finished: Finished) -> None:
    """Begin no more shards, and tell those that were under way."""
    under_way = [future for future in waiting if not future.cancel()]
    for future in under_way:
        with suppress(DataPrepError, BrokenExecutor, CancelledError):
            finished(future.result())


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """A process that is started meanwhile never sees Ctrl-C, not even while it imports what it needs."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """In a worker process: it must not live on when its parent is killed."""
    Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
