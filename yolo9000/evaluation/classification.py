"""How well whole images are named: top-1, top-5, and how near in the tree an answer is that is not right.

The *candidates* of top-k are the classes with no other class below them: the leaves, where labels are leaves. A
candidate is right for an image if it lies at or under one of the image's labels, so an image that is only labelled
*dog* is named rightly by any kind of dog.
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


THRESHOLDS = (0.5, 0.7, 0.9)  # paper, section 4: the deepest node whose probability exceeds a threshold


@dataclass(frozen=True)
class RankedLabels:
    """What is kept of each of B judged images.

    rank         (B,) of the best right candidate among the candidates, from 0; −1 where none can be right
    best         (B,) the best candidate, a node
    label        (B,) the label that it is compared with: the one it shares most with
    label_depth  (B,) of that label
    shared       (B,) nodes that the paths of best candidate and label have in common
    named        (B, T) how many nodes of a label's path the answer at each threshold names; 0 if it is wrong
    named_depth  (B, T) depth of the label that this answer is compared with
    """

    rank: Int64Array
    best: Int64Array
    label: Int64Array
    label_depth: Int64Array
    shared: Int64Array
    named: Int64Array
    named_depth: Int64Array

    @staticmethod
    def joined(parts: Sequence[RankedLabels]) -> RankedLabels:
        return RankedLabels(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(RankedLabels))
        )


@dataclass(frozen=True)
class DepthScore:
    """Of the images labelled at this depth (roots 0) or below: how many best candidates are right down to there."""

    depth: int
    pictures: int
    right: float


@dataclass(frozen=True)
class PredictionScore:
    """The paper's answer, the deepest node of a probability above the threshold: how often right, and how precise.

    right    answers at, above or under a label, percent
    precise  of the labels' paths, what the right answers name of them, percent of all
    """

    threshold: float
    right: float
    precise: float


@dataclass(frozen=True)
class ClassAccuracy:
    """Of the images with one label that some candidate can be; percentages 0..100.

    taken_for   the most frequent best candidate of those that top-1 counts as wrong; None if there are none
    times       how often
    """

    id: str
    name: str
    pictures: int
    top1: float
    top5: float
    taken_for: str | None
    times: int


@dataclass(frozen=True)
class ClassificationScore:
    """One evaluation of a classifier; percentages 0..100.

    images    all that were judged          unknown   of these, labelled with nothing that any candidate is
    top1, top5  of the others; None if there are none
    path        how much of its label's path, from the root down, the best candidate has right
    """

    pictures: int
    unknown: int
    top1: float | None
    top5: float | None
    path: float
    depths: tuple[DepthScore, ...]
    answers: tuple[PredictionScore, ...]
    classes: tuple[ClassAccuracy, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """Everything as a table for the terminal."""
        from rich.table import Table

        unknown = f", {self.unknown} of them of unknown classes" if self.unknown else ""
        table = Table("measure", title=f"{self.pictures} images{unknown}")
        table.add_column("percent", justify="right")
        for name, value in (("top-1", self.top1), ("top-5", self.top5), ("label's path", self.path)):
            table.add_row(name, "–" if value is None else f"{value:.1f}")
        for depth in self.depths:
            table.add_row(
                f"right down to depth {depth.depth} ({depth.pictures} images)", f"{depth.right:.1f}"
            )
        for answer in self.answers:
            message = f"answers above {answer.threshold:g} right (names {answer.precise:.0f} % of the path)"
            table.add_row(message, f"{answer.right:.1f}")
        return table


def lowest(tree: WordTree, classes: Int64Array) -> Int64Array:
    """The classes that have no other class below them, ascending: the candidates of top-k."""
    is_class = np.zeros(len(tree) + 1, np.int64)
    is_class[tree.enter[classes] + 1] = 1
    before = is_class.cumsum()
    at_or_under = before[tree.leave[classes]] - before[tree.enter[classes]]
    return np.sort(classes[at_or_under == 1])


def judge(
    absolute: FloatArray, image: Int64Array, node: Int64Array, *, tree: WordTree, candidates: Int64Array
) -> RankedLabels:
    """What there is to know of B images, given P(node) of every node, (B, N).

    image, node: the labels (L,), `image` ascending, at least one for each image. Ties go to the first candidate.
    """
    first = np.flatnonzero(np.diff(image, prepend=-1))  # each image's first label
    best = candidates[absolute[:, candidates].argmax(axis=1)]
    shared, label = _most_shared(best, image, node, first, tree)
    answers = np.stack([deepest_confident_node(absolute, tree, threshold=t) for t in THRESHOLDS], axis=1)
    named = [_named(answer, image, node, first, tree) for answer in answers.T]
    return RankedLabels(
        rank=_rank(absolute[:, candidates], _is_right(candidates, node, first, tree)),
        best=best,
        label=label,
        label_depth=tree.depth[label].astype(np.int64),
        shared=shared,
        named=np.stack([count for count, _ in named], axis=1),
        named_depth=np.stack([depth for _, depth in named], axis=1),
    )


def summary(judged: RankedLabels, tree: WordTree) -> ClassificationScore:
    """The measures of all judged images, at least one."""
    known = judged.rank >= 0
    ranks = judged.rank[known]
    return ClassificationScore(
        pictures=len(known),
        unknown=int((~known).sum()),
        top1=_percent(ranks < 1) if len(ranks) else None,
        top5=_percent(ranks < 5) if len(ranks) else None,
        path=_percent(judged.shared / (judged.label_depth + 1)),
        depths=tuple(
            DepthScore(depth, int(deep.sum()), _percent(judged.shared[deep] > depth))
            for depth in range(int(judged.label_depth.max()) + 1)
            if (deep := judged.label_depth >= depth).any()
        ),
        answers=tuple(
            PredictionScore(threshold, _percent(count > 0), _percent(count / (depth + 1)))
            for threshold, count, depth in zip(THRESHOLDS, judged.named.T, judged.named_depth.T, strict=True)
        ),
        classes=_classes(judged.label[known], ranks, judged.best[known], tree),
    )


def _classes(
    label: Int64Array, rank: Int64Array, best: Int64Array, tree: WordTree
) -> tuple[ClassAccuracy, ...]:
    """One for each label, nodes ascending."""
    order = np.argsort(label, kind="stable")
    nodes, start = np.unique(label[order], return_index=True)
    return tuple(
        _class_accuracy(int(node), rank[rows], best[rows], tree)
        for node, rows in zip(nodes, np.split(order, start[1:]), strict=bool(len(nodes)))
    )


def _class_accuracy(node: int, rank: Int64Array, best: Int64Array, tree: WordTree) -> ClassAccuracy:
    wrong = Counter(best[rank > 0].tolist()).most_common(1)
    return ClassAccuracy(
        id=tree.ids[node],
        name=tree.names[node],
        pictures=len(rank),
        top1=_percent(rank < 1),
        top5=_percent(rank < 5),
        taken_for=tree.names[wrong[0][0]] if wrong else None,
        times=wrong[0][1] if wrong else 0,
    )


def _is_right(candidates: Int64Array, node: Int64Array, first: Int64Array, tree: WordTree) -> BoolArray:
    """Whether a candidate lies at or under one of an image's labels, (B, E)."""
    right: BoolArray = np.logical_or.reduceat(tree.is_under(candidates[None], node[:, None]), first, axis=0)
    return right


