"""The tree as operations of fixed shape: all conditional probabilities and the most probable path at once.

Groups of equal size lie side by side, so each size takes one softmax over a view. The ancestors of all nodes are added
in ⌈log2(levels)⌉ steps: after step i, each node holds the sum over itself and its nearest 2^i − 1 ancestors.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from yolo9000.models.tree_tensors import TreeTensors

OFF_PATH = -1e30  # log-probability of a node that is not the most probable of its siblings


class TreeSoftmaxGraph(nn.Module):
    """Logits (P, N) with the columns in `order` to the most probable path from a root to a leaf.

    order: (N,) the node of each column: groups by size, siblings in order.
    path_columns: (N, levels) the columns of the nodes from the root to each node, −1 beyond it.
    """

    depth: Tensor
    is_leaf: Tensor
    order: Tensor
    path_columns: Tensor

    def __init__(self, tree_tensors: TreeTensors) -> None:
        super().__init__()
        tree = tree_tensors.tree
        self.siblings = tree_tensors.siblings
        order, self.blocks = tree_tensors.grouped_softmax.order.numpy(), tree_tensors.grouped_softmax.blocks
        column = np.empty(len(tree) + 1, np.int64)
        column[order] = np.arange(len(tree))
        column[-1] = len(tree)  # above a root
        parent = np.append(column[tree.parent[order]], len(tree))
        self.steps = len(ancestor_steps(parent))
        for step, ancestor in enumerate(ancestor_steps(parent)):
            self.register_buffer(f"ancestor_{step}", torch.from_numpy(np.minimum(ancestor, len(tree) - 1)))
            self.register_buffer(f"has_ancestor_{step}", torch.from_numpy(ancestor < len(tree)).float())
        self.register_buffer("path_columns", torch.from_numpy(path_columns(tree, column[:-1])))
        self.register_buffer("order", torch.from_numpy(order))
        self.register_buffer("depth", torch.from_numpy(tree.depth[order].astype(np.float32)))
        self.register_buffer("is_leaf", torch.from_numpy(tree.child_group[order] < 0))

    def forward(self, logits: Tensor) -> Tensor:
        """log P(node) of the nodes on the most probable path, (P, N); far below zero for all other nodes.

        Of equal siblings the first is on the path.
        """
        return self.sum_over_ancestors(self.best_conditional(logits))

    def best_conditional(self, logits: Tensor) -> Tensor:
        """log P(node | parent) of the best of each group of siblings, (P, N); OFF_PATH for all other nodes."""
        parts = []
        for start, groups, size in self.blocks:
            block = logits[:, start : start + groups * size].unflatten(1, (groups, size))
            parts.append(self._best_of_each_group(block).flatten(1))
        return torch.cat(parts, dim=1)

    def sum_over_ancestors(self, values: Tensor) -> Tensor:
        """The sum of `values` (P, N) over each node and its ancestors."""
        for step in range(self.steps):
            ancestor = getattr(self, f"ancestor_{step}")
            values = values + values.index_select(1, ancestor) * getattr(self, f"has_ancestor_{step}")
        return values

    def _best_of_each_group(self, logits: Tensor) -> Tensor:
        """log P(node | parent) of the first of the most probable siblings; logits and result: (P, groups, size)."""
        log_conditional = F.logsigmoid(logits) if self.siblings == "sigmoid" else logits.log_softmax(dim=-1)
        best = log_conditional.argmax(dim=-1, keepdim=True)
        is_best = torch.arange(logits.shape[-1], device=logits.device) == best
        return torch.where(is_best, log_conditional, OFF_PATH)


def path_columns(tree: WordTree, column: Int64Array) -> Int64Array:
    """The columns of the nodes from the root to each node, (N, levels), −1 beyond it; column: (N,) of each node."""
    table = np.full((len(tree), int(tree.depth.max()) + 1), -1, np.int64)
    for node in range(len(tree)):  # parents precede children
        depth = int(tree.depth[node])
        if depth:
            table[node, :depth] = table[tree.parent[node], :depth]
        table[node, depth] = column[node]
    return table


def ancestor_steps(parent: Int64Array) -> list[Int64Array]:
    """The ancestor 1, 2, 4, … levels above each of N nodes, each (N,); N stands for none.

    parent: (N + 1,) with parent[N] = N.
    """
    steps, ancestor = [], parent
    while (ancestor[:-1] < len(parent) - 1).any():
        steps.append(ancestor[:-1])
        ancestor = ancestor[ancestor]
    return steps
