"""Fit of the head's class rows to a flat classifier before the first step (`model.classes_from`, decision 35).

A *class row* is the weight vector of one node in the head. The neck is fitted too, because the rows use its features.
The backbone does not change, so its features of all crops are computed once.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from wordtree.support.arrays import BoolArray
from wordtree.support.files import write_atomically
from yolo9000.checkpoints.flat_classifier import ClassTeacher
from yolo9000.config import Config
from yolo9000.data.object_crops import BATCH_SIZE, LabelledObjects, labelled_objects
from yolo9000.data.sampler import DataMismatch
from yolo9000.distributed import broadcast, on_first_process, track_progress
from yolo9000.losses.distillation import FlatTargets
from yolo9000.models.batch_norm import set_training
from yolo9000.models.detector import Detector
from yolo9000.training.crop_features import CropFeatures, crop_features
from yolo9000.training.run import Run

CROPS = (3000, 12_000)  # bounds for the number of crops
CROPS_PER_NODE = 12  # for each node with labels, within these bounds
STEPS_PER_CROP = 0.2
WARM_UP_STEPS = 30
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 0.05

DetectorRun: TypeAlias = Run[Config, Detector]
Autocast: TypeAlias = Callable[[], torch.autocast]


@dataclass(frozen=True)
class ClassFit:
    """The result of a fit, measured on crops of held-out images; the content of classes_from.json."""

    classifier: str
    classes: int  # of the classifier
    classes_in_tree: int
    nodes: int
    covered_nodes: int
    crops: int  # that the fit used
    held_out_crops: int
    divergence_before: float  # KL divergence of the tree's probabilities from the flat softmax, nats
    divergence_after: float
    agreement: float  # percent of the crops for which both have the same most probable leaf
    labelled_crops: int  # held-out crops whose label is a covered node
    top1_tree: float | None  # percent of these crops whose most probable leaf is at or below the label
    top1_flat: float | None

    def summary(self) -> str:
        """One line for people."""
        top1 = ""
        if self.top1_tree is not None:
            top1 = f", top-1 {self.top1_tree:.1f} % through the tree and {self.top1_flat:.1f} % by the flat softmax"
        return (
            f"Class rows of {self.covered_nodes:,} of {self.nodes:,} nodes start from {self.classifier}: KL divergence "
            f"{self.divergence_before:.2f} → {self.divergence_after:.2f} nats{top1}, on {self.held_out_crops} crops of "
            "held-out images."
        )


class Student(nn.Module):
    """The neck of a detector, and one row for each of the n covered nodes, which all anchors share."""

    def __init__(self, model: Detector, targets: FlatTargets) -> None:
        super().__init__()
        rows = model.head.classes
        self.neck, self.has_fine_grid = model.neck, model.has_fine_grid
        self.weight = nn.Parameter(rows.weight.detach()[:, targets.nodes].mean(0))  # (n, C)
        self.bias = nn.Parameter(rows.bias.detach()[:, targets.nodes].mean(0))  # (n,)

    def forward(self, crops: CropFeatures) -> Tensor:
        """Features of all cells, (O, H·W, C)."""
        if self.neck is not None:
            features: Tensor = self.neck(crops.coarse, crops.fine)
        else:
            features = crops.fine if self.has_fine_grid else crops.coarse
        return features.float().flatten(2).transpose(1, 2)

    def logits(self, vectors: Tensor) -> Tensor:
        """Logits of the covered nodes, (…, n); vectors: (…, C)."""
        return F.linear(vectors, self.weight, self.bias)


@dataclass(frozen=True)
class Measurement:
    """The student compared with the flat softmax, at the centres of O objects."""

    divergence: float  # KL divergence in nats, an average weighted by P(the tree has the class of the object)
    row: Tensor  # (O,) of the `LabelledObjects`
    tree_leaf: Tensor  # (O,) the most probable covered leaf through the tree, a node
    flat_leaf: Tensor  # (O,) by the flat softmax


def start_classes(run: DetectorRun, teacher: ClassTeacher, folder: Path) -> None:
    """Fit the neck and the covered class rows, and write the result to classes_from.json.

    Every process computes the fit, and all take the result of the first. Raises DataMismatch, TooManyDamaged.
    """
    teacher = teacher.to(run.device)
    objects = labelled_objects(run.reader, run.cfg, bounds=CROPS, per_node=CROPS_PER_NODE)
    run.model.eval()
    features = crop_features(run, teacher, objects)
    held_out = torch.from_numpy(objects.is_held_out)
    used, kept = ([part[mask[part.row]] for part in features] for mask in (~held_out, held_out))
    if not sum(map(len, used)):
        raise DataMismatch(
            f"{run.reader.folder}: model.classes_from needs labelled images that can be read, found none."
        )
    if not sum(map(len, kept)):  # all crops are of one image
        kept = used
    student = Student(run.model, teacher.targets).to(run.device)
    before = measure(student, teacher.targets, kept, autocast=run.autocast)
    fit(student, teacher.targets, used, seed=run.cfg.seed, autocast=run.autocast)
    after = measure(student, teacher.targets, kept, autocast=run.autocast)
    _load_into(run.model, student, teacher.targets)
    set_training(run.model, run.cfg.batch_statistics)
    result = ClassFit(
        **_facts(teacher),
        crops=sum(map(len, used)),
        **_held_out_metrics(before, after, objects, teacher.targets, run.reader.tree),
    )
    _report(folder, result)


def fit(
    student: Student, targets: FlatTargets, features: Sequence[CropFeatures], *, seed: int, autocast: Autocast
) -> None:
    """Minimise the cross-entropy with the flat softmax, averaged over the cells that show an object."""
    device, generator = student.weight.device, torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    share = torch.tensor([float(len(part)) for part in features])
    steps = math.ceil(STEPS_PER_CROP * float(share.sum()))
    student.train()
    for step in track_progress(range(steps), "class rows", total=steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _rate(step, steps)
        part = features[int(torch.multinomial(share, 1, generator=generator))]
        crops = part[torch.randint(len(part), (BATCH_SIZE,), generator=generator)].to(device)
        cell_share = crops.cell_share.flatten(1)  # (O, H·W)
        crop, cell = cell_share.nonzero(as_tuple=True)
        with autocast():  # anew in each step, because it keeps copies of the weights
            vectors = student(crops)[crop, cell]
        logits = student.logits(vectors)
        loss = targets.cross_entropy(logits, crops.absolute[crop]) @ cell_share[crop, cell] / len(crops)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def measure(
    student: Student, targets: FlatTargets, features: Sequence[CropFeatures], *, autocast: Autocast
) -> Measurement:
    """The student's probabilities in the cell at the centre of each object, compared with the flat softmax."""
    device = student.weight.device
    student.eval()
    leaves = targets.is_leaf.nonzero()[:, 0]
    divergence, mass, columns = 0.0, 0.0, []
    for crops in (part.to(device) for whole in features for part in whole.split(BATCH_SIZE)):
        with autocast():
            vectors = student(crops)[torch.arange(len(crops), device=device), crops.centre]
        logits = student.logits(vectors)
        divergence += float(targets.divergence(logits, crops.absolute).sum())
        mass += float(targets.mass(crops.absolute).sum())
        log_absolute = targets.log_absolute(targets.log_conditional(logits))
        tree_leaf, flat_leaf = (values[:, leaves].argmax(1) for values in (log_absolute, crops.absolute))
        columns.append(torch.stack([crops.row, *(targets.nodes[leaves[k]] for k in (tree_leaf, flat_leaf))]))
    return Measurement(divergence / max(mass, 1e-9), *torch.cat(columns, dim=1).cpu())


