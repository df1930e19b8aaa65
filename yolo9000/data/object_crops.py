"""Crops around the labelled objects of the training images, one for a classifier and one for the detector.

The classifier sees the object alone. The detector sees it at various sizes and with some of its surroundings, as in a
scene.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import BoolArray, Float32Array, Int64Array
from yolo9000.config import Config
from yolo9000.data.augment import window_around
from yolo9000.data.damage import DamagedImages
from yolo9000.data.image import decode_image, resized
from yolo9000.data.prefetch import prefetch
from yolo9000.data.sample import WHOLE_UNIT, Rectangle
from yolo9000.data.sampler import DataMismatch, Sampler, all_image_labels

CLASSIFIER_PX = 224
DETECTOR_PX = (96, 128, 160, 192, 224)  # sides of the detector's crops, one for each batch in turn
TIGHT, WIDE = (0.8, 0.95), (0.4, 0.9)  # longer side of a box, as a share of the side of either crop
IMAGE_SHARE = (0.8, 1.0)  # side of a crop of a label image, as a share of the image's shorter side
VIEWS = 4  # largest number of crops of one object
BATCH_SIZE = 32
HELD_OUT = 10  # every tenth image is held out


@dataclass(frozen=True)
class LabelledObjects:
    """The objects of the training images in the order in which they are cropped, as columns of O rows."""

    image: Int64Array
    node: Int64Array
    is_boxed: BoolArray  # False: an image label, whose object is somewhere in the image
    xyxy_unit: Float32Array  # (O, 4) of the box, or of the whole image

    def __len__(self) -> int:
        return len(self.image)

    @property
    def is_held_out(self) -> BoolArray:
        """Whether each object's image is one of every ten images that are kept for measuring."""
        _, number = np.unique(self.image, return_inverse=True)
        return np.asarray(number % HELD_OUT == 1, np.bool_)


@dataclass(frozen=True)
class CropBatch:
    """B crops of different objects."""

    rows: Int64Array  # (B,) of the `LabelledObjects`
    for_classifier: Tensor  # (B, 3, 224, 224) uint8
    for_detector: Tensor  # (B, 3, side, side) uint8
    xyxy_unit: Tensor  # (B, 4) the object in the detector's crop


def labelled_objects(
    reader: ShardReader, cfg: Config, *, bounds: tuple[int, int], per_node: int
) -> LabelledObjects:
    """Objects of the training images; rare nodes come first, and few objects are repeated.

    bounds, per_node: the number of objects is `per_node` for each node with labels, but within the bounds; it is
    smaller if there are few objects. Raises DataMismatch if there are none.
    """
    images = Sampler(reader, cfg).all_images()
    label_image, label_node = all_image_labels(reader)
    box_image = np.repeat(np.arange(len(reader)), np.diff(reader.box_offsets))
    sides = reader.boxes_xyxy_unit[:, 2:] - reader.boxes_xyxy_unit[:, :2]
    is_label = np.isin(label_image, images)
    is_box = np.isin(box_image, images) & ~reader.box_ignored & (sides > 0).all(1)
    image = np.concatenate([label_image[is_label], box_image[is_box]])
    if not len(image):
        raise DataMismatch(
            f"{reader.folder}: split '{cfg.data.train_split}' has neither boxes nor image labels, which "
            "model.classes_from needs."
        )
    node = np.concatenate([label_node[is_label], reader.box_nodes[is_box].astype(np.int64)])
    whole = np.repeat(WHOLE_UNIT, int(is_label.sum()), axis=0)
    xyxy_unit = np.concatenate([whole, reader.boxes_xyxy_unit[is_box]])
    limit = int(np.clip(per_node * len(np.unique(node)), *bounds))
    order = np.tile(_rare_first(node, default_rng((cfg.seed, len(node)))), VIEWS)[:limit]
    is_boxed = np.arange(len(image)) >= len(whole)
    return LabelledObjects(image[order], node[order], is_boxed[order], xyxy_unit[order])


