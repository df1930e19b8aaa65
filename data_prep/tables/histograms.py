"""Distributions of boxes, classes, sizes and supervision in a merged data set, as histograms."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_prep.dataset.label_counts import LabelCounts
from data_prep.dataset.reader import ShardReader
from data_prep.shards.offsets import owner_of_rows
from data_prep.tables.charts import Histogram, short_count
from wordtree.support.arrays import Float64Array, Int32Array, Int64Array

MAX_BINS = 20  # of counts such as boxes in an image; the last bin holds all larger counts
SUPERVISION = ("boxes", "image labels", "none")


def histograms_of(reader: ShardReader, split: str) -> list[Histogram]:
    """Histograms of a split, without ignore regions; histograms without any count are left out."""
    images = reader.split(split)
    in_split = np.zeros(len(reader), dtype=bool)
    in_split[images] = True
    owner = owner_of_rows(reader.box_offsets)
    chosen = in_split[owner] & ~reader.box_ignored
    boxes = _Boxes(
        owner[chosen],
        reader.box_nodes[chosen],
        reader.boxes_xyxy_unit[chosen].astype(np.float64),
        np.stack([reader.image_width, reader.image_height], axis=1)[owner[chosen]].astype(np.float64),
    )
    boxed = images[reader.image_boxed[images]]
    found = [
        _of_labels(reader.label_counts.boxes, "boxes"),
        _of_labels(reader.label_counts.image_labels, "image labels"),
        _supervision_by_depth(reader.label_counts),
        _box_sizes(boxes),
        _box_shapes(boxes),
        _boxes_in_images(boxes, boxed),
        _classes_in_images(boxes, boxed),
        _image_sizes(reader, images),
    ]
    return [histogram for histogram in found if histogram.counts.sum()]


@dataclass(frozen=True)
class _Boxes:
    """M boxes: their image and node (M,), corners in the unit square (M, 4), width and height of the image (M, 2)."""

    image: Int64Array
    node: Int32Array
    xyxy_unit: Float64Array
    image_wh_px: Float64Array

    @property
    def wh_px(self) -> Float64Array:
        return (self.xyxy_unit[:, 2:] - self.xyxy_unit[:, :2]) * self.image_wh_px


def _of_labels(counts: Int64Array, noun: str) -> Histogram:
    """Numbers of nodes with 1, 2 to 3, 4 to 7, … labels."""
    own = counts[counts > 0]
    power = np.log2(np.maximum(own, 1)).astype(np.int64)
    lowest, highest = (int(power.min()), int(power.max())) if len(own) else (0, 0)
    bins = [
        f"{short_count(2**n)}–{short_count(2 ** (n + 1) - 1)}" if n else "1"
        for n in range(lowest, highest + 1)
    ]
    few = int((own < 10).sum())
    median = int(np.median(own)) if len(own) else 0
    return Histogram(
        f"{noun.replace(' ', '_')}_per_class.svg",
        f"{noun.capitalize()} per class",
        f"{int(own.sum()):,} {noun} of {len(own):,} classes; half of them have at least {median:,}, "
        f"{few:,} have fewer than 10",
        noun,
        "classes",
        bins,
        (noun,),
        np.bincount(power - lowest, minlength=len(bins))[None],
    )


def _supervision_by_depth(label_counts: LabelCounts) -> Histogram:
    tree = label_counts.tree
    kind = np.where(
        label_counts.boxes_rolled_up > 0, 0, np.where(label_counts.image_labels_rolled_up > 0, 1, 2)
    )
    depths = int(tree.depth.max()) + 1
    counts = np.stack([np.bincount(tree.depth[kind == number], minlength=depths) for number in range(3)])
    totals = counts.sum(axis=1).tolist()
    return Histogram(
        "supervision_by_depth.svg",
        "Best supervision at or below each node",
        "; ".join(f"{total:,} nodes: {name}" for name, total in zip(SUPERVISION, totals, strict=True)),
        "depth in the tree",
        "nodes",
        [str(depth) for depth in range(depths)],
        SUPERVISION,
        counts,
    )


def _box_sizes(boxes: _Boxes) -> Histogram:
    """Sides of squares with the boxes' areas, as shares of the longer side of the image: sizes for the network."""
    side = np.sqrt(boxes.wh_px.prod(axis=1)) / boxes.image_wh_px.max(axis=1, initial=1)
    edges = 2.0 ** np.arange(-7, 0.01, 0.5)
    percent = [f"{100 * edge:.{1 if edge < 0.1 else 0}f}" for edge in edges]
    bins = [f"<{percent[0]}", *(f"{a}–{b}" for a, b in pairwise(percent))]
    bin_of = np.searchsorted(edges[:-1], side, side="right")
    small = 100 * float((side < 32 / 640).mean()) if len(side) else 0.0
    return Histogram(
        "box_sizes.svg",
        "Sizes of boxes",
        f"{len(side):,} boxes; {small:.0f} % are smaller than 5 % of their image's longer side",
        "side of a square of the box's area, % of the image's longer side",
        "boxes",
        bins,
        ("boxes",),
        np.bincount(bin_of, minlength=len(bins))[None],
    )


