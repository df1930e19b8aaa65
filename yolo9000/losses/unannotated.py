"""What may stand in an image without a box, and what it surely is not (design, section 7; decisions 21, 28 and 31).

A source, or a single image, *vouches* for nodes whose things all have their boxes there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep.dataset.label_counts import rolled_up
from wordtree import WordTree
from yolo9000.models.grid import GridOutput, Locations, flat_location
from yolo9000.models.tree_tensors import PathMembers, TreeTensors, log_of_none


@dataclass(frozen=True)
class CandidateLocations:
    """K places that see something, of a batch's grid."""

    image: Tensor  # (K,) their images
    index: Tensor  # (K,) their positions among the A·H·W places of an image
    location: Locations


def candidate_locations(
    output: GridOutput, where: Tensor, *, min_objectness: float, at_most: int
) -> CandidateLocations:
    """Of the places `where` (B, A, H, W) bool the most objective, at most so many in an image, above the threshold."""
    candidates = (output.objectness * where).flatten(1)  # (B, AHW)
    best, index = candidates.topk(min(at_most, candidates.shape[1]), dim=1)
    image, rank = (best > min_objectness).nonzero(as_tuple=True)
    flat = index[image, rank]
    return CandidateLocations(image, flat, flat_location(output, image * candidates.shape[1] + flat))


def exclusion_errors(
    output: GridOutput, tree_tensors: TreeTensors, seen: CandidateLocations, exhaustive: Tensor
) -> Tensor:
    """objectness × −log P(none of the nodes vouched for) of each of K places that see a thing without a box, (K,).

    vouched: (B, N) bool, of each image, and some node of each. What it vouches for has its boxes, so this thing is
    something else.
    """
    tops = topmost(tree_tensors.parent, exhaustive)  # P(any of these) is P(any)
    nodes = tops.any(dim=0).nonzero()[:, 0]
    log_absolute = tree_tensors.log_absolute_of(
        lambda asked: output.class_logits(seen.location, asked), nodes
    )
    log_absolute = log_absolute.masked_fill(~tops[seen.image][:, nodes], -torch.inf)
    if tree_tensors.siblings == "sigmoid":  # each by itself; exclusive ones add up to a probability
        errors = log_of_none(log_absolute).sum(dim=1)
    else:
        errors = log_of_none(log_absolute.logsumexp(dim=1))
    return seen.location.values_of(output.objectness).detach() * -errors


def topmost(parent: Tensor, nodes: Tensor) -> Tensor:
    """Of the given nodes (…, N) bool, all below each of them included, those without one above; parent: (N,)."""
    return nodes & ~((parent >= 0) & nodes[..., parent.clamp_min(0)])


def unannotated_siblings(
    members: PathMembers, node: Tensor, source: Tensor, *, exhaustive: Tensor, possible: Tensor
) -> Tensor:
    """Which members of the softmaxes of P boxes stand for nothing that their source vouches for, (Q,) bool.

    node, source: (P,) of each box; vouched, possible: (S, N) bool, of each source, and `or_above` of it. What a source
    does not vouch for has no boxes in its images, so that a box tells only which of the others its thing is. None in
    the softmaxes of a node that it does not vouch for either.
    """
    return exhaustive[source, node][members.owner] & ~possible[source[members.owner], members.node]


def or_above(tree: WordTree, nodes: Tensor) -> Tensor:
    """The given nodes (S, N) bool and all that have one of them below."""
    rows = [rolled_up(tree, row) > 0 for row in nodes.cpu().numpy()]
    return torch.from_numpy(np.array(rows).reshape(nodes.shape)).to(nodes.device)
