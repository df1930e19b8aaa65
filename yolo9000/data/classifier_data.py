"""Batches of a classifier: crops of the images that have positive image labels.

The labels of an image have equal weight. Negative labels are not used. With `augment.crop_boxes`, training also sees
images without image labels, as crops around one of their boxes (decision 32). As in detector_data.py, every random
choice is a function of (seed, step, slot).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from data_prep import ShardReader
from wordtree.support.arrays import Int64Array
from yolo9000.config import ClassifierEvaluateConfig, PretrainConfig
from yolo9000.data.augment import window_around
from yolo9000.data.colour import draw_colour_shifts, shift_colours
from yolo9000.data.crop import centre_crop, random_crop
from yolo9000.data.damage import DamagedImages
from yolo9000.data.image import decode_image
from yolo9000.data.prefetch import prefetch, prefetch_micro_batches
from yolo9000.data.sampler import (
    DataMismatch,
    Sampler,
    all_boxes,
    all_image_labels,
    images_of_split,
    input_size_at,
    some_of_each_source,
)
from yolo9000.distributed import own_share

BOX_SHARE = (0.6, 0.95)  # longer side of a box, as a share of the side of a crop around it


@dataclass(frozen=True)
class ClassifierBatch:
    """B images with L labels, at least one label for each image."""

    images: Tensor  # (B, 3, side, side) float32, RGB in 0..1
    image: Tensor  # (L,) int64, ascending: the image of each label
    node: Tensor  # (L,) int64

    def to(self, device: torch.device | str) -> ClassifierBatch:
        columns = (self.images, self.image, self.node)
        return ClassifierBatch(*(column.to(device, non_blocking=True) for column in columns))


def labelled_images(reader: ShardReader, split: str) -> Int64Array:
    """The images of a split with positive image labels, ascending; DataMismatch if there are none."""
    images = images_of_split(reader, split)
    labelled = images[np.isin(images, all_image_labels(reader)[0])]
    if not len(labelled):
        raise DataMismatch(
            f"{reader.folder}: split '{split}' has no images with image labels. Merge a source of image labels "
            "into it, or name another split."
        )
    return labelled


def images_to_crop(reader: ShardReader, cfg: PretrainConfig) -> Int64Array:
    """The training images with boxes and without positive image labels, ascending; none unless `crop_boxes`."""
    if not cfg.augment.crop_boxes:
        return np.zeros(0, np.int64)
    images = images_of_split(reader, cfg.data.train_split)
    boxed, labelled = (np.isin(images, columns(reader)[0]) for columns in (all_boxes, all_image_labels))
    return images[boxed & ~labelled]


def training_images(reader: ShardReader, cfg: PretrainConfig) -> Int64Array:
    """The images that training uses, ascending; DataMismatch if none has image labels."""
    return np.union1d(labelled_images(reader, cfg.data.train_split), images_to_crop(reader, cfg))


def training_nodes(reader: ShardReader, cfg: PretrainConfig) -> Int64Array:
    """The nodes that training has examples of, ascending, (nodes,)."""
    _, labels = labels_of_images(reader, labelled_images(reader, cfg.data.train_split))
    image, node = all_boxes(reader)
    return np.union1d(labels, node[np.isin(image, images_to_crop(reader, cfg))])


def labels_of_images(reader: ShardReader, images: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The positive labels of some images as columns (L,): position in `images`, ascending, and node."""
    start = reader.label_offsets[images]
    count = reader.label_offsets[images + 1] - start
    position = np.repeat(np.arange(len(images)), count)
    row = np.arange(len(position)) + (start - (count.cumsum() - count))[position]
    positive = reader.label_positive[row]
    return position[positive], reader.label_nodes[row][positive].astype(np.int64)


@dataclass(frozen=True)
class Example:
    """An image, or a part of it, with its labels."""

    pixels: Tensor  # (3, H, W) uint8
    nodes: Int64Array  # (L,), at least one


