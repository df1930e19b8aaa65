"""The output layer: the paper's 1×1 convolution, split into a box part and a class part (darknet region_layer.c).

Joined by `SplitHead.darknet_layer`, the two parts are exactly Darknet's layer of A × (5 + N) filters.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import counts, starts

BLOCK = 64  # nodes in a block of `image_logits`; a path has about 110 members, so few slots stay empty


class WeightRows(Protocol):
    """Class weights of which only some rows are up to date (training/lazy_rows.py)."""

    def read(self, rows: Tensor) -> Tensor:
        """The present weights (U, C) of the rows (U,)."""


class ClassHead(nn.Module):
    """Class weights (A, N, C) and biases (A, N) of A anchors and N nodes; each call reads some rows of A·N.

    used_nodes: (N,) bool, the nodes whose logits were computed for a gradient since `take_used_nodes` was last called.
    lazy_rows: the source of the weights during lazy training; None: `weight` itself.
    """

    used_nodes: Tensor
    lazy_rows: WeightRows | None = None

    def __init__(self, channels: int, *, anchors: int, nodes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(anchors, nodes, channels))
        self.bias = nn.Parameter(torch.zeros(anchors, nodes))
        self.register_buffer("used_nodes", torch.zeros(nodes, dtype=torch.bool), persistent=False)
        nn.init.normal_(self.weight, std=0.01)

    def logits(self, features: Tensor, anchor: Tensor, nodes: Tensor) -> Tensor:
        """Logits of `nodes` (U,) for P feature vectors (P, C) at the anchors `anchor` (P,), shape (P, U)."""
        self._mark_used(nodes)
        anchors, node_count, _ = self.weight.shape
        first_row = node_count * torch.arange(anchors, device=nodes.device)
        weight = self._rows((first_row[:, None] + nodes).flatten()).unflatten(0, (anchors, len(nodes)))
        bias = self.bias.index_select(1, nodes)  # (A, U)
        order = anchor.argsort(stable=True)
        chunks = features.index_select(0, order).split(counts(anchor, len(weight)).tolist())
        logits = torch.cat([F.linear(rows, w, b) for rows, w, b in zip(chunks, weight, bias, strict=True)])
        return logits.index_select(0, order.argsort())

    def pair_logits(self, features: Tensor, anchor: Tensor, index: Tensor, nodes: Tensor) -> Tensor:
        """Logits of Q pairs of a feature vector and a node, (Q,).

        features: (P, C) at the anchors `anchor` (P,); index: (Q,) rows of `features`; nodes: (Q,).
        For each anchor one table is computed: all its vectors by all nodes that any of them is paired with.
        """
        self._mark_used(nodes)
        anchors, node_count, _ = self.weight.shape
        pair_anchor = anchor[index]
        rows, row = (pair_anchor * node_count + nodes).unique(return_inverse=True)  # (U,) anchor by anchor
        height, width = counts(anchor, anchors), counts(rows // node_count, anchors)
        heights, widths = torch.stack([height, width]).tolist()
        vectors = features.index_select(0, anchor.argsort(stable=True)).split(heights)
        weight = self._rows(rows).split(widths)
        bias = self.bias.flatten().index_select(0, rows).split(widths)
        tables = [F.linear(*each).flatten() for each in zip(vectors, weight, bias, strict=True)]
        line, column = _rank_in_run(anchor, height)[index], row - starts(width)[pair_anchor]
        position = starts(height * width)[pair_anchor] + line * width[pair_anchor] + column
        return torch.cat(tables).index_select(0, position)

    def image_logits(self, features: Tensor, image: Tensor, nodes: Tensor) -> Tensor:
        """Logits of Q pairs of a feature map and a node at every cell and anchor of the map, (Q, AHW).

        features: (B, C, H, W); image: (Q,) the map of each pair; nodes: (Q,).
        The nodes of each map are split into blocks of equal size, so that each anchor takes one batched product.
        """
        self._mark_used(nodes)
        count = counts(image, len(features))
        blocks = (count + BLOCK - 1) // BLOCK  # (B,)
        total = int(blocks.sum())
        slot = starts(blocks)[image] * BLOCK + _rank_in_run(image, count)  # (Q,)
        table = nodes.new_zeros(total * BLOCK).index_copy(0, slot, nodes)
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2)  # (B, HW, C)
        pixels = pixels.repeat_interleave(blocks, dim=0, output_size=total).transpose(1, 2)  # (blocks, C, HW)
        logits = []
        for anchor, bias in enumerate(self.bias):
            rows = self._rows(anchor * self.weight.shape[1] + table).unflatten(0, (-1, BLOCK))
            product = torch.bmm(rows, pixels).flatten(0, 1)
            logits.append(product.index_select(0, slot) + bias[nodes, None])
        return torch.cat(logits, dim=1)

    def dense_logits(self, features: Tensor) -> Tensor:
        """All logits of feature maps (B, C, H, W), shape (B, A, H, W, N)."""
        anchors, nodes, channels = self.weight.shape
        self._mark_used(torch.arange(nodes, device=self.used_nodes.device))
        weight: Tensor = self.weight
        if self.lazy_rows:
            weight = self.lazy_rows.read(torch.arange(anchors * nodes, device=weight.device))
        flat = F.conv2d(features, weight.reshape(-1, channels, 1, 1), self.bias.reshape(-1))
        logits: Tensor = flat.unflatten(1, (anchors, nodes)).permute(0, 1, 3, 4, 2)
        return logits

    def take_used_nodes(self) -> Tensor:
        """Return a copy of `used_nodes` and reset it."""
        used = self.used_nodes.clone()
        self.used_nodes.zero_()
        return used

    def _rows(self, rows: Tensor) -> Tensor:
        """Weights (U, C) of the rows (U,): anchor × N + node."""
        if self.lazy_rows:
            return self.lazy_rows.read(rows)
        return self.weight.flatten(0, 1).index_select(0, rows)

    def _mark_used(self, nodes: Tensor) -> None:
        if torch.is_grad_enabled():
            self.used_nodes[nodes] = True


class SplitHead(nn.Module):
    """Features (B, C, H, W) to `GridOutput`; the box part is computed at once, the class part on demand."""

    anchors_cell: Tensor

    def __init__(self, channels: int, *, anchors_cell: Tensor, nodes: int) -> None:
        super().__init__()
        self.register_buffer("anchors_cell", anchors_cell.clone())
        self.box = nn.Conv2d(channels, len(anchors_cell) * 5, 1)
        self.classes = ClassHead(channels, anchors=len(anchors_cell), nodes=nodes)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> GridOutput:
        # A softmax in bfloat16 is too coarse for the loss.
        with torch.autocast(features.device.type, enabled=False):
            features = features if features.dtype == torch.float64 else features.float()
            boxes = self.box(features).unflatten(1, (-1, 5)).permute(0, 1, 3, 4, 2)
        return GridOutput(boxes, features, self.anchors_cell, self.classes)

    def darknet_layer(self) -> tuple[Tensor, Tensor]:
        """Darknet's one layer of A × (5 + N) filters: weight (A·(5 + N), C, 1, 1) and bias (A·(5 + N),)."""
        anchors, _, channels = self.classes.weight.shape
        weight = torch.cat([self.box.weight.view(anchors, 5, channels), self.classes.weight], dim=1)
        bias = torch.cat([_bias(self.box).view(anchors, 5), self.classes.bias], dim=1)
        return weight.reshape(-1, channels, 1, 1), bias.reshape(-1)

    @torch.no_grad()
    def load_darknet_layer(self, weight: Tensor, bias: Tensor) -> None:
        """Load weight and bias of Darknet's one layer, in the format of `darknet_layer`."""
        anchors, nodes, channels = self.classes.weight.shape
        rows, offsets = weight.view(anchors, 5 + nodes, channels), bias.view(anchors, 5 + nodes)
        self.box.weight.copy_(rows[:, :5].reshape(self.box.weight.shape))
        _bias(self.box).copy_(offsets[:, :5].reshape(-1))
        self.classes.weight.copy_(rows[:, 5:])
        self.classes.bias.copy_(offsets[:, 5:])


def _rank_in_run(run: Tensor, lengths: Tensor) -> Tensor:
    """Number of earlier rows in the same run, (Q,); run: (Q,) the run of each row; lengths: rows of each run."""
    return run.argsort(stable=True).argsort() - starts(lengths)[run]


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