def _rare_first(node: Int64Array, rng: Generator) -> Int64Array:
    """A random order in which the k-th objects of all nodes precede the k+1-th of any."""
    shuffled = rng.permutation(len(node))
    by_node = shuffled[np.argsort(node[shuffled], kind="stable")]
    count = np.bincount(node)[node[by_node]]
    first = np.searchsorted(node[by_node], node[by_node])
    rank = np.arange(len(node)) - first
    return by_node[np.lexsort((count, rank))]


def object_crops(reader: ShardReader, cfg: Config, objects: LabelledObjects) -> Iterator[CropBatch]:
    """The crops of all objects, batch by batch and prefetched; objects of damaged images are left out."""
    damaged = DamagedImages(reader, max_count=cfg.data.max_damaged)
    order = default_rng((cfg.seed, len(objects), VIEWS)).permutation(len(objects))

    def batch(number: int) -> CropBatch:
        rows = order[number * BATCH_SIZE : (number + 1) * BATCH_SIZE]
        size_px, crops = DETECTOR_PX[number % len(DETECTOR_PX)], []
        for row in rows.tolist():
            image = int(objects.image[row])
            pixels = damaged.read_or_none(
                image, lambda image: decode_image(reader.encoded(image), name=reader.source_id(image))
            )
            if pixels is not None:
                crops.append((row, *_crops(pixels, objects, row, size_px, default_rng((cfg.seed, row)))))
        found, tight, wide, boxes = zip(*crops, strict=True) if crops else ((), (), (), ())
        if not crops:
            return CropBatch(np.zeros(0, np.int64), *(torch.zeros(0),) * 3)
        return CropBatch(
            np.array(found), torch.stack(tight), torch.stack(wide), torch.from_numpy(np.stack(boxes))
        )

    return prefetch(batch, range(batch_count(objects)), threads=cfg.data.loader_threads)


def batch_count(objects: LabelledObjects) -> int:
    """Number of batches of `object_crops`."""
    return -(-len(objects) // BATCH_SIZE)


def _crops(
    pixels: Tensor, objects: LabelledObjects, row: int, size_px: int, rng: Generator
) -> tuple[Tensor, Tensor, Float32Array]:
    """The classifier's crop, the detector's crop, and the object in the latter, (4,); both perhaps mirrored."""
    height, width = pixels.shape[1:]
    xyxy_unit = objects.xyxy_unit[row]
    if objects.is_boxed[row]:
        tight = window_around(xyxy_unit, width, height, TIGHT, rng=rng)
        wide = window_around(xyxy_unit, width, height, WIDE, rng=rng)
        left, top = wide.left_px / width, wide.top_px / height
        scale = np.array([width / wide.width_px, height / wide.height_px] * 2, np.float32)
        inside = np.clip((xyxy_unit - np.array([left, top] * 2, np.float32)) * scale, 0, 1)
    else:
        tight = wide = _random_square(width, height, rng)
        inside = WHOLE_UNIT[0]
    for_classifier = resized(_cut(pixels, tight), CLASSIFIER_PX, CLASSIFIER_PX)
    for_detector = resized(_cut(pixels, wide), size_px, size_px)
    if rng.random() < 0.5:
        inside = inside[[2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32) + np.array(
            [1, 0, 1, 0], np.float32
        )
        for_classifier, for_detector = for_classifier.flip(2), for_detector.flip(2)
    return for_classifier, for_detector, inside.astype(np.float32)


def _random_square(width: int, height: int, rng: Generator) -> Rectangle:
    side = max(1, round(min(width, height) * rng.uniform(*IMAGE_SHARE)))
    left, top = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    return Rectangle(left, top, side, side)


def _cut(pixels: Tensor, window: Rectangle) -> Tensor:
    rows = slice(window.top_px, window.top_px + window.height_px)
    columns = slice(window.left_px, window.left_px + window.width_px)
    return pixels[:, rows, columns]
