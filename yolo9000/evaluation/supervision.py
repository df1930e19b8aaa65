"""Classes without boxes lifted to what training had boxes of: is a beagle at least found as a dog?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from data_prep.dataset.label_counts import LabelCounts
from data_prep.dataset.label_counts import Supervision as Supervision
from yolo9000.inference.scored_boxes import GroundTruth


def nearest_boxed(node: int, label_counts: LabelCounts) -> int:
    """The lowest node at or above this one with boxes at or under it; the node itself where none has any."""
    if label_counts.boxes_rolled_up[node]:
        return node
    above = label_counts.nearest_boxed_ancestor(node)
    return node if above is None else above


def lift_to_boxed(truth: GroundTruth, label_counts: LabelCounts) -> GroundTruth:
    """The same boxes, each named by its `nearest_boxed` node: classes that had boxes keep their name.

    An answer for a lifted class is right wherever one of its lifted boxes is. On a box of a boxed class under it the
    answer is neither right nor wrong (`yolo9000.evaluation.evaluate.ignoring_kinds_below`): that class has its own row.
    """
    lifted = [nearest_boxed(int(node), label_counts) for node in truth.node]
    return replace(truth, node=np.array(lifted, np.int64))


Part = Literal["all", "boxed", "label_only", "neither"]


PARTS: tuple[Part, ...] = ("all", "boxed", "label_only", "neither")


PART_OF: dict[Supervision, Part] = {"boxes": "boxed", "image labels": "label_only", "none": "neither"}


def split_mean(
    values: Mapping[int, float | None], supervision: Callable[[int], Supervision]
) -> dict[Part, float | None]:
    """The mean over all classes and over those of each part; None where no class of the part has a value.

    values: a measure of each class (node) that is present in the test set; None where it is not defined.
    """
    groups: dict[Part, list[float]] = {part: [] for part in PARTS}
    for node, value in values.items():
        if value is not None:
            groups["all"].append(value)
            groups[PART_OF[supervision(node)]].append(value)
    return {part: sum(group) / len(group) if group else None for part, group in groups.items()}
