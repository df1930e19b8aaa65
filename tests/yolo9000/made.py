"""Things that several tests of the detector make for themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wordtree import WordTree
from yolo9000.grid import GridOutput


def random_tree(nodes: int, *, roots: int = 4, largest_group: int = 12, seed: int = 0) -> WordTree:
    """A tree of random sibling groups, as deep as chance makes it."""
    rng = np.random.default_rng(seed)
    parents, node = [-1] * roots, 0
    while len(parents) < nodes:
        children = int(rng.integers(1 if node == len(parents) - 1 else 0, largest_group + 1))
        parents += [node] * min(children, nodes - len(parents))
        node += 1
    return WordTree([f"own{k}" for k in range(nodes)], parents)


@dataclass(frozen=True)
class TableHead:
    """A class head whose features are the class logits themselves: channels are (anchor, node)."""

    anchors: int

    def logits(self, features: Tensor, anchor: Tensor, nodes: Tensor) -> Tensor:
        rows = features.unflatten(1, (self.anchors, features.shape[1] // self.anchors))
        return rows[torch.arange(len(rows)), anchor][:, nodes]

    def dense_logits(self, features: Tensor) -> Tensor:
        return features.unflatten(1, (self.anchors, -1)).permute(0, 1, 3, 4, 2)


def grid_output(
    *,
    anchors: list[list[float]],
    rows: int = 1,
    columns: int = 1,
    images: int = 1,
    box_logits: Tensor | None = None,
    class_logits: Tensor | None = None,
) -> GridOutput:
    """An output with the given box logits (B, A, H, W, 5) and class logits (B, A, H, W, N); zeros where not given."""
    if box_logits is None:
        box_logits = torch.zeros(images, len(anchors), rows, columns, 5, dtype=torch.float64)
    if class_logits is None:
        class_logits = box_logits.new_zeros(*box_logits.shape[:4], 1)
    return GridOutput(
        box_logits,
        features=class_logits.permute(0, 1, 4, 2, 3).flatten(1, 2),
        anchors_cell=torch.tensor(anchors, dtype=box_logits.dtype),
        class_head=TableHead(len(anchors)),
    )
