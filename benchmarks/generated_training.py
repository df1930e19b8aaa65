"""Generated training for benchmarks: trees of any size, labels, and the steps of a `yolov2` with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wordtree import WordTree
from wordtree.support.arrays import BoolArray
from yolo9000.config import LossConfig, ModelConfig, OptimizerConfig
from yolo9000.data.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.distributed import rank, world_size
from yolo9000.losses.joint import JointLoss
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.gradients import compute_gradients
from yolo9000.training.lazy_rows import LazyRows, build_lazy_rows
from yolo9000.training.optim import build_optimizer

ANCHORS = ((0.57, 0.68), (1.87, 2.06), (3.34, 5.47), (7.88, 3.53), (9.77, 9.17))  # darknet yolov2.cfg
BOXES = 8  # per image with boxes
AFTER_WARM_UP = 10**6  # images seen
BATCHES = 8  # with different labels, in turn


@dataclass(frozen=True)
class Size:
    """The size of a training step."""

    images: int = 4
    side_px: int = 416
    width: float = 1.0  # factor for the filters of every layer

    @property
    def model(self) -> ModelConfig:
        return ModelConfig(anchors=ANCHORS, width=self.width, input_size_px=self.side_px)


@dataclass(frozen=True)
class GeneratedTraining:
    """A detector with its optimizer, in the state of a run, and batches of noise with random boxes."""

    model: Detector
    criterion: JointLoss
    optimizer: torch.optim.Optimizer
    lazy_rows: LazyRows | None
    images: Tensor
    targets: Sequence[Targets]
    precision: str

    @classmethod
    def of(
        cls, nodes: int, size: Size, *, precision: str, class_rows: str = "auto", device: str = "cpu"
    ) -> GeneratedTraining:
        torch.manual_seed(0)
        with torch.device(device):
            model = build_detector(size.model, generated_tree(nodes))
        model = model.to(device).train()
        cfg = OptimizerConfig.model_validate({"learning_rate": 1e-6, "class_rows": class_rows})
        optimizer = build_optimizer(model, cfg)
        lazy_rows = build_lazy_rows(model, optimizer, None, cfg)
        images = torch.rand(size.images, 3, size.side_px, size.side_px, device=device)
        has_boxes = np.ones(size.images, bool)
        targets = [
            generated_targets(model.tree_tensors, has_boxes, seed=k).to(device) for k in range(BATCHES)
        ]
        criterion = JointLoss(LossConfig(), model.tree_tensors)
        images = images.contiguous(memory_format=torch.channels_last)
        return cls(model, criterion, optimizer, lazy_rows, images, targets, precision)

    def step(self, number: int) -> None:
        """One step, as in training/loop.py; each process has other labels."""
        targets = self.targets[(number * world_size() + rank()) % BATCHES]
        compute_gradients(self.model, [targets], self._terms, self.lazy_rows)
        self.optimizer.step()
        if self.lazy_rows:
            self.lazy_rows.update()

    def _terms(self, targets: Targets) -> dict[str, Tensor]:
        with torch.autocast(self.images.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = self.model(self.images)
        return self.criterion(output, targets, images_seen=AFTER_WARM_UP).by_name()  # type: ignore[no-any-return]


def generated_tree(nodes: int) -> WordTree:
    """Sibling groups of log-normal size under random leaves: paths as long and wide as in the published tree."""
    rng = np.random.default_rng(0)
    parents, leaves = [-1] * 4, list(range(4))
    while len(parents) < nodes:
        size = min(nodes - len(parents), max(1, round(rng.lognormal(1.1, 1.0))))
        chosen = int(rng.integers(len(leaves)))
        parent, leaves[chosen] = leaves[chosen], leaves[-1]
        leaves[-1:] = range(len(parents), len(parents) + size)
        parents += [parent] * size
    return WordTree([f"own{node}" for node in range(nodes)], parents)


def generated_targets(tree_tensors: TreeTensors, has_boxes: BoolArray, *, seed: int = 0) -> Targets:
    """Random boxes with leaf labels in images with boxes; a leaf as the image label of each other image.

    No image is exhaustively annotated. So with an untrained network, which sees an object everywhere, the loss looks
    for unannotated objects at its maximum of 64 locations per image.
    """
    rng = np.random.default_rng(seed)
    leaves = np.flatnonzero(tree_tensors.child_group.numpy(force=True) < 0)
    image = np.repeat(np.flatnonzero(has_boxes), BOXES)
    labelled = torch.from_numpy(np.flatnonzero(~has_boxes))
    size = rng.uniform(0.05, 0.6, (len(image), 2))
    corner = rng.uniform(0, 1 - size)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(labelled), 1)
    return Targets(
        BoxColumns(
            torch.from_numpy(image),
            torch.from_numpy(np.concatenate([corner, corner + size], axis=1)).float(),
            torch.from_numpy(rng.choice(leaves, len(image))),
        ),
        ImageLabelColumns(labelled, torch.from_numpy(rng.choice(leaves, len(labelled))), whole),
        IgnoreColumns(labelled, whole),
        source=torch.zeros(len(has_boxes), dtype=torch.int64),
        exhaustive=torch.zeros(len(has_boxes), len(tree_tensors), dtype=torch.bool),  # for no node
    )
