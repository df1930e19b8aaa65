"""The classes that annotators looked for in each image; LVIS and OpenImages check only some classes per image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from data_prep import ShardReader
from wordtree.support.arrays import BoolArray, Int64Array
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable, group_key
from yolo9000.inference.scored_boxes import GroundTruth


@dataclass(frozen=True, eq=False)
class VerifiedLabels:
    """The classes that annotators looked for in one image, apart from classes that only have boxes there.

    node           (L,)
    is_positive    (L,) bool, there is an object of the class
    is_exhaustive  (L,) bool, every object of the class has a box; always true of a negative label
    """

    node: Int64Array
    is_positive: BoolArray
    is_exhaustive: BoolArray

    @classmethod
    def of_image(cls, reader: ShardReader, image: int, nodes: Int64Array) -> VerifiedLabels:
        """The image labels of an image, and the `nodes` for which its source is exhaustively annotated."""
        rows = slice(*reader.label_offsets[image : image + 2])
        node, positive = reader.label_nodes[rows].astype(np.int64), reader.label_positive[rows]
        exhaustive = reader.exhaustive_by_source[reader.image_source[image]][nodes]
        searched = np.setdiff1d(nodes[exhaustive & reader.image_boxed[image]], node)
        boxes = reader.box_nodes[slice(*reader.box_offsets[image : image + 2])]
        is_present = reader.tree.is_at_or_under(boxes[:, None], searched[None]).any(axis=0)
        return cls(
            np.concatenate([node, searched]),
            np.concatenate([positive, is_present]),
            np.concatenate([~positive | reader.label_exhaustive[rows], np.ones(len(searched), bool)]),
        )


def keep_verified(
    detections: DetectionTable, truths: TruthTable, labels: Sequence[VerifiedLabels]
) -> DetectionTable:
    """The detections of classes that have a box or a label in their image; the others cannot be evaluated."""
    image = np.repeat(np.arange(len(labels)), [len(label.node) for label in labels])
    node = np.concatenate([np.zeros(0, np.int64), *(label.node for label in labels)])
    nodes = _above(detections.node, truths.node, node)
    known = np.concatenate([group_key(image, node, nodes), group_key(truths.image, truths.node, nodes)])
    return detections[np.isin(group_key(detections.image, detections.node, nodes), known)]


def is_of_partly_annotated_class(detections: DetectionTable, labels: Sequence[VerifiedLabels]) -> BoolArray:
    """Whether the class of each detection is not exhaustively annotated in its image, (K,)."""
    partial = [label.node[~label.is_exhaustive] for label in labels]
    image = np.repeat(np.arange(len(labels)), [len(node) for node in partial])
    node = np.concatenate([np.zeros(0, np.int64), *partial])
    nodes = _above(detections.node, node)
    found: BoolArray = np.isin(
        group_key(detections.image, detections.node, nodes), group_key(image, node, nodes)
    )
    return found


def expand_boxes(truth: GroundTruth, ancestors: Callable[[int], Iterable[int]]) -> GroundTruth:
    """The boxes of an image, each repeated for every ancestor of its class (OpenImages' protocol)."""
    pairs = [
        (row, node)
        for row, own in enumerate(truth.node.tolist())
        for node in dict.fromkeys((own, *ancestors(own)))
    ]
    rows, nodes = np.array(pairs, np.int64).reshape(-1, 2).T
    return GroundTruth(truth.xyxy_px[rows], nodes, truth.ignored[rows], crowd=truth.crowd[rows])


def expand_labels(
    labels: VerifiedLabels,
    ancestors: Callable[[int], Iterable[int]],
    descendants: Callable[[int], Iterable[int]],
) -> VerifiedLabels:
    """The labels of an image: positive ones repeated for all ancestors, negative ones for all descendants."""
    positive, negative = set(labels.node[labels.is_positive]), set(labels.node[~labels.is_positive])
    positive = {int(node) for own in positive for node in (own, *ancestors(int(own)))}
    negative = {int(node) for own in negative for node in (own, *descendants(int(own)))}
    node = np.array([*sorted(positive), *sorted(negative - positive)], np.int64)
    is_positive = np.arange(len(node)) < len(positive)
    return VerifiedLabels(node, is_positive, np.ones(len(node), bool))


def _above(*nodes: Int64Array) -> int:
    """A number above all nodes."""
    return 1 + max(int(column.max(initial=0)) for column in nodes)
