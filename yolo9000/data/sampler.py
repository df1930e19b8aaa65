"""The images of each training step, as a function of (seed, step, slot), so that a resumed run sees the same images.

A slot is a position in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator, default_rng

from data_prep import ShardReader
from wordtree import WordTree
from wordtree.support.arrays import Float64Array, Int64Array
from wordtree.support.suggest import did_you_mean, near
from yolo9000.config import Config, PretrainConfig, ScheduleConfig
from yolo9000.errors import Yolo9000Error

GOLDEN_RATIO = (5**0.5 - 1) / 2  # the fractional parts of its multiples are spread evenly over 0..1


class DataMismatch(Yolo9000Error):
    """The shards lack data that the configuration needs, or cannot be split into batches as it says."""


def images_of_split(reader: ShardReader, name: str) -> Int64Array:
    """The images of a split, ascending; DataMismatch if there is no such split."""
    if name not in reader.splits:
        raise DataMismatch(
            f"{reader.folder}: split '{name}' is not in the shards; they have: {', '.join(reader.splits)}. "
            "Choose one of these (--split, data.train_split, evaluate.split), or merge sources into it (`split:`)."
        )
    return reader.split(name)


def some_of_each_source(reader: ShardReader, images: Int64Array, limit: int | None) -> Int64Array:
    """At most `limit` images of each source among `images`, evenly spaced, ascending; None: all."""
    source = reader.image_source[images]
    return np.sort(
        np.concatenate([evenly_spaced(images[source == k], limit) for k in range(len(reader.sources))])
    )


def evenly_spaced(images: Int64Array, limit: int | None) -> Int64Array:
    """At most `limit` of the images, from first to last, because the first ones often show one class; None: all."""
    if limit is None or limit >= len(images):
        return images
    return images[np.arange(limit) * len(images) // limit]


def all_image_labels(reader: ShardReader) -> tuple[Int64Array, Int64Array]:
    """Image and node of each positive image label, both (L,)."""
    image = np.repeat(np.arange(len(reader)), np.diff(reader.label_offsets))
    return image[reader.label_positive], reader.label_nodes[reader.label_positive].astype(np.int64)


def all_boxes(reader: ShardReader) -> tuple[Int64Array, Int64Array]:
    """Image and node of each box except crowds, both (M,)."""
    image, is_object = np.repeat(np.arange(len(reader)), np.diff(reader.box_offsets)), ~reader.box_ignored
    return image[is_object], reader.box_nodes[is_object].astype(np.int64)


def input_size_at(step: int, cfg: ScheduleConfig, *, fixed_px: int, seed: int) -> int:
    """Side of the square network input at a step: one of `cfg.sizes_px`, drawn anew every `cfg.size_every` steps.

    fixed_px: the side if `cfg.sizes_px` is empty.
    """
    if not cfg.sizes_px:
        return fixed_px
    period = (step - 1) // cfg.size_every
    return int(np.random.default_rng((seed, period, len(cfg.sizes_px))).choice(cfg.sizes_px))


class Sampler:
    """The images of each step: every source is shuffled anew for each epoch, and sources are mixed by `data.ratio`.

    With `data.repeat_factor_power` an epoch repeats images of rare nodes and leaves out others (`RepeatFactors`).

    images: the images to draw from, ascending; None: the training split.
    """

    def __init__(
        self, reader: ShardReader, cfg: Config | PretrainConfig, images: Int64Array | None = None
    ) -> None:
        if images is None:
            images = images_of_split(reader, cfg.data.train_split)
        source = reader.image_source[images]
        by_source = {
            s.name: evenly_spaced(images[source == k], cfg.data.limit) for k, s in enumerate(reader.sources)
        }
        by_source = {name: rows for name, rows in by_source.items() if len(rows)}
        repeat = {s.name: s.repeat for s in reader.sources}  # set by the merge
        ratio = cfg.data.ratio or {name: repeat[name] * len(rows) for name, rows in by_source.items()}
        missing = sorted(set(ratio) - set(by_source))
        if missing or not by_source:
            suggestion = did_you_mean(near(missing[0], by_source)) if missing else ""
            raise DataMismatch(
                f"data.ratio names {', '.join(missing) or 'nothing'}, but split '{cfg.data.train_split}' "
                f"has images of these sources: {', '.join(by_source) or 'none'}.{suggestion}"
            )
        self.names = tuple(ratio)
        self.images = tuple(by_source[name] for name in self.names)
        self.shares = np.array([ratio[name] for name in self.names]) / sum(ratio.values())
        self.by_share = by_ascending_share(self.shares)
        self.batch_size, self.seed = cfg.data.batch_size, cfg.seed
        self.repeats = self._repeat_factors(reader, cfg) if cfg.data.repeat_factor_power else None
        self._shuffled = lru_cache(maxsize=2 * len(self.names))(self._shuffle)

    def batch(self, step: int) -> tuple[Int64Array, Int64Array]:
        """The B images of a step (counted from 1), and the position of each image's source in `names`."""
        before, after = self._drawn(step - 1), self._drawn(step)
        images = [
            self._at(k, position) for k in range(len(self.names)) for position in range(before[k], after[k])
        ]
        return np.array(images, np.int64), np.repeat(np.arange(len(self.names)), after - before)

    def images_in_slots(
        self, step: int, slots: range | None
    ) -> tuple[Int64Array, Int64Array, list[Generator]]:
        """Image, source and random generator of each of the given slots of a step; slots: None for all slots."""
        images, sources = self.batch(step)
        chosen = range(len(images)) if slots is None else slots
        rngs = [default_rng((self.seed, step, slot)) for slot in chosen]
        return images[chosen], sources[chosen], rngs

    def draw(self, source: int, rng: Generator) -> int:
        """A random image of a source: for a further tile, or instead of a damaged image."""
        images = self.images[source]
        return int(rng.choice(images) if self.repeats is None else images[self.repeats[source].draw(rng)])

    def epochs(self, step: int) -> dict[str, float]:
        """Completed epochs of each source after a step."""
        sources = zip(self.names, self._drawn(step), self.images, strict=True)
        return {name: drawn / len(images) for name, drawn, images in sources}

    def all_images(self) -> Int64Array:
        """The images of all sources, ascending."""
        return np.sort(np.concatenate(self.images))

    def _drawn(self, step: int) -> Int64Array:
        """Number of images drawn of each source in the first `step` steps.

        The source of the smallest share comes first. Each takes its share of the images and shares that are left,
        rounded down; the last source takes the rest. So no number falls from one step to the next.
        """
        images_left, shares_left = step * self.batch_size, 1.0
        drawn = np.zeros(len(self.shares), np.int64)
        *smaller, largest = self.by_share
        for source in smaller:
            drawn[source] = int(images_left * self.shares[source] / shares_left + 1e-9)
            images_left, shares_left = images_left - drawn[source], shares_left - self.shares[source]
        drawn[largest] = images_left
        return drawn

    def _at(self, source: int, position: int) -> int:
        images = self.images[source]
        return int(images[self._shuffled(source, position // len(images))[position % len(images)]])

    def _shuffle(self, source: int, epoch: int) -> Int64Array:
        order = default_rng((self.seed, source, epoch)).permutation(len(self.images[source]))
        return order if self.repeats is None else self.repeats[source].epoch(epoch)[order]

    def _repeat_factors(self, reader: ShardReader, cfg: Config | PretrainConfig) -> tuple[RepeatFactors, ...]:
        """Repeat factors within each source, from the source's own labels.

        Boxes count for a detector, and for a classifier that crops them.
        """
        with_boxes = isinstance(cfg, Config) or cfg.augment.crop_boxes
        columns = [all_image_labels(reader), *([all_boxes(reader)] if with_boxes else [])]
        image, node = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        repeats = []
        for source, images in enumerate(self.images):
            of_source = np.isin(image, images)
            position = np.searchsorted(images, image[of_source])
            factors = repeat_factors(
                reader.tree, position, node[of_source], len(images), power=cfg.data.repeat_factor_power
            )
            repeats.append(RepeatFactors.of(factors, offset=default_rng((self.seed, source)).random()))
        return tuple(repeats)


def by_ascending_share(shares: Float64Array) -> tuple[int, ...]:
    """Positions of the shares in ascending order; of equal shares the first comes last."""
    return tuple(np.argsort(-shares, kind="stable")[::-1].tolist())


@dataclass(frozen=True)
class RepeatFactors:
    """Repeat-factor sampling of n images: epochs of n draws, in which each image has its share of the draws."""

    cumulative: Float64Array  # (n,) running sum of the repeat factors; the last is n
    offset: float  # 0..1, differs by seed

    @classmethod
    def of(cls, factors: Float64Array, *, offset: float) -> RepeatFactors:
        """The sampling of n images; factors: (n,) draws of each image in an epoch, 1 on average."""
        return cls(np.cumsum(factors), offset)

    def epoch(self, number: int) -> Int64Array:
        """The images of an epoch, (n,), ascending; an image of factor 2.3 is drawn 2 or 3 times.

        Draws are equally spaced marks on the running sum. Each epoch shifts the marks by another fraction of their
        spacing, so that over several epochs every image is drawn as often as its factor says.
        """
        marks = np.arange(len(self.cumulative), dtype=np.float64) + (self.offset + number * GOLDEN_RATIO) % 1
        return self._at(marks)

    def draw(self, rng: Generator) -> int:
        """A random image, by its factor."""
        return int(self._at(np.array([rng.random() * len(self.cumulative)]))[0])

    def _at(self, marks: Float64Array) -> Int64Array:
        return np.searchsorted(self.cumulative, marks, side="right").clip(max=len(self.cumulative) - 1)


def repeat_factors(
    tree: WordTree, image: Int64Array, node: Int64Array, images: int, *, power: float
) -> Float64Array:
    """Draws of each image in an epoch, (images,), 1 on average.

    Proportional to (1 / number of images with the node)^power for the rarest node among the image's labels. So if each
    image has one label, a node of c images gets draws in proportion to c^(1 − power). An image without a label gets
    the smallest factor.

    image, node: (L,) the labels as columns, in any order; a label may occur twice.
    """
    counts = image_counts(tree, image, node).astype(np.float64)
    factors = np.zeros(images)
    np.maximum.at(factors, image, counts[node] ** -power)
    factors[factors == 0] = factors.min(initial=1.0, where=factors > 0)
    return np.asarray(factors * (images / factors.sum()), np.float64)


def image_counts(tree: WordTree, image: Int64Array, node: Int64Array) -> Int64Array:
    """Number of images labelled with each node or a descendant, (N,); labels as in `repeat_factors`."""
    depth = tree.depth[node]
    counts: Int64Array = np.zeros(len(tree), np.int64)
    keys: Int64Array = np.zeros(0, np.int64)  # image × N + node of one depth, each once
    for level in range(int(depth.max(initial=-1)), -1, -1):
        at_level = depth == level
        keys = np.sort(np.concatenate([keys, image[at_level] * len(tree) + node[at_level]]))
        keys = keys[np.diff(keys, prepend=-1) > 0]  # np.unique's hashing takes ten times as long
        key_node = keys % len(tree)
        counts += np.bincount(key_node, minlength=len(tree))
        keys += tree.parent[key_node] - key_node  # the parent, in the same image
    return counts
