"""Where an image label goes: a place of its image, or a few, are asked to answer for it (paper, section 4).

max_score       the place of highest objectness × P(node): the paper
max_objectness  the most objective place
max_size        that of the largest box among the most objective (Detic, arXiv 2201.02605)
top_k           the k most objective places share the label

Each looks in the label's region only, and there at places that answer for no box.
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
from yolo9000.models.grid import GridOutput, Locations, cells_inside, decode_boxes, flat_location
from yolo9000.models.tree_tensors import PathMembers, TreeTensors, log_of_none

Assign: TypeAlias = Literal["max_score", "max_objectness", "max_size", "top_k"]

PROPOSALS = 32  # of max_size: boxes of each label's region that compete in size …
PROPOSAL_NMS_IOU = 0.5  # … less those that overlap a more objective one by more


@dataclass(frozen=True)
class PathLogits:
    """What the class head says at P places about P nodes: the logits of every sibling group on each one's path."""

    location: Locations
    node: Tensor  # (P,)
    members: PathMembers
    logits: Tensor  # (Q,) of the members


def ask_paths(
    output: GridOutput, tree_tensors: TreeTensors, *questions: tuple[Locations, Tensor]
) -> tuple[PathLogits, ...]:
    """The answer to each question: places (P,) and a node (P,) at each of them.

    All are read at once, since the gradient of every reading is as large as the class head.
    """
    members = [tree_tensors.path_members(node) for _, node in questions]
    locations = [location for location, _ in questions]
    start = np.cumsum([0, *map(len, locations)])
    owner = torch.cat([m.owner + int(before) for m, before in zip(members, start, strict=False)])
    logits = output.asked_logits(Locations.joined(locations), owner, torch.cat([m.node for m in members]))
    each = logits.split([len(m.node) for m in members])
    return tuple(
        PathLogits(location, node, m, values)
        for (location, node), m, values in zip(questions, members, each, strict=True)
    )


def log_absolute_at(
    output: GridOutput, tree_tensors: TreeTensors, location: Locations, node: Tensor
) -> Tensor:
    """log P(node) at each of P places for its own node (P,), from the sibling groups on the nodes' paths alone."""
    return log_absolute(tree_tensors, *ask_paths(output, tree_tensors, (location, node)))


def log_absolute(tree_tensors: TreeTensors, asked: PathLogits) -> Tensor:
    """log P(node) of each asked node at its place, (P,)."""
    return tree_tensors.log_absolute(asked.members, asked.logits, len(asked.node))


@dataclass(frozen=True)
class LabelAssignment:
    """The places that answer for L image labels, P ≥ L rows."""

    location: Locations  # (P,)
    label: Tensor  # (P,) which of the L labels
    weight: Tensor  # (P,) the label's share, 1 in all for each label


def assign_labels(
    output: GridOutput,
    labels: ImageLabelColumns,
    tree_tensors: TreeTensors,
    *,
    assign: Assign,
    top_k: int,
    taken: Locations | None = None,
) -> LabelAssignment:
    """The places of each label by the rule of that name; `top_k` is for the rule top_k alone.

    taken: places that answer for boxes. A label goes to one of them only where its region has no other.
    """
    where = free_locations(output, labels, taken)
    if assign == "top_k":
        return locations_of_top_k(output, labels, top_k, where)
    if assign == "max_objectness":
        location = location_of_max_objectness(output, labels, where)
    elif assign == "max_size":
        location = location_of_max_size(output, labels, where)
    else:
        location = location_of_max_score(output, labels, tree_tensors, where)
    return LabelAssignment(
        location,
        torch.arange(len(location), device=location.image.device),
        output.box_logits.new_ones(len(location)),
    )


@torch.no_grad()
def location_of_max_objectness(
    output: GridOutput, labels: ImageLabelColumns, where: Tensor | None = None
) -> Locations:
    """The place of highest objectness for each of L labels; where: (L, AHW) bool, None: in its region."""
    return _best_location(output, labels, _objectness_rows(output, labels), where)


@torch.no_grad()
def location_of_max_score(
    output: GridOutput, labels: ImageLabelColumns, tree_tensors: TreeTensors, where: Tensor | None = None
) -> Locations:
    """The place of highest objectness × P(node), likewise: the paper's rule."""
    members = tree_tensors.path_members(labels.node)
    logits = output.image_logits(labels.image[members.owner], members.node)  # (Q, AHW)
    log_absolute = tree_tensors.log_absolute(members, logits, len(labels.node))  # (L, AHW)
    return _best_location(output, labels, _objectness_rows(output, labels).log() + log_absolute, where)


