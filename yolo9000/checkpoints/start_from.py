"""Initial weights of a run (`model.start_from`): of a classifier (paper, sections 2 and 4), a detector or Darknet.

A detector may have been trained on another tree. Darknet's backbone files, such as darknet19_448.conv.23, hold only the
first layers of a network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from yolo9000.checkpoints.checkpoint import Checkpoint, CheckpointError, DarknetOrigin, load_checkpoint
from yolo9000.checkpoints.darknet_units import backbone_layers, load_backbone, tensor_names_in
from yolo9000.checkpoints.sealed_zip import is_zip
from yolo9000.config import NetworkConfig
from yolo9000.darknet.cfg import plan_cfg
from yolo9000.models.backbone import ConvBackbone
from yolo9000.models.classifier import Classifier, FlatSoftmax
from yolo9000.models.detector import Detector

NETWORK_SETTINGS = (
    "architecture", "backbone", "grid_stride", "darknet_cfg", "batch_norm", "width", "input_size_px", "anchors",
    "anchor_count", "roi_head", "siblings",
)  # fmt: skip
AnyNetworkConfig = TypeVar("AnyNetworkConfig", bound=NetworkConfig)


@dataclass(frozen=True)
class InitialWeights:
    """The file that `model.start_from` names; `checkpoint` is None for a backbone file of Darknet."""

    path: Path
    checkpoint: Checkpoint[Any] | None

    @classmethod
    def read(cls, path: Path) -> InitialWeights:
        """Read a checkpoint; a backbone file is read by `load_into`. Raises CheckpointError."""
        is_backbone = path.is_file() and path.suffix.lower() != ".pt" and not is_zip(path)
        return cls(path, None if is_backbone else load_checkpoint(path))

    def network_settings(self, cfg: AnyNetworkConfig) -> AnyNetworkConfig:
        """The settings of a run, with network settings that it leaves unset taken from the checkpoint.

        Nothing changes if the run sets another architecture, or if a detector starts from a classifier.
        """
        source = self.checkpoint.config.model if self.checkpoint else None
        return with_network_of(cfg, source) if isinstance(source, type(cfg)) else cfg

    def load_into(self, model: Detector | Classifier, tree: WordTree) -> tuple[str, ...]:
        """Copy the weights into a model; returns the parts that were loaded, always with `backbone`.

        The backbone must have the same shapes. The neck is loaded if it has the same shapes. A classifier's
        head is loaded if its classes are the same, a detector's for any tree, node by node (`class_rows`). All other
        weights keep their random values. Raises CheckpointError, DarknetError.
        """
        if self.checkpoint is None:
            load_backbone(model.backbone, self.path)
            return ("backbone",)
        state, weights = model.state_dict(), _renamed_for(model, self.checkpoint)
        loaded = tuple(part for part in ("backbone", "neck") if _fits(part, state, weights))
        if "backbone" not in loaded:
            raise CheckpointError(
                f"{self.path}: its backbone ({self.checkpoint.config.model.network}) is not the backbone of this run. "
                "Set model.architecture, model.backbone and model.width to the same values, or start from another "
                "checkpoint."
            )
        if self.checkpoint.tree.fingerprint == tree.fingerprint and _fits("roi_head", state, weights):
            loaded = (*loaded, "roi_head")
        parts = tuple(f"{part}." for part in loaded)
        model.load_state_dict({**state, **{k: value for k, value in weights.items() if k.startswith(parts)}})
        load_head = _load_detector_head if isinstance(model, Detector) else _load_classifier_head
        has_head = load_head(model, tree, replace(self.checkpoint, weights=weights))
        return (*loaded, "head") if has_head else loaded

    def summary(self, loaded: tuple[str, ...], tree: WordTree) -> str:
        """One line for people: the parts that were loaded, and how many nodes of `tree` have weights."""
        text = f"Starting from {self.path}: its {', '.join(loaded)}"
        if (
            "head" not in loaded
            or self.checkpoint is None
            or self.checkpoint.tree.fingerprint == tree.fingerprint
        ):
            return f"{text}."
        old = self.checkpoint.tree
        same = sum(id_ in old for id_ in tree.ids)
        known = int((class_rows(old, tree) >= 0).sum())
        return (
            f"{text}; of {len(tree)} nodes {same} keep their weights, {known - same} start with their nearest "
            f"ancestor's, {len(tree) - known} at random; {len(old) - same} nodes of the old tree are dropped."
        )

    def inherited(self, loaded: tuple[str, ...]) -> tuple[int, DarknetOrigin | None]:
        """Number of images that the weights have seen, and their Darknet origin; 0 and None without a loaded head."""
        if self.checkpoint is None or "head" not in loaded:
            return 0, None
        return self.checkpoint.images_seen, self.checkpoint.darknet


def with_network_of(cfg: AnyNetworkConfig, source: AnyNetworkConfig) -> AnyNetworkConfig:
    """The settings `cfg`, in which unset network settings come from `source` unless the architectures differ."""
    given = cfg.model_fields_set
    if "architecture" in given and cfg.architecture != source.architecture:
        return cfg
    unset = [name for name in NETWORK_SETTINGS if name in type(source).model_fields and name not in given]
    return cfg.model_copy(update={name: getattr(source, name) for name in unset})


def class_rows(old: WordTree, new: WordTree) -> Int64Array:
    """Node of `old` from which each node of `new` takes its weights, shape (N,); -1 for none.

    A node takes the weights of the node with the same id, else those of its nearest ancestor that has such a node.
    """
    rows = np.full(len(new), -1, np.int64)
    for node, (id_, parent) in enumerate(zip(new.ids, new.parent.tolist(), strict=True)):
        if id_ in old:
            rows[node] = old.node(id_)
        elif parent >= 0:  # parents precede children
            rows[node] = rows[parent]
    return rows


def _renamed_for(model: Detector | Classifier, checkpoint: Checkpoint[Any]) -> dict[str, Any]:
    """Weights of the checkpoint under the model's names.

    Only a converted detector has other names. Its backbone's weights are renamed if the model's backbone has the same
    first layers; its head is kept only if its backbone has no further layers.
    """
    text = getattr(checkpoint.config.model, "darknet_cfg", None)
    if text is None or not isinstance(model.backbone, ConvBackbone):
        return checkpoint.weights
    plan = plan_cfg(text, "its cfg")
    layers = plan.layers[: plan.convolutions[-1].index]
    names = tensor_names_in(model.backbone, layers)
    weights = {f"backbone.{ours}": checkpoint.weights[f"backbone.{theirs}"] for theirs, ours in names.items()}
    if names and len(layers) == len(backbone_layers(model.backbone)):
        weights |= {name: value for name, value in checkpoint.weights.items() if name.startswith("head.")}
    return weights


def _load_detector_head(model: Any, tree: WordTree, checkpoint: Checkpoint[Any]) -> bool:
    """Load the box head, and the class head node by node; False if the head has other input features."""
    state, weights = model.state_dict(), checkpoint.weights
    if model.neck is None:
        has_same_input = not any(name.startswith("neck.") for name in weights)
    else:
        has_same_input = _fits("neck", state, weights)
    if not has_same_input or not _fits("head.box", state, weights):
        return False
    rows = class_rows(checkpoint.tree, tree)
    known, source = torch.from_numpy(np.flatnonzero(rows >= 0)), torch.from_numpy(rows[rows >= 0])
    for name in ("head.classes.weight", "head.classes.bias"):
        state[name][:, known] = weights[name][:, source].to(state[name].device)
    for name in ("head.box.weight", "head.box.bias"):
        state[name].copy_(weights[name])
    return True


def _load_classifier_head(model: Any, tree: WordTree, checkpoint: Checkpoint[Any]) -> bool:
    """Load the head of a classifier; False if its outputs are other nodes."""
    state, weights = model.state_dict(), checkpoint.weights
    if not _fits("head", state, weights) or checkpoint.tree.fingerprint != tree.fingerprint:
        return False
    if isinstance(model.softmax, FlatSoftmax):
        classes = model.softmax.classes.cpu()
        if not torch.equal(classes, weights["softmax.classes"]):
            return False
    for name in ("head.weight", "head.bias"):
        state[name].copy_(weights[name])
    return True


def _fits(part: str, state: dict[str, Any], weights: dict[str, Any]) -> bool:
    """Whether the model has this part, and the weights have the same names and shapes for it."""
    prefix = f"{part}."
    shapes = [
        {name: tuple(value.shape) for name, value in tensors.items() if name.startswith(prefix)}
        for tensors in (state, weights)
    ]
    return bool(shapes[0]) and shapes[0] == shapes[1]
