"""The metrics of a classifier: top-1 and top-5 accuracy, and accuracy along the path from the root to the label.

The *candidates* of top-k are the classes without a class below them: the leaves, where all labels are leaves. A
candidate is correct for an image if it is equal to or below one of the image's labels. An image labelled *dog* is
therefore classified correctly as any breed of dog.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import BoolArray, FloatArray, Int64Array
from wordtree.tree.probability import deepest_confident_node
from wordtree.tree.tree import WordTree

if TYPE_CHECKING:
    from rich.table import Table


THRESHOLDS = (0.5, 0.7, 0.9)  # paper, section 4: the prediction is the deepest node that exceeds a threshold


@dataclass(frozen=True)
class DepthAccuracy:
    """Accuracy down to one depth (roots: 0), over the images labelled at this depth or deeper.

    correct   percentage of images whose top-1 prediction shares the label's path down to this depth, 0..100
    """

    depth: int
    images: int
    correct: float


@dataclass(frozen=True)
class ThresholdAccuracy:
    """Accuracy of the paper's prediction, the deepest node with a probability above the threshold; 0..100.

    correct   percentage of predictions equal to a label, above it or below it
    path      percentage of the nodes on the labels' paths that correct predictions cover
    """

    threshold: float
    correct: float
    path: float


@dataclass(frozen=True)
class ClassAccuracy:
    """Accuracy of one class, over the images with its label for which a candidate is correct; 0..100.

    confused_with   most frequent top-1 prediction among the wrong ones; None if none is wrong
    count           number of these predictions
    """

    id: str
    name: str
    images: int
    top1: float
    top5: float
    confused_with: str | None
    count: int


@dataclass(frozen=True)
class ClassificationMetrics:
    """One evaluation of a classifier, as percentages 0..100.

    images      number of evaluated images
    unknown     number of images for which no candidate is correct
    top1, top5  accuracy over the other images; None if there are none
    path        part of the label's path, from the root down, that the top-1 prediction shares; mean over all images
    """

    images: int
    unknown: int
    top1: float | None
    top5: float | None
    path: float
    depths: tuple[DepthAccuracy, ...]
    thresholds: tuple[ThresholdAccuracy, ...]
    classes: tuple[ClassAccuracy, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """A table for the terminal."""
        from rich.table import Table

        unknown = f", {self.unknown} of them of unknown classes" if self.unknown else ""
        table = Table("accuracy", title=f"{self.images} images{unknown}")
        table.add_column("percent", justify="right")
        for name, value in (("top-1", self.top1), ("top-5", self.top5), ("label's path", self.path)):
            table.add_row(name, "–" if value is None else f"{value:.1f}")
        for at_depth in self.depths:
            name = f"down to depth {at_depth.depth} ({at_depth.images} images)"
            table.add_row(name, f"{at_depth.correct:.1f}")
        for at_threshold in self.thresholds:
            covered = f"covers {at_threshold.path:.0f} % of the path"
            name = f"deepest node above {at_threshold.threshold:g} ({covered})"
            table.add_row(name, f"{at_threshold.correct:.1f}")
        return table


@dataclass(frozen=True)
class ImageOutcomes:
    """Predictions for B images compared with their labels.

    rank                    (B,) rank of the best correct candidate, from 0; −1 where no candidate is correct
    predicted               (B,) top-1 candidate
    label                   (B,) label of the image whose path has most nodes in common with the path of `predicted`
    label_depth             (B,) depth of this label
    common                  (B,) number of nodes that the paths of `label` and `predicted` have in common
    threshold_common        (B, thresholds) `common` for the prediction at each threshold; 0 if the prediction is wrong
    threshold_label_depth   (B, thresholds) depth of the label that this prediction is compared with
    """

    rank: Int64Array
    predicted: Int64Array
    label: Int64Array
    label_depth: Int64Array
    common: Int64Array
    threshold_common: Int64Array
    threshold_label_depth: Int64Array

    @staticmethod
    def concatenated(parts: Sequence[ImageOutcomes]) -> ImageOutcomes:
        return ImageOutcomes(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(ImageOutcomes))
        )


def lowest_classes(tree: WordTree, classes: Int64Array) -> Int64Array:
    """The classes that have no other class below them, ascending: the candidates of top-k."""
    is_class = np.zeros(len(tree) + 1, np.int64)
    is_class[tree.enter[classes] + 1] = 1
    before = is_class.cumsum()
    at_or_under = before[tree.leave[classes]] - before[tree.enter[classes]]
    return np.sort(classes[at_or_under == 1])


def image_outcomes(
    absolute: FloatArray, image: Int64Array, node: Int64Array, *, tree: WordTree, candidates: Int64Array
) -> ImageOutcomes:
    """Outcomes of B images, given P(node) of every node, (B, N).

    image, node: the image and the class of L labels, (L,). `image` is ascending, and each image has a label.
    Of candidates with equal probability, the first ranks higher.
    """
    labels = _Labels(image, node, tree)
    predicted = candidates[absolute[:, candidates].argmax(axis=1)]
    common, label = labels.nearest(predicted)
    per_threshold = [
        _threshold_outcome(deepest_confident_node(absolute, tree, threshold=threshold), labels)
        for threshold in THRESHOLDS
    ]
    return ImageOutcomes(
        rank=_rank(absolute[:, candidates], labels.is_correct(candidates)),
        predicted=predicted,
        label=label,
        label_depth=tree.depth[label].astype(np.int64),
        common=common,
        threshold_common=np.stack([count for count, _ in per_threshold], axis=1),
        threshold_label_depth=np.stack([depth for _, depth in per_threshold], axis=1),
    )


class _Labels:
    """The L labels of B images."""

    def __init__(self, image: Int64Array, node: Int64Array, tree: WordTree) -> None:
        self.image, self.node, self.tree = image, node, tree
        self.first = np.flatnonzero(np.diff(image, prepend=-1))  # row of the first label of each image

    def any_by_image(self, is_true: BoolArray) -> BoolArray:
        """Whether a value (L, …) is true for any label of an image, (B, …)."""
        result: BoolArray = np.logical_or.reduceat(is_true, self.first, axis=0)
        return result

    def is_correct(self, candidates: Int64Array) -> BoolArray:
        """Whether each of E candidates is equal to or below one of an image's labels, (B, E)."""
        return self.any_by_image(self.tree.is_at_or_under(candidates[None], self.node[:, None]))

    def nearest(self, predicted: Int64Array) -> tuple[Int64Array, Int64Array]:
        """For each image the label whose path has most nodes in common with its prediction: number of nodes, label."""
        label_paths = _paths(self.node, self.tree)
        is_common = (_paths(predicted, self.tree)[self.image] == label_paths) & (label_paths >= 0)
        common = is_common.sum(axis=1)
        most = np.maximum.reduceat(common, self.first)
        best = np.flatnonzero(common == most[self.image])
        chosen = best[np.unique(self.image[best], return_index=True)[1]]
        return most, self.node[chosen]


