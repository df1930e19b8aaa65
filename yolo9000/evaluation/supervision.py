"""Metrics by supervision: means over boxed classes, label-only classes and the others; mapping to boxed ancestors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from data_prep.dataset.label_counts import LabelCounts, Supervision
from yolo9000.inference.scored_boxes import GroundTruth

ClassGroup = Literal["all", "boxed", "label_only", "none"]
"""A group of classes: all of them, or those that had boxes, image labels only, or no label in training."""

CLASS_GROUPS: tuple[ClassGroup, ...] = ("all", "boxed", "label_only", "none")
GROUP_OF: dict[Supervision, ClassGroup] = {"boxes": "boxed", "image labels": "label_only", "none": "none"}


def mean_by_group(
    values: Mapping[int, float | None], supervision: Callable[[int], Supervision]
) -> dict[ClassGroup, float | None]:
    """The mean over the classes of each group; None if no class of the group has a value.

    values: a metric of each class (node) in the test set; None if the metric is undefined.
    supervision: a function from a node to its supervision in training.
    """
    values_of: dict[ClassGroup, list[float]] = {group: [] for group in CLASS_GROUPS}
    for node, value in values.items():
        if value is not None:
            values_of["all"].append(value)
            values_of[GROUP_OF[supervision(node)]].append(value)
    return {group: sum(own) / len(own) if own else None for group, own in values_of.items()}


def nearest_boxed(node: int, label_counts: LabelCounts) -> int:
    """The deepest node among a node and its ancestors with boxes at or below it; the node itself if there is none."""
    if label_counts.boxes_rolled_up[node]:
        return node
    ancestor = label_counts.nearest_boxed_ancestor(node)
    return node if ancestor is None else ancestor


def map_to_boxed(truth: GroundTruth, label_counts: LabelCounts) -> GroundTruth:
    """The ground truth with each box relabelled as its `nearest_boxed` node.

    If training had boxes of dogs but none of beagles, a beagle becomes a dog here, so detecting it as a dog is correct.
    Classes that had boxes keep their label.
    """
    mapped = [nearest_boxed(int(node), label_counts) for node in truth.node]
    return replace(truth, node=np.array(mapped, np.int64))