def _rate(step: int, steps: int) -> float:
    """Warm-up, then a half cosine to 0."""
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm_up * (1 + math.cos(math.pi * step / steps)) / 2


@torch.no_grad()
def _load_into(model: Detector, student: Student, targets: FlatTargets) -> None:
    """Copy the rows to all anchors; the neck is the model's own. All processes take the values of the first.

    With a softmax, rows are centred in each sibling group, so that a sibling that is not covered, whose logits are
    near 0, starts as probable as an average one.
    """
    rows: tuple[Tensor, Tensor] = (student.weight, student.bias)
    weight, bias = map(targets.centred, rows) if targets.siblings == "softmax" else rows
    head = model.head.classes
    head.weight[:, targets.nodes] = weight
    head.bias[:, targets.nodes] = bias
    parts = [head, *([model.neck] if model.neck else [])]
    states = broadcast(lambda: [{k: v.cpu() for k, v in part.state_dict().items()} for part in parts])
    for part, state in zip(parts, states, strict=True):
        part.load_state_dict(state)


def _facts(teacher: ClassTeacher) -> dict[str, Any]:
    targets, classifier = teacher.targets, teacher.classifier
    return {
        "classifier": classifier.name,
        "classes": len(classifier.classes),
        "classes_in_tree": len(targets.class_rows),
        "nodes": targets.tree_nodes,
        "covered_nodes": len(targets),
    }


def _held_out_metrics(
    before: Measurement, after: Measurement, objects: LabelledObjects, targets: FlatTargets, tree: WordTree
) -> dict[str, Any]:
    label = objects.node[after.row.numpy()]
    is_covered = np.isin(label, targets.nodes.cpu().numpy())

    def percent(hits: BoolArray) -> float | None:
        return round(100 * float(hits.mean()), 2) if len(hits) else None

    def top1(leaf: Tensor) -> float | None:
        return percent(tree.is_at_or_under(leaf.numpy(), label)[is_covered])

    return {
        "held_out_crops": len(label),
        "divergence_before": round(before.divergence, 4),
        "divergence_after": round(after.divergence, 4),
        "agreement": percent((after.tree_leaf == after.flat_leaf).numpy()),
        "labelled_crops": int(is_covered.sum()),
        "top1_tree": top1(after.tree_leaf),
        "top1_flat": top1(after.flat_leaf),
    }


@on_first_process
def _report(folder: Path, result: ClassFit) -> None:
    write_atomically(folder / "classes_from.json", json.dumps(asdict(result), indent=1) + "\n")
    print(result.summary(), file=sys.stderr)
