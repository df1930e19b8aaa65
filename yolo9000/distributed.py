"""The processes that `torchrun` starts: each computes its part of every step and of every evaluation.

Sums, gathering and the rest are the identity, and free, where there is one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from threading import current_thread, main_thread
from typing import ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from wordtree.support.progress import track
from yolo9000.errors import Yolo9000Error

Item = TypeVar("Item")
Given = ParamSpec("Given")

BUCKET_NUMBERS = 8 * 2**20  # tensors are summed in flat pieces of about this many: few calls, little memory
PATIENCE = timedelta(hours=1)  # others wait while one scores a large set or writes a large file


class ProcessError(Yolo9000Error):
    """Several processes cannot start together or go on: no device for one of them, or another one is gone."""


def rank() -> int:
    """The number of this process, from 0; outside of `joined_processes` there is one."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes and prints for all, also before they have joined and after."""
    return _started() == 1 or os.environ.get("RANK", "0") == "0"


def usual_device() -> torch.device:
    """Where this process computes unless told otherwise: on its GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def by_first_process(write: Callable[Given, None]) -> Callable[Given, None]:
    """The same, done once: in the other processes it does nothing."""

    @wraps(write)
    def written_once(*arguments: Given.args, **named: Given.kwargs) -> None:
        if is_first():
            write(*arguments, **named)

    return written_once


@contextmanager
def joined_processes() -> Iterator[None]:
    """The processes of `torchrun` as one group, for the time of a `with` block or of the function it decorates.

    On GPUs each takes the one of its local rank. An error is told by the first process that it stops; those that stop
    because of it end quietly. Raises ProcessError.
    """
    if _started() == 1 or dist.is_initialized():
        yield
        return
    store = _join()
    try:
        yield
        with _together():
            dist.barrier()  # none ends the group while another still joins it or talks: gloo would abort
    except Exception:
        if _is_told(store):
            raise SystemExit(2) from None
        raise
    dist.destroy_process_group()


def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the processes; of one type and device, the same shapes everywhere."""
    if size() == 1:
        return
    for bucket in buckets_of(tensors, numbers=BUCKET_NUMBERS):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _together():
            dist.all_reduce(flat)
        for tensor, total in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(total.view(tensor.shape))


def buckets_of(tensors: Sequence[Tensor], *, numbers: int) -> Iterator[list[Tensor]]:
    """The tensors in their order, cut where that many numbers have come together."""
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        bucket.append(tensor)
        held += tensor.numel()
        if held >= numbers:
            yield bucket
            bucket, held = [], 0
    if bucket:
        yield bucket


def anywhere(mask: Tensor) -> Tensor:
    """Where a mask (bool) is true in some process."""
    if size() == 1:
        return mask
    found = mask.to(torch.uint8)
    with _together():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.bool()


def share_of(items: Sequence[Item]) -> Sequence[Item]:
    """The items that fall to this process, every size()-th."""
    return items[rank() :: size()]


def joined_shares(own: list[Item]) -> list[Item]:
    """What all processes made of their shares, in the order of the whole, in every process."""
    if size() == 1:
        return own
    shares: list[list[Item]] = [[] for _ in range(size())]
    with _together():
        dist.all_gather_object(shares, own)
    total = sum(len(share) for share in shares)
    return [shares[k % len(shares)][k // len(shares)] for k in range(total)]


def from_first(make: Callable[[], Item]) -> Item:
    """What the first process makes, in every process."""
    if size() == 1:
        return make()
    made = [make() if rank() == 0 else None]
    with _together():
        dist.broadcast_object_list(made)
    return made[0]  # type: ignore[return-value]


def _started() -> int:
    """How many processes torchrun says that it started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _join() -> Store:
    """Start the group; the store that its processes share."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= found:
            raise ProcessError(
                f"Process {local} of this machine has no GPU of its own, there are {found}. "
                f"Start torchrun with --nproc_per_node {found}."
            )
        torch.cuda.set_device(local)
    try:
        store: Store
        store, number, count = next(rendezvous("env://", timeout=PATIENCE))
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
    except (ValueError, RuntimeError) as error:  # a variable that is missing; nobody answers
        raise ProcessError(f"The processes could not meet; start them with torchrun. ({error})") from error
    return store


def _is_told(store: Store) -> bool:
    """Whether another process has failed before this one, and so tells why."""
    try:
        return bool(store.add("failures", 1) > 1)
    except RuntimeError:  # the store is gone with the process that held it
        return False


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo raises nothing more special
        raise ProcessError(
            f"Process {rank()} of {size()} stops: another one is gone, or no longer answers. "
            "What that one said last tells why; then go on with --resume."
        ) from error


def track_progress(items: Iterable[Item], description: str, *, total: int) -> Iterable[Item]:
    """The items, with one progress bar for all processes; none in threads, which work beside another bar."""
    enabled = is_first() and current_thread() is main_thread()
    return track(items, description, total=total, enabled=enabled)
