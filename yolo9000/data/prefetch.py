"""Prefetching in threads, and the micro-batches of a process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

from wordtree.support.printing import counted
from yolo9000 import distributed
from yolo9000.config import DataConfig
from yolo9000.data.sampler import DataMismatch

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(make: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """make(item) for each item, in order; a few are computed ahead of time in threads."""
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, "batches")
    try:
        for item in items:
            pending.append(pool.submit(make, item))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def slots_of_process(process: int, *, processes: int, slots: int, accumulate: int) -> list[range]:
    """The slots of each micro-batch of a process; all processes together compute every slot of a batch once.

    Micro-batch k of n has every n-th slot from k on, so that all have about the same mixture of sources. Raises
    DataMismatch if a micro-batch would be empty.
    """
    count = processes * accumulate
    if count > slots:
        raise DataMismatch(
            f"data.batch_size {slots} cannot be split into {count} parts, {accumulate} (data.accumulate) in each of "
            f"{counted(processes, 'process', 'processes')}. Increase data.batch_size, or lower the others."
        )
    return [range(first, slots, count) for first in range(process, count, processes)]


def prefetch_micro_batches(
    make: Callable[[int, range], Result], first: int, last: int, cfg: DataConfig
) -> Iterator[list[Result]]:
    """make(step, slots) for each micro-batch of this process, as one list for each of steps first … last."""
    micro_batches = slots_of_process(
        distributed.rank(),
        processes=distributed.world_size(),
        slots=cfg.batch_size,
        accumulate=cfg.accumulate,
    )
    arguments_of_all = ((step, slots) for step in range(first, last + 1) for slots in micro_batches)
    made = prefetch(lambda arguments: make(*arguments), arguments_of_all, threads=cfg.loader_threads)
    return ([next(made) for _ in micro_batches] for _ in range(first, last + 1))


def split_after(first: int, last: int, stops: Iterable[int]) -> Iterator[range]:
    """The numbers first … last as consecutive ranges, each of which ends at a stop or at `last`."""
    inside = sorted({stop for stop in stops if first <= stop < last})
    for start, stop in pairwise([first - 1, *inside, last]):
        if start < stop:  # a finished run has no steps left
            yield range(start + 1, stop + 1)
