"""Golden numbers of Darknet: a small set of our own (tests/golden/darknet), and Darknet's own in `DARKNET_GOLDEN`.

The README of `DARKNET_GOLDEN` describes the layout of both. Names, trees and shapes are read from the files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.yolo9000.made import TableHead
from wordtree import WordTree
from yolo9000.data.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors

OWN = Path(__file__).parents[1] / "golden" / "darknet"
ORIGINAL = Path(os.environ["DARKNET_GOLDEN"]) if os.environ.get("DARKNET_GOLDEN") else None
NO_BOX = 100000  # x and y above this: an image label without a box
NOT_AT_HAND = "DARKNET_GOLDEN is not set, so Darknet's numbers are not available"


@dataclass(frozen=True)
class GoldenCase:
    folder: Path
    kind: str  # region, detect, …
    name: str
    params: dict[str, Any]

    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / self.kind / f"{self.name}.npz") as archive:
            return dict(archive)

    def tree(self) -> WordTree:
        """The tree of the case; flat classes are a tree of roots."""
        if self.params["tree"]:
            return WordTree.load(self.folder / self.params["tree"])
        classes = self.params["classes"]
        return WordTree([f"class{k}" for k in range(classes)], [-1] * classes)

    def tree_tensors(self) -> TreeTensors:
        """Softmax siblings in a tree, and for flat classes unless `softmax=0`."""
        is_softmax = self.params["tree"] or self.params.get("softmax", 1)
        return TreeTensors(self.tree(), siblings="softmax" if is_softmax else "sigmoid")

    def grid_output(self, raw: Tensor) -> GridOutput:
        """The input of Darknet's region layer (B, A × (5 + C), H, W) as `GridOutput`; gradients flow back to it."""
        entries = raw.unflatten(1, (self.params["num"], 5 + self.params["classes"]))
        return GridOutput(
            box_logits=entries[:, :, :5].permute(0, 1, 3, 4, 2),
            features=entries[:, :, 5:].flatten(1, 2),
            anchors_cell=torch.tensor(self.params["anchors"], dtype=raw.dtype).view(-1, 2),
            class_head=TableHead(self.params["num"]),
        )


def golden_folders() -> list[tuple[str, Path]]:
    return [("own", OWN), *([("original", ORIGINAL)] if ORIGINAL else [])]


def golden_cases(kind: str, *, only_original: bool = False) -> list[Any]:
    """The cases of KIND/params.json as parameters of a test; a skipped one if there are none."""
    found = [
        pytest.param(GoldenCase(folder, kind, name, params), id=f"{whose}-{name}")
        for whose, folder, name, params in _params(kind)
        if whose == "original" or not only_original
    ]
    return found or [pytest.param(None, id="none", marks=pytest.mark.skip(reason=NOT_AT_HAND))]


def _params(kind: str) -> Iterator[tuple[str, Path, str, dict[str, Any]]]:
    for whose, folder in golden_folders():
        path = folder / kind / "params.json"
        if path.exists():
            for name, params in json.loads(path.read_text()).items():
                yield whose, folder, name, params


def targets_of(truth: np.ndarray, node_of_class: list[int] | None, *, in_a_tree: bool) -> Targets:
    """Rows (B, 30, 5) of x, y, w, h, class as `Targets`, in float64.

    In a tree, a row of `NO_BOX` makes its image a label-only image; its class is a node already.
    """
    boxes, labels = [], []
    for image, rows in enumerate(truth):
        rows = rows[: next((end for end, x in enumerate(rows[:, 0]) if x == 0), len(rows))]
        marked = rows[(rows[:, 0] > NO_BOX) & (rows[:, 1] > NO_BOX)]
        if in_a_tree and len(marked):
            labels.append((image, int(marked[0, 4])))
            continue
        nodes = [node_of_class[int(number)] if node_of_class else int(number) for number in rows[:, 4]]
        boxes += [(image, node, *row[:4]) for node, row in zip(nodes, rows, strict=True)]
    box = torch.tensor(boxes, dtype=torch.float64).view(-1, 6)
    label = torch.tensor(labels, dtype=torch.int64).view(-1, 2)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=torch.float64).expand(len(label), 4)
    return Targets(
        BoxColumns(box[:, 0].long(), cxcywh_to_xyxy(box[:, 2:]), box[:, 1].long()),
        ImageLabelColumns(label[:, 0], label[:, 1], whole),
        IgnoreColumns(label[:, 0], whole),
        torch.zeros(len(truth), dtype=torch.int64),
    )
