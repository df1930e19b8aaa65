"""The images on which two models disagree most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wordtree import WordTree
from wordtree.support.arrays import BoolArray, Int64Array
from yolo9000.comparison.model_pair import UNKNOWN, ModelDetections, nodes_by_id
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.matching import Pairs, match, overlapping_pairs

MIN_IOU = 0.5


@dataclass(frozen=True)
class ImageDisagreement:
    """The disagreement of two models A and B in one image.

    position       of the image among the evaluated ones
    image          its id in the shards
    disagreement   sum of the scores of the detections that the other model does not share
    objects        number of objects of the compared classes
    correct_a, wrong_a   number of A's detections that are correct, and of the others
    """

    position: int
    image: str
    disagreement: float
    objects: int
    correct_a: int
    wrong_a: int
    correct_b: int
    wrong_b: int


def most_disagreed(
    images: EvaluationSet, both: Sequence[ModelDetections], is_agreed: Sequence[BoolArray], count: int
) -> tuple[ImageDisagreement, ...]:
    """The images with the largest disagreement, at most `count`; images without any are left out.

    is_agreed: for each model (K,), as `agreements` returns it.
    """
    total = np.zeros(len(images.images))
    for found, agreed in zip(both, is_agreed, strict=True):
        rows = found.is_reported & ~agreed
        total += np.bincount(found.paths.image[rows], found.score[rows], minlength=len(total))
    order = np.argsort(-total, kind="stable")[:count]
    objects = np.bincount(both[0].paths.object_image, minlength=len(total))
    tallies = [_tally(found, len(total)) for found in both]
    return tuple(
        ImageDisagreement(
            position,
            images.reader.source_id(int(images.images[position])),
            float(total[position]),
            int(objects[position]),
            *(int(counts[position]) for tally in tallies for counts in tally),
        )
        for position in order[total[order] > 0].tolist()
    )


def agreements(both: Sequence[ModelDetections], tree: WordTree) -> list[BoolArray]:
    """For each model, whether the other one shares each of its detections, (K,).

    Two detections agree if their IoU is at least 0.5 and one class is the other or above it; each agrees with at most
    one. tree: of the shards, in which classes of different trees are compared.
    """
    first, second = both
    rows = [np.flatnonzero(found.is_reported) for found in both]
    nodes = _in_one_tree(first, second, tree)
    image, no_class = first.paths.image[rows[0]], np.zeros(len(rows[0]), np.int64)
    detections = DetectionTable(image, no_class, first.xyxy_px[rows[0]], first.objectness[rows[0]])
    columns = second.paths.image[rows[1]], np.zeros(len(rows[1]), np.int64), second.xyxy_px[rows[1]]
    others = TruthTable(*columns, *np.zeros((2, len(rows[1])), bool))
    pairs = overlapping_pairs(detections, others, min_overlap=MIN_IOU)
    compared = nodes[2]
    a, b = nodes[0][rows[0][pairs.detection]], nodes[1][rows[1][pairs.truth]]
    fits = (a != UNKNOWN) & (b != UNKNOWN)
    fits[fits] = compared.is_at_or_under(a[fits], b[fits]) | compared.is_at_or_under(b[fits], a[fits])
    pairs = Pairs(pairs.detection[fits], pairs.truth[fits], pairs.overlap[fits])
    matches = match(pairs, detections, others, np.array([MIN_IOU]))
    is_matched = matches.truth[0] >= 0
    agreed = [np.zeros(len(found.paths), bool) for found in both]
    agreed[0][rows[0][matches.detection[is_matched]]] = True
    agreed[1][rows[1][matches.truth[0][is_matched]]] = True
    return agreed


def _in_one_tree(
    first: ModelDetections, second: ModelDetections, tree: WordTree
) -> tuple[Int64Array, Int64Array, WordTree]:
    """The predicted nodes of both models in one tree: their own if it is the same, else that of the shards."""
    if first.paths.tree.fingerprint == second.paths.tree.fingerprint:
        return first.predicted, second.predicted, first.paths.tree
    return _nearest_in(tree, first), _nearest_in(tree, second), tree


def _nearest_in(tree: WordTree, found: ModelDetections) -> Int64Array:
    """The predicted nodes in another tree, or their nearest ancestors that it has, (K,); −1 for none."""
    own = found.paths.tree
    nearest = nodes_by_id(own, tree)
    for node in range(len(own)):  # parents precede children
        if nearest[node] == UNKNOWN and own.parent[node] >= 0:
            nearest[node] = nearest[own.parent[node]]
    return nearest[found.predicted]


def _tally(found: ModelDetections, images: int) -> tuple[Int64Array, Int64Array]:
    """Number of correct and of wrong detections in each image, (I,); those of ignored boxes are neither."""
    counted = found.is_reported & ~found.paths.is_ignored
    correct, wrong = counted & found.is_correct, counted & ~found.is_correct
    image = found.paths.image
    return np.bincount(image[correct], minlength=images), np.bincount(image[wrong], minlength=images)
