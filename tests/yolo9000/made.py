"""Trees, network outputs, shards and configurations for the tests of the detector."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_prep import MergeConfig, merge
from wordtree import WordTree
from yolo9000.config import Config, read_config
from yolo9000.models.grid import GridOutput
from yolo9000.training.run_folder import read_metrics


def random_tree(nodes: int, *, roots: int = 4, largest_group: int = 12, seed: int = 0) -> WordTree:
    """A tree of random sibling groups."""
    rng = np.random.default_rng(seed)
    parents, node = [-1] * roots, 0
    while len(parents) < nodes:
        children = int(rng.integers(1 if node == len(parents) - 1 else 0, largest_group + 1))
        parents += [node] * min(children, nodes - len(parents))
        node += 1
    return WordTree([f"own{k}" for k in range(nodes)], parents)


@dataclass(frozen=True)
class TableHead:
    """A class head whose features are the class logits, with channels (anchor, node)."""

    anchors: int

    def logits(self, features: Tensor, anchor: Tensor, nodes: Tensor) -> Tensor:
        rows = features.unflatten(1, (self.anchors, features.shape[1] // self.anchors))
        return rows[torch.arange(len(rows)), anchor][:, nodes]

    def pair_logits(self, features: Tensor, anchor: Tensor, index: Tensor, nodes: Tensor) -> Tensor:
        rows = features.unflatten(1, (self.anchors, features.shape[1] // self.anchors))
        return rows[index, anchor[index], nodes]

    def image_logits(self, features: Tensor, image: Tensor, nodes: Tensor) -> Tensor:
        return self.dense_logits(features).permute(0, 4, 1, 2, 3)[image, nodes].flatten(1)

    def dense_logits(self, features: Tensor) -> Tensor:
        return features.unflatten(1, (self.anchors, -1)).permute(0, 1, 3, 4, 2)


def grid_output(
    *,
    anchors: list[list[float]],
    rows: int = 1,
    columns: int = 1,
    images: int = 1,
    box_logits: Tensor | None = None,
    class_logits: Tensor | None = None,
) -> GridOutput:
    """An output with the given box logits (B, A, H, W, 5) and class logits (B, A, H, W, N); zeros where not given."""
    if box_logits is None:
        box_logits = torch.zeros(images, len(anchors), rows, columns, 5, dtype=torch.float64)
    if class_logits is None:
        class_logits = box_logits.new_zeros(*box_logits.shape[:4], 1)
    return GridOutput(
        box_logits,
        features=class_logits.permute(0, 1, 4, 2, 3).flatten(1, 2),
        anchors_cell=torch.tensor(anchors, dtype=box_logits.dtype),
        class_head=TableHead(len(anchors)),
    )


COLOURS = {  # class of a filled square: its wnid and colour
    "n02084071": (220, 40, 40),  # dog, with boxes
    "n02121620": (40, 60, 220),  # cat, with boxes
    "n02958343": (40, 200, 60),  # car, with image labels only
    "n02858304": (230, 210, 40),  # boat, with image labels only
}
BOXED, LABEL_ONLY = tuple(COLOURS)[:2], tuple(COLOURS)[2:]


def made_shards(folder: Path, *, scenes: int = 8, label_images: int = 4, test_scenes: int = 4) -> Path:
    """Shards of coloured squares on noise: scenes with boxes, label images, and test scenes with all boxes."""
    made_images(folder, scenes=scenes, label_images=label_images, test_scenes=test_scenes)
    config = MergeConfig.model_validate(
        {
            "sources": [
                coco_source("scenes", folder / "train", "train"),
                {"name": "labels", "format": "imagenet", "images": str(folder / "labels")},
                coco_source("test", folder / "test", "test"),
            ]
        }
    )
    merge(config, folder / "shards")
    return folder / "shards"


def made_images(folder: Path, *, scenes: int, label_images: int, test_scenes: int) -> None:
    """Two data sets in COCO's layout, `folder`/train and `folder`/test, and one in ImageNet's, `folder`/labels."""
    rng = np.random.default_rng(0)
    made_scenes(folder / "train", scenes, BOXED, rng)
    made_scenes(folder / "test", test_scenes, tuple(COLOURS), rng)
    for wnid in LABEL_ONLY:
        (folder / "labels" / wnid).mkdir(parents=True)
        for number in range(label_images):
            image, _ = made_square(wnid, rng)
            image.save(folder / "labels" / wnid / f"{number}.png")


def coco_source(name: str, folder: Path, split: str) -> dict[str, str]:
    images, annotations = str(folder / "images"), str(folder / "instances.json")
    return {"name": name, "format": "coco", "images": images, "annotations": annotations, "split": split}


def made_scenes(folder: Path, count: int, wnids: tuple[str, ...], rng: np.random.Generator) -> None:
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number in range(count):
        category = number % len(wnids)
        image, box = made_square(wnids[category], rng)
        image.save(folder / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 64, "height": 64})
        box = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        annotation = {
            "id": number + 1,
            "image_id": number,
            "category_id": category + 1,
            "bbox": box,
            "iscrowd": 0,
        }
        annotations.append({**annotation, "area": box[2] * box[3]})
    categories = [{"id": category + 1, "name": wnid} for category, wnid in enumerate(wnids)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(content))


def made_square(wnid: str, rng: np.random.Generator) -> tuple[Image.Image, list[int]]:
    """An image of 64 px with one square of 16 to 32 px, and the box xyxy of the square in pixels."""
    pixels = rng.integers(90, 150, (64, 64, 3)).astype(np.uint8)
    side = int(rng.integers(16, 33))
    left, top = (int(v) for v in rng.integers(0, 64 - side + 1, 2))
    pixels[top : top + side, left : left + side] = COLOURS[wnid]
    return Image.fromarray(pixels), [left, top, left + side, top + side]


def made_config(shards: Path, **changes: object) -> Config:
    """A run of seconds on `made_shards`; changes are keys with `__` for the dot, such as schedule__max_steps=4."""
    overrides = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in changes.items()]
    path = shards.parent / "made.yaml"
    path.write_text(MADE_YAML)
    return read_config(path, [f"data.shards={shards}", *overrides])


def metrics_of(folder: Path) -> list[dict[str, str]]:
    """The lines of a run's metrics.csv without speed and memory, which differ from run to run."""
    measured = ("images_per_second", "memory_mib")
    rows = read_metrics(folder / "metrics.csv")
    return [{name: value for name, value in row.items() if name not in measured} for row in rows]


MADE_YAML = """
name: made
model: {architecture: tiny, width: 0.5, input_size_px: 64, anchor_count: 2}
data: {shards: shards, batch_size: 8, ratio: {scenes: 1, labels: 1}}
augment: {hue: 0, saturation: 1, exposure: 1, zoom_out: 0.3, mosaic: 0.3, paste: 0.3}
loss:
  {objectness_loss: cross_entropy, anchor_warm_up_images: 0, label_assignment: max_objectness, label_objectness: ignore}
optimizer: {name: adamw, learning_rate: 0.003, ema: 0.9}
schedule: {max_steps: 4, burn_in_steps: 2, policy: cosine}
log: {every: 1, checkpoint_every: 2, tensorboard: false}
predict: {precision: float32}
"""