def _rank(probability: FloatArray, right: BoolArray) -> Int64Array:
    """How many candidates come before the first right one in each row, (B,); −1 in rows without a right one."""
    of_right = np.where(right, probability, -1)
    best = of_right.argmax(axis=1)[:, None]  # the first of equals
    highest = np.take_along_axis(probability, best, axis=1)
    earlier = np.arange(probability.shape[1]) < best
    before = (probability > highest) | ((probability == highest) & earlier)
    rank: Int64Array = np.where(right.any(axis=1), before.sum(axis=1), -1)
    return rank


def _most_shared(
    answer: Int64Array, image: Int64Array, node: Int64Array, first: Int64Array, tree: WordTree
) -> tuple[Int64Array, Int64Array]:
    """For each image the label whose path has most nodes in common with the answer's: how many, and which."""
    shared = (_paths(answer, tree)[image] == _paths(node, tree)).sum(axis=1, where=_paths(node, tree) >= 0)
    most = np.maximum.reduceat(shared, first)
    best = np.flatnonzero(shared == most[image])
    chosen = best[np.unique(image[best], return_index=True)[1]]
    return most, node[chosen]


def _named(
    answer: Int64Array, image: Int64Array, node: Int64Array, first: Int64Array, tree: WordTree
) -> tuple[Int64Array, Int64Array]:
    """`_most_shared`, but 0 where the answer is neither above, at nor under any of the image's labels."""
    own = answer[image]
    fits = np.logical_or.reduceat(tree.is_under(own, node) | tree.is_under(node, own), first)
    shared, label = _most_shared(answer, image, node, first, tree)
    return np.where(fits, shared, 0), tree.depth[label].astype(np.int64)


def _paths(nodes: Int64Array, tree: WordTree) -> Int64Array:
    """The node at each depth of each path, (n, depths), −1 below its end."""
    paths = np.full((len(nodes), int(tree.depth.max()) + 1), -1, np.int64)
    row, at = np.arange(len(nodes)), nodes
    while len(at):
        paths[row, tree.depth[at]] = at
        up = tree.parent[at] >= 0
        row, at = row[up], tree.parent[at[up]].astype(np.int64)
    return paths


def _percent(shares: npt.NDArray[Any]) -> float:
    return 100 * float(shares.mean())
