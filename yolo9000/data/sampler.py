"""Which images a step of training sees: a function of (seed, step, slot), so that a resumed run sees the same."""

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


class DataMismatch(Yolo9000Error):
    """The shards lack what the configuration asks of them: a split, a source, images."""


def split_of(reader: ShardReader, name: str) -> Int64Array:
    """The images of a split; DataMismatch if there are none."""
    if name not in reader.splits:
        raise DataMismatch(
            f"{reader.folder}: split '{name}' is not in the shards; they have: {', '.join(reader.splits)}. Set "
            "data.train_split or evaluate.split to one of these, or merge sources into it (`split:`)."
        )
    return reader.split(name)


def first_of_each_source(reader: ShardReader, pictures: Int64Array, limit: int | None) -> Int64Array:
    """The first `limit` of each source among the images, ascending; None: all."""
    source = reader.image_source[pictures]
    return np.sort(np.concatenate([pictures[source == k][:limit] for k in range(len(reader.sources))]))


class Sampler:
    """Which images a step sees: each source in turn shuffled anew for every pass, in the asked ratio of images.

    With `data.balance` a pass shows images of rare nodes several times and leaves out others (balance.py).

    images: those to draw from, ascending; None: all of the training split.
    """

    def __init__(
        self, reader: ShardReader, cfg: Config | PretrainConfig, pictures: Int64Array | None = None
    ) -> None:
        if pictures is None:
            pictures = split_of(reader, cfg.data.train_split)
        source = reader.image_source[pictures]
        found = {s.name: pictures[source == k][: cfg.data.limit] for k, s in enumerate(reader.sources)}
        found = {name: images for name, images in found.items() if len(images)}
        repeat = {s.name: s.repeat for s in reader.sources}  # what the merge asked for
        ratio = cfg.data.ratio or {name: repeat[name] * len(images) for name, images in found.items()}
        missing = sorted(set(ratio) - set(found))
        if missing or not found:
            have = ", ".join(found) or "none"
            raise DataMismatch(
                f"data.ratio names {', '.join(missing) or 'nothing'}, but split '{cfg.data.train_split}' "
                f"has images of these sources: {have}.{did_you_mean(near(missing[0], found)) if missing else ''}"
            )
        self.names = tuple(ratio)
        self.images = tuple(found[name] for name in self.names)
        self.shares = np.array([ratio[name] for name in self.names]) / sum(ratio.values())
        self.by_share = by_ascending_share(self.shares)
        self.batch_size, self.seed = cfg.data.batch_size, cfg.seed
        self.repeats = self._balanced(reader, cfg) if cfg.data.repeat_factor_power else None
        self._shuffled = lru_cache(maxsize=2 * len(self.names))(self._shuffle)

    def batch(self, step: int) -> tuple[Int64Array, Int64Array]:
        """The B images of a step (counted from 1) and the position of each one's source in `names`."""
        before, after = self._drawn(step - 1), self._drawn(step)
        images = [
            self._at(k, position) for k in range(len(self.names)) for position in range(before[k], after[k])
        ]
        return np.array(images, np.int64), np.repeat(np.arange(len(self.names)), after - before)

    def in_slots(self, step: int, slots: range | None) -> tuple[Int64Array, Int64Array, list[Generator]]:
        """The same of some slots of the step, None: of all, with the generator of each one's random choices."""
        images, sources = self.batch(step)
        chosen = range(len(images)) if slots is None else slots
        rngs = [default_rng((self.seed, step, slot)) for slot in chosen]
        return images[chosen], sources[chosen], rngs

    def passes(self, step: int) -> dict[str, float]:
        """How often each source has been seen whole after a step."""
        return {n: d / len(i) for n, d, i in zip(self.names, self._drawn(step), self.images, strict=True)}

    def every_image(self) -> Int64Array:
        """The images of all sources, ascending."""
        return np.sort(np.concatenate(self.images))

    def draw(self, source: int, rng: Generator) -> int:
        """Any image of a source: for a further tile, or in the place of one that is damaged."""
        images = self.images[source]
        return int(rng.choice(images) if self.repeats is None else images[self.repeats[source].draw(rng)])

    def _drawn(self, step: int) -> Int64Array:
        """Images drawn of each source in the first `step` steps: rounded down, the rest to the largest share.

        From the smallest share on each source takes its part of what those before it leave, so that no number falls
        from one step to the next.
        """
        left, shares = step * self.batch_size, 1.0
        drawn = np.zeros(len(self.shares), np.int64)
        *smaller, largest = self.by_share
        for source in smaller:
            drawn[source] = int(left * self.shares[source] / shares + 1e-9)
            left, shares = left - drawn[source], shares - self.shares[source]
        drawn[largest] = left
        return drawn

    def _at(self, source: int, position: int) -> int:
        images = self.images[source]
        return int(images[self._shuffled(source, position // len(images))[position % len(images)]])

    def _shuffle(self, source: int, turn: int) -> Int64Array:
        order = default_rng((self.seed, source, turn)).permutation(len(self.images[source]))
        return order if self.repeats is None else self.repeats[source].of_pass(turn)[order]

    def _balanced(self, reader: ShardReader, cfg: Config | PretrainConfig) -> tuple[Repeats, ...]:
        """Of each source, by its own labels; boxes mean nothing to a classifier that does not cut them out."""
        boxes = isinstance(cfg, Config) or cfg.augment.crop_boxes
        columns = [image_labels_of(reader), *([boxes_of(reader)] if boxes else [])]
        image, node = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        repeats = []
        for number, images in enumerate(self.images):
            mine = np.isin(image, images)
            at = np.searchsorted(images, image[mine])
            times = times_in_a_pass(
                reader.tree, at, node[mine], len(images), repeat_factor_power=cfg.data.repeat_factor_power
            )
            repeats.append(Repeats.of(times, start=default_rng((self.seed, number)).random()))
        return tuple(repeats)


def by_ascending_share(shares: Float64Array) -> tuple[int, ...]:
    """Positions of the shares, the largest last; of equals the first."""
    return tuple(np.argsort(-shares, kind="stable")[::-1].tolist())


def image_labels_of(reader: ShardReader) -> tuple[Int64Array, Int64Array]:
    """What images are said to show, as columns (L,) of image and node."""
    image = np.repeat(np.arange(len(reader)), np.diff(reader.label_offsets))
    return image[reader.label_positive], reader.label_nodes[reader.label_positive].astype(np.int64)


def boxes_of(reader: ShardReader) -> tuple[Int64Array, Int64Array]:
    """The image and the node of each box, crowds aside, (M,)."""
    image, real = np.repeat(np.arange(len(reader)), np.diff(reader.box_offsets)), ~reader.box_ignored
    return image[real], reader.box_nodes[real].astype(np.int64)


GOLDEN = (5**0.5 - 1) / 2  # multiples of it, less their whole part, fill 0..1 as evenly as any sequence does


@dataclass(frozen=True)
class Repeats:
    """Passes over n images, n draws each, in which an image comes so often that it has its share of the draws."""

    until: Float64Array  # (n,) running sum of how often each comes; the last is n
    start: float  # 0..1, differs by seed

    @classmethod
    def of(cls, times: Float64Array, *, start: float) -> Repeats:
        """times: (n,) how often each image comes, 1 on average."""
        return cls(np.cumsum(times), start)

    def of_pass(self, turn: int) -> Int64Array:
        """The images of a pass, (n,), ascending: one that should come 2.3 times comes 2 or 3 times.

        Equally spaced marks on the running sums, moved by another part of their distance in each pass: over the passes
        every image comes as often as it should, within a few times.
        """
        marks = np.arange(len(self.until), dtype=np.float64) + (self.start + turn * GOLDEN) % 1
        return self._at(marks)

    def draw(self, rng: Generator) -> int:
        """Any image, by its share."""
        return int(self._at(np.array([rng.random() * len(self.until)]))[0])

    def _at(self, marks: Float64Array) -> Int64Array:
        return np.searchsorted(self.until, marks, side="right").clip(max=len(self.until) - 1)


def times_in_a_pass(
    tree: WordTree, picture: Int64Array, node: Int64Array, pictures: int, *, repeat_factor_power: float
) -> Float64Array:
    """How often each image comes in a pass, (images,), 1 on average.

    In proportion to (1 / images that show it)^balance of the rarest node that it is labelled with. So, with one label
    each, a node shown by c images gets draws in proportion to c^(1 − balance). What has no label comes as seldom as
    anything.

    image, node: (L,) the labels as columns, in any order; a label may be there twice.
    """
    showing = images_showing(tree, picture, node).astype(np.float64)
    times = np.zeros(pictures)
    np.maximum.at(times, picture, showing[node] ** -repeat_factor_power)
    times[times == 0] = times.min(initial=1.0, where=times > 0)
    return np.asarray(times * (pictures / times.sum()), np.float64)


def images_showing(tree: WordTree, picture: Int64Array, node: Int64Array) -> Int64Array:
    """How many images show each node or anything below it, (N,); labels as in `times_in_a_pass`."""
    depth = tree.depth[node]
    counts: Int64Array = np.zeros(len(tree), np.int64)
    shown: Int64Array = np.zeros(0, np.int64)  # of one depth: image × N + node, each once
    for level in range(int(depth.max(initial=-1)), -1, -1):
        labelled = depth == level
        shown = np.sort(np.concatenate([shown, picture[labelled] * len(tree) + node[labelled]]))
        shown = shown[np.diff(shown, prepend=-1) > 0]  # np.unique's hashing takes ten times as long
        node_of = shown % len(tree)
        counts += np.bincount(node_of, minlength=len(tree))
        shown += tree.parent[node_of] - node_of  # of the same images
    return counts


def input_size_at(step: int, cfg: ScheduleConfig, *, fixed_px: int, seed: int) -> int:
    """Side of the square network input at a step; with `sizes_px`, drawn anew every `size_every` steps."""
    if not cfg.sizes_px:
        return fixed_px
    period = (step - 1) // cfg.size_every
    return int(np.random.default_rng((seed, period, len(cfg.sizes_px))).choice(cfg.sizes_px))
