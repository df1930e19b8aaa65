"""The WordTree as tensors: softmax over sibling groups, probabilities along paths, descent (paper, section 4).

A label needs only the sibling groups on its own path (about 110 of 9418 nodes); a descent needs only the groups that it
visits. For all nodes at once there is grouped_softmax.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from yolo9000.models.grouped_softmax import GroupedSoftmax

MANY_NODES = 1 / 8  # share of all nodes from which it is faster to compute the probabilities of all
COMPLEMENT_MARGIN = 1e-6  # subtracted from log P in `log_complement`, whose result then stays above −14


@dataclass(frozen=True)
class PathMembers:
    """All members of the sibling groups on P paths, as Q flat rows.

    A *segment* is one (path, group) pair, the unit of the softmax. Segments are in order and contiguous.
    """

    node: Tensor  # (Q,)
    path: Tensor  # (Q,) the path of each row, in 0..P
    segment: Tensor  # (Q,) the segment of each row, in 0..`segments`
    on_path: Tensor  # (Q,) bool: True for one member of each segment; in a descent, whose path is unknown, for none
    path_rows: Tensor  # the rows where `on_path` is True, ascending: (segments,), or empty in a descent
    segments: int


class TreeTensors(nn.Module):
    """Arrays of a tree of N nodes for training and inference, as buffers that are not in the state dict.

    Paths are stored as one flat array with offsets (CSR), each from the root to the node.
    siblings: a softmax over each sibling group, or a sigmoid for each node (decision 10).
    non_exclusive: (pairs, 2) siblings that `path_members` leaves out of each other's softmax, so that training on
    one does not push the other down; none by default.
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
    non_exclusive: Tensor  # (2 · pairs,) sorted: a × N + b of each pair in both orders

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
        keys = np.concatenate([pairs, pairs[:, ::-1]]) @ np.array([len(tree), 1])
        self.register_buffer("non_exclusive", torch.from_numpy(np.unique(keys)), persistent=False)
        self.grouped_softmax = GroupedSoftmax(tree)
        self.tree = tree
        self.siblings = siblings
        self._inverse_temperature: Tensor | None = None  # (N,)

    def __len__(self) -> int:
        return len(self.tree)

    def set_temperatures(self, temperatures: Sequence[float]) -> None:
        """Divide the logits of all nodes at one depth by a temperature, one for each depth from the roots."""
        of_depth = torch.tensor(temperatures, dtype=torch.float32)
        depth = torch.from_numpy(np.array(self.tree.depth, np.int64))
        self._inverse_temperature = (1 / of_depth[depth]).to(self.parent.device)

    def is_at_or_under(self, nodes: Tensor, above: Tensor) -> Tensor:
        """Whether each node equals the corresponding node of `above` or lies under it; shapes broadcast."""
        return (self.enter[nodes] >= self.enter[above]) & (self.enter[nodes] < self.leave[above])

    def path_members(self, nodes: Tensor) -> PathMembers:
        """Members of every sibling group on the path to each of `nodes` (P,)."""
        path, path_node = self._path_nodes(nodes)
        return self._without_non_exclusive(self._group_members(self.group[path_node], path, path_node))

    def log_conditional(self, members: PathMembers, logits: Tensor, dim: int = -1) -> Tensor:
        """log P(node | parent) of `members`, whose Q rows lie along dimension `dim` of logits and result."""
        if self._inverse_temperature is not None:
            shape = [1] * logits.dim()
            shape[dim] = len(members.node)
            logits = logits * self._inverse_temperature[members.node].view(shape)
        if self.siblings == "sigmoid":
            return F.logsigmoid(logits)
        return segment_log_softmax(logits, members.segment, members.segments, dim)

    def log_absolute(self, members: PathMembers, logits: Tensor, count: int) -> Tensor:
        """log P(node) at the end of each of `count` paths, (count, …): the sum of log P(node | parent) along the path.

        logits: (Q, …) of `members`; further dimensions are kept.
        """
        rows = members.path_rows
        log_conditional = self.log_conditional(members, logits, dim=0).index_select(0, rows)
        zeros = log_conditional.new_zeros(count, *logits.shape[1:])
        return zeros.index_add(0, members.path[rows], log_conditional)

    def log_absolute_of_nodes(self, logits_of: Callable[[Tensor], Tensor], nodes: Tensor) -> Tensor:
        """log P(node) of all `nodes` (E,) at each of P locations, (P, E).

        logits_of: returns the logits of nodes (U,) at every location, (P, U).
        """
        if len(nodes) >= MANY_NODES * len(self) and not torch.is_grad_enabled():
            logits = logits_of(torch.arange(len(self), device=nodes.device))
            return self.log_absolute_of_all(logits.t()).index_select(0, nodes).t()
        path, path_node = self._path_nodes(nodes)
        groups = self.group[path_node].unique()
        members = self._group_members(groups, torch.arange(len(groups), device=nodes.device), None)
        log_conditional = self.log_conditional(members, logits_of(members.node))  # (P, U)
        column = torch.zeros(len(self), dtype=torch.int64, device=nodes.device)
        column[members.node] = torch.arange(len(members.node), device=nodes.device)
        zeros = log_conditional.new_zeros(len(log_conditional), len(nodes))
        return zeros.index_add(1, path, log_conditional[:, column[path_node]])

    def log_absolute_of_all(self, logits: Tensor) -> Tensor:
        """log P(node) of all nodes at each of P locations, without gradient; logits and result: (N, P)."""
        softmax = self.grouped_softmax
        rows = logits.index_select(0, softmax.order)
        if self._inverse_temperature is not None:
            rows = rows * self._inverse_temperature[softmax.order, None]
        log_conditional = F.logsigmoid(rows) if self.siblings == "sigmoid" else softmax.log_conditional(rows)
        return softmax.log_absolute(log_conditional)

    def descend(
        self,
        logits_of: MemberLogits,
        count: int,
        *,
        threshold: float,
        by: Literal["absolute", "product"] = "absolute",
        start: Tensor | None = None,
    ) -> Descent:
        """Greedy descent at `count` locations: from the best root downwards while P(node) exceeds `threshold`.

        The paper's rule (section 4). The result is at least a root, even where no root exceeds the threshold. Of equal
        siblings the first is taken.
        by: `product` stops earlier, where the product of the absolute probabilities on the path no longer exceeds the
        threshold (darknet, decision 11).
        start: (count,) nodes below which the descents begin, with probabilities given these nodes; None: the roots.
        """
        device = self.parent.device
        deepest = torch.full((count,), -1, device=device) if start is None else start.clone()
        absolute, product = torch.ones(count, device=device), torch.ones(count, device=device)
        active = torch.arange(count, device=device)
        group = torch.zeros(count, dtype=torch.int64, device=device)
        if start is not None:
            active = active[self.child_group[start] >= 0]
            group = self.child_group[start[active]]
        steps: list[tuple[Tensor, Tensor]] = []
        while len(active):
            members = self._group_members(group, torch.arange(len(active), device=device), None)
            conditional = self.log_conditional(members, logits_of(active, members)).exp()
            best, best_row = segment_max(conditional, members.segment, members.segments)
            node = members.node[best_row]
            reached = absolute[active] * best
            product[active] = (product[active] * reached).to(product.dtype)
            goes_on = ((product[active] if by == "product" else reached) > threshold) | (deepest[active] < 0)
            rows = goes_on.nonzero()[:, 0]
            active, node, best, reached = (column[rows] for column in (active, node, best, reached))
            deepest[active], absolute[active] = node, reached.to(absolute.dtype)
            steps.append((active, best))
            group = self.child_group[node]
            rows = (group >= 0).nonzero()[:, 0]
            active, group = active[rows], group[rows]
        return Descent(deepest, absolute, _conditional_paths(steps, count))

    def _path_nodes(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """The nodes on the path to each of `nodes`, as rows (K,): the index of the path, and the node."""
        level, path = _expand(self.path_length[nodes])
        return path, self.path_nodes[self.path_start[nodes][path] + level]

    def _without_non_exclusive(self, members: PathMembers) -> PathMembers:
        """Drop the members that are not exclusive with the member on the path in their segment."""
        if not len(self.non_exclusive):
            return members
        path_node = members.node[members.on_path][members.segment]
        kept = ~torch.isin(path_node * len(self) + members.node, self.non_exclusive)
        columns = (members.node[kept], members.path[kept], members.segment[kept], members.on_path[kept])
        return PathMembers(*columns, kept.cumsum(0)[members.path_rows] - 1, members.segments)

    def _group_members(self, group: Tensor, path: Tensor, path_node: Tensor | None) -> PathMembers:
        """The members of G groups; path, path_node: (G,) the path of each group, and the group's member on it."""
        size, first = self.group_size[group], self.group_start[group]
        within, segment = _expand(size)
        node = first[segment] + within
        if path_node is None:
            on_path, path_rows = torch.zeros_like(node, dtype=torch.bool), first[:0]
        else:
            on_path, path_rows = node == path_node[segment], starts(size) + path_node - first
        return PathMembers(node, path[segment], segment, on_path, path_rows, len(group))


MemberLogits = Callable[[Tensor, PathMembers], Tensor]
"""A function from indices of locations (G,) and members of G groups to the logits of the members, (Q,).

The group of path k belongs to location k of the indices.
"""


@dataclass(frozen=True)
class Descent:
    """The result of `TreeTensors.descend` at P locations."""

    node: Tensor  # (P,) the deepest node reached
    absolute: Tensor  # (P,) P(node), or P(node | start)
    conditional: tuple[
        Tensor, ...
    ]  # for each location P(node | parent) from the root, or from below `start`, to `node`


def log_complement(log_probability: Tensor) -> Tensor:
    """log(1 − P) of each log P, at least −14 and with a gradient up to P = 1."""
    return torch.log(-torch.expm1((log_probability - COMPLEMENT_MARGIN).clamp(max=-COMPLEMENT_MARGIN)))


def segment_log_softmax(logits: Tensor, segment: Tensor, segments: int, dim: int = -1) -> Tensor:
    """Log softmax within each segment along dimension `dim` of `logits`; segment: (Q,) in 0..segments.

    The maximum is taken in each segment, not over all rows, since groups may lie hundreds of nats apart.
    """
    highest = _segment_amax(logits.detach(), segment, segments, dim)
    shifted = logits - highest.index_select(dim, segment)
    total = torch.zeros_like(highest).index_add(dim, segment, shifted.exp())
    return shifted - total.log().index_select(dim, segment)


def segment_max(values: Tensor, segment: Tensor, segments: int) -> tuple[Tensor, Tensor]:
    """Largest value of each segment of `values` (Q,), and the first row that has it, both (segments,).

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
    """The elements of consecutive runs of these lengths: position of each within its run, and index of its run."""
    run = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return torch.arange(len(run), device=lengths.device) - starts(lengths)[run], run


def starts(lengths: Tensor) -> Tensor:
    """Start of each run when runs of these lengths follow one another."""
    return lengths.cumsum(0) - lengths


def counts(index: Tensor, length: int) -> Tensor:
    """How often each of 0..`length` occurs, (length,) int64; unlike `bincount`, it never waits for a GPU."""
    return index.new_zeros(length).scatter_add(0, index, torch.ones_like(index))


def _conditional_paths(steps: list[tuple[Tensor, Tensor]], count: int) -> tuple[Tensor, ...]:
    """The values of each location, in the order of the steps; steps: (locations, values) of each."""
    if not steps:
        return tuple(torch.zeros(count, 0))
    location = torch.cat([locations for locations, _ in steps])
    order = location.argsort(stable=True)
    lengths = counts(location, count).tolist()
    paths: tuple[Tensor, ...] = torch.cat([values for _, values in steps])[order].split(lengths)
    return paths


def _paths(tree: WordTree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paths to all nodes, one after the other, and the start and length of each."""
    length = tree.depth.astype(np.int64) + 1
    start = np.cumsum(length) - length
    nodes = np.empty(int(length.sum()), np.int64)
    at = np.arange(len(tree), dtype=np.int64)
    slot = start + length - 1
    while True:  # in each round all nodes climb one level
        nodes[slot] = at
        up = tree.parent[at] >= 0
        at, slot = tree.parent[at][up].astype(np.int64), slot[up] - 1
        if not len(at):
            return nodes, start, length
