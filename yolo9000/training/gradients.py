"""The gradient of a batch that is computed in micro-batches, one after the other and in several processes.

Each loss is divided by the images of the whole batch, so gradients and loss terms are summed. Processes exchange only
the rows of the class head that at least one of them used; other rows have no gradient (decision 25).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from yolo9000.distributed import any_process, sum_over_processes, world_size
from yolo9000.models.batch_norm import running_statistics
from yolo9000.models.head import ClassHead
from yolo9000.training.lazy_rows import LazyRows

MicroBatch = TypeVar("MicroBatch")


def compute_gradients(
    model: nn.Module,
    micro_batches: Iterable[MicroBatch],
    terms_of: Callable[[MicroBatch], Mapping[str, Tensor]],
    lazy_rows: LazyRows | None = None,
) -> dict[str, Tensor]:
    """The detached loss terms of a step, after the gradient of their `total` is in every parameter of the model.

    micro_batches: of this process; terms_of: returns the named loss terms of a micro-batch and their sum, `total`.
    lazy_rows: get the gradient of the class weights, instead of the parameter.
    Afterwards all processes have the same gradients, terms and running statistics of batch norm.
    """
    model.zero_grad(set_to_none=True)
    if lazy_rows:
        lazy_rows.clear_gradient()
    sums: dict[str, Tensor] = {}
    for micro_batch in micro_batches:
        terms = terms_of(micro_batch)
        terms["total"].backward()
        if lazy_rows:
            lazy_rows.collect_gradient()
        for name, term in terms.items():
            sums[name] = sums[name] + term.detach() if name in sums else term.detach()
    for parameter in model.parameters():
        is_lazy = lazy_rows is not None and parameter is lazy_rows.weight
        if (
            parameter.grad is None and parameter.requires_grad and not is_lazy
        ):  # not used by these micro-batches
            parameter.grad = torch.zeros_like(parameter)
    if world_size() > 1:
        _sum_over_processes(model, sums)
        if lazy_rows:
            lazy_rows.sum_over_processes()
    return sums


@torch.no_grad()
def clip_gradients(model: nn.Module, max_norm: float, lazy_rows: LazyRows | None = None) -> None:
    """Scale all gradients so that their norm, taken together, is at most `max_norm`; rows without one add nothing."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if lazy_rows:
        gradients.append(lazy_rows.gradient)
    norm = torch.nn.utils.get_total_norm(gradients)
    torch.nn.utils.clip_grads_with_norm_(model.parameters(), max_norm, norm)
    if lazy_rows:
        lazy_rows.gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))  # as in torch


@torch.no_grad()
def _sum_over_processes(model: nn.Module, terms: dict[str, Tensor]) -> None:
    """Replace gradients and terms by their sums over the processes, and running statistics by their means."""
    heads = [module for module in model.modules() if isinstance(module, ClassHead)]
    in_heads = {id(parameter) for head in heads for parameter in head.parameters()}
    dense = [p.grad for p in model.parameters() if p.grad is not None and id(p) not in in_heads]
    by_rows = [pair for head in heads for pair in _gradients_with_rows(head)]
    rows_only = [gradient.index_select(1, rows) for gradient, rows in by_rows]
    statistics = running_statistics(model)
    sum_over_processes([*dense, *rows_only, *statistics, *terms.values()])
    for (gradient, rows), summed in zip(by_rows, rows_only, strict=True):
        gradient.index_copy_(1, rows, summed)
    for value in statistics:
        value.div_(world_size())


def _gradients_with_rows(head: ClassHead) -> list[tuple[Tensor, Tensor]]:
    """Gradients of a head's weight and bias (A, N, …), each with the rows that a process used, (U,)."""
    rows = any_process(head.take_used_nodes()).nonzero()[:, 0]
    return [(p.grad, rows) for p in head.parameters() if p.grad is not None]
