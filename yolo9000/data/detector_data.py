"""Training batches of a detector: the images of each step, augmented, and their labels as target columns.

Every random choice is a function of (seed, step, slot), where the slot is the position of an image in the batch. So a
resumed run sees the batches of an uninterrupted one.
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
from yolo9000.data.augment import (
    compose,
    crop_around_box,
    fit_with_jitter,
    flip_horizontally,
    mosaic_tiles,
    random_rectangle,
)
from yolo9000.data.batch import Batch, BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.data.colour import draw_colour_shifts, shift_colours
from yolo9000.data.damage import DamagedImages
from yolo9000.data.prefetch import prefetch, prefetch_micro_batches, split_after
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.data.sample import Rectangle, Sample, read_sample
from yolo9000.data.sampler import DataMismatch, Sampler, input_size_at

CROP_BOX_SHARE = (0.4, 0.9)  # longer side of a box, as a share of the side of a crop around it


class DetectorData:
    """Batches by step, prefetched by a few threads; decoding and resizing release Python's GIL.

    Images of *tile sources* usually show one object. They may be shrunk, put into a mosaic or pasted (decision 5).
    Images of all other sources, usually with boxes, are the *scenes* of this file.
    """

    def __init__(self, reader: ShardReader, cfg: Config, pseudo_boxes: PseudoBoxes | None = None) -> None:
        self.reader, self.cfg = reader, cfg
        self.pseudo_boxes = pseudo_boxes or PseudoBoxes.none()
        self.sampler = Sampler(reader, cfg)
        self.kept: dict[tuple[int, int], Batch] = {}  # repeated batches that need not be made anew, by key
        self.damaged = DamagedImages(reader, max_count=cfg.data.max_damaged)
        tile_names = _tile_sources(reader, cfg.augment)
        self.tile_sources = [k for k, name in enumerate(self.sampler.names) if name in tile_names]
        self.scene_sources = [k for k, name in enumerate(self.sampler.names) if name not in tile_names]

    def batches(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first … last, in order."""
        return prefetch(self.batch, range(first, last + 1), threads=self.cfg.data.loader_threads)

    def micro_batches(self, first: int, last: int) -> Iterator[list[Batch]]:
        """The micro-batches of this process, as one list for each of steps first … last.

        No batch is prefetched across a step after which pseudo-boxes are drawn.
        """
        for steps in split_after(first, last, self.cfg.pseudo_boxes.at_steps):
            yield from prefetch_micro_batches(self.batch, steps[0], steps[-1], self.cfg.data)

    def batch(self, step: int, slots: range | None = None) -> Batch:
        """The batch of a step, or the given slots of it."""
        count = self.cfg.data.distinct_batches
        if count is None:
            return self._new_batch(step, slots)
        number = (step - 1) % count + 1
        key = number, slots.start if slots else 0
        return self.kept.get(key) or replace(self._new_batch(number, slots), key=key)

    def _new_batch(self, step: int, slots: range | None) -> Batch:
        cfg = self.cfg
        size = input_size_at(step, cfg.schedule, fixed_px=cfg.model.side_px, seed=cfg.seed)
        images, sources, rngs = self.sampler.images_in_slots(step, slots)
        samples = [
            self._augmented(int(image), int(source), size, rng)
            for image, source, rng in zip(images, sources, rngs, strict=True)
        ]
        pixels = shift_colours([sample.image for sample in samples], draw_colour_shifts(cfg.augment, rngs))
        return Batch(pixels, collate(samples, self.reader.image_source[images], nodes=len(self.reader.tree)))

    def _augmented(self, image: int, source: int, size_px: int, rng: Generator) -> Sample:
        cfg = self.cfg.augment
        canvas = Rectangle(0, 0, size_px, size_px)
        placed = self._placed_samples(self._sample(image, source, rng), source, canvas, rng)
        sample = compose(placed, size_px, min_box_side_unit=cfg.min_box_side)
        return flip_horizontally(sample) if cfg.flip and rng.random() < 0.5 else sample

    def _placed_samples(
        self, sample: Sample, source: int, canvas: Rectangle, rng: Generator
    ) -> list[tuple[Sample, Rectangle]]:
        """The images to draw on the canvas, and where (decision 5).

        A scene alone or with a tile pasted on it; or a tile alone, shrunk, or in a mosaic.
        """
        cfg, choice = self.cfg.augment, rng.random()
        if source not in self.tile_sources:
            placed = [_fit(sample, canvas, cfg, rng)]
            if self.tile_sources and choice < cfg.paste:
                tile_source = int(rng.choice(self.tile_sources))
                placed.append(self._shrunk(self._tile(tile_source, cfg.scene_crops, rng), canvas, rng))
            return placed
        if choice < cfg.mosaic:
            others = [self._tile(source, cfg.mosaic_crops, rng) for _ in range(3)]
            areas = mosaic_tiles(canvas, rng=rng)
            return [_fit(tile, area, cfg, rng) for tile, area in zip([sample, *others], areas, strict=True)]
        if choice < cfg.mosaic + cfg.zoom_out:
            tile = self._shrunk(sample, canvas, rng)
            return [*self._scene_below(canvas, rng), tile]
        return [_fit(sample, canvas, cfg, rng)]

    def _scene_below(self, canvas: Rectangle, rng: Generator) -> list[tuple[Sample, Rectangle]]:
        """The images below a shrunk tile: a scene, perhaps with a crop of another scene on it; or none."""
        cfg = self.cfg.augment
        if not (cfg.zoom_out_onto and self.scene_sources) or rng.random() >= cfg.zoom_out_onto:
            return []
        placed = [_fit(self._random_scene(rng), canvas, cfg, rng)]
        if cfg.scene_crops and rng.random() < cfg.scene_crops:
            placed.append(self._shrunk(self._scene_crop(rng), canvas, rng))
        return placed

    def _shrunk(self, tile: Sample, canvas: Rectangle, rng: Generator) -> tuple[Sample, Rectangle]:
        """A tile, and a small random rectangle of the canvas to draw it into."""
        cfg = self.cfg.augment
        area = random_rectangle(canvas, cfg.zoom_out_side, overhang=cfg.tile_overhang, rng=rng)
        tile, rectangle = _fit(tile, area, cfg, rng)
        return tile, replace(rectangle, soft_edge=rng.uniform(0, cfg.soft_edges) if cfg.soft_edges else 0.0)

    def _tile(self, source: int, crop_share: float, rng: Generator) -> Sample:
        """Another image of the tile source or, for the share `crop_share`, a crop of a scene.

        Without such crops the network would learn that a tile shows a class of the tile source.
        """
        if not (crop_share and self.scene_sources) or rng.random() >= crop_share:
            return self._random_image(source, rng)
        return self._scene_crop(rng)

    def _scene_crop(self, rng: Generator) -> Sample:
        """A crop of a random scene around one of its boxes; the whole scene if it has none."""
        sample = self._random_scene(rng)
        if not len(sample.box_nodes):
            return sample
        return crop_around_box(sample, int(rng.integers(len(sample.box_nodes))), CROP_BOX_SHARE, rng=rng)

    def _random_scene(self, rng: Generator) -> Sample:
        shares = self.sampler.shares[self.scene_sources]
        return self._random_image(int(rng.choice(self.scene_sources, p=shares / shares.sum())), rng)

    def _random_image(self, source: int, rng: Generator) -> Sample:
        return self._sample(self.sampler.draw(source, rng), source, rng)

    def _sample(self, image: int, source: int, rng: Generator) -> Sample:
        """The image, or a random one of its source if it is damaged.

        An image is exhaustively annotated for the nodes for which its source is, except those of which it has lost a
        box, and for those that it lists itself.
        """
        image, sample = self.damaged.first_readable(
            image,
            lambda image: read_sample(self.reader, image, self.pseudo_boxes),
            lambda: self.sampler.draw(source, rng),
        )
        if sample.exhaustive is None:
            return sample
        return replace(sample, exhaustive=sample.exhaustive | self.reader.exhaustive_as_source(image))


