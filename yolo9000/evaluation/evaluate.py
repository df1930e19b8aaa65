"""Evaluation of a detector or a classifier on a split of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from data_prep import LabelCounts, ShardReader
from wordtree.support.arrays import FloatArray
from yolo9000.config import (
    ClassifierEvaluateConfig,
    Config,
    EvaluateConfig,
    Geometry,
    PredictConfig,
    PretrainConfig,
)
from yolo9000.data.classifier_data import ClassifierTestData
from yolo9000.data.image import decode_image, letterbox
from yolo9000.data.letterbox import Letterbox
from yolo9000.distributed import all_gather, broadcast, own_share, track_progress
from yolo9000.engines.engine import AnyDetector
from yolo9000.evaluation.average_precision import precision_of
from yolo9000.evaluation.classification import (
    ClassificationMetrics,
    ImageOutcomes,
    classification_metrics,
    image_outcomes,
    lowest_classes,
)
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.other_protocols import outcomes_by_protocol
from yolo9000.evaluation.predicted_paths import PredictedPaths, match_paths, predicted_paths
from yolo9000.evaluation.prediction_metrics import prediction_metrics
from yolo9000.evaluation.scorecard import Scorecard, scorecard_of
from yolo9000.evaluation.supervision import GROUP_OF
from yolo9000.inference.node_scores import boxes_of_highest_objectness, score_nodes
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes
from yolo9000.inference.top_locations import BatchOutput
from yolo9000.models.classifier import Classifier

Item = TypeVar("Item")
Result = TypeVar("Result")
DEFAULT_PREDICT = PredictConfig()
SizePx = int | tuple[int, int]  # side of a square network input, or its (width, height)
FittedImages = list[
    tuple[Tensor, Letterbox]
]  # pixels on the network's canvas, and where the image lies there


def evaluate(
    model: AnyDetector | Classifier,
    reader: ShardReader,
    label_counts: LabelCounts,
    cfg: Config | PretrainConfig,
) -> Scorecard | ClassificationMetrics:
    """The metrics of a detector or a classifier on a split of shards.

    label_counts: of the training of this model. Raises DataMismatch.
    """
    if isinstance(model, Classifier):
        assert isinstance(cfg, PretrainConfig)
        return evaluate_classifier(model, reader, cfg.model.side_px, cfg.evaluate)
    assert isinstance(cfg, Config)
    size_px = cfg.model.input_size_px
    return evaluate_detector(model, reader, label_counts, size_px, cfg.evaluate, predict=cfg.predict)


def evaluate_detector(
    model: AnyDetector,
    reader: ShardReader,
    label_counts: LabelCounts,
    size_px: SizePx,
    cfg: EvaluateConfig,
    *,
    predict: PredictConfig = DEFAULT_PREDICT,
) -> Scorecard:
    """The scorecard of a detector on a split of shards.

    label_counts: of the training of this model. predict: the settings of the predictions.
    Raises DataMismatch.
    """
    images = EvaluationSet.of(reader, cfg)
    detections, paths = predict_boxes_and_paths(model, images, size_px, cfg, predict)

    def scorecard() -> Scorecard:
        card = scorecard_of(
            images.annotated if images.protocol == "openimages" else images.truths,
            detections,
            tree=model.tree,
            supervision=label_counts.supervision,
            sizes_px=images.sizes_px,
            precision=precision_of(
                outcomes_by_protocol(images, detections, max_detections=cfg.detections_per_image)
            ),
        )
        matched_paths = match_paths(images.annotated, paths, model.tree)
        of_predictions = prediction_metrics(
            matched_paths, predict, lambda node: GROUP_OF[label_counts.supervision(node)]
        )
        return replace(card, predictions=of_predictions, min_score=cfg.min_objectness)

    return broadcast(scorecard)


@torch.inference_mode()
def evaluate_classifier(
    model: Classifier, reader: ShardReader, size_px: int, cfg: ClassifierEvaluateConfig
) -> ClassificationMetrics:
    """The metrics of a classifier on a split of shards of its tree.

    Raises DataMismatch if the split has no image labels.
    """
    device, tree = model.head.weight.device, reader.tree
    candidates = lowest_classes(tree, model.softmax.classes.cpu().numpy())
    data = ClassifierTestData(reader, cfg, size_px=size_px)
    outcomes = _for_each_batch(
        data,
        lambda batch: image_outcomes(
            model.softmax.absolute(model(batch.images.to(device))).cpu().numpy(),
            batch.image.numpy(),
            batch.node.numpy(),
            tree=tree,
            candidates=candidates,
        ),
        total=len(data),
    )
    return classification_metrics(ImageOutcomes.concatenated(outcomes), tree)


def predict_boxes(
    model: AnyDetector, images: EvaluationSet, size_px: SizePx, cfg: EvaluateConfig
) -> list[ScoredBoxes]:
    """Boxes of each image, scored for every node of the ground truth."""
    nodes = images.nodes().to(model.tree_tensors.parent.device)
    return _predict_images(model, images, size_px, cfg, lambda output: score_nodes(output, nodes, cfg))


def predict_boxes_and_paths(
    model: AnyDetector, images: EvaluationSet, size_px: SizePx, cfg: EvaluateConfig, predict: PredictConfig
) -> tuple[list[ScoredBoxes], list[PredictedPaths]]:
    """For each image its boxes, scored for every node of the ground truth, and its detections as `predict` has them."""
    nodes = images.nodes().to(model.tree_tensors.parent.device)

    def both(output: BatchOutput) -> list[tuple[ScoredBoxes, PredictedPaths]]:
        paths = predicted_paths(output, predict, min_score=cfg.min_objectness)
        return list(zip(score_nodes(output, nodes, cfg), paths, strict=True))

    of_images = _predict_images(model, images, size_px, cfg, both)
    return [boxes for boxes, _ in of_images], [paths for _, paths in of_images]


def predict_paths(
    model: AnyDetector, images: EvaluationSet, size_px: SizePx, cfg: EvaluateConfig, predict: PredictConfig
) -> list[PredictedPaths]:
    """The detections of each image as `predict` has them, with their paths to the leaves."""
    return _predict_images(
        model,
        images,
        size_px,
        cfg,
        lambda output: predicted_paths(output, predict, min_score=cfg.min_objectness),
    )


def highest_objectness_boxes(
    model: AnyDetector, images: EvaluationSet, size_px: SizePx, cfg: EvaluateConfig
) -> dict[int, tuple[FloatArray, float]]:
    """For the position of each image its box of highest objectness (xyxy in image pixels) and that objectness."""
    return dict(enumerate(_predict_images(model, images, size_px, cfg, boxes_of_highest_objectness)))


def _predict_images(
    model: AnyDetector,
    images: EvaluationSet,
    size_px: SizePx,
    cfg: EvaluateConfig,
    predict: Callable[[BatchOutput], list[Result]],
) -> list[Result]:
    """The results of `predict` for all images, in order."""
    batches = for_each_output(model, images, size_px, cfg, lambda output, _: predict(output))
    return [result for batch in batches for result in batch]


def for_each_output(
    model: AnyDetector,
    images: EvaluationSet,
    size_px: SizePx,
    cfg: EvaluateConfig,
    use: Callable[[BatchOutput, list[GroundTruth]], Result],
) -> list[Result]:
    """The results of `use` for the network's output and the labelled boxes of each batch, in order."""
    return for_each_fitted_batch(
        images,
        cfg.batch_size,
        [(size_px, cfg.geometry)],
        lambda start, fitted: use(
            network_output(model, fitted[0]), images.annotated[start : start + cfg.batch_size]
        ),
    )


