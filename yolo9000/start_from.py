"""Weights of another run to begin with: a detector from a classifier (paper, sections 2 and 4), 448 px from 224 px."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from wordtree import WordTree
from yolo9000.checkpoint import CheckpointError, SavedRun, load_any
from yolo9000.classifier import Classifier, FlatSoftmax
from yolo9000.model import Detector

PARTS = ("trunk", "neck", "head")


def start_from(model: Detector | Classifier, tree: WordTree, path: Path) -> tuple[str, ...]:
    """Give the model the weights of a checkpoint at `path`; the parts that it got, `trunk` always among them.

    The trunk must fit. Neck and head come along where they have the same shapes and, of the head, where outputs mean
    the same: a network of the same kind for the same tree and classes. All else keeps its random start.
    Raises CheckpointError.
    """
    found = load_any(path)
    wanted = model.state_dict()
    taken = tuple(part for part in PARTS if _fits(part, wanted, found.weights))
    if "trunk" not in taken:
        raise CheckpointError(
            f"{path}: its trunk ({found.config.model.network}) is not that of this run. Set model.architecture and "
            "model.width as they are there, or start from another checkpoint."
        )
    if not _means_the_same(model, tree, found):
        taken = tuple(part for part in taken if part != "head")
    parts = tuple(f"{part}." for part in taken)
    model.load_state_dict(
        {**wanted, **{name: value for name, value in found.weights.items() if name.startswith(parts)}}
    )
    return taken


def _fits(part: str, wanted: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a part is there and has the wanted tensors, all of their shapes."""
    prefix = f"{part}."
    shapes = [
        {name: tuple(value.shape) for name, value in weights.items() if name.startswith(prefix)}
        for weights in (wanted, found)
    ]
    return bool(shapes[0]) and shapes[0] == shapes[1]


def _means_the_same(model: Detector | Classifier, tree: WordTree, found: SavedRun[Any]) -> bool:
    """Whether output i of both heads is the same node."""
    if found.tree.fingerprint != tree.fingerprint:
        return False
    if isinstance(model, Classifier) and isinstance(model.softmax, FlatSoftmax):
        return torch.equal(model.softmax.classes.cpu(), found.weights["softmax.classes"])
    return True
