"""From a shard index to batches: which images a step sees, and how their labels become target columns.

Every choice is a function of (seed, step, slot), so a resumed run sees the batches of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from numpy.random import Generator

from data_prep import ShardReader
from wordtree.support.arrays import IntegerArray
from wordtree.support.suggest import did_you_mean, near
from yolo9000.config import AugmentConfig, Config
from yolo9000.data.augment import compose, crop_around, fitted, mirrored, quarters, shrunk
from yolo9000.data.batch import Batch, BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.data.colour import coloured_batch, draw_colour_shifts
from yolo9000.data.damage import Damage
from yolo9000.data.prefetch import between, made_ahead, parts_made_ahead
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.data.sample import Rectangle, Sample, read_sample
from yolo9000.data.sampler import DataMismatch, Sampler, input_size_at

CROP_PART = (0.4, 0.9)  # of a window's side: the longer side of the box that it is cut around


class TrainingData:
    """Batches by step, made ahead of time by a few threads (decoding and resizing release the interpreter's lock)."""

    def __init__(self, reader: ShardReader, cfg: Config, pseudo_boxes: PseudoBoxes | None = None) -> None:
        self.reader, self.cfg = reader, cfg
        self.pseudo_boxes = pseudo_boxes or PseudoBoxes.none()
        self.sampler = Sampler(reader, cfg)
        self.damage = Damage(reader, at_most=cfg.data.max_damaged)
        tiled = _tiled(reader, cfg.augment)
        self.tile_sources = [k for k, name in enumerate(self.sampler.names) if name in tiled]
        self.other_sources = [k for k, name in enumerate(self.sampler.names) if name not in tiled]
        self.exhaustive_by = reader.exhaustive_by_source

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first … last, in order."""
        return made_ahead(self.batch, range(first, last + 1), threads=self.cfg.data.loader_threads)

    def parts(self, first: int, last: int) -> Iterator[list[Batch]]:
        """Of the batches of steps first … last, in order, the parts that this process computes.

        None is made before the steps that draw pseudo-boxes for it are over.
        """
        for steps in between(first, last, self.cfg.pseudo_boxes.at_steps):
            yield from parts_made_ahead(self.batch, steps[0], steps[-1], self.cfg.data)

    def batch(self, step: int, slots: range | None = None) -> Batch:
        """The batch of a step, or of it the given slots."""
        cfg = self.cfg
        size = input_size_at(step, cfg.schedule, fixed_px=cfg.model.side_px, seed=cfg.seed)
        images, sources, rngs = self.sampler.in_slots(step, slots)
        samples = [
            self._augmented(int(image), int(source), size, rng)
            for image, source, rng in zip(images, sources, rngs, strict=True)
        ]
        pixels = coloured_batch([sample.image for sample in samples], draw_colour_shifts(cfg.augment, rngs))
        return Batch(pixels, collate(samples, self.reader.image_source[images], nodes=len(self.reader.tree)))

    def _augmented(self, image: int, source: int, size: int, rng: Generator) -> Sample:
        cfg = self.cfg.augment
        parts = self._parts(self._sample(image, source, rng), source, Rectangle(0, 0, size, size), rng)
        sample = compose(parts, size, min_box_side=cfg.min_box_side)
        return mirrored(sample) if cfg.flip and rng.random() < 0.5 else sample

    def _parts(
        self, sample: Sample, source: int, canvas: Rectangle, rng: Generator
    ) -> list[tuple[Sample, Rectangle]]:
        """What is drawn where: one image, or (decision 5) label images shrunk, in a mosaic, or on a box image."""
        cfg, draw = self.cfg.augment, rng.random()
        if source not in self.tile_sources:
            parts = [_fit(sample, canvas, cfg, rng)]
            if self.tile_sources and draw < cfg.paste:
                tile_source = int(rng.choice(self.tile_sources))
                parts.append(self._laid(self._tile(tile_source, cfg.scene_crops, rng), canvas, rng))
            return parts
        if draw < cfg.mosaic:
            others = [self._tile(source, cfg.mosaic_crops, rng) for _ in range(3)]
            tiles = quarters(canvas, rng=rng)
            return [_fit(tile, area, cfg, rng) for tile, area in zip([sample, *others], tiles, strict=True)]
        if draw < cfg.mosaic + cfg.zoom_out:
            laid = self._laid(sample, canvas, rng)
            return [*self._underlay(canvas, rng), laid]
        return [_fit(sample, canvas, cfg, rng)]

    def _underlay(self, canvas: Rectangle, rng: Generator) -> list[tuple[Sample, Rectangle]]:
        """What a shrunk image lies on: one of the other images, perhaps with another tile on it, or nothing."""
        cfg = self.cfg.augment
        if not (cfg.zoom_out_onto and self.other_sources) or rng.random() >= cfg.zoom_out_onto:
            return []
        parts = [_fit(self._any_other(rng), canvas, cfg, rng)]
        if cfg.scene_crops and rng.random() < cfg.scene_crops:
            parts.append(self._laid(self._cut(rng), canvas, rng))
        return parts

    def _laid(self, tile: Sample, canvas: Rectangle, rng: Generator) -> tuple[Sample, Rectangle]:
        """A shrunk image, somewhere on what lies below."""
        cfg = self.cfg.augment
        place = shrunk(canvas, cfg.zoom_out_side, beyond=cfg.tile_overhang, rng=rng)
        tile, area = _fit(tile, place, cfg, rng)
        return tile, replace(area, soft=rng.uniform(0, cfg.soft_edges) if cfg.soft_edges else 0.0)

    def _tile(self, source: int, cuts: float, rng: Generator) -> Sample:
        """A further tile: an image of the source or, in the given share, so that tiles do not come to mean the classes
        of that source, one cut around a box of the other images."""
        if not (cuts and self.other_sources) or rng.random() >= cuts:
            return self._any_of(source, rng)
        return self._cut(rng)

    def _cut(self, rng: Generator) -> Sample:
        """A piece of one of the other images around one of its boxes; of one that has none, the whole."""
        sample = self._any_other(rng)
        if not len(sample.box_nodes):
            return sample
        return crop_around(sample, int(rng.integers(len(sample.box_nodes))), CROP_PART, rng=rng)

    def _any_other(self, rng: Generator) -> Sample:
        """An image of another source than those of tiles."""
        shares = self.sampler.shares[self.other_sources]
        return self._any_of(int(rng.choice(self.other_sources, p=shares / shares.sum())), rng)

    def _any_of(self, source: int, rng: Generator) -> Sample:
        return self._sample(self.sampler.draw(source, rng), source, rng)

    def _sample(self, image: int, source: int, rng: Generator) -> Sample:
        """Of the image, or, where it is damaged, of another of its source; with what this source vouches for."""
        image, sample = self.damage.first_readable(
            image,
            lambda image: read_sample(self.reader, image, self.pseudo_boxes),
            lambda: self.sampler.draw(source, rng),
        )
        if sample.exhaustive is None:
            return sample
        return replace(
            sample, exhaustive=sample.exhaustive | self.exhaustive_by[self.reader.image_source[image]]
        )


def _tiled(reader: ShardReader, cfg: AugmentConfig) -> tuple[str, ...]:
    """The sources whose images are set in tiles; DataMismatch where the shards have no such source."""
    known = {source.name: source for source in reader.sources}
    if cfg.tile_sources is None:
        return tuple(name for name, source in known.items() if not source.has_boxes)
    if unknown := [name for name in cfg.tile_sources if name not in known]:
        raise DataMismatch(
            f"augment.tile_sources names {', '.join(unknown)}, but the shards have these sources: "
            f"{', '.join(known)}.{did_you_mean(near(unknown[0], known))}"
        )
    return cfg.tile_sources


def _fit(sample: Sample, area: Rectangle, cfg: AugmentConfig, rng: Generator) -> tuple[Sample, Rectangle]:
    return sample, fitted(sample, area, jitter=cfg.jitter, rng=rng)


def collate(samples: list[Sample], source: IntegerArray, *, nodes: int) -> Targets:
    """The labels of B samples as flat columns, and what each vouches for; nodes: of the tree."""
    exhaustive = np.zeros((len(samples), nodes), bool)
    for row, sample in zip(exhaustive, samples, strict=True):
        row |= False if sample.exhaustive is None else sample.exhaustive

    def of(counts: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.repeat(np.arange(len(samples)), counts))

    def joined(columns: Sequence[npt.NDArray[np.generic]]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(columns))

    return Targets(
        BoxColumns(
            of([len(s.box_nodes) for s in samples]),
            joined([s.boxes_xyxy for s in samples]),
            joined([s.box_nodes for s in samples]),
        ),
        ImageLabelColumns(
            of([len(s.label_nodes) for s in samples]),
            joined([s.label_nodes for s in samples]),
            joined([s.label_regions for s in samples]),
        ),
        IgnoreColumns(of([len(s.ignored) for s in samples]), joined([s.ignored for s in samples])),
        torch.from_numpy(np.asarray(source, np.int64)),
        torch.from_numpy(exhaustive),
        ImageLabelColumns(
            of([len(s.negative_nodes) for s in samples]),
            joined([s.negative_nodes for s in samples]),
            joined([s.negative_regions for s in samples]),
        ),
    )
