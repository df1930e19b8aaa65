"""Assignment of image labels to grid locations of their image (paper, section 4).

max_score       the location of highest objectness × P(node): the paper, as in Darknet
max_objectness  the location of highest objectness
max_size        the largest predicted box among the locations of highest objectness (Detic, arXiv 2201.02605)
top_k           the k locations of highest objectness share the label

Each rule considers only the label's region, and there only locations that no box is assigned to, if there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms

from yolo9000.data.batch import ImageLabelColumns
from yolo9000.models.boxes import area_xyxy
from yolo9000.models.grid import GridOutput, Locations, cells_in_regions, decode_boxes
from yolo9000.models.tree_tensors import PathMembers, TreeTensors, log_complement

LabelRule: TypeAlias = Literal["max_score", "max_objectness", "max_size", "top_k"]

PROPOSALS = 32  # of max_size: predicted boxes of each label's region that are compared by size
PROPOSAL_NMS_IOU = 0.5  # of max_size: a proposal that overlaps one of higher objectness by more is dropped


@dataclass(frozen=True)
class PathLogits:
    """Class logits at P locations, each for its own node: all members of the sibling groups on the node's path."""

    location: Locations
    node: Tensor  # (P,)
    members: PathMembers
    logits: Tensor  # (Q,) of the members


def path_logits(
    output: GridOutput, tree_tensors: TreeTensors, *pairs: tuple[Locations, Tensor]
) -> tuple[PathLogits, ...]:
    """One `PathLogits` for each pair of P locations and their nodes (P,).

    The class head is read once for all pairs, since the gradient of every read is as large as the class head.
    """
    members = [tree_tensors.path_members(node) for _, node in pairs]
    start = np.cumsum([0, *(len(location) for location, _ in pairs)])
    index = torch.cat([m.path + int(before) for m, before in zip(members, start, strict=False)])
    locations = Locations.concatenated([location for location, _ in pairs])
    logits = output.pair_logits(locations, index, torch.cat([m.node for m in members]))
    parts = logits.split([len(m.node) for m in members])
    return tuple(
        PathLogits(location, node, m, part)
        for (location, node), m, part in zip(pairs, members, parts, strict=True)
    )


def log_absolute_at(
    output: GridOutput, tree_tensors: TreeTensors, location: Locations, node: Tensor
) -> Tensor:
    """log P(node) at each of P locations for its own node (P,), computed along the nodes' paths only."""
    return log_absolute(tree_tensors, *path_logits(output, tree_tensors, (location, node)))


def log_absolute(tree_tensors: TreeTensors, paths: PathLogits) -> Tensor:
    """log P(node) of each node at its location, (P,)."""
    return tree_tensors.log_absolute(paths.members, paths.logits, len(paths.node))


@dataclass(frozen=True)
class LabelAssignment:
    """The locations that L image labels are assigned to, P ≥ L rows."""

    location: Locations  # (P,)
    label: Tensor  # (P,) the label assigned to each location, in 0..L
    weight: Tensor  # (P,) share of the label; the shares of each label add up to 1


def assign_labels(
    output: GridOutput,
    labels: ImageLabelColumns,
    tree_tensors: TreeTensors,
    *,
    rule: LabelRule,
    top_k: int,
    taken: Locations | None = None,
) -> LabelAssignment:
    """Assign each label by the rule; `top_k` is used by the rule of that name only.

    taken: locations that boxes are assigned to. A label is assigned to one of them only if its region has no other.
    """
    allowed = free_locations(output, labels, taken)
    if rule == "top_k":
        return assign_top_k(output, labels, top_k, allowed)
    if rule == "max_objectness":
        location = location_of_max_objectness(output, labels, allowed)
    elif rule == "max_size":
        location = location_of_max_size(output, labels, allowed)
    else:
        location = location_of_max_score(output, labels, tree_tensors, allowed)
    return LabelAssignment(
        location,
        torch.arange(len(location), device=location.image.device),
        output.box_logits.new_ones(len(location)),
    )


@torch.no_grad()
def location_of_max_objectness(
    output: GridOutput, labels: ImageLabelColumns, allowed: Tensor | None = None
) -> Locations:
    """The location of highest objectness for each of L labels; allowed: (L, AHW) bool, None: the label's region."""
    return _best_location(output, labels, _objectness_of_images(output, labels), allowed)


@torch.no_grad()
def location_of_max_score(
    output: GridOutput, labels: ImageLabelColumns, tree_tensors: TreeTensors, allowed: Tensor | None = None
) -> Locations:
    """The location of highest objectness × P(node) for each of L labels.

    allowed: as in `location_of_max_objectness`.
    """
    members = tree_tensors.path_members(labels.node)
    logits = output.image_logits(labels.image[members.path], members.node)  # (Q, AHW)
    log_absolute = tree_tensors.log_absolute(members, logits, len(labels.node))  # (L, AHW)
    return _best_location(output, labels, _objectness_of_images(output, labels).log() + log_absolute, allowed)


