"""Batches made ahead of time in threads, each process's own parts of each step, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

from yolo9000 import distributed
from yolo9000.config import DataConfig
from yolo9000.data.sampler import DataMismatch

Asked = TypeVar("Asked")
Made = TypeVar("Made")


def made_ahead(make: Callable[[Asked], Made], items: Iterable[Asked], *, threads: int) -> Iterator[Made]:
    """make(item) for each of the items, in order, a few of them ahead of time in threads."""
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


def parts_of_process(process: int, *, processes: int, slots: int, accumulate: int) -> list[range]:
    """The slots of a step in each of the parts that a process computes; with those of all processes, every slot once.

    A part has every n-th slot, so that all have about the whole's mixture of sources. DataMismatch if one were empty.
    """
    parts = processes * accumulate
    if parts > slots:
        raise DataMismatch(
            f"data.batch_size {slots} cannot be split into {parts} parts, {accumulate} (data.accumulate) in each of "
            f"{processes} process{'es'[: 2 * (processes > 1)]}. Enlarge the one or lower the others."
        )
    return [range(part, slots, parts) for part in range(process, parts, processes)]


def parts_made_ahead(
    make: Callable[[int, range], Made], first: int, last: int, cfg: DataConfig
) -> Iterator[list[Made]]:
    """make(step, slots) for each part of steps first … last that this process computes; a step at a time, in order."""
    parts = parts_of_process(
        distributed.rank(), processes=distributed.size(), slots=cfg.batch_size, accumulate=cfg.accumulate
    )
    every = ((step, slots) for step in range(first, last + 1) for slots in parts)
    made = made_ahead(lambda part: make(*part), every, threads=cfg.loader_threads)
    return ([next(made) for _ in parts] for _ in range(first, last + 1))


def between(first: int, last: int, stops: Iterable[int]) -> Iterator[range]:
    """The numbers first … last in order, in pieces that end at each of the stops."""
    inside = sorted({stop for stop in stops if first <= stop < last})
    for start, stop in pairwise([first - 1, *inside, last]):
        if start < stop:  # nothing is left of a run that has ended
            yield range(start + 1, stop + 1)