def _box_shapes(boxes: _Boxes) -> Histogram:
    wh = boxes.wh_px
    power = (
        np.clip(np.round(2 * np.log2(wh[:, 0] / wh[:, 1])), -7, 7).astype(np.int64)
        if len(wh)
        else np.empty(0, int)
    )
    ratios = [2 ** (abs(n) / 2) for n in range(-7, 8)]
    bins = [f"1:{r:.2g}" if n < 0 else f"{r:.2g}:1" for n, r in zip(range(-7, 8), ratios, strict=True)]
    wide, tall = (float((power > 0).mean()), float((power < 0).mean())) if len(power) else (0.0, 0.0)
    return Histogram(
        "box_shapes.svg",
        "Shapes of boxes",
        f"{100 * wide:.0f} % are wider than high, {100 * tall:.0f} % higher than wide",
        "width : height (the outermost bars hold all beyond)",
        "boxes",
        bins,
        ("boxes",),
        np.bincount(power + 7, minlength=15)[None],
    )


def _boxes_in_images(boxes: _Boxes, boxed: Int64Array) -> Histogram:
    counts = np.bincount(np.searchsorted(boxed, boxes.image), minlength=len(boxed))
    mean = float(counts.mean()) if len(counts) else 0.0
    most = int(counts.max(initial=0))
    fact = f"{len(boxed):,} images with boxes drawn; {mean:.1f} boxes on average, at most {most:,}"
    return _of_counts("boxes_per_image.svg", "Boxes per image", fact, "boxes", counts)


def _classes_in_images(boxes: _Boxes, boxed: Int64Array) -> Histogram:
    nodes = int(boxes.node.max(initial=0)) + 1
    pairs = np.unique(boxes.image * nodes + boxes.node)
    counts = np.bincount(np.searchsorted(boxed, pairs // nodes), minlength=len(boxed))
    mean = float(counts.mean()) if len(counts) else 0.0
    fact = f"{mean:.1f} different classes on average, at most {int(counts.max(initial=0)):,}"
    return _of_counts(
        "classes_per_image.svg", "Classes per image", fact, "different classes with a box", counts
    )


def _of_counts(file: str, title: str, fact: str, noun: str, counts: Int64Array) -> Histogram:
    """A bin for each number from 0 on; the last bin is for all from MAX_BINS on."""
    most = min(int(counts.max(initial=0)), MAX_BINS)
    bins = [str(number) for number in range(most + 1)]
    if counts.max(initial=0) > MAX_BINS:
        bins[-1] = f"≥ {MAX_BINS}"
    inside = np.bincount(np.minimum(counts, MAX_BINS), minlength=most + 1)[None]
    return Histogram(file, title, fact, noun, "images", bins, ("images",), inside)


def _image_sizes(reader: ShardReader, images: Int64Array) -> Histogram:
    """Longer sides of the images as stored, with and without boxes drawn."""
    longer = np.maximum(reader.image_width[images], reader.image_height[images])
    power = np.log2(np.maximum(longer, 1)) * 2
    low, high = (int(power.min()), int(power.max())) if len(power) else (0, 0)
    edges = [round(2 ** (n / 2)) for n in range(low, high + 2)]
    bin_of = power.astype(np.int64) - low
    is_boxed = reader.image_boxed[images]
    counts = np.stack(
        [np.bincount(bin_of[chosen], minlength=high - low + 1) for chosen in (is_boxed, ~is_boxed)]
    )
    return Histogram(
        "image_sizes.svg",
        "Sizes of images",
        f"{len(images):,} images; half of them have a longer side of at least {int(np.median(longer)):,} px"
        if len(images)
        else "",
        "longer side, px",
        "images",
        [f"{a}–{b}" for a, b in pairwise(edges)],
        ("with boxes drawn", "without"),
        counts,
    )
