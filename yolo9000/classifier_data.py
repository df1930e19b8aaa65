"""From a shard index to a classifier's batches: the pictures that have image labels, cropped.

A picture takes part if it is said to show something; with several labels each of them counts in equal parts. Boxes and
what a picture is said *not* to show play no part. As in data.py, every choice is a function of (seed, step, slot).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from data_prep import ShardReader
from yolo9000.augment import coloured_batch, draw_colour_shifts
from yolo9000.config import ClassifierEvaluateConfig, PretrainConfig
from yolo9000.crop import centre_crop, random_crop
from yolo9000.damage import Damage
from yolo9000.distributed import share_of
from yolo9000.image import decode_image
from yolo9000.prefetch import made_ahead, parts_made_ahead
from yolo9000.sampler import DataMismatch, Ints, Sampler, first_of_each_source, split_of
from yolo9000.schedule import input_size_at


@dataclass(frozen=True)
class LabelledPictures:
    """B pictures with L labels, at least one each."""

    images: Tensor  # (B, 3, S, S) float32, RGB in 0..1
    image: Tensor  # (L,) int64, ascending: the picture of each label
    node: Tensor  # (L,) int64

    def to(self, device: torch.device | str) -> LabelledPictures:
        return LabelledPictures(
            *(column.to(device, non_blocking=True) for column in (self.images, self.image, self.node))
        )


def labelled_pictures(reader: ShardReader, split: str) -> Ints:
    """The pictures of a split that are said to show something, ascending; DataMismatch if there are none."""
    pictures = split_of(reader, split)
    positive_before = np.concatenate([[0], np.cumsum(reader.label_positive)])
    positive = np.diff(positive_before[reader.label_offsets])  # of each picture
    labelled = pictures[positive[pictures] > 0]
    if not len(labelled):
        raise DataMismatch(
            f"{reader.folder}: split '{split}' has no pictures with image labels. Merge a source of image labels "
            "into it, or name another split."
        )
    return labelled


def labels_of(reader: ShardReader, pictures: Ints) -> tuple[Ints, Ints]:
    """The labels of the pictures as columns (L,): the position of the picture, ascending, and the node."""
    start = reader.label_offsets[pictures]
    count = reader.label_offsets[pictures + 1] - start
    image = np.repeat(np.arange(len(pictures)), count)
    row = np.arange(len(image)) + (start - (count.cumsum() - count))[image]
    positive = reader.label_positive[row]
    return image[positive], reader.label_nodes[row][positive].astype(np.int64)


def labelled_nodes(reader: ShardReader, split: str) -> Ints:
    """The nodes that some picture of the split is labelled with, ascending, (K,)."""
    return np.unique(labels_of(reader, labelled_pictures(reader, split))[1])


class ClassifierData:
    """Training batches by step, made ahead of time by a few threads."""

    def __init__(self, reader: ShardReader, cfg: PretrainConfig) -> None:
        self.reader, self.cfg = reader, cfg
        self.sampler = Sampler(reader, cfg, labelled_pictures(reader, cfg.data.train_split))
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
        read = [
            self._readable(picture, source, rng)
            for picture, source, rng in zip(wanted.tolist(), sources.tolist(), rngs, strict=True)
        ]
        crops = [
            random_crop(pixels, size, cfg.augment, rng) for (_, pixels), rng in zip(read, rngs, strict=True)
        ]
        images = coloured_batch(crops, draw_colour_shifts(cfg.augment, rngs))
        return _labelled(self.reader, np.array([picture for picture, _ in read], np.int64), images)

    def _readable(self, picture: int, source: int, rng: Generator) -> tuple[int, Tensor]:
        """The picture and its pixels, or, where it is damaged, another of its source."""
        return self.damage.first_readable(
            picture, lambda picture: _pixels(self.reader, picture), lambda: self.sampler.draw(source, rng)
        )


class ClassifierTestData:
    """The labelled pictures of a split, each once, seen through their middle."""

    def __init__(self, reader: ShardReader, cfg: ClassifierEvaluateConfig, *, size_px: int) -> None:
        self.reader, self.cfg, self.size_px = reader, cfg, size_px
        self.pictures = first_of_each_source(reader, labelled_pictures(reader, cfg.split), cfg.limit)

    def __len__(self) -> int:
        """The number of batches that fall to this process."""
        return len(share_of(self._starts()))

    def __iter__(self) -> Iterator[LabelledPictures]:
        """The batches that fall to this process."""
        return made_ahead(self._batch, share_of(self._starts()), threads=self.cfg.loader_threads)

    def _starts(self) -> range:
        return range(0, len(self.pictures), self.cfg.batch_size)

    def _batch(self, start: int) -> LabelledPictures:
        pictures = self.pictures[start : start + self.cfg.batch_size]
        crops = [centre_crop(_pixels(self.reader, picture), self.size_px) for picture in pictures.tolist()]
        return _labelled(self.reader, pictures, torch.stack(crops).float().div_(255))


def _pixels(reader: ShardReader, picture: int) -> Tensor:
    return decode_image(reader.encoded(picture), name=reader.source_id(picture))


def _labelled(reader: ShardReader, pictures: Ints, images: Tensor) -> LabelledPictures:
    image, node = (torch.from_numpy(column) for column in labels_of(reader, pictures))
    return LabelledPictures(images.contiguous(memory_format=torch.channels_last), image, node)
