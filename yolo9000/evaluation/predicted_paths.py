"""The detections of `predict` with their whole path down to a leaf, matched to the labelled objects.

A prediction at any threshold of `min_absolute` is a node on this path, so one pass over the images gives the metrics
of all thresholds. Detections are matched without regard to classes, because the predicted class is what is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from wordtree import WordTree
from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.config import PredictConfig
from yolo9000.evaluation.box_tables import DetectionTable, TruthTable
from yolo9000.evaluation.matching import match, overlapping_pairs
from yolo9000.inference.detections import Detections
from yolo9000.inference.postprocess import detect
from yolo9000.inference.scored_boxes import GroundTruth, check_same_images
from yolo9000.inference.top_locations import BatchOutput

NO_OBJECT = -1


@dataclass(frozen=True, eq=False)
class PredictedPaths:
    """K detections, each with the most probable path to a leaf; levels: the largest number of nodes on a path.

    xyxy_px     (K, 4) image pixels
    objectness  (K,) 0..1
    absolute    (K, levels) P(node) of the nodes on the path, from the root; 0 beyond its end
    leaf        (K,) the end of the path
    """

    xyxy_px: Float64Array
    objectness: Float64Array
    absolute: Float64Array
    leaf: Int64Array

    def __len__(self) -> int:
        return len(self.leaf)

    @property
    def score(self) -> Float64Array:
        """The quantity that `predict.min_score` is compared with: objectness × P(root), (K,)."""
        return self.objectness * self.absolute[:, 0]

    @classmethod
    def of(cls, detections: Detections) -> PredictedPaths:
        """The paths of detections that were made with `min_absolute: 0`, by descending objectness."""
        order = np.argsort(-detections.objectness, kind="stable")
        absolute = np.zeros((len(detections), int(detections.tree.depth.max()) + 1))
        for row, rank in enumerate(order):
            conditional = detections.conditional[rank].astype(np.float64)
            absolute[row, : len(conditional)] = np.cumprod(conditional)
        return cls(
            detections.xyxy_px[order].astype(np.float64),
            detections.objectness[order].astype(np.float64),
            absolute,
            detections.node[order],
        )


def predicted_paths(batch: BatchOutput, cfg: PredictConfig, *, min_score: float) -> list[PredictedPaths]:
    """The paths of each image of the batch; `min_score` replaces that of the settings."""
    changes = {"min_absolute": 0.0, "min_score": min_score, "max_detections": cfg.max_locations}
    by_paper = {"descent": "paper"} if batch.tree_tensors.tree.depth.any() else {}
    settings = cfg.model_copy(update=changes | by_paper)
    names = [""] * len(batch.letterboxes)
    return [PredictedPaths.of(found) for found in detect(batch, names, settings)]


@dataclass(frozen=True, eq=False)
class MatchedPaths:
    """K detections of all images, matched to the O labelled objects, and the depth down to which each is correct.

    image           (K,) position of the image in the list of images
    score           (K,) objectness × P(root)
    absolute        (K, levels) P(node) of the nodes on the path
    leaf            (K,) the end of the path
    object          (K,) row of the matched object in `node`; −1 for none
    is_ignored      (K,) bool, the detection is of an ignored box
    correct_nodes   (K,) number of nodes on the path, from the root, that are the object's class or above it
    node            (O,) labelled class of each object
    object_image    (O,) position of its image
    tree            the tree of the nodes
    """

    image: Int64Array
    score: Float64Array
    absolute: Float64Array
    leaf: Int64Array
    object: Int64Array
    is_ignored: BoolArray
    correct_nodes: Int64Array
    node: Int64Array
    object_image: Int64Array
    tree: WordTree

    def __len__(self) -> int:
        return len(self.leaf)

    @property
    def is_matched(self) -> BoolArray:
        """Whether an object matches, (K,)."""
        matched: BoolArray = self.object >= 0
        return matched

    def rows(self, chosen: BoolArray | Int64Array) -> MatchedPaths:
        """The chosen detections, with all objects."""
        per_detection = ("image", "score", "absolute", "leaf", "object", "is_ignored", "correct_nodes")
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return MatchedPaths(**{name: v[chosen] if name in per_detection else v for name, v in values.items()})

    def nodes_at(self, threshold: float | Float64Array) -> Int64Array:
        """Number of nodes, from the root, down to the prediction: the deepest node with P > threshold, (K,).

        threshold: of all detections, or of each, (K,). The prediction is at least the root.
        """
        above = (self.absolute > np.expand_dims(threshold, -1)).sum(axis=1)
        counts: Int64Array = np.clip(above, 1, self.tree.depth[self.leaf] + 1)
        return counts

    def predicted(self, nodes: Int64Array) -> Int64Array:
        """The node at the end of the first `nodes` nodes of each path, (K,)."""
        steps = self.tree.depth[self.leaf] + 1 - nodes
        at = self.leaf.copy()
        for step in range(int(steps.max(initial=0))):
            at = np.where(steps > step, self.tree.parent[at], at)
        return at

    def required_threshold(self) -> Float64Array:
        """The smallest threshold at which each prediction is correct, (K,).

        P of the shallowest wrong node on the path; 0 if no node is wrong, infinity if even the root is wrong.
        """
        padded = np.concatenate([self.absolute, np.zeros((len(self), 1))], axis=1)
        first_wrong = np.take_along_axis(padded, self.correct_nodes[:, None], axis=1)[:, 0]
        return np.where(self.correct_nodes > 0, first_wrong, np.inf)


def match_paths(
    truths: Sequence[GroundTruth], paths: Sequence[PredictedPaths], tree: WordTree, *, min_iou: float = 0.5
) -> MatchedPaths:
    """The detections of all images, matched one to one by descending objectness, IoU at least `min_iou`.

    truths: the labelled boxes of each image as annotated, in the order of `paths`.
    """
    check_same_images(len(truths), len(paths))
    labelled = TruthTable.of(
        [GroundTruth(t.xyxy_px, np.zeros_like(t.node), t.ignored, crowd=t.crowd) for t in truths]
    )
    node = np.concatenate([np.zeros(0, np.int64), *(truth.node for truth in truths)])
    image = np.repeat(np.arange(len(paths)), [len(found) for found in paths])
    objectness = _joined([found.objectness for found in paths])
    detected = DetectionTable(
        image, np.zeros_like(image), _joined([found.xyxy_px for found in paths], 4), objectness
    )
    pairs = overlapping_pairs(detected, labelled, min_overlap=min_iou)
    matches = match(pairs, detected, labelled, np.array([min_iou]))
    box = np.full(len(detected), NO_OBJECT)
    box[matches.detection] = matches.truth[0]
    is_ignored = (box >= 0) & labelled.ignored[box] if len(labelled) else np.zeros(len(box), bool)
    object_of_box = np.cumsum(~labelled.ignored) - 1
    objects = np.where((box >= 0) & ~is_ignored, object_of_box[box] if len(labelled) else -1, NO_OBJECT)
    levels = int(tree.depth.max()) + 1
    leaf = np.concatenate([np.zeros(0, np.int64), *(found.leaf for found in paths)])
    node = node[~labelled.ignored]
    return MatchedPaths(
        image=image,
        score=_joined([found.score for found in paths]),
        absolute=_joined([found.absolute for found in paths], levels),
        leaf=leaf,
        object=objects,
        is_ignored=is_ignored,
        correct_nodes=_common_nodes(leaf, objects, node, tree),
        node=node,
        object_image=labelled.image[~labelled.ignored],
        tree=tree,
    )


def _common_nodes(leaf: Int64Array, objects: Int64Array, node: Int64Array, tree: WordTree) -> Int64Array:
    """Number of nodes that the path to each leaf has in common with that to the class of its object, 0 for none."""
    common = np.zeros(len(leaf), np.int64)
    rows = np.flatnonzero(objects >= 0)
    truth, at = node[objects[rows]], leaf[rows]
    while len(rows):
        is_above = tree.is_at_or_under(truth, at)
        common[rows[is_above]] = tree.depth[at[is_above]] + 1
        goes_up = ~is_above & (tree.parent[at] >= 0)
        rows, truth, at = rows[goes_up], truth[goes_up], tree.parent[at[goes_up]].astype(np.int64)
    return common


def _joined(columns: list[Float64Array], width: int = 0) -> Float64Array:
    return np.concatenate([np.zeros((0, width) if width else 0), *columns])
