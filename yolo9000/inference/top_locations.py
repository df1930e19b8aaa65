"""The grid locations of highest objectness of each image, and their boxes in image pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from yolo9000.config import Geometry
from yolo9000.data.letterbox import Letterbox
from yolo9000.models.boxes import clip_xyxy
from yolo9000.models.grid import GridOutput, Locations, decode_boxes, member_logits
from yolo9000.models.roi_head import MIN_LOCATIONS, OBJECTNESS_WEIGHT, mean_class_logits, mean_objectness
from yolo9000.models.tree_tensors import PathMembers, TreeTensors, counts


@dataclass(frozen=True)
class BatchOutput:
    """The network's output for B images, and where each image lies on the network's canvas.

    letterboxes: B of them, in the order of the batch.
    """

    grid: GridOutput
    tree_tensors: TreeTensors
    letterboxes: Sequence[Letterbox]

    @cached_property
    def xyxy_unit(self) -> Tensor:
        """Decoded boxes of all images in the unit square of the network input, shape (B, A, H, W, 4)."""
        return decode_boxes(self.grid)

    @cached_property
    def grid_objectness(self) -> Tensor:
        """Objectness at all locations in 0..1 without the RoI head, shape (B, A, H, W)."""
        return self.grid.objectness

    def objectness(self, locations: Locations) -> Tensor:
        """Objectness at each of P locations, (P,), 0..1; with an RoI head the mean of grid and head (decision 39)."""
        of_grid = locations.gather(self.grid_objectness)
        if self.grid.roi is None:
            return of_grid
        return mean_objectness(of_grid, self.grid.roi.objectness(locations))

    def member_logits(self, locations: Locations, members: PathMembers) -> Tensor:
        """Logits of path members, (Q,); path k belongs to location k. With an RoI head the mean of grid and head."""
        of_grid = member_logits(self.grid, locations, members)
        if self.grid.roi is None:
            return of_grid
        return mean_class_logits(of_grid, self.grid.roi.member_logits(locations, members))

    def absolute(self, locations: Locations, nodes: Tensor) -> Tensor:
        """P(node | object) of each of E nodes at each of P locations, shape (P, E)."""
        return self.tree_tensors.log_absolute_of_nodes(
            lambda members: self._class_logits(locations, members), nodes
        ).exp()

    def _class_logits(self, locations: Locations, nodes: Tensor) -> Tensor:
        """Logits of `nodes` (U,) at each location, (P, U)."""
        of_grid = self.grid.class_logits(locations, nodes)
        if self.grid.roi is None:
            return of_grid
        return mean_class_logits(of_grid, self.grid.roi.class_logits(locations, nodes))


@dataclass(frozen=True)
class TopLocations:
    """P locations: of each image of the batch in turn those of highest objectness, best first."""

    location: Locations
    objectness: Tensor  # (P,)
    xyxy_px: Tensor  # (P, 4) in pixels of the image; clipped to it unless the geometry is `darknet`

    def __len__(self) -> int:
        return len(self.objectness)

    def __getitem__(self, rows: Tensor | slice) -> TopLocations:
        return TopLocations(self.location[rows], self.objectness[rows], self.xyxy_px[rows])

    def by_image(self, images: int) -> list[TopLocations]:
        """The locations of each of B images."""
        return [self[rows] for rows in runs_of_images(self.location.image, images)]


def top_locations(
    batch: BatchOutput, *, min_objectness: float, max_locations: int, geometry: Geometry = "exact"
) -> TopLocations:
    """At most `max_locations` locations of each image whose objectness exceeds `min_objectness`."""
    of_grid = batch.grid_objectness.flatten(1)  # (B, AHW)
    count = max_locations if batch.grid.roi is None else max(max_locations, MIN_LOCATIONS)
    best, index = of_grid.topk(min(count, of_grid.shape[1]), dim=1)
    first = torch.arange(len(index), device=index.device)[:, None] * of_grid.shape[1]
    if batch.grid.roi is not None:
        # Of the RoI head even 1 would not lift the others above min_objectness.
        least = max(min_objectness, 0) ** (1 / (1 - OBJECTNESS_WEIGHT))
        image, rank = (best > least).nonzero(as_tuple=True)
        objectness = batch.objectness(Locations.from_flat_index(batch.grid, (first + index)[image, rank]))
        best = torch.full_like(best, -1).index_put((image, rank), objectness.to(best))
        best, order = best.topk(min(max_locations, best.shape[1]), dim=1)
        index = index.gather(1, order)
    image, rank = (best > min_objectness).nonzero(as_tuple=True)
    location = Locations.from_flat_index(batch.grid, (first + index)[image, rank])
    xyxy_unit = location.gather(batch.xyxy_unit)
    xyxy_px = _boxes_to_images(xyxy_unit, image, batch.letterboxes, geometry)
    return TopLocations(location, best[image, rank], xyxy_px)


def runs_of_images(image: Tensor, images: int) -> list[slice]:
    """The rows of each of B images; image: (P,) the image of each row, ascending."""
    ends = counts(image, images).cumsum(0).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


# --- boxes


def nms_by_node(xyxy_px: Tensor, score: Tensor, node: Tensor, max_iou: float) -> Tensor:
    """Rows, best first, whose IoU with each better row of the same node is at most `max_iou`."""
    if not len(xyxy_px):
        return node
    # torchvision separates the nodes by an offset of node × the largest coordinate. float32 has too few digits for
    # these offsets, and boxes with negative coordinates would reach into the range of the previous node.
    shifted = (xyxy_px - xyxy_px.amin()).double()
    return batched_nms(shifted, score.double(), node, max_iou)  # type: ignore[no-any-return]


def _boxes_to_images(
    xyxy_unit: Tensor, image: Tensor, letterboxes: Sequence[Letterbox], geometry: Geometry
) -> Tensor:
    """`boxes_to_image` for boxes (P, 4) of several images; image: (P,) the letterbox of each."""
    facts = np.array([_facts_of(letterbox, geometry) for letterbox in letterboxes])
    table = torch.from_numpy(facts.reshape(-1, 4, 2)).to(xyxy_unit.dtype)
    table = table.to(xyxy_unit.device, non_blocking=True).repeat(1, 1, 2)[image]  # (P, 4, 4)
    network, margin, scale, limit = table.unbind(1)
    xyxy_px = (xyxy_unit * network - margin) / scale
    return xyxy_px if geometry == "darknet" else torch.minimum(xyxy_px.clamp_min(0), limit)


def _facts_of(letterbox: Letterbox, geometry: Geometry) -> list[tuple[float, float]]:
    """Width and height of the canvas, the margin, the scale, and width and height of the image."""
    margin = letterbox.margin_by_darknet_px if geometry == "darknet" else letterbox.margin_px
    return [
        (letterbox.network_width_px, letterbox.network_height_px),
        margin,
        letterbox.scale,
        (letterbox.image_width_px, letterbox.image_height_px),
    ]


def boxes_to_image(xyxy_unit: Tensor, letterbox: Letterbox, geometry: Geometry = "exact") -> Tensor:
    """Boxes in image pixels, from the unit square of the network input; both (K, 4).

    Boxes are clipped to the image unless the geometry is `darknet` (decision 13).
    """
    network = xyxy_unit.new_tensor([letterbox.network_width_px, letterbox.network_height_px] * 2)
    if geometry == "darknet":
        return letterbox.to_image_by_darknet(xyxy_unit * network)
    return clip_to_image(letterbox.to_image(xyxy_unit * network), letterbox)


def clip_to_image(xyxy_px: Tensor, letterbox: Letterbox) -> Tensor:
    """Boxes clipped to the image of the letterbox, in image pixels, shape (K, 4)."""
    return clip_xyxy(xyxy_px, width=letterbox.image_width_px, height=letterbox.image_height_px)
