"""`Calibration`: thresholds of P(node) for a requested accuracy, as a checkpoint stores them (docs/calibration.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch

from data_prep import LabelCounts
from wordtree import WordTree
from wordtree.support.arrays import Float64Array
from wordtree.support.config_files import StrictModel
from yolo9000.config import Share
from yolo9000.errors import Yolo9000Error

Grouping = Literal["all", "supervision", "subtree"]
Rule = Literal["confident", "marginal", "per_image"]


class CalibrationError(Yolo9000Error):
    """A model cannot be calibrated with these images, or has no calibration for what is asked."""


class GroupThreshold(StrictModel):
    """The threshold of the predictions of one group, for one requested accuracy."""

    # `all`, the supervision of the leaf, or the id of the topmost node below the root.
    group: str
    # A class is predicted while P exceeds this; 1: only the root.
    threshold: Share
    # Number of detections that it was computed from.
    boxes: int
    # The labels that it was computed from: boxes, or image labels.
    source: Literal["boxes", "image labels"] = "boxes"
    # The group has too few boxes and got the threshold of all boxes.
    is_inherited: bool = False
    # False: not even the root of the predictions of the group is right often enough.
    is_reached: bool = True


class RequestedAccuracy(StrictModel):
    """The thresholds of all groups for one requested accuracy."""

    accuracy: Share
    groups: tuple[GroupThreshold, ...]


class Calibration(StrictModel):
    """Thresholds, and the settings that must be the same when the thresholds are used."""

    by: Grouping
    rule: Rule
    # Probability that the requested accuracy is reached (rule `confident`).
    confidence: Share
    targets: tuple[RequestedAccuracy, ...]
    # Of the softmax at each depth of the tree.
    temperatures: tuple[float, ...]
    min_score: Share
    nms_iou: Share
    input_size_px: int | tuple[int, int]
    images: int
    # Of the names and labels of the images, and of the weights.
    images_sha256: str
    weights_sha256: str

    def thresholds_of_leaves(self, accuracy: float, tree: WordTree, counts: LabelCounts) -> Float64Array:
        """The threshold of a prediction by the leaf at the end of its path, (N,); values of inner nodes have no use.

        Raises CalibrationError if there is no such accuracy.
        """
        found = next((target for target in self.targets if abs(target.accuracy - accuracy) < 1e-9), None)
        if found is None:
            known = ", ".join(f"{target.accuracy:g}" for target in self.targets)
            raise CalibrationError(
                f"The checkpoint is calibrated for a requested accuracy of {known}, not of {accuracy:g}. Run `yolo9000 "
                f"calibrate MODEL SHARDS --target {accuracy:g}`; repeat --target for every accuracy that you need."
            )
        of_group = {row.group: row.threshold for row in found.groups}
        names = group_names(self.by, tree, counts)
        return np.array([of_group.get(name, of_group["all"]) for name in names])


def group_names(by: Grouping, tree: WordTree, counts: LabelCounts) -> list[str]:
    """The group of each of N nodes; the group of a leaf is that of the predictions whose path ends in it."""
    match by:
        case "all":
            return ["all"] * len(tree)
        case "supervision":
            return [counts.supervision(node) for node in range(len(tree))]
        case "subtree":
            top = np.arange(len(tree))
            for node in range(len(tree)):
                if tree.depth[node] > 1:
                    top[node] = top[tree.parent[node]]
            return [tree.ids[node] for node in top]


def weights_sha256(weights: Mapping[str, Any]) -> str:
    """The SHA-256 of all weights, their names and shapes."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
