"""Softmax over every sibling group of a tree, for all nodes at once; limited by the speed of memory.

Rows are nodes and columns are locations, so that vector instructions run over locations, however small the groups are.
Rows are ordered by the size of their group. Groups of one size then lie side by side, and a softmax over all of them is
one call on a view (groups, size, P), without gathering or padding. The maximum is taken in each group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wordtree import WordTree

Blocks = Sequence[tuple[int, int, int]]
"""Consecutive rows as groups of one size: first row, number of groups, size."""


class GroupedSoftmax(nn.Module):
    """Conditional and absolute log probabilities of all N nodes of a tree at P locations.

    order: (N,) the node of each row; row: (N,) the row of each node.
    """

    order: Tensor
    row: Tensor

    def __init__(self, tree: WordTree) -> None:
        super().__init__()
        size = tree.group_size.astype(np.int64)[tree.group]
        order = np.argsort(size, kind="stable")
        starts = np.flatnonzero(np.diff(size[order], prepend=0))
        groups = np.diff(starts, append=len(tree)) // size[order][starts]
        self.blocks: Blocks = list(
            zip(starts.tolist(), groups.tolist(), size[order][starts].tolist(), strict=True)
        )
        arrays = {"order": order, "row": np.argsort(order)}
        self.levels = int(tree.depth.max()) + 1
        for depth in range(1, self.levels):
            nodes = np.flatnonzero(tree.depth == depth)
            arrays |= {f"nodes_{depth}": nodes, f"parents_{depth}": tree.parent[nodes].astype(np.int64)}
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

    def forward(self, logits: Tensor, dim: int = -1) -> Tensor:
        """log P(node | parent) of all nodes, which lie along dimension `dim` in their own order."""
        nodes_first = logits.movedim(dim, 0)
        rows = nodes_first.reshape(len(self.order), -1).index_select(0, self.order)
        result = self.log_conditional(rows).index_select(0, self.row)
        return result.view(nodes_first.shape).movedim(0, dim)

    def log_conditional(self, logits: Tensor) -> Tensor:
        """log P(node | parent); logits and result: (N, P) with rows in `order`."""
        result: Tensor = _LogSoftmax.apply(logits, self.blocks)
        return result

    def log_absolute(self, log_conditional: Tensor) -> Tensor:
        """log P(node), the sum of log P(node | parent) along the path, without gradient; nodes in their own order.

        log_conditional: (N, P) with rows in `order`.
        """
        result = log_conditional.index_select(0, self.row)
        for depth in range(1, self.levels):
            nodes, parents = getattr(self, f"nodes_{depth}"), getattr(self, f"parents_{depth}")
            own, above = result.index_select(0, nodes), result.index_select(0, parents)
            result.index_copy_(0, nodes, own.add_(above))
        return result


class _LogSoftmax(torch.autograd.Function):
    """One function for all blocks; autograd through slices would make a gradient of full size for each of them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, blocks: Blocks) -> Tensor:
        result = torch.empty_like(logits, memory_format=torch.contiguous_format)
        for source, target in zip(_views(logits, blocks), _views(result, blocks), strict=True):
            torch.log_softmax(source, 1, out=target)
        ctx.save_for_backward(result)
        ctx.blocks = blocks
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (result,) = gradients, ctx.saved_tensors
        change = torch.empty_like(result)
        for upstream, values, target in zip(
            *(_views(t, ctx.blocks) for t in (gradient, result, change)), strict=True
        ):
            torch.exp(values, out=target)
            torch.addcmul(upstream, target, upstream.sum(1, keepdim=True), value=-1, out=target)
        return change, None


def _views(rows: Tensor, blocks: Blocks) -> Iterator[Tensor]:
    """The groups of each block, (groups, size, P)."""
    for start, groups, size in blocks:
        yield rows[start : start + groups * size].unflatten(0, (groups, size))