def for_each_fitted_batch(
    images: EvaluationSet,
    size: int,
    inputs: Sequence[tuple[SizePx, Geometry]],
    use: Callable[[int, list[FittedImages]], Result],
) -> list[Result]:
    """The results of `use` for the number of the first image of each batch and its images, fitted to each input.

    Each image is decoded once.
    """

    def fit_and_use(start: int) -> Result:
        fitted: dict[tuple[SizePx, Geometry], FittedImages] = {wanted: [] for wanted in inputs}
        for row in images.images[start : start + size].tolist():
            pixels = decode_image(images.reader.encoded(row), name=images.reader.source_id(row))
            for (size_px, geometry), batch in fitted.items():
                batch.append(letterbox(pixels, size_px, geometry=geometry))
        return use(start, [fitted[wanted] for wanted in inputs])

    starts = own_share(range(0, len(images.images), size))
    return _for_each_batch(starts, fit_and_use, total=len(starts))


def _for_each_batch(
    batches: Iterable[Item], evaluate: Callable[[Item], Result], *, total: int
) -> list[Result]:
    """The results of `evaluate` for the batches of all processes, in order.

    batches: of this process; total: their number.
    """
    return all_gather([evaluate(batch) for batch in track_progress(batches, "evaluating", total=total)])


@torch.inference_mode()
def network_output(model: AnyDetector, fitted: FittedImages) -> BatchOutput:
    """The network's output for images on its canvas."""
    canvases = torch.stack([canvas for canvas, _ in fitted]).to(model.tree_tensors.parent.device)
    grid = model(canvases.contiguous(memory_format=torch.channels_last))
    return BatchOutput(grid, model.tree_tensors, [position for _, position in fitted])
