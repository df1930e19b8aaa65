"""The RoI head at a fixed number of boxes of each image, for export."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo9000.models.roi_head import RoiHead, mean_class_logits, mean_objectness, pooled


class RoiGraph(nn.Module):
    """The RoI head of a detector as a graph: its share of objectness and class logits.

    order: (N,) the node of each column of class logits.
    """

    def __init__(self, head: RoiHead, order: Tensor) -> None:
        super().__init__()
        self.head = head
        self.class_weight = nn.Parameter(head.classes.weight[order].detach(), requires_grad=False)
        self.class_bias = nn.Parameter(head.classes.bias[order].detach(), requires_grad=False)

    def vectors(self, features: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Pooled features, (B, P, features), of `boxes` (B, P, 4), xyxy in the unit square."""
        images, count = boxes.shape[:2]
        image = torch.arange(images, device=boxes.device)[:, None].expand(-1, count).flatten()
        vectors: Tensor = pooled(features, image, boxes.flatten(0, 1)).unflatten(0, (-1, count))
        return vectors

    def objectness(self, of_grid: Tensor, vectors: Tensor) -> Tensor:
        """Objectness of both heads, (B, P); of_grid: (B, P), vectors: (B, P, features)."""
        of_roi = self.head.objectness_logits(vectors.flatten(0, 1)).sigmoid()
        return mean_objectness(of_grid, of_roi.unflatten(0, (-1, vectors.shape[1])))

    def class_logits(self, of_grid: Tensor, vectors: Tensor) -> Tensor:
        """Class logits of both heads, (P, N) in `order`; of_grid: (P, N), vectors: (P, features)."""
        features = self.head.class_norm(vectors[:, : self.head.channels])
        return mean_class_logits(of_grid, F.linear(features, self.class_weight, self.class_bias))
