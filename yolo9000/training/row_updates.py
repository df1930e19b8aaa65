"""Updates of optimizers for some rows of a parameter, and the linear map of an update without gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

Columns: TypeAlias = list[Tensor]
"""The weights of U rows, then the optimizer's moments, each (U, C)."""

LinearMap: TypeAlias = dict[tuple[int, int], float]
"""The entries of a matrix that are not always 0; (i, j): new column i from old column j."""


class RowUpdate(Protocol):
    """The update of an optimizer, row by row."""

    moments: tuple[str, ...]  # their names in the optimizer's state

    def map_without_gradient(self, group: Mapping[str, Any]) -> LinearMap:
        """The update of a row without gradient."""

    def updated(
        self, columns: Columns, gradient: Tensor, group: Mapping[str, Any], step: Tensor | None
    ) -> Columns:
        """The columns after an update; step: the number of this update, for an optimizer that counts them."""


def row_update_of(optimizer: torch.optim.Optimizer) -> RowUpdate:
    """The row update of SGD or AdamW."""
    if isinstance(optimizer, torch.optim.AdamW):
        return AdamWUpdate()
    return SgdUpdate() if optimizer.defaults["momentum"] else PlainSgdUpdate()


class PlainSgdUpdate:
    """torch.optim.SGD without momentum."""

    moments: tuple[str, ...] = ()

    def map_without_gradient(self, group: Mapping[str, Any]) -> LinearMap:
        return {(0, 0): 1 - group["lr"] * group["weight_decay"]}

    def updated(
        self, columns: Columns, gradient: Tensor, group: Mapping[str, Any], step: Tensor | None
    ) -> Columns:
        descent = gradient.add(columns[0], alpha=group["weight_decay"])
        return [columns[0].sub(descent, alpha=group["lr"])]


class SgdUpdate:
    """torch.optim.SGD with momentum."""

    moments: tuple[str, ...] = ("momentum_buffer",)

    def map_without_gradient(self, group: Mapping[str, Any]) -> LinearMap:
        rate, decay, momentum = group["lr"], group["weight_decay"], group["momentum"]
        return {(0, 0): 1 - rate * decay, (0, 1): -rate * momentum, (1, 0): decay, (1, 1): momentum}

    def updated(
        self, columns: Columns, gradient: Tensor, group: Mapping[str, Any], step: Tensor | None
    ) -> Columns:
        weight, velocity = columns
        velocity = (velocity * group["momentum"]).add_(gradient).add_(weight, alpha=group["weight_decay"])
        return [weight.sub(velocity, alpha=group["lr"]), velocity]


class AdamWUpdate:
    """torch.optim.AdamW for rows with a gradient. Without a gradient, weight and moments decay and nothing else.

    AdamW itself would move a row by its moments after every gradient, for as long as they take to decay.
    """

    moments: tuple[str, ...] = ("exp_avg", "exp_avg_sq")

    def map_without_gradient(self, group: Mapping[str, Any]) -> LinearMap:
        beta1, beta2 = group["betas"]
        return {(0, 0): 1 - group["lr"] * group["weight_decay"], (1, 1): beta1, (2, 2): beta2}

    def updated(
        self, columns: Columns, gradient: Tensor, group: Mapping[str, Any], step: Tensor | None
    ) -> Columns:
        assert step is not None
        weight, mean, square = columns
        beta1, beta2 = group["betas"]
        mean = mean.lerp(gradient, 1 - beta1)
        square = (square * beta2).addcmul_(gradient, gradient, value=1 - beta2)
        correction1, correction2 = (1 - beta ** step.double() for beta in (beta1, beta2))
        denominator = (square / correction2).sqrt_().add_(group["eps"])
        decayed = weight * (1 - group["lr"] * group["weight_decay"])
        return [decayed.sub_((mean / denominator).mul_(group["lr"] / correction1)), mean, square]