def _tile_sources(reader: ShardReader, cfg: AugmentConfig) -> tuple[str, ...]:
    """Names of the tile sources: `augment.tile_sources`; None stands for the sources without boxes.

    Raises DataMismatch if the shards have no source of such a name.
    """
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
    return sample, fit_with_jitter(sample, area, jitter=cfg.jitter, rng=rng)


def collate(samples: list[Sample], source: IntegerArray, *, nodes: int) -> Targets:
    """The labels of B samples as flat columns.

    source: (B,) the data source of each sample; nodes: size of the tree.
    """
    exhaustive = np.zeros((len(samples), nodes), bool)
    for row, sample in zip(exhaustive, samples, strict=True):
        row |= False if sample.exhaustive is None else sample.exhaustive

    def image_column(counts: list[int]) -> torch.Tensor:
        return torch.from_numpy(np.repeat(np.arange(len(samples)), counts))

    def concatenated(columns: Sequence[npt.NDArray[np.generic]]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(columns))

    return Targets(
        BoxColumns(
            image_column([len(s.box_nodes) for s in samples]),
            concatenated([s.boxes_xyxy_unit for s in samples]),
            concatenated([s.box_nodes for s in samples]),
        ),
        ImageLabelColumns(
            image_column([len(s.label_nodes) for s in samples]),
            concatenated([s.label_nodes for s in samples]),
            concatenated([s.label_regions_xyxy_unit for s in samples]),
        ),
        IgnoreColumns(
            image_column([len(s.ignored_xyxy_unit) for s in samples]),
            concatenated([s.ignored_xyxy_unit for s in samples]),
        ),
        torch.from_numpy(np.asarray(source, np.int64)),
        torch.from_numpy(exhaustive),
        ImageLabelColumns(
            image_column([len(s.negative_nodes) for s in samples]),
            concatenated([s.negative_nodes for s in samples]),
            concatenated([s.negative_regions_xyxy_unit for s in samples]),
        ),
    )
