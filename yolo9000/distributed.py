"""Data parallelism with `torchrun`: each process computes its part of every step and of every evaluation.

With a single process all functions here are the identity and cost nothing.
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
from yolo9000.config import Precision
from yolo9000.errors import Yolo9000Error

Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")

BUCKET_ELEMENTS = 8 * 2**20  # size of the flat tensors that are summed: few calls, little memory
TIMEOUT = timedelta(hours=1)  # other processes wait while one scores a large set or writes a large file


class ProcessError(Yolo9000Error):
    """Several processes cannot start or continue together: one has no device, or one is gone."""


def rank() -> int:
    """Number of this process, from 0; always 0 outside `joined_processes`."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes in the group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this process writes and prints for all; also valid before and after `joined_processes`."""
    return _process_count() == 1 or os.environ.get("RANK", "0") == "0"


def default_device() -> torch.device:
    """The GPU of this process if it has one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_in_bfloat16(precision: Precision, device: torch.device) -> bool:
    """Whether a network computes in bfloat16; `auto`: where the device supports it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def on_first_process(write: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """A decorator: the function runs in the first process only."""

    @wraps(write)
    def write_once(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        if is_first():
            write(*args, **kwargs)

    return write_once


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the processes of `torchrun` in one group during a `with` block or a decorated function.

    Each process uses the GPU of its local rank. The process that fails first raises its error; the others then exit
    without a message. Raises ProcessError.
    """
    if _process_count() == 1 or dist.is_initialized():
        yield
        return
    store = _join()
    try:
        yield
        with _communicating():
            dist.barrier()  # gloo aborts if one process ends the group while another still joins or communicates
    except Exception:
        if _another_failed_first(store):
            raise SystemExit(2) from None
        raise
    dist.destroy_process_group()


def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the processes.

    All tensors have one type and device, and the same shapes in every process.
    """
    if world_size() == 1:
        return
    for bucket in buckets_of(tensors, elements=BUCKET_ELEMENTS):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        with _communicating():
            dist.all_reduce(flat)
        for tensor, total in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
            tensor.copy_(total.view(tensor.shape))


def buckets_of(tensors: Sequence[Tensor], *, elements: int) -> Iterator[list[Tensor]]:
    """Consecutive groups of tensors, each closed once it has this many elements."""
    bucket: list[Tensor] = []
    count = 0
    for tensor in tensors:
        bucket.append(tensor)
        count += tensor.numel()
        if count >= elements:
            yield bucket
            bucket, count = [], 0
    if bucket:
        yield bucket


def any_process(mask: Tensor) -> Tensor:
    """Whether each entry of the mask is true in at least one process; mask: bool."""
    if world_size() == 1:
        return mask
    flags = mask.to(torch.uint8)
    with _communicating():
        dist.all_reduce(flags, dist.ReduceOp.MAX)
    return flags.bool()


def in_any_process(flag: bool) -> bool:
    """Whether the flag is true in at least one process; the same in every process."""
    return bool(any_process(torch.tensor([flag]))) if world_size() > 1 else flag


def wait_for_all() -> None:
    """Wait until every process has reached this point."""
    if world_size() > 1:
        with _communicating():
            dist.barrier()


def own_share(items: Sequence[Item]) -> Sequence[Item]:
    """The items of this process: every world_size()-th."""
    return items[rank() :: world_size()]


def all_gather(results: list[Item]) -> list[Item]:
    """The results of all processes for their `own_share`, in the order of all items; the same in every process."""
    if world_size() == 1:
        return results
    shares: list[list[Item]] = [[] for _ in range(world_size())]
    with _communicating():
        dist.all_gather_object(shares, results)
    total = sum(len(share) for share in shares)
    return [shares[k % len(shares)][k // len(shares)] for k in range(total)]


def broadcast(make: Callable[[], Item]) -> Item:
    """The result of `make`, which only the first process calls; the same in every process."""
    if world_size() == 1:
        return make()
    made = [make() if rank() == 0 else None]
    with _communicating():
        dist.broadcast_object_list(made)
    return made[0]  # type: ignore[return-value]


def _process_count() -> int:
    """Number of processes that torchrun started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _join() -> Store:
    """Start the group of processes; returns the store that they share."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        local, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= found:
            raise ProcessError(
                f"Expected a GPU for each process of this machine, found {found} for process {local}. "
                f"Start torchrun with --nproc_per_node {found}."
            )
        torch.cuda.set_device(local)
    try:
        store: Store
        store, number, count = next(rendezvous("env://", timeout=TIMEOUT))
        backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
        dist.init_process_group(backend, store=store, rank=number, world_size=count, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:  # a missing variable, or no process replies
        raise ProcessError(f"The processes could not connect; start them with torchrun. ({error})") from error
    return store


def _another_failed_first(store: Store) -> bool:
    """Whether another process failed before this one and reports the cause."""
    try:
        return bool(store.add("failures", 1) > 1)
    except RuntimeError:  # the process that held the store is gone
        return False


@contextmanager
def _communicating() -> Iterator[None]:
    """Turn a failed communication into a ProcessError."""
    try:
        yield
    except RuntimeError as error:  # gloo has no narrower type
        raise ProcessError(
            f"Process {rank()} of {world_size()} stops: another process is gone or does not reply. Its last message "
            "has the cause. Continue the run with --resume."
        ) from error


def track_progress(items: Iterable[Item], description: str, *, total: int) -> Iterable[Item]:
    """The items, with one progress bar for all processes; without a bar in a thread, which works beside another bar."""
    enabled = is_first() and current_thread() is main_thread()
    return track(items, description, total=total, enabled=enabled)
