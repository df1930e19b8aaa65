"""The raw output of the network on its grid, and the boxes that it encodes (paper, section 2, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.tree_tensors import PathMembers

if TYPE_CHECKING:
    from yolo9000.models.roi_head import RoiOutput


@dataclass(frozen=True)
class Locations:
    """P grid locations, each one anchor in one cell of one image, as four tensors (P,) int64."""

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor

    @classmethod
    def concatenated(cls, parts: Sequence[Locations]) -> Locations:
        columns = zip(*((p.image, p.anchor, p.row, p.column) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    @classmethod
    def from_flat_index(cls, output: GridOutput, index: Tensor) -> Locations:
        """The locations at positions `index` (P,) of the flattened (B, A, H, W) grid."""
        _, anchors, rows, columns, _ = output.box_logits.shape
        column = index % columns
        row = index // columns % rows
        anchor = index // (columns * rows) % anchors
        return cls(index // (columns * rows * anchors), anchor, row, column)

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: Tensor | slice) -> Locations:
        return Locations(self.image[index], self.anchor[index], self.row[index], self.column[index])

    def flat_index(self, output: GridOutput) -> Tensor:
        """Positions in the flattened (B, A, H, W) grid, (P,)."""
        _, anchors, rows, columns, _ = output.box_logits.shape
        return ((self.image * anchors + self.anchor) * rows + self.row) * columns + self.column

    def gather(self, grid: Tensor) -> Tensor:
        """Entries of a (B, A, H, W, …) tensor at these locations, (P, …)."""
        return grid[self.image, self.anchor, self.row, self.column]

    def mask(self, output: GridOutput) -> Tensor:
        """True at these locations and nowhere else, (B, A, H, W) bool."""
        mask = torch.zeros_like(output.objectness_logits, dtype=torch.bool)
        mask[self.image, self.anchor, self.row, self.column] = True
        return mask


class ClassHeadLike(Protocol):
    """The part of the class head (head.py) that `GridOutput` uses."""

    def logits(self, features: Tensor, anchor: Tensor, nodes: Tensor) -> Tensor: ...
    def pair_logits(self, features: Tensor, anchor: Tensor, index: Tensor, nodes: Tensor) -> Tensor: ...
    def image_logits(self, features: Tensor, image: Tensor, nodes: Tensor) -> Tensor: ...
    def dense_logits(self, features: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class GridOutput:
    """Raw output for B images. Class logits are computed on demand, for the given locations and nodes only."""

    box_logits: Tensor  # (B, A, H, W, 5): x, y, w, h, objectness, before any activation
    features: Tensor  # (B, C, H, W): the input of the class head
    anchors_cell: Tensor  # (A, 2): width and height of each anchor in grid cells
    class_head: ClassHeadLike
    roi: RoiOutput | None = None  # of a detector with an RoI head

    @property
    def offset_logits(self) -> Tensor:
        return self.box_logits[..., 0:2]

    @property
    def size_logits(self) -> Tensor:
        return self.box_logits[..., 2:4]

    @property
    def objectness_logits(self) -> Tensor:
        return self.box_logits[..., 4]

    @property
    def objectness(self) -> Tensor:
        """Sigmoid of the objectness logits, (B, A, H, W) in 0..1."""
        return self.objectness_logits.sigmoid()

    @cached_property
    def grid_wh(self) -> Tensor:
        """Columns and rows of the grid, (2,) float."""
        rows, columns = self.box_logits.shape[2:4]
        # Filled on the device: a copy from the host would wait for it.
        return torch.stack([self.box_logits.new_full((), columns), self.box_logits.new_full((), rows)])

    def class_logits(self, location: Locations, nodes: Tensor) -> Tensor:
        """Logits of all `nodes` (U,) at each location, (P, U).

        Weights of other nodes are neither read nor given a gradient.
        """
        return self.class_head.logits(self._features_at(location), location.anchor, nodes)

    def pair_logits(self, location: Locations, index: Tensor, nodes: Tensor) -> Tensor:
        """Logits of Q pairs of a location and a node, (Q,); index: (Q,) positions in `location`."""
        return self.class_head.pair_logits(self._features_at(location), location.anchor, index, nodes)

    def image_logits(self, image: Tensor, nodes: Tensor) -> Tensor:
        """Logits of Q pairs of an image and a node at every location of the image, (Q, AHW)."""
        return self.class_head.image_logits(self.features, image, nodes)

    def dense_class_logits(self) -> Tensor:
        """Logits of all N nodes at every location, (B, A, H, W, N): for tests, export and full distributions."""
        return self.class_head.dense_logits(self.features)

    def _features_at(self, location: Locations) -> Tensor:
        _, channels, rows, columns = self.features.shape
        cells = self.features.permute(0, 2, 3, 1).reshape(-1, channels)
        return cells.index_select(0, (location.image * rows + location.row) * columns + location.column)


def member_logits(output: GridOutput, location: Locations, members: PathMembers) -> Tensor:
    """Logits of path members, (Q,); path k belongs to location k."""
    return output.pair_logits(location, members.path, members.node)


def decode_boxes(output: GridOutput) -> Tensor:
    """Predicted boxes as xyxy in the unit square of the network input, (B, A, H, W, 4); may reach beyond it."""
    size_cell = output.size_logits.exp() * output.anchors_cell[:, None, None]
    centre_cell = output.offset_logits.sigmoid() + cell_corners(output)
    return cxcywh_to_xyxy(torch.cat([centre_cell, size_cell], dim=-1) / output.grid_wh.repeat(2))


def cell_corners(output: GridOutput) -> Tensor:
    """Column and row of each cell, (H, W, 2)."""
    rows, columns = output.box_logits.shape[2:4]
    y = torch.arange(rows, device=output.box_logits.device)
    x = torch.arange(columns, device=output.box_logits.device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).to(output.box_logits.dtype)


def cells_in_regions(output: GridOutput, xyxy_unit: Tensor) -> Tensor:
    """Whether the centre of each cell lies in each of R regions, (R, H, W) bool; xyxy_unit: (R, 4)."""
    centre = (cell_corners(output) + 0.5) / output.grid_wh  # (H, W, 2)
    low, high = xyxy_unit[:, None, None, :2], xyxy_unit[:, None, None, 2:]
    return ((centre >= low) & (centre < high)).all(-1)
