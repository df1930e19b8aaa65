"""Import from Darknet: its files become a checkpoint for prediction, evaluation and training (docs/darknet.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_prep import LabelCounts
from wordtree import WordTree
from wordtree.hierarchies.darknet_classes import read_classes, read_map
from wordtree.hierarchies.hierarchy import as_id
from yolo9000.checkpoints.checkpoint import Checkpoint, DarknetOrigin
from yolo9000.checkpoints.darknet_settings import Rules, classifier_config_of, detector_config_of
from yolo9000.config import BatchNormRule, Config, PretrainConfig
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.data_file import DataFile, find_named, read_data
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import NetworkPlan, Region, Softmax, output_layer_of
from yolo9000.darknet.weights import Header, Weights, read_weights
from yolo9000.models.classifier import Classifier, build_classifier
from yolo9000.models.darknet_network import DarknetNetwork, refuse_tree_of_other_size
from yolo9000.models.detector import Detector, build_detector

_FILE_TYPES = {
    ".cfg": "cfg", ".tree": "tree", ".json": "tree", ".names": "names", ".labels": "labels", ".map": "map",
    ".data": "data",
}  # fmt: skip


@dataclass(frozen=True)
class DarknetFiles:
    """Files of one network: a cfg, and optionally weights, tree, names, labels (ids), map and data."""

    cfg: Path
    weights: Path | None = None
    tree: Path | None = None
    names: Path | None = None
    labels: Path | None = None
    map: Path | None = None
    data: Path | None = None

    @classmethod
    def of(cls, paths: Iterable[Path]) -> DarknetFiles:
        """Sort the files by suffix; an unknown suffix means weights (yolo.weights, darknet19_448.conv.23)."""
        files: dict[str, Path] = {}
        for path in paths:
            name = _FILE_TYPES.get(path.suffix.lower(), "weights")
            if name in files:
                raise DarknetError(f"{path}: expected one {name} file, found another, {files[name]}.")
            files[name] = path
        if "cfg" not in files:
            raise DarknetError("Expected a .cfg among the files: it describes the network.")
        return cls(**files)


def read_darknet(
    files: DarknetFiles,
    *,
    layers: int | None = None,
    batch_norm: BatchNormRule = "standard",
    rules: Rules = "ours",
) -> tuple[Checkpoint[Any], list[str]]:
    """The detector or classifier of these files, and notes on options that were ignored.

    layers: number of layers to take from the weights file, from the first. All other layers get random weights.
    rules: `darknet` selects its thresholds, scores and suppression for prediction.
    Raises DarknetError and TreeFileError, before large memory is allocated.
    """
    plan = read_cfg(files.cfg)
    output_layer = output_layer_of(plan)
    tree = _tree_of(files, plan, output_layer)
    if plan.is_classifier:
        config: Config | PretrainConfig = classifier_config_of(plan, batch_norm=batch_norm)
    else:
        config = detector_config_of(plan, batch_norm=batch_norm, rules=rules)
    weights = Weights(Header(), {})
    if files.weights:
        weights = read_weights(files.weights, plan, layers=layers)
        _refuse_endless(files.weights, weights)
    label_counts, notes = _label_counts_of(files, output_layer, tree)
    header = weights.header
    checkpoint = Checkpoint(
        config=config,
        tree=tree,
        label_counts=label_counts,
        step=0,
        weights=_model_with(config, tree, plan, weights).state_dict(),
        training=None,
        best_metric=math.nan,
        seen_before=header.seen,
        darknet=DarknetOrigin((header.major, header.minor, header.revision), tree.fingerprint),
    )
    return checkpoint, [*(f"{files.cfg}: {note}" for note in plan.notes), *notes]


def _refuse_endless(path: Path, weights: Weights) -> None:
    """DarknetError for weights that are infinite or not a number."""
    for layer, arrays in weights.layers.items():
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise DarknetError(
                    f"{path}: layer {layer}: its {name} hold values that are infinite or not a number. The training "
                    "that wrote the file diverged, or the file is damaged."
                )


def _model_with(
    config: Config | PretrainConfig, tree: WordTree, plan: NetworkPlan, weights: Weights
) -> Detector | Classifier:
    """The model of a plan with these weights; all other weights are random with a fixed seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(config, PretrainConfig):
            nodes = tree.leaves if config.model.softmax == "tree" else np.arange(len(tree))
            model: Detector | Classifier = build_classifier(
                config.model, tree, torch.from_numpy(nodes.copy())
            )
        else:
            model = build_detector(config.model, tree)
    assert isinstance(model.backbone, DarknetNetwork)
    model.backbone.load_weights(weights.layers)
    head = weights.layers.get(plan.convolutions[-1].index)
    if head:
        weight, bias = (torch.from_numpy(head[part].astype("float32")) for part in ("weights", "biases"))
        if isinstance(model, Classifier):
            model.head.load_state_dict({"weight": weight.flatten(1), "bias": bias})
        else:
            model.head.load_darknet_layer(weight, bias)
    return model


