"""Class weights that are updated row by row, so that a step costs the same in a tree of any size (decision 38).

Only the rows on the paths of a step's labels get a gradient. For every other row, the update is a linear map of its
columns: weight, moments of the optimizer and EMA. The map is the same for all rows, so a row that was left out is
brought up to date by the product of the maps that it missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from yolo9000.config import OptimizerConfig
from yolo9000.distributed import any_process, sum_over_processes, world_size
from yolo9000.models.head import ClassHead
from yolo9000.training.optim import ModelEma
from yolo9000.training.row_updates import Columns, LinearMap, row_update_of

LAZY_FROM_NODES = 4096  # class_rows auto: a smaller head costs little
MAX_UPDATES = 1000  # that a row can miss, before all rows are brought up to date
ROWS_AT_ONCE = 1024  # so that intermediate values stay in the cache


def build_lazy_rows(
    model: nn.Module, optimizer: torch.optim.Optimizer, ema: ModelEma | None, cfg: OptimizerConfig
) -> LazyRows | None:
    """The lazy rows of a detector's class head; None: all rows are updated in every step."""
    heads = [module for module in model.modules() if isinstance(module, ClassHead)]
    if not heads or cfg.class_rows == "dense":
        return None
    if cfg.class_rows == "auto" and heads[0].weight.shape[1] < LAZY_FROM_NODES:
        return None
    return LazyRows(heads[0], optimizer, ema)


