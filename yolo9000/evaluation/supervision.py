"""Scores by supervision: means for classes with boxes, image labels only or none; classes mapped to boxed ancestors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from data_prep.dataset.label_counts import LabelCounts, Supervision
from yolo9000.inference.scored_boxes import GroundTruth

Part = Literal["all", "boxed", "label_only", "none"]
"""A part of the classes: all of them, or those that had boxes, image labels only, or no label in training."""

PARTS: tuple[Part, ...] = ("all", "boxed", "label_only", "none")
PART_OF: dict[Supervision, Part] = {"boxes": "boxed", "image labels": "label_only", "none": "none"}


def mean_by_part(
    values: Mapping[int, float | None], supervision: Callable[[int], Supervision]
) -> dict[Part, float | None]:
    """The mean over the classes of each part; None where no class of the part has a value.

    values: a metric of each class (node) in the test set; None where the metric is undefined.
    supervision: a function from a node to its supervision in training.
    """
    groups: dict[Part, list[float]] = {part: [] for part in PARTS}
    for node, value in values.items():
        if value is not None:
            groups["all"].append(value)
            groups[PART_OF[supervision(node)]].append(value)
    return {part: sum(group) / len(group) if group else None for part, group in groups.items()}


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
