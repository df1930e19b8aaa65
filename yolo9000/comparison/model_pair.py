"""Two models on the same images: their detections, compared with the objects of the classes that both know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from data_prep import LabelCounts
from wordtree import WordTree
from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.config import Config
from yolo9000.distributed import default_device
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation.average_precision import DetectionOutcomes
from yolo9000.evaluation.evaluate import FittedImages, for_each_fitted_batch, network_output
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.other_protocols import outcomes_by_protocol
from yolo9000.evaluation.predicted_paths import MatchedPaths, PredictedPaths, match_paths, predicted_paths
from yolo9000.inference.node_scores import score_nodes
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes
from yolo9000.inference.top_locations import BatchOutput
from yolo9000.models.detector import Detector

UNKNOWN = -1  # in place of a node


class ComparisonError(Yolo9000Error):
    """Two models cannot be compared: they share no evaluated class, or their settings contradict each other."""


@dataclass(frozen=True, eq=False)
class ComparedModel:
    """One of the two models.

    name          for tables and pages
    label_counts  of its training data
    """

    name: str
    model: Detector
    label_counts: LabelCounts
    cfg: Config


def compared_models(
    checkpoints: Sequence[tuple[str, DetectorCheckpoint]], changes: Mapping[str, object]
) -> list[ComparedModel]:
    """Both models with the settings of their checkpoints; `changes` replaces settings of `evaluate`.

    checkpoints: each with its name. Raises ComparisonError if the settings contradict each other.
    """
    evaluate = [checkpoint.config.evaluate.model_copy(update=dict(changes)) for _, checkpoint in checkpoints]
    a, b = evaluate
    for setting in ("split", "protocol", "limit"):
        if getattr(a, setting) != getattr(b, setting):
            raise ComparisonError(
                f"The checkpoints have different settings: evaluate.{setting} is {getattr(a, setting)} in "
                f"{checkpoints[0][0]} and {getattr(b, setting)} in {checkpoints[1][0]}. Choose one with --{setting}."
            )
    most = max(a.max_detections, b.max_detections)
    return [
        ComparedModel(
            name,
            checkpoint.build_model().to(default_device()),
            checkpoint.label_counts,
            checkpoint.config.model_copy(
                update={"evaluate": own.model_copy(update={"max_detections": most})}
            ),
        )
        for (name, checkpoint), own in zip(checkpoints, evaluate, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class ModelDetections:
    """The detections of one model in all images, matched to the labelled objects.

    outcomes   of the boxes that are scored for every class, for average precision
    paths      the detections of `predict` with their paths, in the order of the images
    xyxy_px    (K, 4) of `paths`, image pixels
    objectness (K,) of `paths`
    cfg        the model's settings
    node_of    (N,) the model's node of each node of the shards' tree, −1 where it has none
    """

    outcomes: DetectionOutcomes
    paths: MatchedPaths
    xyxy_px: Float64Array
    objectness: Float64Array
    cfg: Config
    node_of: Int64Array

    @cached_property
    def is_reported(self) -> BoolArray:
        """Whether `predict` reports each detection: its score exceeds the model's `min_score`, (K,)."""
        reported: BoolArray = self.paths.score > self.cfg.predict.min_score
        return reported

    @cached_property
    def nodes(self) -> Int64Array:
        """Number of nodes down to each prediction at the model's `min_absolute`, (K,)."""
        return self.paths.nodes_at(self.cfg.predict.min_absolute)

    @cached_property
    def predicted(self) -> Int64Array:
        """The predicted node of the model's own tree, (K,)."""
        return self.paths.predicted(self.nodes)

    @cached_property
    def score(self) -> Float64Array:
        """Objectness × P(predicted node), (K,)."""
        absolute = np.take_along_axis(self.paths.absolute, self.nodes[:, None] - 1, axis=1)[:, 0]
        return self.objectness * absolute

    @property
    def is_correct(self) -> BoolArray:
        """Whether each detection matches an object and predicts its class or one above it, (K,)."""
        return self.paths.is_matched & (self.nodes <= self.paths.correct_nodes)


