"""Darknet's files to a checkpoint that predicts, evaluates and trains on (docs/darknet.md)."""

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
from yolo9000.checkpoints.checkpoint import DarknetOrigin, SavedRun
from yolo9000.checkpoints.darknet_settings import Answers, BatchNorm, classifier_config_of, config_of
from yolo9000.config import Config, PretrainConfig
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.data_file import DataFile, find_named, read_data
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import NetworkPlan, Region, Softmax, answer_of
from yolo9000.darknet.weights import Header, Weights, read_weights
from yolo9000.models.classifier import Classifier, build_classifier
from yolo9000.models.darknet_network import DarknetNetwork, refuse_other_tree
from yolo9000.models.detector import Detector, build_model

_KINDS = {
    ".cfg": "cfg", ".tree": "tree", ".json": "tree", ".names": "names", ".labels": "labels", ".map": "map",
    ".data": "data",
}  # fmt: skip


@dataclass(frozen=True)
class DarknetFiles:
    """What people give: a cfg, and perhaps weights, tree, names, labels (ids), map and data."""

    cfg: Path
    weights: Path | None = None
    tree: Path | None = None
    names: Path | None = None
    labels: Path | None = None
    map: Path | None = None
    data: Path | None = None

    @classmethod
    def of(cls, paths: Iterable[Path]) -> DarknetFiles:
        """By suffix; a file of none of these suffixes is the weights (yolo.weights, darknet19_448.conv.23)."""
        found: dict[str, Path] = {}
        for path in paths:
            kind = _KINDS.get(path.suffix, "weights")
            if kind in found:
                raise DarknetError(f"{path}: expected one file of {kind}, but {found[kind]} is one already.")
            found[kind] = path
        if "cfg" not in found:
            raise DarknetError("Expected a .cfg among the files: it says what the network is.")
        return cls(**found)


def read_darknet(
    files: DarknetFiles,
    *,
    layers: int | None = None,
    batch_norm: BatchNorm = "standard",
    answers: Answers = "ours",
) -> tuple[SavedRun[Any], list[str]]:
    """The detector or classifier of these files, and remarks on what was passed over.

    layers: take only the first so many layers of the weights; what is not in them, or without weights everything,
    starts at random. Raises DarknetError and TreeFileError, before anything large is allocated.
    """
    plan = read_cfg(files.cfg)
    answer = answer_of(plan)
    tree = _tree_of(files, plan, answer)
    if plan.is_classifier:
        config: Config | PretrainConfig = classifier_config_of(plan, batch_norm=batch_norm)
    else:
        config = config_of(plan, batch_norm=batch_norm, answers=answers)
    weights = Weights(Header(), {})
    if files.weights:
        weights = read_weights(files.weights, plan, layers=layers)
    label_counts, untold = _label_counts_of(files, answer, tree)
    header = weights.header
    checkpoint = SavedRun(
        config=config,
        tree=tree,
        label_counts=label_counts,
        step=0,
        weights=_model_with(config, tree, plan, weights).state_dict(),
        training=None,
        score=math.nan,
        seen_before=header.seen,
        darknet=DarknetOrigin((header.major, header.minor, header.revision), tree.fingerprint),
    )
    return checkpoint, [*(f"{files.cfg}: {note}" for note in plan.notes), *untold]


def _model_with(
    config: Config | PretrainConfig, tree: WordTree, plan: NetworkPlan, weights: Weights
) -> Detector | Classifier:
    """The model of a plan with these numbers; the others are random, and always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(config, PretrainConfig):
            nodes = tree.leaves if config.model.softmax == "tree" else np.arange(len(tree))
            model: Detector | Classifier = build_classifier(
                config.model, tree, torch.from_numpy(nodes.copy())
            )
        else:
            model = build_model(config.model, tree)
    assert isinstance(model.backbone, DarknetNetwork)
    model.backbone.load_numbers(weights.layers)
    head = weights.layers.get(plan.convolutions[-1].index)
    if head:
        weight, bias = (torch.from_numpy(head[part].astype("float32")) for part in ("weights", "biases"))
        if isinstance(model, Classifier):
            model.head.load_state_dict({"weight": weight.flatten(1), "bias": bias})
        else:
            model.head.load_dense(weight, bias)
    return model


def _tree_of(files: DarknetFiles, plan: NetworkPlan, answer: Region | Softmax) -> WordTree:
    """The tree of the network's classes, named; without a tree every class is a root."""
    data = read_data(files.data) if files.data else None
    path = files.tree or _named(answer.tree, "tree", files.cfg, data)
    names_path = files.names or (data.find("names") if data else None)
    names = _classes(names_path, answer) if names_path else None
    if path is None:
        labels_path = files.labels or (data.find("labels") if data else None)
        return _flat_tree(answer.classes, names, _classes(labels_path, answer) if labels_path else None)
    tree = WordTree.load(path)
    refuse_other_tree(plan, tree, str(path))
    if answer.tree is None and len(tree.group_start) > 1:
        raise DarknetError(
            f"{path}: {plan.place} names no tree (line {answer.line}), so its classes are not levels of one; "
            "give a tree without levels, or none."
        )
    return WordTree(tree.ids, tree.parent, names, tree.relations) if names else tree


def _named(text: str | None, key: str, cfg: Path, data: DataFile | None) -> Path | None:
    """The file that the cfg names, else the one of the `.data`; None where the cfg names none."""
    if text is None:
        return None
    try:
        return find_named(text, key, cfg)
    except DarknetError:
        if data and key in data.paths:
            return data.find(key)
        raise


def _classes(path: Path, answer: Region | Softmax) -> list[str]:
    found = read_classes(path)
    if len(found) != answer.classes:
        raise DarknetError(
            f"{path}: expected {answer.classes} lines, one for each class, found {len(found)}."
        )
    return found


def _flat_tree(classes: int, names: list[str] | None, labels: list[str] | None) -> WordTree:
    if labels:
        return WordTree(labels, [-1] * classes, names)
    return WordTree(list(_unique(names or [f"class{k}" for k in range(classes)])), [-1] * classes, names)


def _unique(names: list[str]) -> Iterator[str]:
    """Ids made of names; of equal ones the later get a number."""
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
    files: DarknetFiles, answer: Region | Softmax, tree: WordTree
) -> tuple[LabelCounts, list[str]]:
    """What is known to have been labelled in training, one for each node: Darknet's files tell no numbers.

    A classifier had image labels. A detector without a tree had boxes of all classes; with a map, boxes of those that
    it names and image labels of the leaves.
    """
    boxes, image_labels = np.zeros((2, len(tree)), np.int64)
    untold: list[str] = []
    if isinstance(answer, Softmax):
        image_labels[tree.leaves] = 1
        return LabelCounts(tree, boxes, image_labels), untold
    if answer.tree is None:
        boxes[:] = 1
        return LabelCounts(tree, boxes, image_labels), untold
    try:
        path = files.map or _named(answer.map, "map", files.cfg, None)
    except DarknetError as absent:
        path, untold = None, [f"{absent} Which nodes had boxes in training is unknown."]
    if path is not None:
        boxes[read_map(path, tree)] = 1
        image_labels[tree.leaves] = 1
    return LabelCounts(tree, boxes, image_labels), untold
