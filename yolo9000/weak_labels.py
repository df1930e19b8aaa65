"""Where an image label goes: one place of its picture is asked to answer for it (paper, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from yolo9000.batch import ImageLabelColumns
from yolo9000.grid import GridOutput, Place, cells_inside, flat_place
from yolo9000.hierarchy import Hierarchy, PathMembers

DOUBT = 1e-6  # taken from the log probability of what is not there: the error stays below 14


def ask_logits(output: GridOutput, place: Place, members: PathMembers) -> Tensor:
    """The logits of `members` (Q,), each at the place that asks for it."""
    nodes, column = members.node.unique(return_inverse=True)
    return output.class_logits(place, nodes)[members.owner, column]


def log_absolute_at(output: GridOutput, hierarchy: Hierarchy, place: Place, node: Tensor) -> Tensor:
    """log P(node) at each of P places for its own node (P,), from the sibling groups on the nodes' paths alone."""
    members = hierarchy.path_members(node)
    return hierarchy.log_absolute(members, ask_logits(output, place, members), len(node))


@torch.no_grad()
def place_of_max_objectness(output: GridOutput, labels: ImageLabelColumns) -> Place:
    """The place of highest objectness in each label's region (one for each of L labels)."""
    return _best_place(output, labels, _objectness_rows(output, labels))


@torch.no_grad()
def place_of_max_score(output: GridOutput, labels: ImageLabelColumns, hierarchy: Hierarchy) -> Place:
    """The place of highest objectness × P(node) in each label's region: the paper's rule."""
    objectness = _objectness_rows(output, labels)  # (L, AHW)
    per_picture = objectness.shape[1]
    row = torch.arange(objectness.numel(), device=objectness.device)
    label = row // per_picture
    place = flat_place(output, labels.image[label] * per_picture + row % per_picture)
    log_absolute = log_absolute_at(output, hierarchy, place, labels.node[label]).view_as(objectness)
    return _best_place(output, labels, objectness.log() + log_absolute)


def negative_errors(output: GridOutput, labels: ImageLabelColumns, hierarchy: Hierarchy) -> Tensor:
    """objectness × −log(1 − P(node)) at the place of highest objectness × P(node) in each label's region, (L,).

    Everything below the node loses with it, for P(node) is the sum over its leaves. Objectness only weighs: a thing may
    well be there, of another kind. Of the levels on the path the unsure ones give way (the gradient of a sure one is
    near 0), so that what is surely an animal, only no dog, stays an animal.
    """
    place = place_of_max_score(output, labels, hierarchy)
    log_absolute = log_absolute_at(output, hierarchy, place, labels.node) - DOUBT
    return place.values_of(output.objectness).detach() * -torch.log(-torch.expm1(log_absolute))


def places_in_regions(output: GridOutput, labels: ImageLabelColumns) -> Tensor:
    """Whether each place of its picture lies in each label's region, (L, AHW) bool; never none."""
    anchors = output.box_logits.shape[1]
    inside = cells_inside(output, labels.region_xyxy_unit).flatten(1)  # (L, HW)
    inside = inside | ~inside.any(dim=1, keepdim=True)  # a region smaller than a cell: the whole picture
    return inside.repeat(1, anchors)


def _objectness_rows(output: GridOutput, labels: ImageLabelColumns) -> Tensor:
    return output.objectness.flatten(1)[labels.image]


def _best_place(output: GridOutput, labels: ImageLabelColumns, score: Tensor) -> Place:
    best = score.masked_fill(~places_in_regions(output, labels), -torch.inf).argmax(dim=1)  # first of equals
    return flat_place(output, labels.image * score.shape[1] + best)