def detections_of_both(models: Sequence[ComparedModel], images: EvaluationSet) -> list[ModelDetections]:
    """The detections of each model; every image is decoded once.

    Objects of classes that a model does not know are ignored. Raises ComparisonError if no evaluated class is known to
    both.
    """
    tree, classes = images.reader.tree, images.nodes().numpy()
    node_of = [nodes_by_id(tree, model.model.tree) for model in models]
    is_shared = np.all([nodes != UNKNOWN for nodes in node_of], axis=0)  # (N,) of the shards' tree
    if not is_shared[classes].any():
        raise ComparisonError(
            f"{images.reader.folder}: none of the {len(classes)} classes with boxes in the split is in the trees of "
            "both models, so there is nothing to compare. Compare models whose trees have classes of the shards."
        )
    shared = classes[is_shared[classes]]

    def predict(_: int, fitted: list[FittedImages]) -> list[list[tuple[ScoredBoxes, PredictedPaths]]]:
        outputs = [network_output(model.model, batch) for model, batch in zip(models, fitted, strict=True)]
        return [
            _predictions(output, nodes[shared], shared, model.cfg)
            for output, nodes, model in zip(outputs, node_of, models, strict=True)
        ]

    inputs = [(model.cfg.model.input_size_px, model.cfg.evaluate.geometry) for model in models]
    batches = for_each_fitted_batch(images, models[0].cfg.evaluate.batch_size, inputs, predict)
    truths = [_only_shared(truth, is_shared) for truth in images.annotated]
    found = []
    for position, (model, nodes) in enumerate(zip(models, node_of, strict=True)):
        rows = [row for batch in batches for row in batch[position]]
        found.append(
            _model_detections(images, [replace(t, node=nodes[t.node]) for t in truths], rows, model, nodes)
        )
    return found


def nodes_by_id(tree: WordTree, other: WordTree) -> Int64Array:
    """The node of another tree that has the id of each node, (N,); −1 where there is none."""
    if tree.fingerprint == other.fingerprint:
        return np.arange(len(tree))
    return np.array([other.node(id_) if id_ in other else UNKNOWN for id_ in tree.ids], np.int64)


def _predictions(
    output: BatchOutput, nodes: Int64Array, shared: Int64Array, cfg: Config
) -> list[tuple[ScoredBoxes, PredictedPaths]]:
    """For each image: the boxes, scored for the shared classes, and the detections of `predict`.

    nodes: the shared classes in the model's tree; shared: their nodes in the shards' tree, as the result has them.
    """
    device = output.tree_tensors.parent.device
    order = np.argsort(nodes)
    scored = score_nodes(output, torch.from_numpy(nodes[order]).to(device), cfg.evaluate)
    renamed = [
        replace(boxes, node=shared[order][np.searchsorted(nodes[order], boxes.node)]) for boxes in scored
    ]
    paths = predicted_paths(output, cfg.predict, min_score=cfg.evaluate.min_objectness)
    return list(zip(renamed, paths, strict=True))


def _only_shared(truth: GroundTruth, is_shared: BoolArray) -> GroundTruth:
    """The ground truth with objects of other classes ignored."""
    return GroundTruth(truth.xyxy_px, truth.node, truth.ignored | ~is_shared[truth.node], crowd=truth.crowd)


def _model_detections(
    images: EvaluationSet,
    truths: Sequence[GroundTruth],
    rows: Sequence[tuple[ScoredBoxes, PredictedPaths]],
    model: ComparedModel,
    node_of: Int64Array,
) -> ModelDetections:
    boxes, paths = [row[0] for row in rows], [row[1] for row in rows]
    most = model.cfg.evaluate.detections_per_image
    return ModelDetections(
        outcomes=outcomes_by_protocol(images, boxes, max_detections=most),
        paths=match_paths(truths, paths, model.model.tree),
        xyxy_px=np.concatenate([np.zeros((0, 4)), *(found.xyxy_px for found in paths)]),
        objectness=np.concatenate([np.zeros(0), *(found.objectness for found in paths)]),
        cfg=model.cfg,
        node_of=node_of,
    )
