"""The WordTree as tensors: softmax over sibling groups, probabilities along paths, descent (paper, section 4).

Nothing here makes a tensor of all N nodes at a place: a label needs the sibling groups on its own path only (about 110
of 9418 nodes), and a descent the groups that it visits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from wordtree.support.arrays import Int64Array

DOUBT = 1e-6  # taken from the log probability of what is not there: the error stays below 14


@dataclass(frozen=True)
class PathMembers:
    """All members of the sibling groups on the paths of P asked nodes, as Q flat rows.

    A *segment* is one (asked node, group) pair, a unit of the softmax. Segments are in order and contiguous.
    """

    node: Tensor  # (Q,)
    owner: Tensor  # (Q,): which of the P asked nodes
    segment: Tensor  # (Q,)
    on_path: Tensor  # (Q,) bool: exactly one member of each segment
    segments: int


class TreeTensors(nn.Module):
    """The arrays of a tree of N nodes that training and inference need, as buffers (not in the state dict).

    Paths are stored as one flat array with offsets (CSR), in order from the root to the node.
    siblings: whether siblings exclude each other, or each is judged by itself (decision 10).
    non_exclusive: (E, 2) pairs of siblings that are left out of each other's softmax in `path_members`, so that
    training on one does not push the other down; none by default.
    """

    parent: Tensor
    enter: Tensor
    leave: Tensor
    group: Tensor
    group_start: Tensor
    group_size: Tensor
    child_group: Tensor
    path_nodes: Tensor
    path_start: Tensor
    path_length: Tensor
    non_exclusive: Tensor  # (2E,) sorted: a × N + b of each pair, both ways

    def __init__(
        self,
        tree: WordTree,
        *,
        siblings: Literal["softmax", "sigmoid"] = "softmax",
        non_exclusive: Int64Array | None = None,
    ) -> None:
        super().__init__()
        path_nodes, path_start, path_length = _paths(tree)
        arrays = {
            "parent": tree.parent,
            "enter": tree.enter,
            "leave": tree.leave,
            "group": tree.group,
            "group_start": tree.group_start,
            "group_size": tree.group_size,
            "child_group": tree.child_group,
            "path_nodes": path_nodes,
            "path_start": path_start,
            "path_length": path_length,
        }
        for name, array in arrays.items():
            self.register_buffer(name, torch.from_numpy(np.array(array, np.int64)), persistent=False)
        pairs = np.zeros((0, 2), np.int64) if non_exclusive is None else non_exclusive
        both_ways = np.concatenate([pairs, pairs[:, ::-1]]) @ np.array([len(tree), 1])
        self.register_buffer("non_exclusive", torch.from_numpy(np.unique(both_ways)), persistent=False)
        self.tree = tree
        self.siblings = siblings

    def __len__(self) -> int:
        return len(self.tree)

    def is_under(self, nodes: Tensor, above: Tensor) -> Tensor:
        """Whether each node is the one of `above` or lies under it; shapes broadcast."""
        return (self.enter[nodes] >= self.enter[above]) & (self.enter[nodes] < self.leave[above])

    def path_members(self, nodes: Tensor) -> PathMembers:
        """What a softmax over every group on the path of each of `nodes` (P,) has to look at."""
        level, asked = _expand(self.path_length[nodes])
        path_node = self.path_nodes[self.path_start[nodes][asked] + level]  # (S,)
        return self._without_non_exclusive(self._group_members(self.group[path_node], asked, path_node))

    def log_conditional(self, members: PathMembers, logits: Tensor, dim: int = -1) -> Tensor:
        """log P(node | parent) of each of `members`, Q long in dimension `dim` of logits and result."""
        if self.siblings == "sigmoid":
            return F.logsigmoid(logits)
        return segment_log_softmax(logits, members.segment, members.segments, dim)

    def log_absolute(self, members: PathMembers, logits: Tensor, count: int) -> Tensor:
        """log P(node) of each of the `count` asked nodes: the sum of log P(node | parent) along its path.

        logits: (Q, …), where … are any number of places for each; result (count, …).
        """
        rows = members.on_path.nonzero()[:, 0]
        log_conditional = self.log_conditional(members, logits, dim=0).index_select(0, rows)
        zeros = log_conditional.new_zeros(count, *logits.shape[1:])
        return zeros.index_add(0, members.owner[rows], log_conditional)

    def log_absolute_of(self, ask: Callable[[Tensor], Tensor], nodes: Tensor) -> Tensor:
        """log P(node) of each of `nodes` (E,) at P places that all are asked for the same nodes, (P, E).

        ask: nodes (U,) -> their logits at every place, (P, U).
        """
        level, asked = _expand(self.path_length[nodes])
        path_node = self.path_nodes[self.path_start[nodes][asked] + level]  # (S,)
        groups = self.group[path_node].unique()
        members = self._group_members(groups, torch.arange(len(groups), device=nodes.device), None)
        log_conditional = self.log_conditional(members, ask(members.node))  # (P, U)
        column = torch.zeros(len(self), dtype=torch.int64, device=nodes.device)
        column[members.node] = torch.arange(len(members.node), device=nodes.device)
        zeros = log_conditional.new_zeros(len(log_conditional), len(nodes))
        return zeros.index_add(1, asked, log_conditional[:, column[path_node]])

    def descend(
        self, ask: AskLogits, count: int, *, threshold: float, by: Literal["absolute", "product"] = "absolute"
    ) -> Descent:
        """Greedy descent at `count` places: from the best root on while P(node) exceeds `threshold` (paper, section 4).

        by: `product` stops earlier, where the product of the absolute probabilities on the path no longer exceeds the
        threshold (darknet, decision 11).
        The answer is at least a root, even where no root exceeds the threshold. Ties go to the first node.
        """
        device = self.parent.device
        answer = torch.full((count,), -1, device=device)
        absolute, product = torch.ones(count, device=device), torch.ones(count, device=device)
        active = torch.arange(count, device=device)
        group = torch.zeros(count, dtype=torch.int64, device=device)
        steps: list[tuple[Tensor, Tensor]] = []
        while len(active):
            members = self._group_members(group, torch.arange(len(active), device=device), None)
            conditional = self.log_conditional(members, ask(active, members)).exp()
            best, best_row = segment_max(conditional, members.segment, members.segments)
            node = members.node[best_row]
            reached = absolute[active] * best
            product[active] = (product[active] * reached).to(product.dtype)
            go = ((product[active] if by == "product" else reached) > threshold) | (answer[active] < 0)
            active, node, best, reached = active[go], node[go], best[go], reached[go]
            answer[active], absolute[active] = node, reached.to(absolute.dtype)
            steps.append((active, best))
            deeper = self.child_group[node] >= 0
            active, group = active[deeper], self.child_group[node[deeper]]
        return Descent(answer, absolute, _conditional_paths(steps, count))

    def _without_non_exclusive(self, members: PathMembers) -> PathMembers:
        """Less the siblings that the member on the path does not exclude."""
        if not len(self.non_exclusive):
            return members
        path_node = members.node[members.on_path][members.segment]
        kept = ~torch.isin(path_node * len(self) + members.node, self.non_exclusive)
        rows = (members.node[kept], members.owner[kept], members.segment[kept], members.on_path[kept])
        return PathMembers(*rows, members.segments)

    def _group_members(self, group: Tensor, owner: Tensor, path_node: Tensor | None) -> PathMembers:
        """The members of each of the S groups; `owner` (S,) is who asks, `path_node` (S,) the member on its path."""
        within, segment = _expand(self.group_size[group])
        node = self.group_start[group][segment] + within
        on_path = (
            node == path_node[segment] if path_node is not None else torch.zeros_like(node, dtype=torch.bool)
        )
        return PathMembers(node, owner[segment], segment, on_path, len(group))


AskLogits = Callable[[Tensor, PathMembers], Tensor]
"""(which S places, the members asked there) -> logits (Q,). `members.owner` counts within those S places."""


@dataclass(frozen=True)
class Descent:
    node: Tensor  # (P,) the answer
    absolute: Tensor  # (P,) P(answer)
    conditional: tuple[Tensor, ...]  # for each place P(node | parent) from the root to the answer


def log_of_none(log_probability: Tensor) -> Tensor:
    """log(1 − P) of each log P: that what is so probable is not there; at least −14, with a gradient up to P = 1."""
    return torch.log(-torch.expm1((log_probability - DOUBT).clamp(max=-DOUBT)))


def segment_log_softmax(logits: Tensor, segment: Tensor, segments: int, dim: int = -1) -> Tensor:
    """log softmax over each segment of the dimension `dim` of `logits`; segment: (Q,) in 0..segments.

    The maximum is taken in each segment, not over all rows: groups may lie hundreds of nats apart.
    """
    highest = _segment_amax(logits.detach(), segment, segments, dim)
    shifted = logits - highest.index_select(dim, segment)
    total = torch.zeros_like(highest).index_add(dim, segment, shifted.exp())
    return shifted - total.log().index_select(dim, segment)


def segment_max(values: Tensor, segment: Tensor, segments: int) -> tuple[Tensor, Tensor]:
    """The largest value of each segment of `values` (Q,) and the row of its first occurrence, both (segments,).

    No segment may be empty.
    """
    highest = _segment_amax(values, segment, segments)
    rows = torch.arange(len(values), device=values.device)
    at_top = torch.where(values == highest[segment], rows, len(values))
    first = rows.new_full((segments,), len(values)).scatter_reduce(0, segment, at_top, "amin")
    return highest, first


def _segment_amax(values: Tensor, segment: Tensor, segments: int, dim: int = -1) -> Tensor:
    rows = segment.view(-1, *[1] * (values.dim() - 1)).transpose(0, dim).expand_as(values)
    shape = list(values.shape)
    shape[dim] = segments
    return values.new_full(shape, -torch.inf).scatter_reduce(dim, rows, values, "amax")


def _expand(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """For runs of the given lengths laid end to end: the position within its run and the run of each element."""
    run = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    start = lengths.cumsum(0) - lengths
    return torch.arange(len(run), device=lengths.device) - start[run], run


def _conditional_paths(steps: list[tuple[Tensor, Tensor]], count: int) -> tuple[Tensor, ...]:
    if not count:
        return ()
    location = torch.cat([locations for locations, _ in steps])
    order = location.argsort(stable=True)
    lengths = torch.bincount(location, minlength=count).tolist()
    paths: tuple[Tensor, ...] = torch.cat([values for _, values in steps])[order].split(lengths)
    return paths


def _paths(tree: WordTree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    length = tree.depth.astype(np.int64) + 1
    start = np.cumsum(length) - length
    nodes = np.empty(int(length.sum()), np.int64)
    at = np.arange(len(tree), dtype=np.int64)
    slot = start + length - 1
    while True:  # all nodes climb one level a round
        nodes[slot] = at
        up = tree.parent[at] >= 0
        at, slot = tree.parent[at][up].astype(np.int64), slot[up] - 1
        if not len(at):
            return nodes, start, length
