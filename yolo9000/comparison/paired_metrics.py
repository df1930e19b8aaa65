"""The metrics of two models as functions of the copies of each image, for the paired bootstrap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.dataset.label_counts import Supervision
from wordtree import WordTree
from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.comparison.model_pair import UNKNOWN, ComparedModel, ModelDetections
from yolo9000.comparison.resampling import ResampledPrecision
from yolo9000.evaluation.prediction_metrics import coverage_of

ClassPair = tuple[Supervision | None, Supervision | None]
ALL_CLASSES: ClassPair = (None, None)


@dataclass(frozen=True, eq=False)
class ComparedClasses:
    """The E classes with objects that both models know.

    is_shared     for each class with objects, whether it is one of these
    nodes         (E,) of the shards' tree
    objects       (E,) number of objects
    images        (E,) number of images with objects
    supervision   of each class, in A and in B
    """

    is_shared: BoolArray
    nodes: Int64Array
    objects: Int64Array
    images: Int64Array
    supervision: Sequence[tuple[Supervision, Supervision]]

    @classmethod
    def of(cls, models: Sequence[ComparedModel], both: Sequence[ModelDetections]) -> ComparedClasses:
        """The classes of the outcomes of both models, which have the same objects."""
        outcomes = both[0].outcomes
        is_shared = np.all([found.node_of[outcomes.nodes] != UNKNOWN for found in both], axis=0)
        nodes = outcomes.nodes[is_shared]
        columns = [
            [model.label_counts.supervision(int(node)) for node in found.node_of[nodes]]
            for model, found in zip(models, both, strict=True)
        ]
        in_images = np.unique(np.stack([outcomes.object_node, outcomes.object_image]), axis=1)[0]
        most = int(outcomes.nodes.max(initial=0)) + 1
        return cls(
            is_shared=is_shared,
            nodes=nodes,
            objects=np.bincount(outcomes.object_node, minlength=most)[nodes],
            images=np.bincount(in_images, minlength=most)[nodes],
            supervision=list(zip(*columns, strict=True)),
        )

    @property
    def groups(self) -> dict[ClassPair, BoolArray]:
        """The members of each group by supervision in both models, (E,) each; first all classes."""
        pairs: list[ClassPair] = sorted(set(self.supervision), key=str)
        members = {pair: np.array([own == pair for own in self.supervision]) for pair in pairs}
        return {ALL_CLASSES: np.ones(len(self.nodes), bool)} | members


class PrecisionOfBoth:
    """AP of both models, at the first threshold and as the mean over all: of each group and each of E classes."""

    def __init__(self, both: Sequence[ModelDetections], classes: ComparedClasses) -> None:
        self._precision = [ResampledPrecision(found.outcomes) for found in both]
        self._is_shared = classes.is_shared
        self._members = np.stack(list(classes.groups.values())).astype(np.float64)  # (groups, E)

    def at(self, copies: Int64Array) -> Float64Array:
        """(2, 2·groups + 2E): per model, AP50 and AP of the groups, then those of the classes; NaN: no objects."""
        values = np.stack([model.at(copies)[:, self._is_shared] for model in self._precision])  # (2, 2, E)
        is_known = ~np.isnan(values)
        counts = is_known @ self._members.T
        sums = np.where(is_known, values, 0) @ self._members.T
        means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
        return np.concatenate([means.reshape(2, -1), values.reshape(2, -1)], axis=1)


@dataclass(frozen=True, eq=False)
class Ratio:
    """A metric that is a ratio of sums over images: what each image adds for both models, (2, I) each."""

    numerator: Float64Array
    denominator: Float64Array


class RatiosOfBoth:
    """Ratios of both models."""

    def __init__(self, ratios: Sequence[Ratio]) -> None:
        self._sums = np.stack(
            [[row.numerator, row.denominator] for row in ratios], axis=-1
        )  # (2, 2, I, ratios)

    def at(self, copies: Int64Array) -> Float64Array:
        """The ratios of both models, 0..100, (2, ratios); NaN where the denominator is 0."""
        numerator, denominator = np.tensordot(copies.astype(np.float64), self._sums, axes=([0], [2]))
        values: Float64Array = np.divide(
            100 * numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0
        )
        return values


def prediction_ratios(both: Sequence[ModelDetections], images: int) -> dict[str, Ratio]:
    """The metrics of the detections of `predict`, each model at its own thresholds (`prediction_metrics`)."""
    counts = [_counts(found, images) for found in both]

    def sums(name: str) -> Float64Array:
        return np.stack([of_model[name] for of_model in counts])

    correct, detections, objects = sums("correct"), sums("detections"), sums("objects")
    ratios = {
        "precision": Ratio(correct, detections),
        "recall": Ratio(correct, objects),
        "F1": Ratio(2 * correct, detections + objects),
        "accuracy": Ratio(correct, sums("matched")),
        "exact": Ratio(sums("exact"), sums("matched")),
    }
    if both[0].paths.tree.fingerprint == both[1].paths.tree.fingerprint:
        ratios["coverage"] = Ratio(sums("coverage"), sums("matched"))
    return ratios


@dataclass(frozen=True, eq=False)
class Level:
    """The objects that are detected and correct down to one depth of the shards' tree (`LevelDifference`).

    nodes: number of nodes of this depth at or above the classes of objects
    """

    depth: int
    nodes: int
    correct: Ratio


def levels(both: Sequence[ModelDetections], objects: Int64Array, tree: WordTree, images: int) -> list[Level]:
    """The levels down to the deepest class of an object; objects: (O,) class of each object in the shards' tree."""
    leaves = [_leaf_of_objects(found) for found in both]
    found_levels = []
    for depth in range(int(tree.depth[objects].max(initial=-1)) + 1):
        above = _ancestors_at(depth, objects, tree)
        own = [np.where(above >= 0, found.node_of[above], UNKNOWN) for found in both]
        is_counted = (own[0] != UNKNOWN) & (own[1] != UNKNOWN)
        correct = [
            is_counted & (leaf >= 0) & found.paths.tree.is_at_or_under(leaf.clip(min=0), node.clip(min=0))
            for found, leaf, node in zip(both, leaves, own, strict=True)
        ]
        image = both[0].paths.object_image
        total = np.bincount(image, is_counted, minlength=images)
        counts = [np.bincount(image, rows, minlength=images) for rows in correct]
        ratio = Ratio(np.stack(counts), np.stack([total, total]))
        found_levels.append(Level(depth, len(np.unique(above[is_counted])), ratio))
    return [level for level in found_levels if level.nodes]


