"""The output layer: the 1×1 convolution of the paper, split into boxes and classes (darknet region_layer.c).

Dense, the two together are exactly Darknet's layer of A × (5 + N) filters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo9000.models.grid import GridOutput

BLOCK = 64  # nodes in a block of `map_logits`: of 110 on a path few places stay empty


class ClassHead(nn.Module):
    """Class weights (A, N, C) and biases (A, N) of A anchors and N nodes, read row by row.

    asked: (N,) bool, the nodes whose logits a loss has asked for since they were last taken; no other has a gradient.
    """

    asked: Tensor

    def __init__(self, channels: int, *, anchors: int, nodes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(anchors, nodes, channels))
        self.bias = nn.Parameter(torch.zeros(anchors, nodes))
        self.register_buffer("asked", torch.zeros(nodes, dtype=torch.bool), persistent=False)
        nn.init.normal_(self.weight, std=0.01)

    def logits(self, features: Tensor, anchor: Tensor, nodes: Tensor) -> Tensor:
        """Logits of `nodes` (U,) for P feature vectors (P, C) at the given anchors (P,), shape (P, U)."""
        self._note(nodes)
        weight = self.weight.index_select(1, nodes)  # (A, U, C)
        bias = self.bias.index_select(1, nodes)  # (A, U)
        order = anchor.argsort(stable=True)
        counts = torch.bincount(anchor, minlength=len(weight)).tolist()
        chunks = features.index_select(0, order).split(counts)
        logits = torch.cat([F.linear(rows, w, b) for rows, w, b in zip(chunks, weight, bias, strict=True)])
        return logits.index_select(0, order.argsort())

    def asked_logits(self, features: Tensor, anchor: Tensor, owner: Tensor, nodes: Tensor) -> Tensor:
        """Logits of Q nodes, each for the one of P feature vectors (P, C) that asks for it, `owner` (Q,); (Q,).

        For each anchor (P,) there is one table, of all its vectors by all nodes that any of them asks for.
        """
        self._note(nodes)
        anchors, nodes_in_all, _ = self.weight.shape
        asks = anchor[owner]
        rows, row = (asks * nodes_in_all + nodes).unique(return_inverse=True)  # (R,) anchor by anchor
        height = torch.bincount(anchor, minlength=anchors)
        width = torch.bincount(rows // nodes_in_all, minlength=anchors)
        vectors = features.index_select(0, anchor.argsort(stable=True)).split(height.tolist())
        weight = self.weight.flatten(0, 1).index_select(0, rows).split(width.tolist())
        bias = self.bias.flatten().index_select(0, rows).split(width.tolist())
        tables = [F.linear(*each).flatten() for each in zip(vectors, weight, bias, strict=True)]
        line, column = _rank_in_run(anchor, height)[owner], row - _starts(width)[asks]
        return torch.cat(tables).index_select(0, _starts(height * width)[asks] + line * width[asks] + column)

    def map_logits(self, features: Tensor, image: Tensor, nodes: Tensor) -> Tensor:
        """Logits of Q nodes, each everywhere on its own map, `image` (Q,) of (B, C, H, W); (Q, AHW).

        The nodes asked on a map are cut into blocks of equal size, so that each anchor takes one batched product.
        """
        self._note(nodes)
        asked = torch.bincount(image, minlength=len(features))
        blocks = (asked + BLOCK - 1) // BLOCK  # (B,)
        slot = _starts(blocks)[image] * BLOCK + _rank_in_run(image, asked)  # (Q,)
        table = nodes.new_zeros(int(blocks.sum()) * BLOCK).index_copy(0, slot, nodes)
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2)  # (B, HW, C)
        pixels = pixels.repeat_interleave(blocks, dim=0).transpose(1, 2)  # (blocks, C, HW)
        logits = []
        for weight, bias in zip(self.weight, self.bias, strict=True):
            rows = weight.index_select(0, table).unflatten(0, (-1, BLOCK))
            product = torch.bmm(rows, pixels).flatten(0, 1)
            logits.append(product.index_select(0, slot) + bias[nodes, None])
        return torch.cat(logits, dim=1)

    def dense_logits(self, features: Tensor) -> Tensor:
        """All logits, (B, A, H, W, N), of a feature map (B, C, H, W)."""
        anchors, nodes, channels = self.weight.shape
        self._note(torch.arange(nodes, device=self.asked.device))
        flat = F.conv2d(features, self.weight.reshape(-1, channels, 1, 1), self.bias.reshape(-1))
        logits: Tensor = flat.unflatten(1, (anchors, nodes)).permute(0, 1, 3, 4, 2)
        return logits

    def take_asked(self) -> Tensor:
        """`asked` up to now, which begins anew."""
        asked = self.asked.clone()
        self.asked.zero_()
        return asked

    def _note(self, nodes: Tensor) -> None:
        if torch.is_grad_enabled():
            self.asked[nodes] = True


class SplitHead(nn.Module):
    """Features (B, C, H, W) to `GridOutput`; the box part is computed everywhere, the class part when asked."""

    anchors_cell: Tensor

    def __init__(self, channels: int, *, anchors_cell: Tensor, nodes: int) -> None:
        super().__init__()
        self.register_buffer("anchors_cell", anchors_cell.clone())
        self.box = nn.Conv2d(channels, len(anchors_cell) * 5, 1)
        self.classes = ClassHead(channels, anchors=len(anchors_cell), nodes=nodes)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.zeros_(self.box.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> GridOutput:
        with torch.autocast(
            features.device.type, enabled=False
        ):  # bfloat16 softmax loses what the loss needs
            features = features if features.dtype == torch.float64 else features.float()
            boxes = self.box(features).unflatten(1, (-1, 5)).permute(0, 1, 3, 4, 2)
        return GridOutput(boxes, features, self.anchors_cell, self.classes)

    def dense(self) -> tuple[Tensor, Tensor]:
        """Darknet's one layer of A × (5 + N) filters: weight (A·(5 + N), C, 1, 1) and bias (A·(5 + N),)."""
        anchors, _, channels = self.classes.weight.shape
        weight = torch.cat([self.box.weight.view(anchors, 5, channels), self.classes.weight], dim=1)
        bias = torch.cat([_bias(self.box).view(anchors, 5), self.classes.bias], dim=1)
        return weight.reshape(-1, channels, 1, 1), bias.reshape(-1)

    @torch.no_grad()
    def load_dense(self, weight: Tensor, bias: Tensor) -> None:
        """Take the numbers of such a layer."""
        anchors, nodes, channels = self.classes.weight.shape
        rows, offsets = weight.view(anchors, 5 + nodes, channels), bias.view(anchors, 5 + nodes)
        self.box.weight.copy_(rows[:, :5].reshape(self.box.weight.shape))
        _bias(self.box).copy_(offsets[:, :5].reshape(-1))
        self.classes.weight.copy_(rows[:, 5:])
        self.classes.bias.copy_(offsets[:, 5:])


def _starts(lengths: Tensor) -> Tensor:
    """Where each of some runs begins when they are laid end to end."""
    return lengths.cumsum(0) - lengths


def _rank_in_run(run: Tensor, lengths: Tensor) -> Tensor:
    """How many rows before each one are of the same run, (Q,); run: (Q,), lengths: how many rows each run has."""
    return run.argsort(stable=True).argsort() - _starts(lengths)[run]


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