class LazyRows:
    """The rows (A·N, C) of a class head's weights, each updated only when it has a gradient.

    The weights stay parameters of the optimizer and their moments in its state, so a checkpoint does not show how they
    were updated. `flush` brings all rows up to date; it precedes every use of weights, moments or EMA as a whole.
    With SGD the result is that of dense updates, apart from rounding; for AdamW see `AdamWUpdate`.
    """

    def __init__(self, head: ClassHead, optimizer: torch.optim.Optimizer, ema: ModelEma | None) -> None:
        self._head, self._optimizer, self._ema = head, optimizer, ema
        self._ema_weight = ema.take_over(head.weight) if ema else None
        self._rule = row_update_of(optimizer)
        rows = head.weight[..., 0].numel()
        self._updates = 0  # since the last flush
        # The last update that each row had.
        self._had = torch.zeros(rows, dtype=torch.int32, device=head.weight.device)
        columns = 1 + len(self._rule.moments) + (ema is not None)
        # (updates + 1, columns, columns) at [k]: the product of all maps after the k-th update.
        self._missed = torch.eye(columns, dtype=torch.float64, device=head.weight.device)[None]
        self._reads: list[tuple[Tensor, Tensor]] = []
        self.clear_gradient()
        head.lazy_rows = self

    # --- reading and gradient

    @property
    def weight(self) -> nn.Parameter:
        return self._head.weight

    @property
    def gradient(self) -> Tensor:
        """The gradient of the rows that have one, (U, C)."""
        return self._gradient[1]

    def read(self, rows: Tensor) -> Tensor:
        """The present weights (U, C) of the rows (U,); nothing is changed, so processes may read different rows."""
        with torch.no_grad():
            weight = self._head.weight.new_empty(len(rows), self._head.weight.shape[2])
            for part, some in zip(weight.split(ROWS_AT_ONCE), rows.split(ROWS_AT_ONCE), strict=True):
                part.copy_(self._present(some, columns=1)[0])
        if torch.is_grad_enabled():
            weight.requires_grad_()
            self._reads.append((rows, weight))
        return weight

    def clear_gradient(self) -> None:
        weight = self._head.weight
        self._reads.clear()
        self._gradient = (
            self._had.new_zeros(0, dtype=torch.int64),
            weight.detach().new_zeros(0, weight.shape[2]),
        )

    @torch.no_grad()
    def collect_gradient(self) -> None:
        """Add the gradient of the rows that were read since the last call; to be called after `backward`."""
        parts = [(rows, weight.grad) for rows, weight in self._reads if weight.grad is not None]
        self._reads.clear()
        if parts:
            self._gradient = _summed_by_row([self._gradient, *parts] if len(self.gradient) else parts)

    @torch.no_grad()
    def sum_over_processes(self) -> None:
        """Replace the gradient by its sum over the processes, which exchange only the rows that one of them has."""
        if world_size() == 1:
            return
        own, gradient = self._gradient
        has_gradient = torch.zeros_like(self._had, dtype=torch.bool)
        has_gradient[own] = True
        rows = any_process(has_gradient).nonzero()[:, 0]
        total = gradient.new_zeros(len(rows), gradient.shape[1])
        total.index_copy_(0, torch.searchsorted(rows, own), gradient)
        sum_over_processes([total])
        self._gradient = rows, total

    # --- updates

    @torch.no_grad()
    def update(self) -> None:
        """Update the rows that have a gradient; after `optimizer.step()` and the update of the EMA."""
        whole, step, count = self._columns(), self._counted_step(), 1 + len(self._rule.moments)
        rows, gradient = self._gradient
        for some, part in zip(rows.split(ROWS_AT_ONCE), gradient.split(ROWS_AT_ONCE), strict=True):
            columns = self._present(some, columns=len(whole))
            new = self._rule.updated(columns[:count], part, self._group, step)
            if self._ema:
                new.append(columns[-1].lerp(new[0], 1 - self._ema.current_decay))
            for column, values in zip(whole, new, strict=True):
                column.index_copy_(0, some, values)
        self._missed = _after_one_more_update(self._map_without_gradient(), self._missed)
        self._updates += 1
        self._had[rows] = self._updates
        if self._updates == MAX_UPDATES:
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Bring every row up to date."""
        if not self._updates:
            return
        whole = self._columns()
        for rows in torch.arange(len(self._had), device=self._had.device).split(ROWS_AT_ONCE):
            for column, values in zip(whole, self._present(rows, columns=len(whole)), strict=True):
                column.index_copy_(0, rows, values)
        self._updates, self._missed = 0, self._missed[-1:]
        self._had.zero_()

    @contextmanager
    def flushed(self) -> Iterator[None]:
        """Keep all rows up to date within the `with` block, in which the head reads its weights directly."""
        self.flush()
        self._head.lazy_rows = None
        try:
            yield
        finally:
            self._head.lazy_rows = self

    def _map_without_gradient(self) -> LinearMap:
        """The map of an update without gradient, EMA included."""
        update = self._rule.map_without_gradient(self._group)
        if self._ema:
            decay, last = self._ema.current_decay, 1 + len(self._rule.moments)
            update |= {(last, j): (1 - decay) * value for (i, j), value in update.items() if i == 0}
            update[last, last] = decay
        return update

    def _present(self, rows: Tensor, *, columns: int) -> Columns:
        """The first columns of some rows (U,) after all updates, each (U, C)."""
        missed = self._missed.index_select(0, self._had.index_select(0, rows)).to(self._head.weight.dtype)
        entries = [(i, j) for i, j in sorted(self._map_without_gradient()) if i < columns]
        old = [column.index_select(0, rows) for column in self._columns()[: 1 + max(j for _, j in entries)]]
        new: Columns = [old[i] * missed[:, i, i, None] for i in range(columns)]
        for i, j in entries:
            if i != j:
                new[i].addcmul_(old[j], missed[:, i, j, None])
        return new

    @property
    def _group(self) -> dict[str, Any]:
        """The optimizer's group with the weights; loading a state makes new groups."""
        groups = self._optimizer.param_groups
        return next(group for group in groups if any(p is self.weight for p in group["params"]))

    def _columns(self) -> Columns:
        """Views (A·N, C) of weight, moments and EMA."""
        weight, columns = self._head.weight, [self._head.weight.detach()]
        for name in self._rule.moments:
            state = self._optimizer.state[weight]
            if name not in state:
                state[name] = torch.zeros_like(weight)
            columns.append(state[name])
        if self._ema_weight is not None:
            columns.append(self._ema_weight)
        return [column.view(-1, column.shape[2]) for column in columns]

    def _counted_step(self) -> Tensor | None:
        """The number of this update in the state of AdamW, as torch keeps it; None: SGD does not count."""
        if not isinstance(self._optimizer, torch.optim.AdamW):
            return None
        state = self._optimizer.state[self._head.weight]
        step: Tensor = state.setdefault("step", torch.zeros((), device=self._head.weight.device))
        return step.add_(1)


def _summed_by_row(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Distinct rows, and the sum of the gradients of each; parts: rows (U,) with gradients (U, C)."""
    all_rows = torch.cat([rows for rows, _ in parts])
    rows, position = all_rows.unique(return_inverse=True)
    if len(parts) == 1 and len(rows) == len(all_rows):
        return parts[0]
    total = parts[0][1].new_zeros(len(rows), parts[0][1].shape[1])
    for (_, gradient), at in zip(parts, position.split([len(rows) for rows, _ in parts]), strict=True):
        total.index_add_(0, at, gradient)
    return rows, total


def _after_one_more_update(update: LinearMap, missed: Tensor) -> Tensor:
    """The products after one more update: each multiplied by its map, then the identity for rows that it updated.

    The entries of the map are arguments of kernels, so that a GPU does not wait for them.
    """
    identity = torch.eye(missed.shape[1], dtype=missed.dtype, device=missed.device)[None]
    product = torch.zeros_like(missed)
    for (i, j), value in update.items():
        product[:, i].add_(missed[:, j], alpha=value)
    return torch.cat([product, identity])
