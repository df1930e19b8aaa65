"""A second look at predicted boxes: objectness and class logits from the backbone's features in each box (decision 39).

The grid predicts a box, its objectness and its classes from the features of one cell. For a class without boxes, these
are seldom well centred on the object, and its objectness is a guess. The RoI head reads the features of the whole
predicted box, as the second stage of Faster R-CNN does (arXiv 1506.01497).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import roi_align

from yolo9000.models.boxes import scale_xyxy
from yolo9000.models.grid import GridOutput, Locations, decode_boxes
from yolo9000.models.tree_tensors import PathMembers

SCALES = (1.0, 1.5, 0.5)  # pooled regions: the box, the box with its surroundings, and its centre
BINS = 3  # of the pooled grid on each side; the mean over all bins is taken
SMALLEST = 1e-3  # width and height of a box, as a share of the input
HIDDEN = 64  # units of the hidden layer
# Weights of the RoI head in the means of both heads (decision 39).
OBJECTNESS_WEIGHT, CLASS_WEIGHT = 0.75, 0.7
MIN_LOCATIONS = 100  # whose boxes are read, at least


class RoiHead(nn.Module):
    """Objectness logits and class logits of P regions, from their pooled features.

    channels: of all feature maps together; nodes: of the tree.
    """

    def __init__(self, channels: int, *, nodes: int) -> None:
        super().__init__()
        self.channels = channels
        inputs = len(SCALES) * channels + 2
        self.norm = nn.LayerNorm(inputs)
        self.hidden = nn.Linear(inputs, HIDDEN)
        self.objectness = nn.Linear(HIDDEN, 1)
        self.class_norm = nn.LayerNorm(channels)
        self.classes = nn.Linear(channels, nodes)
        nn.init.zeros_(self.classes.weight)

    def objectness_logits(self, vectors: Tensor) -> Tensor:
        """Logits of the IoU of each region with an object, (P,); vectors: (P, D) of `pooled`."""
        logits: Tensor = self.objectness(self.hidden(self.norm(vectors)).relu())
        return logits[:, 0]

    def class_logits(self, vectors: Tensor, nodes: Tensor) -> Tensor:
        """Logits of `nodes` (U,) for each region, (P, U); vectors: (P, D) of `pooled`."""
        weight, bias = (values.index_select(0, nodes) for values in (self.classes.weight, self.classes.bias))
        return F.linear(self.class_norm(vectors[:, : self.channels]), weight, bias)

    def member_logits(self, vectors: Tensor, members: PathMembers) -> Tensor:
        """Logits of path members, (Q,); path k belongs to region k of `vectors` (P, D)."""
        nodes, column = members.node.unique(return_inverse=True)
        return self.class_logits(vectors, nodes)[members.path, column]


def mean_objectness(of_grid: Tensor, of_roi: Tensor) -> Tensor:
    """The geometric mean of both heads, weighted by OBJECTNESS_WEIGHT, 0..1."""
    return of_grid ** (1 - OBJECTNESS_WEIGHT) * of_roi**OBJECTNESS_WEIGHT


def mean_class_logits(of_grid: Tensor, of_roi: Tensor) -> Tensor:
    """The mean of both heads, weighted by CLASS_WEIGHT."""
    return torch.lerp(of_grid, of_roi, CLASS_WEIGHT)


def pooled(features: Sequence[Tensor], image: Tensor, xyxy_unit: Tensor) -> Tensor:
    """Features of P regions, (P, D): means over each of `SCALES`, then the logarithms of width and height.

    features: maps (B, C, H, W) of any strides; image: (P,); xyxy_unit: (P, 4).
    """
    boxes = xyxy_unit.float().clamp(0, 1)
    means = [
        _mean_in(feature_map, image, scale_xyxy(boxes, scale)) for scale in SCALES for feature_map in features
    ]
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp_min(SMALLEST).log()
    return torch.cat([*means, sides], dim=1)


def _mean_in(feature_map: Tensor, image: Tensor, xyxy_unit: Tensor) -> Tensor:
    """Mean features of each region, (P, C)."""
    rows, columns = feature_map.shape[2:]
    left, top, right, bottom = xyxy_unit.unbind(1)
    regions = torch.stack(
        [image.to(left), left * columns, top * rows, right * columns, bottom * rows], dim=1
    )  # not with `new_tensor`: in an exported graph, rows and columns are symbols
    bins: Tensor = roi_align(feature_map.float(), regions, (BINS, BINS), sampling_ratio=1, aligned=True)
    return bins.mean(dim=(2, 3))


class RoiOutput:
    """The RoI head's output for the predicted boxes of a batch; each box is pooled once, when it is asked for."""

    def __init__(self, head: RoiHead, features: Sequence[Tensor], grid: GridOutput) -> None:
        self.head, self.features = head, [feature_map.detach() for feature_map in features]
        self._grid = grid
        self._xyxy_unit = decode_boxes(grid).detach()
        self._row = torch.full_like(grid.objectness_logits, -1, dtype=torch.int64).flatten()
        self._vectors = grid.features.new_zeros(0, head.norm.normalized_shape[0], dtype=torch.float32)

    def vectors(self, location: Locations) -> Tensor:
        """Pooled features of the predicted box at each of P locations, (P, D)."""
        index = location.flat_index(self._grid)
        missing = index[self._row[index] < 0].unique()
        if len(missing):
            new = Locations.from_flat_index(self._grid, missing)
            rows = torch.arange(len(missing), device=missing.device) + len(self._vectors)
            self._row = self._row.index_copy(0, missing, rows)  # not in place: it may be an inference tensor
            boxes = pooled(self.features, new.image, new.gather(self._xyxy_unit))
            self._vectors = torch.cat([self._vectors, boxes])
        return self._vectors[self._row[index]]

    def objectness(self, location: Locations) -> Tensor:
        """Predicted IoU of the box at each of P locations with an object, (P,) in 0..1."""
        return self.head.objectness_logits(self.vectors(location)).sigmoid()

    def class_logits(self, location: Locations, nodes: Tensor) -> Tensor:
        """Logits of `nodes` (U,) at each of P locations, (P, U)."""
        return self.head.class_logits(self.vectors(location), nodes)

    def member_logits(self, location: Locations, members: PathMembers) -> Tensor:
        """Logits of path members, (Q,); path k belongs to location k."""
        return self.head.member_logits(self.vectors(location), members)
