"""Pseudo-boxes: training draws boxes around the objects that its image labels name (decision 27).

A detector that has learnt to find objects locates the object of an image label better than it could at the start. The
detector sees each labelled image in several sizes, and mirrored; a box that these views agree on becomes the box of the
label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import Float32Array, Int64Array
from yolo9000.data.batch import ImageLabelColumns
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.image import decode_image, letterbox
from yolo9000.data.letterbox import Letterbox
from yolo9000.data.prefetch import prefetch
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.distributed import all_gather, own_share, track_progress
from yolo9000.losses.label_assignment import location_of_max_score, log_absolute_at
from yolo9000.models.boxes import aligned_iou
from yolo9000.models.detector import Detector
from yolo9000.models.grid import decode_boxes

BATCH_SIZE = 128  # images


@dataclass(frozen=True)
class LabelledImages:
    """I images in one or more input sizes, with their L image labels."""

    # For each size: the images, (I, 3, side, side), and their letterboxes.
    canvases: list[tuple[Tensor, list[Letterbox]]]
    image: Tensor  # (L,) in 0..I
    node: Tensor  # (L,)
    row: Int64Array  # (L,) rows of the index's image labels

    def labels(self, device: torch.device) -> ImageLabelColumns:
        """The labels as columns of a batch; the region of each is its image."""
        region_xyxy_unit = torch.tensor([0.0, 0, 1, 1]).expand(len(self.node), 4)
        return ImageLabelColumns(self.image, self.node, region_xyxy_unit).to(device)


@torch.inference_mode()
def draw_pseudo_boxes(model: Detector, data: DetectorData) -> PseudoBoxes:
    """Boxes for the image labels in training, where the views agree; labels of damaged images have none.

    model: in evaluation mode.
    """
    cfg, reader = data.cfg, data.reader
    sizes_px = cfg.pseudo_boxes.sizes_px or (cfg.model.side_px,)
    images = data.sampler.all_images()
    images = images[count_labels(reader, images) > 0]
    starts = own_share(range(0, len(images), BATCH_SIZE))
    batches = prefetch(
        lambda start: read_labelled(data, images[start : start + BATCH_SIZE], sizes_px),
        starts,
        threads=cfg.data.loader_threads,
    )
    found: list[tuple[Int64Array, Float32Array]] = []
    for batch in track_progress(batches, "pseudo-boxes", total=len(starts)):
        if not len(batch.row):
            found.append((batch.row, np.zeros((0, 4), np.float32)))
            continue
        views = [
            predict_view(model, batch, k, mirror) for k in range(len(sizes_px)) for mirror in (False, True)
        ]
        xyxy_unit, score = (torch.stack(part, dim=1) for part in zip(*views, strict=True))
        best, agreement = box_of_highest_agreement(xyxy_unit, score)
        kept = (agreement >= cfg.pseudo_boxes.min_agreement).cpu().numpy()
        found.append((batch.row[kept], best.float().cpu().numpy()[kept]))
    found = all_gather(found)
    if not found:
        return PseudoBoxes.none()
    rows, boxes = zip(*found, strict=True)
    return PseudoBoxes.for_labels(reader, np.concatenate(rows), np.concatenate(boxes))


def count_labels(reader: ShardReader, images: Int64Array) -> Int64Array:
    """The number of image labels of each image, (I,)."""
    return reader.label_offsets[images + 1] - reader.label_offsets[images]


def read_labelled(data: DetectorData, images: Int64Array, sizes_px: Sequence[int]) -> LabelledImages:
    """The readable images in these sizes, with their positive labels."""
    reader = data.reader

    def decoded(image: int) -> Tensor:
        return decode_image(reader.encoded(image), name=reader.source_id(image))

    found = [(int(image), data.damaged.read_or_none(int(image), decoded)) for image in images]
    readable = [(image, pixels) for image, pixels in found if pixels is not None]
    all_rows = [np.arange(*reader.label_offsets[image : image + 2], dtype=np.int64) for image, _ in readable]
    positive_rows = [rows[reader.label_positive[rows]] for rows in all_rows]  # of each image
    row = np.concatenate([*positive_rows, np.zeros(0, np.int64)])
    return LabelledImages(
        [on_canvases([pixels for _, pixels in readable], size) for size in sizes_px] if readable else [],
        torch.from_numpy(np.repeat(np.arange(len(readable)), [len(rows) for rows in positive_rows])),
        torch.from_numpy(reader.label_nodes[row].astype(np.int64)),
        row,
    )


def on_canvases(pixels: Sequence[Tensor], size_px: int) -> tuple[Tensor, list[Letterbox]]:
    """The images (I, 3, side, side) fitted into squares, and their letterboxes; pixels: uint8 (3, H, W) each."""
    canvases, letterboxes = zip(*(letterbox(image, size_px) for image in pixels), strict=True)
    return torch.stack(canvases), list(letterboxes)


def predict_view(
    model: Detector, images: LabelledImages, size_index: int, mirror: bool
) -> tuple[Tensor, Tensor]:
    """The box of each label as xyxy in the unit square of its image, (L, 4), and its score, (L,).

    The box is that of the location with the highest score, objectness × P(node).
    size_index: the input size, as a position in `images.canvases`.
    """
    device = model.tree_tensors.parent.device
    canvases, letterboxes = images.canvases[size_index]
    pixels = (canvases.flip(3) if mirror else canvases).to(device)
    output = model(pixels.contiguous(memory_format=torch.channels_last))
    labels = images.labels(device)
    location = location_of_max_score(output, labels, model.tree_tensors)
    absolute = log_absolute_at(output, model.tree_tensors, location, labels.node).exp()
    xyxy_unit = location.gather(decode_boxes(output))  # of the canvas
    if mirror:
        left, top, right, bottom = xyxy_unit.unbind(1)
        xyxy_unit = torch.stack([1 - right, top, 1 - left, bottom], dim=1)
    score = location.gather(output.objectness) * absolute
    return _to_images(xyxy_unit, [letterboxes[i] for i in images.image.tolist()]), score


def box_of_highest_agreement(xyxy: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
    """The box with the highest agreement among the boxes of all views, for each label, (L, 4), and the agreement, (L,).

    The agreement of a box, 0..1, is its mean IoU with the boxes of all views, weighted by their scores.
    xyxy: (L, views, 4); score: (L, views).
    """
    overlap = aligned_iou(xyxy[:, :, None], xyxy[:, None])  # (L, views, views)
    weight = score / score.sum(dim=1, keepdim=True).clamp_min(1e-12)
    agreement, best = (overlap * weight[:, None]).sum(dim=2).max(dim=1)
    return xyxy[torch.arange(len(xyxy), device=xyxy.device), best], agreement


def _to_images(xyxy_unit: Tensor, letterboxes: Sequence[Letterbox]) -> Tensor:
    """Boxes of the canvas as boxes in the unit square of their images, clipped to it."""
    canvas = xyxy_unit.new_tensor(
        [
            [fitted.left_px, fitted.top_px, fitted.resized_width_px, fitted.resized_height_px]
            for fitted in letterboxes
        ]
    )
    size = xyxy_unit.new_tensor(
        [[fitted.network_width_px, fitted.network_height_px] for fitted in letterboxes]
    )
    xyxy_px = xyxy_unit * size.repeat(1, 2) - canvas[:, :2].repeat(1, 2)  # from the image's corner
    return (xyxy_px / canvas[:, 2:].repeat(1, 2)).clamp(0, 1)
