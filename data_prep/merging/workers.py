"""Writes shards in this process, in a pool of processes, or through any executor, on one machine or many."""

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

IN_FLIGHT = 256  # jobs that an executor holds at once; each contains the columns of its images

OnShard = Callable[[ShardResult], None]
Progress = Callable[[int], None]  # called with the number of images just done


@dataclass(frozen=True)
class Workers:
    """The means to write shards: processes of this machine, or an executor."""

    processes: int
    executor: Executor | None
    progress: Progress

    def write(self, jobs: Iterator[ShardJob], job_count: int, on_shard: OnShard) -> None:
        """Write the shards of `job_count` jobs, in any order; `on_shard` is called in this process with each result.

        After a failure or Ctrl-C, shards under way are still finished and passed to `on_shard`; no other is begun.
        """
        if self.executor is not None:
            self._write_by(self.executor, jobs, on_shard)
        elif self.processes == 1 or job_count == 1:
            for job in jobs:
                on_shard(write_shard(job, on_image=lambda: self.progress(1)))
        elif job_count:
            # Spawned, not forked: the parent's progress bar is a thread, and threads do not survive a fork.
            processes = min(self.processes, job_count)
            with ProcessPoolExecutor(processes, get_context("spawn"), begin_worker) as pool:
                self._write_by(pool, jobs, on_shard)

    def _write_by(self, executor: Executor, jobs: Iterator[ShardJob], on_shard: OnShard) -> None:
        waiting: dict[Future[ShardResult], int] = {}

        def submit(how_many: int) -> None:
            for job in islice(jobs, how_many):
                waiting[executor.submit(write_shard, job)] = len(job.images)

        try:
            with _interrupts_blocked():
                submit(IN_FLIGHT)
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    on_shard(future.result())
                    self.progress(waiting.pop(future))
                submit(len(done))
        except (BrokenExecutor, CancelledError):
            raise MergeError(
                "A worker process died; perhaps memory ran out. Run the command again to resume; "
                "fewer workers or a smaller shard_mb need less memory."
            ) from None
        finally:
            _finish(waiting, on_shard)


def _finish(waiting: dict[Future[ShardResult], int], on_shard: OnShard) -> None:
    """Cancel the shards that are not begun, and pass on those under way."""
    under_way = [future for future in waiting if not future.cancel()]
    for future in under_way:
        with suppress(DataPrepError, BrokenExecutor, CancelledError):
            on_shard(future.result())


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started meanwhile, even while they import modules."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker() -> None:
    """Prepare a worker process: its parent handles Ctrl-C, and the worker ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def end_with_parent() -> None:
    """End this worker process when its parent is killed."""
    Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
