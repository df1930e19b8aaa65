"""Prefetching in threads, and the parts of each step's batch that a process computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

from yolo9000 import distributed
from yolo9000.config import DataConfig
from yolo9000.data.sampler import DataMismatch

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(make: Callable[[Item], Made], items: Iterable[Item], *, threads: int) -> Iterator[Made]:
    """make(item) for each item, in order; a few are computed ahead of time in threads."""
    waiting: deque[Future[Made]] = deque()
    pool = ThreadPoolExecutor(threads, "batches")
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def slots_of_process(process: int, *, processes: int, slots: int, accumulate: int) -> list[range]:
    """The slots of each part of a step's batch that a process computes; all processes together compute every slot once.

    A part of n has every n-th slot, so that all parts have about the same mixture of sources. Raises DataMismatch if a
    part would be empty.
    """
    parts = processes * accumulate
    if parts > slots:
        raise DataMismatch(
            f"data.batch_size {slots} cannot be split into {parts} parts, {accumulate} (data.accumulate) in each of "
            f"{processes} process{'es'[: 2 * (processes > 1)]}. Increase data.batch_size, or lower the others."
        )
    return [range(part, slots, parts) for part in range(process, parts, processes)]


def prefetch_parts(
    make: Callable[[int, range], Made], first: int, last: int, cfg: DataConfig
) -> Iterator[list[Made]]:
    """make(step, slots) for each part that this process computes, as one list for each of steps first … last."""
    parts = slots_of_process(
        distributed.rank(),
        processes=distributed.world_size(),
        slots=cfg.batch_size,
        accumulate=cfg.accumulate,
    )
    all_parts = ((step, slots) for step in range(first, last + 1) for slots in parts)
    made = prefetch(lambda part: make(*part), all_parts, threads=cfg.loader_threads)
    return ([next(made) for _ in parts] for _ in range(first, last + 1))


def split_after(first: int, last: int, stops: Iterable[int]) -> Iterator[range]:
    """The numbers first … last as consecutive ranges, each of which ends at a stop or at `last`."""
    inside = sorted({stop for stop in stops if first <= stop < last})
    for start, stop in pairwise([first - 1, *inside, last]):
        if start < stop:  # a finished run has no steps left
            yield range(start + 1, stop + 1)