@torch.no_grad()
def location_of_max_size(
    output: GridOutput, labels: ImageLabelColumns, allowed: Tensor | None = None
) -> Locations:
    """The location of the largest proposal for each of L labels.

    Proposals are the `PROPOSALS` predicted boxes of highest objectness, clipped to the label's region, after NMS.
    allowed: as in `location_of_max_objectness`.
    """
    allowed = _allowed_or_in_regions(output, labels, allowed)
    objectness = _objectness_of_images(output, labels).masked_fill(~allowed, -1)
    best, index = objectness.topk(min(PROPOSALS, objectness.shape[1]), dim=1)  # (L, proposals)
    predicted = decode_boxes(output).flatten(1, 3)[labels.image[:, None], index]  # (L, proposals, 4)
    low, high = labels.region_xyxy_unit[:, None].to(predicted.dtype).split(2, dim=2)  # (L, 1, 2)
    boxes = predicted.maximum(low.repeat(1, 1, 2)).minimum(high.repeat(1, 1, 2))
    size = area_xyxy(boxes).masked_fill(~_kept_by_nms(boxes, best) | (best < 0), -1)
    # Proposals are sorted, so of equal sizes the one of highest objectness is chosen.
    largest = index.gather(1, size.argmax(dim=1, keepdim=True))[:, 0]
    return Locations.from_flat_index(output, labels.image * objectness.shape[1] + largest)


@torch.no_grad()
def assign_top_k(
    output: GridOutput, labels: ImageLabelColumns, k: int, allowed: Tensor | None = None
) -> LabelAssignment:
    """Assign each label in equal shares to its k locations of highest objectness, or to all if there are fewer."""
    allowed = _allowed_or_in_regions(output, labels, allowed)
    objectness = _objectness_of_images(output, labels).masked_fill(~allowed, -1)
    best, index = objectness.topk(min(k, objectness.shape[1]), dim=1)  # (L, k)
    label, rank = (best >= 0).nonzero(as_tuple=True)
    flat = labels.image[label] * objectness.shape[1] + index[label, rank]
    weight = 1 / (best >= 0).sum(dim=1)[label].to(objectness.dtype)
    return LabelAssignment(Locations.from_flat_index(output, flat), label, weight)


def negative_errors(output: GridOutput, tree_tensors: TreeTensors, paths: PathLogits) -> Tensor:
    """objectness × −log(1 − P(node)) of each negative label at its location, (P,).

    Descendants of the node become less likely too, because P(node) is the sum over its leaves. Objectness is a weight
    without a gradient, because the location may show another object. On the path mainly the uncertain levels change;
    the gradient of a level with a probability near 1 is near 0. So an object that is surely an animal, but not a dog,
    stays an animal.
    """
    objectness = paths.location.gather(output.objectness).detach()
    return objectness * -log_complement(log_absolute(tree_tensors, paths))


def locations_in_regions(output: GridOutput, labels: ImageLabelColumns) -> Tensor:
    """Whether each location of a label's image lies in the label's region, (L, AHW) bool; at least one does."""
    anchors, rows, columns = output.box_logits.shape[1:4]
    region = labels.region_xyxy_unit
    inside = cells_in_regions(output, region).flatten(1)  # (L, HW)
    middle_cell = ((region[:, :2] + region[:, 2:]) / 2 * output.grid_wh).long()
    cell = middle_cell[:, 1].clamp(0, rows - 1) * columns + middle_cell[:, 0].clamp(0, columns - 1)
    around_middle = torch.zeros_like(inside).scatter_(1, cell[:, None], True)
    # A region that contains no cell centre counts as the cell of its middle.
    inside = torch.where(inside.any(dim=1, keepdim=True), inside, around_middle)
    return inside.repeat(1, anchors)


def free_locations(output: GridOutput, labels: ImageLabelColumns, taken: Locations | None) -> Tensor:
    """The locations in each label's region that are not taken, (L, AHW) bool; the whole region if all are taken."""
    inside = locations_in_regions(output, labels)
    if taken is None:
        return inside
    free = inside & ~taken.mask(output).flatten(1)[labels.image]
    return torch.where(free.any(dim=1, keepdim=True), free, inside)


def _kept_by_nms(xyxy_unit: Tensor, objectness: Tensor) -> Tensor:
    """Whether each box survives NMS among the boxes of its label, (L, proposals) bool; xyxy_unit: (L, proposals, 4)."""
    shift = 2 * torch.arange(len(xyxy_unit), device=xyxy_unit.device)[:, None, None]  # separates the labels
    rows = nms((xyxy_unit.double() + shift).flatten(0, 1), objectness.double().flatten(), PROPOSAL_NMS_IOU)
    kept = torch.zeros_like(objectness, dtype=torch.bool)
    return kept.view(-1).index_fill(0, rows, True).view_as(objectness)


def _objectness_of_images(output: GridOutput, labels: ImageLabelColumns) -> Tensor:
    """Objectness at every location of each label's image, (L, AHW)."""
    return output.objectness.flatten(1)[labels.image]


def _allowed_or_in_regions(output: GridOutput, labels: ImageLabelColumns, allowed: Tensor | None) -> Tensor:
    return locations_in_regions(output, labels) if allowed is None else allowed


def _best_location(
    output: GridOutput, labels: ImageLabelColumns, score: Tensor, allowed: Tensor | None
) -> Locations:
    allowed = _allowed_or_in_regions(output, labels, allowed)
    best = score.masked_fill(~allowed, -torch.inf).argmax(dim=1)  # first of equals
    return Locations.from_flat_index(output, labels.image * score.shape[1] + best)