def _counts(found: ModelDetections, images: int) -> Mapping[str, Float64Array]:
    """The contribution of each image to the sums of one model, (I,) each."""
    paths = found.paths
    detections = found.is_reported & ~paths.is_ignored
    matched = found.is_reported & paths.is_matched
    exact = matched & found.is_correct
    exact[exact] = found.predicted[exact] == paths.node[paths.object[exact]]
    coverage = np.where(matched, coverage_of(found.predicted, paths.tree), 0)
    columns: dict[str, BoolArray | Float64Array] = {
        "detections": detections,
        "matched": matched,
        "correct": matched & found.is_correct,
        "exact": exact,
        "coverage": coverage,
    }
    counts = {name: np.bincount(paths.image, column, images) for name, column in columns.items()}
    counts["objects"] = np.bincount(paths.object_image, minlength=images)
    return {name: count.astype(np.float64) for name, count in counts.items()}


def _leaf_of_objects(found: ModelDetections) -> Int64Array:
    """The end of the path of the detection of each object, (O,); −1 where none is reported."""
    leaf = np.full(len(found.paths.node), UNKNOWN, np.int64)
    rows = np.flatnonzero(found.is_reported & found.paths.is_matched)
    leaf[found.paths.object[rows]] = found.paths.leaf[rows]
    return leaf


def _ancestors_at(depth: int, nodes: Int64Array, tree: WordTree) -> Int64Array:
    """The node of a depth at or above each node, (O,); −1 for nodes of a smaller depth."""
    at = nodes.copy()
    for _ in range(int(tree.depth[nodes].max(initial=0)) - depth):
        at = np.where(tree.depth[at] > depth, tree.parent[at], at)
    return np.where(tree.depth[at] == depth, at, UNKNOWN)
