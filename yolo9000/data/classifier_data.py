"""From a shard index to a classifier's batches: the images that have image labels, cropped.

An image takes part if it is said to show something; with several labels each of them counts in equal parts. What it is
said *not* to show plays no part. On request other images take part in training with what one of their boxes holds
(decision 32). As in data.py, every choice is a function of (seed, step, slot).
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
from yolo9000.data.colour import coloured_batch, draw_colour_shifts
from yolo9000.data.crop import centre_crop, random_crop
from yolo9000.data.damage import Damage
from yolo9000.data.image import decode_image
from yolo9000.data.prefetch import made_ahead, parts_made_ahead
from yolo9000.data.sampler import (
    DataMismatch,
    Sampler,
    boxes_of,
    first_of_each_source,
    image_labels_of,
    input_size_at,
    split_of,
)
from yolo9000.distributed import share_of

BOX_PART = (0.6, 0.95)  # of a window's side: the longer side of the box that it is cut around


@dataclass(frozen=True)
class LabelledPictures:
    """B images with L labels, at least one each."""

    images: Tensor  # (B, 3, S, S) float32, RGB in 0..1
    image: Tensor  # (L,) int64, ascending: the image of each label
    node: Tensor  # (L,) int64

    def to(self, device: torch.device | str) -> LabelledPictures:
        return LabelledPictures(
            *(column.to(device, non_blocking=True) for column in (self.images, self.image, self.node))
        )


def labelled_images(reader: ShardReader, split: str) -> Int64Array:
    """The images of a split that are said to show something, ascending; DataMismatch if there are none."""
    images = split_of(reader, split)
    labelled = images[np.isin(images, image_labels_of(reader)[0])]
    if not len(labelled):
        raise DataMismatch(
            f"{reader.folder}: split '{split}' has no images with image labels. Merge a source of image labels "
            "into it, or name another split."
        )
    return labelled


def crop_images(reader: ShardReader, cfg: PretrainConfig) -> Int64Array:
    """The images that training sees by what one of their boxes holds, ascending: without image labels, with a box."""
    if not cfg.augment.crop_boxes:
        return np.zeros(0, np.int64)
    images = split_of(reader, cfg.data.train_split)
    boxed, labelled = (np.isin(images, of(reader)[0]) for of in (boxes_of, image_labels_of))
    return images[boxed & ~labelled]


def taught_images(reader: ShardReader, cfg: PretrainConfig) -> Int64Array:
    """The images that training sees, ascending; DataMismatch if none has image labels."""
    return np.union1d(labelled_images(reader, cfg.data.train_split), crop_images(reader, cfg))


def taught_nodes(reader: ShardReader, cfg: PretrainConfig) -> Int64Array:
    """The nodes that training has examples of, ascending, (K,)."""
    _, labels = labels_of(reader, labelled_images(reader, cfg.data.train_split))
    image, node = boxes_of(reader)
    return np.union1d(labels, node[np.isin(image, crop_images(reader, cfg))])


def labels_of(reader: ShardReader, pictures: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The labels of the images as columns (L,): the position of the image, ascending, and the node."""
    start = reader.label_offsets[pictures]
    count = reader.label_offsets[pictures + 1] - start
    image = np.repeat(np.arange(len(pictures)), count)
    row = np.arange(len(image)) + (start - (count.cumsum() - count))[image]
    positive = reader.label_positive[row]
    return image[positive], reader.label_nodes[row][positive].astype(np.int64)


@dataclass(frozen=True)
class Example:
    """Pixels and what they show."""

    pixels: Tensor  # (3, H, W) uint8
    nodes: Int64Array  # (L,), at least one