def _tree_of(files: DarknetFiles, plan: NetworkPlan, output_layer: Region | Softmax) -> WordTree:
    """The tree of the network's classes, with names; without a tree file every class is a root."""
    data = read_data(files.data) if files.data else None
    path = files.tree or _named(output_layer.tree, "tree", files.cfg, data)
    names_path = files.names or (data.find("names") if data else None)
    names = _read_class_lines(names_path, output_layer) if names_path else None
    if path is None:
        labels_path = files.labels or (data.find("labels") if data else None)
        labels = _read_class_lines(labels_path, output_layer) if labels_path else None
        ids = labels or list(_unique_ids(names or [f"class{k}" for k in range(output_layer.classes)]))
        return WordTree(ids, [-1] * output_layer.classes, names)
    tree = WordTree.load(path)
    refuse_tree_of_other_size(plan, tree, str(path))
    if output_layer.tree is None and len(tree.group_start) > 1:
        raise DarknetError(
            f"{path}: {plan.source} names no tree (line {output_layer.line}), so its classes form one level. "
            "Give a tree without levels, or none."
        )
    return WordTree(tree.ids, tree.parent, names, tree.relations) if names else tree


def _named(text: str | None, key: str, cfg: Path, data: DataFile | None) -> Path | None:
    """The file that the cfg names or, if that is missing, that the `.data` names; None if the cfg names none."""
    if text is None:
        return None
    try:
        return find_named(text, key, cfg)
    except DarknetError:
        if data and key in data.paths:
            return data.find(key)
        raise


def _read_class_lines(path: Path, output_layer: Region | Softmax) -> list[str]:
    """The line of each class in a names or labels file; DarknetError if there are too few.

    A list may be longer, as Darknet's list of all classes of ImageNet is for its networks with 1000 classes.
    """
    found = read_classes(path)
    if len(found) < output_layer.classes:
        raise DarknetError(
            f"{path}: expected {output_layer.classes} lines, one for each class, found {len(found)}."
        )
    return found[: output_layer.classes]


def _unique_ids(names: list[str]) -> Iterator[str]:
    """Ids made from names; repeated ones get a number."""
    taken: set[str] = set()
    times: dict[str, int] = {}
    for name in names:
        id_ = as_id(name)
        while id_ in taken:
            times[name] = times.get(name, 1) + 1
            id_ = f"{as_id(name)}_{times[name]}"
        taken.add(id_)
        yield id_


def _label_counts_of(
    files: DarknetFiles, output_layer: Region | Softmax, tree: WordTree
) -> tuple[LabelCounts, list[str]]:
    """Label counts of 1 for each node that had labels in training, and notes; Darknet's files have no real counts.

    A classifier had image labels. A detector without a tree had boxes for all classes. A detector with a map had boxes
    for the mapped nodes and image labels for the leaves.
    """
    boxes, image_labels = np.zeros((2, len(tree)), np.int64)
    notes: list[str] = []
    if isinstance(output_layer, Softmax):
        image_labels[tree.leaves] = 1
        return LabelCounts(tree, boxes, image_labels), notes
    if output_layer.tree is None:
        boxes[:] = 1
        return LabelCounts(tree, boxes, image_labels), notes
    try:
        path = files.map or _named(output_layer.map, "map", files.cfg, None)
    except DarknetError as error:
        path, notes = None, [f"{error} Otherwise it is unknown which nodes had boxes in training."]
    if path is not None:
        boxes[read_map(path, tree)] = 1
        image_labels[tree.leaves] = 1
    return LabelCounts(tree, boxes, image_labels), notes
