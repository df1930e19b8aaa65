"""Weights to begin with (`model.start_from`): a detector from a classifier (paper, sections 2 and 4), 448 px from 224.

Or from another detector, also for another tree, or from a backbone file of Darknet, such as darknet19_448.conv.23.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from yolo9000.checkpoints.checkpoint import CheckpointError, DarknetOrigin, SavedRun, load_any
from yolo9000.checkpoints.darknet_units import backbone_layers, load_backbone, names_in
from yolo9000.config import NetworkConfig
from yolo9000.darknet.cfg import plan_cfg
from yolo9000.models.backbone import Backbone
from yolo9000.models.classifier import Classifier, FlatSoftmax
from yolo9000.models.detector import Detector

NETWORK = (
    "architecture", "darknet_cfg", "batch_norm", "width", "input_size_px", "anchors", "anchor_count", "siblings",
)  # fmt: skip
Network = TypeVar("Network", bound=NetworkConfig)


@dataclass(frozen=True)
class Start:
    """What a run begins with: a checkpoint, or (None) a backbone file of Darknet."""

    path: Path
    found: SavedRun[Any] | None

    @classmethod
    def read(cls, path: Path) -> Start:
        """Raises CheckpointError; a backbone file is looked at only when its weights are taken."""
        is_backbone = path.is_file() and path.suffix != ".pt" and not zipfile.is_zipfile(path)
        return cls(path, None if is_backbone else load_any(path))

    def network_for(self, model: Network) -> Network:
        """The settings of a run that begins so: what they leave open about the network is as in the start.

        Nothing changes where they name another architecture, or where a detector starts from a classifier.
        """
        made = self.found.config.model if self.found else None
        return with_network_of(model, made) if isinstance(made, type(model)) else model

    def give(self, model: Detector | Classifier, tree: WordTree) -> tuple[str, ...]:
        """Put the weights into the model; the parts that got some, `backbone` always among them.

        The backbone must fit. The neck comes along where it has the same shapes, the head where its outputs can mean the
        same: a classifier's for the same classes; a detector's for any tree, row by row (`class_rows`). All else keeps
        its random start. Raises CheckpointError, DarknetError.
        """
        if self.found is None:
            load_backbone(model.backbone, self.path)
            return ("backbone",)
        wanted, weights = model.state_dict(), _in_names_of(model, self.found)
        taken = tuple(part for part in ("backbone", "neck") if _fits(part, wanted, weights))
        if "backbone" not in taken:
            raise CheckpointError(
                f"{self.path}: its backbone ({self.found.config.model.network}) is not that of this run. Set "
                "model.architecture and model.width as they are there, or start from another checkpoint."
            )
        parts = tuple(f"{part}." for part in taken)
        model.load_state_dict({**wanted, **{k: value for k, value in weights.items() if k.startswith(parts)}})
        takes_head = _take_rows if isinstance(model, Detector) else _take_outputs
        return (*taken, "head") if takes_head(model, tree, replace(self.found, weights=weights)) else taken

    def in_words(self, taken: tuple[str, ...], tree: WordTree) -> str:
        """What a detector for `tree` begins with, as one line for people."""
        text = f"Starting from {self.path}: its {', '.join(taken)}"
        if "head" not in taken or self.found is None or self.found.tree.fingerprint == tree.fingerprint:
            return f"{text}."
        old = self.found.tree
        same = sum(id_ in old for id_ in tree.ids)
        known = int((class_rows(old, tree) >= 0).sum())
        return (
            f"{text}; of {len(tree)} nodes {same} keep their weights, {known - same} begin with those of the node "
            f"above, {len(tree) - known} at random; old nodes left out: {len(old) - same}."
        )

    def carried(self, taken: tuple[str, ...]) -> tuple[int, DarknetOrigin | None]:
        """Images that the weights have seen, and their Darknet file: of a whole detector only."""
        if self.found is None or "head" not in taken:
            return 0, None
        return self.found.images_seen, self.found.darknet


def with_network_of(model: Network, made: Network) -> Network:
    """The settings, and what they leave open about the network as it is in `made`, unless they name another one."""
    given = model.model_fields_set
    if "architecture" in given and model.architecture != made.architecture:
        return model
    left_open = [name for name in NETWORK if name in type(made).model_fields and name not in given]
    return model.model_copy(update={name: getattr(made, name) for name in left_open})


def class_rows(old: WordTree, new: WordTree) -> Int64Array:
    """For each node of `new` the node of `old` whose weights it begins with, (N,); -1 for none.

    That of the same id, else that of the nearest ancestor that has one.
    """
    rows = np.full(len(new), -1, np.int64)
    for node, (id_, parent) in enumerate(zip(new.ids, new.parent.tolist(), strict=True)):
        if id_ in old:
            rows[node] = old.node(id_)
        elif parent >= 0:  # parents precede children
            rows[node] = rows[parent]
    return rows


def _in_names_of(model: Detector | Classifier, found: SavedRun[Any]) -> dict[str, Any]:
    """The weights; those of a converted detector under the names of the model's backbone, if they are the same layers.

    Its head stays only where it sees just these layers.
    """
    text = getattr(found.config.model, "darknet_cfg", None)
    if text is None or not isinstance(model.backbone, Backbone):
        return found.weights
    plan = plan_cfg(text, "its cfg")
    layers = plan.layers[: plan.convolutions[-1].index]
    names = names_in(model.backbone, layers)
    weights = {f"backbone.{ours}": found.weights[f"backbone.{theirs}"] for theirs, ours in names.items()}
    if names and len(layers) == len(backbone_layers(model.backbone)):
        weights |= {name: value for name, value in found.weights.items() if name.startswith("head.")}
    return weights


def _take_rows(model: Any, tree: WordTree, found: SavedRun[Any]) -> bool:
    """Take the box head, and of the class head what `class_rows` says; False where the head sees other features."""
    wanted = model.state_dict()
    if model.neck is None:
        sees_the_same = not any(name.startswith("neck.") for name in found.weights)
    else:
        sees_the_same = _fits("neck", wanted, found.weights)
    if not sees_the_same or not _fits("head.box", wanted, found.weights):
        return False
    rows = class_rows(found.tree, tree)
    known, source = torch.from_numpy(np.flatnonzero(rows >= 0)), torch.from_numpy(rows[rows >= 0])
    for name in ("head.classes.weight", "head.classes.bias"):
        wanted[name][:, known] = found.weights[name][:, source].to(wanted[name].device)
    for name in ("head.box.weight", "head.box.bias"):
        wanted[name].copy_(found.weights[name])
    return True


def _take_outputs(model: Any, tree: WordTree, found: SavedRun[Any]) -> bool:
    """Take the head of a classifier; False where its outputs are other nodes."""
    wanted = model.state_dict()
    if not _fits("head", wanted, found.weights) or not _means_the_same(model, tree, found):
        return False
    for name in ("head.weight", "head.bias"):
        wanted[name].copy_(found.weights[name])
    return True


def _fits(part: str, wanted: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a part is there and has the wanted tensors, all of their shapes."""
    prefix = f"{part}."
    shapes = [
        {name: tuple(value.shape) for name, value in weights.items() if name.startswith(prefix)}
        for weights in (wanted, found)
    ]
    return bool(shapes[0]) and shapes[0] == shapes[1]


def _means_the_same(model: Classifier, tree: WordTree, found: SavedRun[Any]) -> bool:
    """Whether output i of both heads is the same node."""
    if found.tree.fingerprint != tree.fingerprint:
        return False
    if isinstance(model.softmax, FlatSoftmax):
        return torch.equal(model.softmax.classes.cpu(), found.weights["softmax.classes"])
    return True
