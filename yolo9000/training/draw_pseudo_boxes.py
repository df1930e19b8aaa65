"""Boxes that training draws itself, around what its image labels name (decision 27).

A detector that finds things at all can say where the one of a label is better than it could at the start. Each labelled
image is looked at in several sizes, and mirrored; a box that all these views agree on becomes the label's box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import Float32Array, Int64Array
from yolo9000 import distributed
from yolo9000.data.batch import ImageLabelColumns
from yolo9000.data.detector_data import TrainingData
from yolo9000.data.image import Letterbox, decode_image, letterbox
from yolo9000.data.prefetch import made_ahead
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.distributed import track_progress
from yolo9000.losses.label_assignment import location_of_max_score, log_absolute_at
from yolo9000.models.boxes import aligned_iou
from yolo9000.models.detector import Detector
from yolo9000.models.grid import decode_boxes

PICTURES = 128  # looked at together


@dataclass(frozen=True)
class LabelledPictures:
    """P images and the L image labels on them."""

    canvases: list[tuple[Tensor, list[Letterbox]]]  # for each size all images, (P, 3, S, S), and their places
    image: Tensor  # (L,) which of the P images
    node: Tensor  # (L,)
    row: Int64Array  # (L,) of the index's image labels

    def labels(self, device: torch.device) -> ImageLabelColumns:
        """The labels as a batch has them: each somewhere in its image."""
        whole = torch.tensor([0.0, 0, 1, 1]).expand(len(self.node), 4)
        return ImageLabelColumns(self.image, self.node, whole).to(device)


@torch.inference_mode()
def draw_pseudo_boxes(model: Detector, data: TrainingData) -> PseudoBoxes:
    """The boxes that the views agree on, of all image labels in training; `model` in evaluation mode.

    A damaged image's labels get none.
    """
    cfg, reader = data.cfg, data.reader
    sizes_px = cfg.pseudo_boxes.sizes_px or (cfg.model.side_px,)
    images = data.sampler.every_image()
    images = images[labels_on(reader, images) > 0]
    starts = distributed.share_of(range(0, len(images), PICTURES))
    found: list[tuple[Int64Array, Float32Array]] = []
    read = made_ahead(
        lambda start: read_labelled(data, images[start : start + PICTURES], sizes_px),
        starts,
        threads=cfg.data.loader_threads,
    )
    for pictures in track_progress(read, "pseudo-boxes", total=len(starts)):
        if not len(pictures.row):
            found.append((pictures.row, np.zeros((0, 4), np.float32)))
            continue
        views = [view(model, pictures, k, mirror) for k in range(len(sizes_px)) for mirror in (False, True)]
        xyxy, score = (torch.stack(part, dim=1) for part in zip(*views, strict=True))
        best, agreement = most_agreed(xyxy, score)
        kept = (agreement >= cfg.pseudo_boxes.min_agreement).cpu().numpy()
        found.append((pictures.row[kept], best.float().cpu().numpy()[kept]))
    found = distributed.joined_shares(found)
    if not found:
        return PseudoBoxes.none()
    rows, boxes = zip(*found, strict=True)
    return PseudoBoxes.around(reader, np.concatenate(rows), np.concatenate(boxes))


def labels_on(reader: ShardReader, images: Int64Array) -> Int64Array:
    """How many image labels each image carries, (P,)."""
    return reader.label_offsets[images + 1] - reader.label_offsets[images]


def read_labelled(data: TrainingData, images: Int64Array, sizes_px: Sequence[int]) -> LabelledPictures:
    """Those of the images that can be read, and what they are said to show."""
    reader = data.reader

    def decoded(image: int) -> Tensor:
        return decode_image(reader.encoded(image), name=reader.source_id(image))

    found = [(int(image), data.damage.unless_damaged(int(image), decoded)) for image in images]
    readable = [(image, pixels) for image, pixels in found if pixels is not None]
    rows = [np.arange(*reader.label_offsets[image : image + 2], dtype=np.int64) for image, _ in readable]
    rows = [row[reader.label_positive[row]] for row in rows]
    row = np.concatenate([*rows, np.zeros(0, np.int64)])
    return LabelledPictures(
        [on_canvases([pixels for _, pixels in readable], size) for size in sizes_px] if readable else [],
        torch.from_numpy(np.repeat(np.arange(len(readable)), [len(row) for row in rows])),
        torch.from_numpy(reader.label_nodes[row].astype(np.int64)),
        row,
    )


def on_canvases(pixels: Sequence[Tensor], size_px: int) -> tuple[Tensor, list[Letterbox]]:
    """The images, uint8 (3, H, W) each, fitted into squares of a side, (P, 3, S, S), and where they lie there."""
    canvases, letterboxes = zip(*(letterbox(one, size_px) for one in pixels), strict=True)
    return torch.stack(canvases), list(letterboxes)


def view(model: Detector, pictures: LabelledPictures, size: int, mirror: bool) -> tuple[Tensor, Tensor]:
    """For each label the place of highest objectness × P(node) on the canvas of that number: its box in the unit square
    of its image, (L, 4), and that product, (L,)."""
    device = model.tree_tensors.parent.device
    canvases, letterboxes = pictures.canvases[size]
    images = (canvases.flip(3) if mirror else canvases).to(device)
    output = model(images.contiguous(memory_format=torch.channels_last))
    labels = pictures.labels(device)
    location = location_of_max_score(output, labels, model.tree_tensors)
    absolute = log_absolute_at(output, model.tree_tensors, location, labels.node).exp()
    xyxy = location.gather(decode_boxes(output))
    on_canvas = _mirrored(xyxy) if mirror else xyxy
    score = location.gather(output.objectness) * absolute
    return _in_image(on_canvas, [letterboxes[i] for i in pictures.image.tolist()]), score


def most_agreed(xyxy: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """Of the V boxes of each label (L, V, 4) the one that overlaps all others most, (L, 4), and by how much: the mean
    IoU with all V, weighted by their scores (L, V), in 0..1, (L,)."""
    overlap = aligned_iou(xyxy[:, :, None], xyxy[:, None])  # (L, V, V)
    weight = score / score.sum(dim=1, keepdim=True).clamp_min(1e-12)
    agreement, best = (overlap * weight[:, None]).sum(dim=2).max(dim=1)
    return xyxy[torch.arange(len(xyxy), device=xyxy.device), best], agreement


def _in_image(xyxy_unit: Tensor, letterboxes: Sequence[Letterbox]) -> Tensor:
    """Boxes of the network's canvas as parts of their images, cut to them."""
    canvas = xyxy_unit.new_tensor(
        [[box.left_px, box.top_px, box.resized_width_px, box.resized_height_px] for box in letterboxes]
    )
    size = xyxy_unit.new_tensor([[box.network_width_px, box.network_height_px] for box in letterboxes])
    return ((xyxy_unit * size.repeat(1, 2) - canvas[:, :2].repeat(1, 2)) / canvas[:, 2:].repeat(1, 2)).clamp(
        0, 1
    )


def _mirrored(xyxy: Tensor) -> Tensor:
    left, top, right, bottom = xyxy.unbind(1)
    return torch.stack([1 - right, top, 1 - left, bottom], dim=1)