def read_example(reader: ShardReader, image: int, *, rng: Generator) -> Example:
    """The whole image if it has positive image labels, else a crop around one of its boxes."""
    pixels = _pixels(reader, image)
    _, nodes = labels_of_images(reader, np.array([image]))
    if len(nodes):
        return Example(pixels, nodes)
    rows = slice(*reader.box_offsets[image : image + 2])
    row = rows.start + rng.choice((~reader.box_ignored[rows]).nonzero()[0])
    height, width = pixels.shape[1:]
    crop = window_around(reader.boxes_xyxy_unit[row], width, height, BOX_SHARE, rng=rng)
    bottom, right = crop.top_px + crop.height_px, crop.left_px + crop.width_px
    nodes = reader.box_nodes[[row]].astype(np.int64)
    return Example(pixels[:, crop.top_px : bottom, crop.left_px : right], nodes)


class ClassifierData:
    """Training batches by step, prefetched by a few threads."""

    def __init__(self, reader: ShardReader, cfg: PretrainConfig) -> None:
        self.reader, self.cfg = reader, cfg
        self.sampler = Sampler(reader, cfg, training_images(reader, cfg))
        self.damaged = DamagedImages(reader, max_count=cfg.data.max_damaged)

    def batches(self, first: int, last: int) -> Iterator[ClassifierBatch]:
        """The batches of steps first … last, in order."""
        return prefetch(self.batch, range(first, last + 1), threads=self.cfg.data.loader_threads)

    def micro_batches(self, first: int, last: int) -> Iterator[list[ClassifierBatch]]:
        """The micro-batches of this process, as one list for each of steps first … last."""
        return prefetch_micro_batches(self.batch, first, last, self.cfg.data)

    def batch(self, step: int, slots: range | None = None) -> ClassifierBatch:
        """The batch of a step, or the given slots of it."""
        cfg = self.cfg
        size = input_size_at(step, cfg.schedule, fixed_px=cfg.model.side_px, seed=cfg.seed)
        drawn, sources, rngs = self.sampler.images_in_slots(step, slots)
        examples = [
            self._example(image, source, rng)
            for image, source, rng in zip(drawn.tolist(), sources.tolist(), rngs, strict=True)
        ]
        crops = [
            random_crop(example.pixels, size, cfg.augment, rng)
            for example, rng in zip(examples, rngs, strict=True)
        ]
        images = shift_colours(crops, draw_colour_shifts(cfg.augment, rngs))
        count = [len(example.nodes) for example in examples]
        position = np.repeat(np.arange(len(examples)), count)
        return _collate(images, position, np.concatenate([example.nodes for example in examples]))

    def _example(self, image: int, source: int, rng: Generator) -> Example:
        """The example of an image, or of a random one of its source if the image is damaged."""
        _, example = self.damaged.first_readable(
            image,
            lambda image: read_example(self.reader, image, rng=rng),
            lambda: self.sampler.draw(source, rng),
        )
        return example


class ClassifierTestData:
    """The labelled images of a split, each once, as centre crops."""

    def __init__(self, reader: ShardReader, cfg: ClassifierEvaluateConfig, *, size_px: int) -> None:
        self.reader, self.cfg, self.size_px = reader, cfg, size_px
        self.images = some_of_each_source(reader, labelled_images(reader, cfg.split), cfg.limit)

    def __len__(self) -> int:
        """Number of batches of this process."""
        return len(own_share(self._starts()))

    def __iter__(self) -> Iterator[ClassifierBatch]:
        """The batches of this process."""
        return prefetch(self._batch, own_share(self._starts()), threads=self.cfg.loader_threads)

    def _starts(self) -> range:
        return range(0, len(self.images), self.cfg.batch_size)

    def _batch(self, start: int) -> ClassifierBatch:
        images = self.images[start : start + self.cfg.batch_size]
        crops = [centre_crop(_pixels(self.reader, image), self.size_px) for image in images.tolist()]
        return _collate(torch.stack(crops).float().div_(255), *labels_of_images(self.reader, images))


def _pixels(reader: ShardReader, image: int) -> Tensor:
    return decode_image(reader.encoded(image), name=reader.source_id(image))


def _collate(images: Tensor, image: Int64Array, node: Int64Array) -> ClassifierBatch:
    columns = (torch.from_numpy(column) for column in (image, node))
    return ClassifierBatch(images.contiguous(memory_format=torch.channels_last), *columns)
