"""Objects without a box: where they may be, and which classes they cannot have (decisions 21, 28 and 31).

A source or an image is exhaustively annotated for a node if all its objects of that node have boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.dataset.label_counts import rolled_up
from wordtree import WordTree
from yolo9000.models.grid import GridOutput, Locations
from yolo9000.models.tree_tensors import PathMembers, TreeTensors, log_complement


@dataclass(frozen=True)
class ObjectLocations:
    """P grid locations that predict an object with sufficient objectness."""

    image: Tensor  # (P,) the image of each location
    index: Tensor  # (P,) its position among the A·H·W locations of the image
    location: Locations


def object_locations(
    output: GridOutput, mask: Tensor, *, min_objectness: float, max_locations: int
) -> ObjectLocations:
    """Locations with an objectness above `min_objectness`, at most the best `max_locations` of each image.

    mask: (B, A, H, W) bool, the locations to choose from.
    """
    candidates = (output.objectness * mask).flatten(1)  # (B, AHW)
    best, index = candidates.topk(min(max_locations, candidates.shape[1]), dim=1)
    image, rank = (best > min_objectness).nonzero(as_tuple=True)
    flat = index[image, rank]
    location = Locations.from_flat_index(output, image * candidates.shape[1] + flat)
    return ObjectLocations(image, flat, location)


def exclusion_errors(
    output: GridOutput, tree_tensors: TreeTensors, objects: ObjectLocations, exhaustive: Tensor
) -> Tensor:
    """objectness × −log P(none of the exhaustively annotated nodes) of each of P objects without a box, (P,).

    If the object were of such a node, it would have a box (decision 28).
    exhaustive: (B, N) bool for each image; at least one node in each image of `objects`.
    """
    tops = topmost(tree_tensors.parent, exhaustive)  # their probabilities cover all nodes below
    nodes = tops.any(dim=0).nonzero()[:, 0]
    log_absolute = tree_tensors.log_absolute_of_nodes(
        lambda members: output.class_logits(objects.location, members), nodes
    )
    log_absolute = log_absolute.masked_fill(~tops[objects.image][:, nodes], -torch.inf)
    if tree_tensors.siblings == "sigmoid":  # independent events
        log_none = log_complement(log_absolute).sum(dim=1)
    else:  # exclusive events, whose probabilities add up
        log_none = log_complement(log_absolute.logsumexp(dim=1))
    return objects.location.gather(output.objectness).detach() * -log_none


def topmost(parent: Tensor, nodes: Tensor) -> Tensor:
    """The given nodes without a given ancestor, (…, N) bool.

    nodes: (…, N) bool, closed downwards: with each node all its descendants. parent: (N,).
    """
    return nodes & ~((parent >= 0) & nodes[..., parent.clamp_min(0)])


def unannotated_siblings(
    members: PathMembers, node: Tensor, source: Tensor, *, exhaustive: Tensor, exhaustive_or_above: Tensor
) -> Tensor:
    """Whether each member of P boxes' softmaxes is a class that the box's source does not annotate, (Q,) bool.

    Objects of such a class have no boxes in that source, so a box only distinguishes its class from the annotated
    siblings. No member counts as unannotated if the source is not exhaustively annotated for the box's own node either.
    node, source: (P,) of each box.
    exhaustive: (S, N) bool for each source; exhaustive_or_above: (S, N), `with_ancestors` of `exhaustive`.
    """
    box_is_exhaustive = exhaustive[source, node][members.path]
    return box_is_exhaustive & ~exhaustive_or_above[source[members.path], members.node]


def with_ancestors(tree: WordTree, nodes: Tensor) -> Tensor:
    """The given nodes (S, N) bool and all their ancestors, (S, N) bool."""
    rows = [rolled_up(tree, row) > 0 for row in nodes.cpu().numpy()]
    return torch.from_numpy(np.array(rows).reshape(nodes.shape)).to(nodes.device)