def _threshold_outcome(predicted: Int64Array, labels: _Labels) -> tuple[Int64Array, Int64Array]:
    """Number of common nodes of predictions and labels, 0 where a prediction is wrong, and depth of these labels.

    A prediction is correct if it is equal to, above or below one of the image's labels.
    """
    tree, predicted_of_label = labels.tree, predicted[labels.image]
    correct = labels.any_by_image(
        tree.is_at_or_under(predicted_of_label, labels.node)
        | tree.is_at_or_under(labels.node, predicted_of_label)
    )
    common, label = labels.nearest(predicted)
    return np.where(correct, common, 0), tree.depth[label].astype(np.int64)


def _rank(probability: FloatArray, correct: BoolArray) -> Int64Array:
    """Rank of the first correct candidate in each row, from 0; −1 in rows without a correct one; (B,)."""
    of_correct = np.where(correct, probability, -1)
    best = of_correct.argmax(axis=1)[:, None]  # the first of equals
    highest = np.take_along_axis(probability, best, axis=1)
    earlier = np.arange(probability.shape[1]) < best
    before = (probability > highest) | ((probability == highest) & earlier)
    rank: Int64Array = np.where(correct.any(axis=1), before.sum(axis=1), -1)
    return rank


def _paths(nodes: Int64Array, tree: WordTree) -> Int64Array:
    """The node at each depth of each path, (len(nodes), depths); −1 beyond the end of a path."""
    paths = np.full((len(nodes), int(tree.depth.max()) + 1), -1, np.int64)
    row, at = np.arange(len(nodes)), nodes
    while len(at):
        paths[row, tree.depth[at]] = at
        has_parent = tree.parent[at] >= 0
        row, at = row[has_parent], tree.parent[at[has_parent]].astype(np.int64)
    return paths


def classification_metrics(outcomes: ImageOutcomes, tree: WordTree) -> ClassificationMetrics:
    """The metrics over all images, at least one."""
    known = outcomes.rank >= 0
    ranks = outcomes.rank[known]
    by_threshold = zip(THRESHOLDS, outcomes.threshold_common.T, outcomes.threshold_label_depth.T, strict=True)
    return ClassificationMetrics(
        images=len(known),
        unknown=int((~known).sum()),
        top1=_percentage(ranks < 1) if len(ranks) else None,
        top5=_percentage(ranks < 5) if len(ranks) else None,
        path=_percentage(outcomes.common / (outcomes.label_depth + 1)),
        depths=tuple(
            DepthAccuracy(depth, int(deep.sum()), _percentage(outcomes.common[deep] > depth))
            for depth in range(int(outcomes.label_depth.max()) + 1)
            if (deep := outcomes.label_depth >= depth).any()
        ),
        thresholds=tuple(
            ThresholdAccuracy(threshold, _percentage(common > 0), _percentage(common / (depth + 1)))
            for threshold, common, depth in by_threshold
        ),
        classes=_class_accuracies(outcomes.label[known], ranks, outcomes.predicted[known], tree),
    )


def _class_accuracies(
    label: Int64Array, rank: Int64Array, predicted: Int64Array, tree: WordTree
) -> tuple[ClassAccuracy, ...]:
    """The accuracy of each label, by ascending node."""
    if not len(label):
        return ()
    order = np.argsort(label, kind="stable")
    nodes, start = np.unique(label[order], return_index=True)
    return tuple(
        _class_accuracy(int(node), rank[rows], predicted[rows], tree)
        for node, rows in zip(nodes, np.split(order, start[1:]), strict=True)
    )


def _class_accuracy(node: int, rank: Int64Array, predicted: Int64Array, tree: WordTree) -> ClassAccuracy:
    wrong = Counter(predicted[rank > 0].tolist()).most_common(1)
    return ClassAccuracy(
        id=tree.ids[node],
        name=tree.names[node],
        images=len(rank),
        top1=_percentage(rank < 1),
        top5=_percentage(rank < 5),
        confused_with=tree.names[wrong[0][0]] if wrong else None,
        count=wrong[0][1] if wrong else 0,
    )


def _percentage(shares: npt.NDArray[Any]) -> float:
    return 100 * float(shares.mean())