@torch.no_grad()
def location_of_max_size(
    output: GridOutput, labels: ImageLabelColumns, where: Tensor | None = None
) -> Locations:
    """The place whose box, cut to the label's region, is the largest of the 32 most objective ones there after NMS."""
    objectness = _objectness_rows(output, labels).masked_fill(~_or_in_regions(output, labels, where), -1)
    best, index = objectness.topk(min(PROPOSALS, objectness.shape[1]), dim=1)  # (L, K)
    predicted = decode_boxes(output).flatten(1, 3)[labels.image[:, None], index]  # (L, K, 4)
    low, high = labels.region_xyxy_unit[:, None].to(predicted.dtype).split(2, dim=2)  # (L, 1, 2)
    boxes = predicted.maximum(low.repeat(1, 1, 2)).minimum(high.repeat(1, 1, 2))
    size = area_xyxy(boxes).masked_fill(~_left_by_nms(boxes, best) | (best < 0), -1)
    largest = index.gather(1, size.argmax(dim=1, keepdim=True))[:, 0]  # of equals the most objective
    return flat_location(output, labels.image * objectness.shape[1] + largest)


@torch.no_grad()
def locations_of_top_k(
    output: GridOutput, labels: ImageLabelColumns, k: int, where: Tensor | None = None
) -> LabelAssignment:
    """The k places of highest objectness for each label, or all where there are fewer, in equal shares."""
    objectness = _objectness_rows(output, labels).masked_fill(~_or_in_regions(output, labels, where), -1)
    best, index = objectness.topk(min(k, objectness.shape[1]), dim=1)  # (L, k)
    label, rank = (best >= 0).nonzero(as_tuple=True)
    location = flat_location(output, labels.image[label] * objectness.shape[1] + index[label, rank])
    return LabelAssignment(location, label, 1 / (best >= 0).sum(dim=1)[label].to(objectness.dtype))


def negative_errors(output: GridOutput, tree_tensors: TreeTensors, asked: PathLogits) -> Tensor:
    """objectness × −log(1 − P(node)) of each asked node at its place, (P,): it is said not to be there.

    Everything below the node loses with it, for P(node) is the sum over its leaves. Objectness only weighs: a thing may
    well be there, of another kind. Of the levels on the path the unsure ones give way (the gradient of a sure one is
    near 0), so that what is surely an animal, only no dog, stays an animal.
    """
    return asked.location.values_of(output.objectness).detach() * -log_of_none(
        log_absolute(tree_tensors, asked)
    )


def locations_in_regions(output: GridOutput, labels: ImageLabelColumns) -> Tensor:
    """Whether each place of its image lies in each label's region, (L, AHW) bool; never none."""
    anchors, rows, columns = output.box_logits.shape[1:4]
    region = labels.region_xyxy_unit
    inside = cells_inside(output, region).flatten(1)  # (L, HW)
    middle = ((region[:, :2] + region[:, 2:]) / 2 * output.grid_wh).long()
    cell = middle[:, 1].clamp(0, rows - 1) * columns + middle[:, 0].clamp(0, columns - 1)
    around_middle = torch.zeros_like(inside).scatter_(1, cell[:, None], True)
    # A region without a cell's centre is the cell of its middle.
    inside = torch.where(inside.any(dim=1, keepdim=True), inside, around_middle)
    return inside.repeat(1, anchors)


def free_locations(output: GridOutput, labels: ImageLabelColumns, taken: Locations | None) -> Tensor:
    """The places in each label's region that are not taken, (L, AHW) bool; all of it where none is left."""
    inside = locations_in_regions(output, labels)
    if taken is None:
        return inside
    is_taken = torch.zeros_like(output.objectness_logits, dtype=torch.bool)
    is_taken[taken.image, taken.anchor, taken.row, taken.column] = True
    free = inside & ~is_taken.flatten(1)[labels.image]
    return torch.where(free.any(dim=1, keepdim=True), free, inside)


def _left_by_nms(xyxy_unit: Tensor, objectness: Tensor) -> Tensor:
    """Which of each label's K boxes (L, K, 4) overlap no more objective one of the same label too far, (L, K) bool."""
    apart = 2 * torch.arange(len(xyxy_unit), device=xyxy_unit.device)[:, None, None]  # so labels never meet
    rows = nms((xyxy_unit.double() + apart).flatten(0, 1), objectness.double().flatten(), PROPOSAL_NMS_IOU)
    return (
        torch.zeros_like(objectness, dtype=torch.bool).view(-1).index_fill(0, rows, True).view_as(objectness)
    )


def _objectness_rows(output: GridOutput, labels: ImageLabelColumns) -> Tensor:
    return output.objectness.flatten(1)[labels.image]


def _or_in_regions(output: GridOutput, labels: ImageLabelColumns, where: Tensor | None) -> Tensor:
    return locations_in_regions(output, labels) if where is None else where


def _best_location(
    output: GridOutput, labels: ImageLabelColumns, score: Tensor, where: Tensor | None
) -> Locations:
    allowed = _or_in_regions(output, labels, where)
    best = score.masked_fill(~allowed, -torch.inf).argmax(dim=1)  # first of equals
    return flat_location(output, labels.image * score.shape[1] + best)