def read_example(reader: ShardReader, picture: int, *, rng: Generator) -> Example:
    """The whole image where it has image labels; else a window around one of its boxes."""
    pixels = _pixels(reader, picture)
    _, nodes = labels_of(reader, np.array([picture]))
    if len(nodes):
        return Example(pixels, nodes)
    rows = slice(*reader.box_offsets[picture : picture + 2])
    row = rows.start + rng.choice((~reader.box_ignored[rows]).nonzero()[0])
    height, width = pixels.shape[1:]
    x, y, side_x, side_y = window_around(reader.boxes_xyxy_unit[row], width, height, BOX_PART, rng=rng)
    return Example(pixels[:, y : y + side_y, x : x + side_x], reader.box_nodes[[row]].astype(np.int64))


class ClassifierData:
    """Training batches by step, made ahead of time by a few threads."""

    def __init__(self, reader: ShardReader, cfg: PretrainConfig) -> None:
        self.reader, self.cfg = reader, cfg
        self.sampler = Sampler(reader, cfg, taught_images(reader, cfg))
        self.damage = Damage(reader, at_most=cfg.data.max_damaged)

    def batches(self, first: int, last: int) -> Iterator[LabelledPictures]:
        """The batches of steps first … last, in order."""
        return made_ahead(self.batch, range(first, last + 1), threads=self.cfg.data.loader_threads)

    def parts(self, first: int, last: int) -> Iterator[list[LabelledPictures]]:
        """Of the batches of steps first … last, in order, the parts that this process computes."""
        return parts_made_ahead(self.batch, first, last, self.cfg.data)

    def batch(self, step: int, slots: range | None = None) -> LabelledPictures:
        """The batch of a step, or of it the given slots."""
        cfg = self.cfg
        size = input_size_at(step, cfg.schedule, fixed_px=cfg.model.side_px, seed=cfg.seed)
        wanted, sources, rngs = self.sampler.in_slots(step, slots)
        examples = [
            self._readable(image, source, rng)
            for image, source, rng in zip(wanted.tolist(), sources.tolist(), rngs, strict=True)
        ]
        crops = [
            random_crop(one.pixels, size, cfg.augment, rng) for one, rng in zip(examples, rngs, strict=True)
        ]
        images = coloured_batch(crops, draw_colour_shifts(cfg.augment, rngs))
        count = [len(one.nodes) for one in examples]
        return _batched(
            images,
            np.repeat(np.arange(len(examples)), count),
            np.concatenate([one.nodes for one in examples]),
        )

    def _readable(self, picture: int, source: int, rng: Generator) -> Example:
        """What the image teaches, or, where it is damaged, another of its source."""
        _, example = self.damage.first_readable(
            picture,
            lambda picture: read_example(self.reader, picture, rng=rng),
            lambda: self.sampler.draw(source, rng),
        )
        return example


class ClassifierTestData:
    """The labelled images of a split, each once, seen through their middle."""

    def __init__(self, reader: ShardReader, cfg: ClassifierEvaluateConfig, *, size_px: int) -> None:
        self.reader, self.cfg, self.size_px = reader, cfg, size_px
        self.pictures = first_of_each_source(reader, labelled_images(reader, cfg.split), cfg.limit)

    def __len__(self) -> int:
        """The number of batches that fall to this process."""
        return len(share_of(self._starts()))

    def __iter__(self) -> Iterator[LabelledPictures]:
        """The batches that fall to this process."""
        return made_ahead(self._batch, share_of(self._starts()), threads=self.cfg.loader_threads)

    def _starts(self) -> range:
        return range(0, len(self.pictures), self.cfg.batch_size)

    def _batch(self, start: int) -> LabelledPictures:
        images = self.pictures[start : start + self.cfg.batch_size]
        crops = [centre_crop(_pixels(self.reader, image), self.size_px) for image in images.tolist()]
        return _batched(torch.stack(crops).float().div_(255), *labels_of(self.reader, images))


def _pixels(reader: ShardReader, picture: int) -> Tensor:
    return decode_image(reader.encoded(picture), name=reader.source_id(picture))


def _batched(images: Tensor, image: Int64Array, node: Int64Array) -> LabelledPictures:
    columns = (torch.from_numpy(column) for column in (image, node))
    return LabelledPictures(images.contiguous(memory_format=torch.channels_last), *columns)
