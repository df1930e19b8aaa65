"""The classifier from which a detector's class rows start (`model.classes_from`): packaged, from a file, or our own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wordtree import WordTree
from wordtree.support.files import system_message
from yolo9000.checkpoints.backbone_weights import (
    PACKAGED_MEAN,
    PACKAGED_STD,
    load_weights,
    packaged_weights,
    read_state_dict,
)
from yolo9000.checkpoints.checkpoint import CheckpointError, load_classifier
from yolo9000.config import PACKAGED_BACKBONE, ModelConfig
from yolo9000.losses.distillation import FlatTargets
from yolo9000.models.classifier import FlatSoftmax
from yolo9000.models.timm_backbone import imagenet_classes, timm_classifier

SETTING = "model.classes_from"
WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class FlatClassifier:
    """A network with one softmax over all its classes, in evaluation mode."""

    network: nn.Module  # normalised images (B, 3, side, side) to logits (B, classes)
    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)
    classes: tuple[str, ...]  # wnids, ids of nodes or names
    name: str  # in words

    def to(self, device: torch.device) -> FlatClassifier:
        return FlatClassifier(
            self.network.to(device), self.mean.to(device), self.std.to(device), self.classes, self.name
        )

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """P(class) of images (B, 3, side, side) in 0..1, (B, classes) float32."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits.float().softmax(dim=1)


@dataclass(frozen=True)
class ClassTeacher:
    """A flat classifier, and the nodes of a tree that its classes cover."""

    classifier: FlatClassifier
    targets: FlatTargets

    @property
    def coverage(self) -> str:
        """The number of covered nodes, in words."""
        return f"{len(self.targets):,} of {self.targets.tree_nodes:,} nodes start from {self.classifier.name}"

    def to(self, device: torch.device) -> ClassTeacher:
        return ClassTeacher(self.classifier.to(device), self.targets.to(device))

    def absolute(self, images: Tensor) -> Tensor:
        """P(node) of the n covered nodes for crops (B, 3, side, side) in 0..1, (B, n)."""
        return self.targets.absolute(self.classifier.probabilities(images))


def read_class_teacher(cfg: ModelConfig, tree: WordTree) -> ClassTeacher | None:
    """The classifier that `classes_from` names, for the nodes of `tree`; None if it names none.

    Raises CheckpointError, BackboneError.
    """
    if cfg.classes_from is None:
        return None
    classifier = _classifier_of(cfg.classes_from, cfg)
    targets = FlatTargets(tree, classifier.classes, siblings=cfg.siblings)
    if not len(targets):
        raise CheckpointError(
            f"{SETTING}: none of the {len(classifier.classes)} classes of {classifier.name}, such as "
            f"{classifier.classes[0]}, is a node of the tree or below one; expected wnids, ids of nodes or names."
        )
    return ClassTeacher(classifier, targets)


def _classifier_of(source: Path | str, cfg: ModelConfig) -> FlatClassifier:
    if not isinstance(source, Path):
        path = packaged_weights(setting=SETTING)
        found = _of_file(path, PACKAGED_BACKBONE, imagenet_classes(), "the packaged ImageNet classifier")
        return FlatClassifier(
            found.network,
            torch.full_like(found.mean, PACKAGED_MEAN),
            torch.full_like(found.std, PACKAGED_STD),
            found.classes,
            found.name,
        )
    if source.suffix.lower() == ".pt":
        return _of_checkpoint(source)
    if not cfg.backbone_name.startswith("timm/"):
        raise CheckpointError(
            f"{source}: expected a classifier of model.backbone, which is {cfg.backbone_name}; a file of weights fits "
            "timm/NAME only. Name a .pt file of `yolo9000 pretrain`."
        )
    assert cfg.class_list is not None  # the settings are checked
    return _of_file(source, cfg.backbone_name, _class_list(cfg.class_list), str(source))


def _of_file(path: Path, backbone: str, classes: tuple[str, ...], name: str) -> FlatClassifier:
    """The classifier of a file of weights, whose outputs are `classes`, with the normalisation of timm's weights."""
    weights = read_state_dict(path, setting=SETTING)
    network, mean, std = timm_classifier(backbone.removeprefix("timm/"), len(classes))
    settings: Any = network.pretrained_cfg
    layer = f"{settings['classifier']}.weight"
    expected, found = network.state_dict()[layer], weights.get(layer)
    if found is not None and found.shape[1:] == expected.shape[1:] and len(found) != len(expected):
        raise CheckpointError(
            f"{path}: its classifier has {len(found)} outputs, but model.class_list has {len(classes)} classes; "
            "expected one class for each output, in their order."
        )
    load_weights(network, weights, path)
    return FlatClassifier(network.eval().to(memory_format=torch.channels_last), mean, std, classes, name)


def _of_checkpoint(path: Path) -> FlatClassifier:
    """The classifier of a checkpoint of `yolo9000 pretrain`, with the nodes that it has outputs for as its classes."""
    checkpoint = load_classifier(path)
    network = checkpoint.build_model()
    if not isinstance(network.softmax, FlatSoftmax):
        raise CheckpointError(
            f"{path}: {SETTING} expects a classifier with model.softmax flat, found softmax "
            f"{checkpoint.config.model.softmax}. Start from it with model.start_from instead."
        )
    classes = tuple(checkpoint.tree.ids[node] for node in network.softmax.classes.tolist())
    return FlatClassifier(network, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), classes, str(path))


def _class_list(source: Path | str) -> tuple[str, ...]:
    """The classes of a text file, one in each line: the wnid at its beginning, or the whole line."""
    if isinstance(source, str):
        return imagenet_classes()
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except OSError as reason:
        raise CheckpointError(
            f"{source}: model.class_list cannot be read: {system_message(reason)}."
        ) from None
    except UnicodeDecodeError:
        raise CheckpointError(
            f"{source}: model.class_list expects a text file in UTF-8 with one class per line, found other bytes."
        ) from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise CheckpointError(f"{source}: model.class_list expects one class per line, found none.")
    return tuple(match[0] if (match := WNID.match(line)) else line for line in lines)
