"""The paired bootstrap: metrics on images drawn with replacement, from outcomes that were found once.

Which detections are correct is decided within each image, so a drawn image only counts as often as it was drawn, and
nothing is matched again. Both models of a comparison are evaluated on the same drawn images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from wordtree.support.arrays import BoolArray, Float64Array, FloatArray, Int64Array
from yolo9000.distributed import track_progress
from yolo9000.evaluation.average_precision import RECALLS, DetectionOutcomes, Ranking


@dataclass(frozen=True)
class ResamplingChoice:
    """The options of the tests of differences.

    resamples              number of times that the images are drawn with replacement
    confidence             of the intervals
    false_discovery_rate   largest expected share of classes that differ by chance among those reported
    """

    resamples: int = 1000
    seed: int = 0
    confidence: float = 0.95
    false_discovery_rate: float = 0.05


@dataclass(frozen=True)
class Difference:
    """A metric of models A and B, 0..100, and B − A. None: undefined, or not tested.

    low, high   the interval of B − A
    p           two-sided p-value of no difference
    """

    a: float | None
    b: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def tested_differences(
    metrics: Callable[[Int64Array], Float64Array],
    images: int,
    choice: ResamplingChoice,
    is_tested: BoolArray,
) -> list[Difference]:
    """The differences of the metrics; those that are not tested get no interval.

    metrics: a function from the copies of each image, (I,), to the values of both models, (2, metrics); NaN: undefined.
    is_tested: (metrics,)
    """
    a, b = metrics(np.ones(images, np.int64))
    drawn = np.empty((choice.resamples, int(is_tested.sum())), np.float32)
    copies = drawn_copies(images, choice.resamples, choice.seed)
    for row, one in enumerate(track_progress(copies, "resampling", total=choice.resamples)):
        drawn[row] = np.diff(metrics(one), axis=0)[0, is_tested]
    bounds = np.full((3, len(a)), np.nan)
    bounds[:2, is_tested], bounds[2, is_tested] = interval(drawn, choice.confidence), p_values(drawn)
    columns = np.stack([a, b, b - a, *bounds]).T
    return [
        Difference(*(None if np.isnan(value) else float(value) for value in column)) for column in columns
    ]


def drawn_copies(images: int, resamples: int, seed: int) -> Iterator[Int64Array]:
    """For each resample the number of copies of each image, (I,); their sum is I."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(0, images, images), minlength=images)


class ResampledPrecision:
    """The average precision of each of E classes for any numbers of copies of the images.

    A copy counts like another image: all sums of `precision_at_correct` become sums of copies. Of the copies of a
    correct detection the last has the highest precision, so one entry stands for all.
    """

    def __init__(self, outcomes: DetectionOutcomes) -> None:
        ranking = Ranking.of(outcomes.detections, outcomes.nodes)
        classes, rows = len(outcomes.nodes), len(ranking.order)
        correct, counted = outcomes.correct[:, ranking.order], outcomes.counted[:, ranking.order]
        self._shape = len(correct), classes
        self._recalls = outcomes.recalls
        self._image = outcomes.detections.image[ranking.order]  # (K,)
        self._object_image = outcomes.object_image
        self._object_column = np.searchsorted(outcomes.nodes, outcomes.object_node)
        threshold, row = np.nonzero(correct)  # the correct detections at each threshold, class after class
        column = ranking.column[row]
        self._row, self._column, self._start = row, column, ranking.start[column]
        self._group = threshold * classes + column
        self._first = np.searchsorted(self._group, self._group)
        ignored_threshold, ignored_row = np.nonzero(~counted)
        self._ignored_image = self._image[ignored_row]
        ignored = ignored_threshold * rows + ignored_row
        self._ignored_before = np.searchsorted(ignored, threshold * rows + row)
        self._ignored_before_class = np.searchsorted(ignored, threshold * rows + self._start)

    def objects(self, copies: Int64Array) -> Int64Array:
        """Number of objects of each class, (E,)."""
        counts = np.bincount(self._object_column, copies[self._object_image], minlength=self._shape[1])
        return counts.astype(np.int64)

    def at(self, copies: Int64Array) -> Float64Array:
        """AP at the first threshold and the mean over all thresholds, 0..100, (2, E); NaN for a class without objects.

        copies: (I,) of each image.
        """
        objects = self.objects(copies)
        detections, ignored = _sums(copies[self._image]), _sums(copies[self._ignored_image])
        own = copies[self._image[self._row]]
        correct = _sums(own)
        true = correct[1:] - correct[self._first]
        position = detections[self._row + 1] - detections[self._start]
        position -= ignored[self._ignored_before] - ignored[self._ignored_before_class]
        precision = _largest_from_here(true / np.maximum(position, 1), self._group)
        of_class = np.maximum(objects[self._column], 1)
        if self._recalls == "101":
            reached = np.searchsorted(RECALLS, true / of_class, side="right") * (true > 0)
            is_first = self._first == np.arange(len(reached))
            weight = (reached - np.where(is_first, 0, np.roll(reached, 1))) / len(RECALLS)
        else:
            weight = own / of_class
        thresholds, classes = self._shape
        sums = np.bincount(self._group, weight * precision, minlength=thresholds * classes)
        values = 100 * sums.reshape(thresholds, classes).astype(np.float64)
        values[:, objects == 0] = np.nan
        return np.stack([values[0], values.mean(axis=0)])


def interval(values: FloatArray, confidence: float) -> Float64Array:
    """The central interval of resampled values, (2, …); NaN, where a metric was undefined, is left out.

    values: (resamples, …).
    """
    shares = [(1 - confidence) / 2, (1 + confidence) / 2]
    is_known = ~np.isnan(values)
    bounds: Float64Array = np.full((2, *values.shape[1:]), np.nan)
    complete = is_known.all(axis=0)
    bounds[:, complete] = np.quantile(values[:, complete], shares, axis=0)
    for position in np.argwhere(~complete & is_known.any(axis=0)):
        column = (slice(None), *position)
        bounds[column] = np.quantile(values[column][is_known[column]], shares)
    return bounds


def p_values(differences: FloatArray) -> Float64Array:
    """Two-sided p-values, (…): twice the smaller share of resampled differences on one side of 0; NaN is left out.

    differences: (resamples, …). The smallest value is 2 / (resamples + 1).
    """
    known = (~np.isnan(differences)).sum(axis=0)
    below, above = (differences <= 0).sum(axis=0), (differences >= 0).sum(axis=0)
    smaller = np.minimum(below, above).astype(np.float64)
    p: Float64Array = np.minimum(1, 2 * (smaller + 1) / (known + 1))
    return p


def false_discoveries_limited(p: Float64Array, rate: float) -> BoolArray:
    """Which of several differences to report, (E,), so that at most the share `rate` of these is due to chance.

    Benjamini and Hochberg, "Controlling the False Discovery Rate", 1995.
    """
    order = np.argsort(p, kind="stable")
    allowed = np.flatnonzero(p[order] <= rate * np.arange(1, len(p) + 1) / max(1, len(p)))
    found = np.zeros(len(p), bool)
    if len(allowed):
        found[order[: allowed[-1] + 1]] = True
    return found


def _sums(values: Int64Array) -> Int64Array:
    """The sums of the first 0, 1, … of the values."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])


def _largest_from_here(values: Float64Array, group: Int64Array) -> Float64Array:
    """The largest value at or after each row of the same group; values 0..1, groups ascending."""
    offset = 2.0 * (group.max(initial=0) - group)  # later groups are smaller
    largest: Float64Array = np.maximum.accumulate((values + offset)[::-1])[::-1] - offset
    return largest
