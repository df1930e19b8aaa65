"""The conditional probabilities of a tree fitted to a flat softmax (decision 35).

P(node) under the flat softmax is the sum over the classes at or below the node. A node is *covered* if there is such a
class. Within a sibling group only covered nodes are compared, because the flat softmax has no value for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from wordtree.tree.lookup import nearest_node
from yolo9000.models.tree_tensors import segment_log_softmax

SMALLEST = 1e-12  # added to probabilities before their logarithm


class FlatTargets(nn.Module):
    """The n covered nodes of a tree, and their probabilities under a flat softmax over other classes.

    classes: a wnid, the id of a node or a name for each output of the softmax; each stands for its node, or for the
    nearest one above it in WordNet. Classes that are nowhere in the tree are left out.
    """

    nodes: Tensor  # (n,) ascending, so parents precede children
    group: Tensor  # (n,) the sibling group of each, in 0..`groups`
    parent: Tensor  # (n,) the row of the parent in `nodes`, -1 for roots
    is_leaf: Tensor  # (n,) bool: no covered node is below
    class_rows: Tensor  # (k,) the classes that have a node
    class_enter: Tensor  # (k,) the number of that node in pre-order
    enter: Tensor  # (n,)
    leave: Tensor  # (n,)

    def __init__(
        self, tree: WordTree, classes: Sequence[str], *, siblings: Literal["softmax", "sigmoid"] = "softmax"
    ) -> None:
        super().__init__()
        node_of_class = [nearest_node(name, tree) for name in classes]
        rows = np.array([row for row, node in enumerate(node_of_class) if node is not None], np.int64)
        class_nodes = np.array([node for node in node_of_class if node is not None], np.int64)
        of_class = np.zeros(len(tree) + 1, np.int64)
        np.add.at(of_class, tree.enter[class_nodes] + 1, 1)
        at_or_below = np.cumsum(of_class)
        nodes = np.flatnonzero(at_or_below[tree.leave] > at_or_below[tree.enter])
        row_of_node = np.full(len(tree) + 1, -1)
        row_of_node[nodes] = np.arange(len(nodes))
        parent = row_of_node[tree.parent[nodes]]  # the last entry stands for parent −1
        arrays = {
            "nodes": nodes,
            "group": np.unique(tree.group[nodes], return_inverse=True)[1],
            "parent": parent,
            "is_leaf": ~np.isin(np.arange(len(nodes)), parent),
            "class_rows": rows,
            "class_enter": tree.enter[class_nodes],
            "enter": tree.enter[nodes],
            "leave": tree.leave[nodes],
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array)), persistent=False)
        self.groups = int(self.group.max()) + 1 if len(nodes) else 0
        self.tree_nodes, self.siblings = len(tree), siblings

    def __len__(self) -> int:
        return len(self.nodes)

    def absolute(self, probabilities: Tensor) -> Tensor:
        """P(node) of the covered nodes under the flat softmax, (B, n); probabilities: (B, classes) of the classes."""
        of_classes = probabilities.index_select(1, self.class_rows).double()
        in_preorder = of_classes.new_zeros(len(of_classes), self.tree_nodes + 1)
        total = in_preorder.index_add(1, self.class_enter + 1, of_classes).cumsum(dim=1)
        return (total[:, self.leave] - total[:, self.enter]).clamp(0, 1).to(probabilities.dtype)

    def log_conditional(self, logits: Tensor) -> Tensor:
        """log P(node | parent) of the covered nodes; logits: (…, n)."""
        if self.siblings == "sigmoid":
            return F.logsigmoid(logits)
        return segment_log_softmax(logits, self.group, self.groups)

    def log_absolute(self, log_conditional: Tensor) -> Tensor:
        """log P(node) of the covered nodes, (…, n): the sum of log P(node | parent) along the path."""
        total, above = log_conditional, self.parent
        while (above >= 0).any():  # in each round all nodes climb one level
            step = log_conditional.index_select(-1, above.clamp(min=0))
            total = total + torch.where(above >= 0, step, 0)
            above = torch.where(above >= 0, self.parent[above.clamp(min=0)], above)
        return total

    def cross_entropy(self, logits: Tensor, absolute: Tensor) -> Tensor:
        """−Σ P(node) log Q(node | parent) of each row, (B,): each sibling group counts by the P of its parent.

        logits: (B, n) of Q; absolute: (B, n) of P. With a sigmoid for each node it also has the term of *not* the node.
        """
        if self.siblings == "softmax":
            return -(absolute * self.log_conditional(logits)).sum(dim=1)
        absent = self._absent(absolute)
        return -(absolute * F.logsigmoid(logits) + absent * F.logsigmoid(-logits)).sum(dim=1)

    def divergence(self, logits: Tensor, absolute: Tensor) -> Tensor:
        """KL divergence of the tree's probabilities Q from the flat softmax P in nats, (B,); as in `cross_entropy`."""
        if self.siblings == "softmax":
            in_group = torch.zeros(len(absolute), self.groups, device=absolute.device)
            total = in_group.index_add(1, self.group, absolute).index_select(1, self.group)
            entropy = -(absolute * _log_ratio(absolute, total)).sum(dim=1)
        else:
            absent = self._absent(absolute)
            total = absolute + absent
            entropy = -(absolute * _log_ratio(absolute, total) + absent * _log_ratio(absent, total)).sum(1)
        return self.cross_entropy(logits, absolute) - entropy

    def mass(self, absolute: Tensor) -> Tensor:
        """Weight of each row in an average of `divergence`, (B,): P(any root), or 1 with a sigmoid for each node."""
        if self.siblings == "sigmoid":
            return torch.ones_like(absolute[:, 0])
        return absolute[:, self.parent < 0].sum(dim=1)

    def centred(self, values: Tensor) -> Tensor:
        """Values of the covered nodes, (n, …), less their mean over the covered members of each sibling group."""
        zeros = values.new_zeros(self.groups, *values.shape[1:])
        size = torch.bincount(self.group, minlength=self.groups).view(-1, *[1] * (values.dim() - 1))
        mean = zeros.index_add(0, self.group, values) / size
        return values - mean.index_select(0, self.group)

    def _absent(self, absolute: Tensor) -> Tensor:
        """P(parent and not the node), (B, n)."""
        above = absolute.index_select(1, self.parent.clamp(min=0))
        return (torch.where(self.parent >= 0, above, 1) - absolute).clamp(min=0)


def _log_ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.log((part + SMALLEST) / (whole + SMALLEST))
