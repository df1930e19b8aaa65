"""A model scored on a split of shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from data_prep import LabelCounts, ShardReader
from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from yolo9000.config import ClassifierEvaluateConfig, EvaluateConfig
from yolo9000.data.classifier_data import ClassifierTestData
from yolo9000.data.image import Letterbox, decode_image, letterbox
from yolo9000.data.sampler import DataMismatch, first_of_each_source, split_of
from yolo9000.distributed import from_first, joined_shares, share_of, track_progress
from yolo9000.evaluation.classification import ClassificationScore, RankedLabels, judge, lowest, summary
from yolo9000.evaluation.scorecard import Scorecard, score
from yolo9000.evaluation.supervision import lift_to_boxed
from yolo9000.inference.postprocess import BatchOutput, highest_objectness_box, score_nodes
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes
from yolo9000.models.classifier import Classifier
from yolo9000.models.detector import Detector
from yolo9000.models.grid import GridOutput


@dataclass(frozen=True)
class ScoredImages:
    """The images of a split that have boxes drawn on them, and these boxes, as the scorecard takes them."""

    reader: ShardReader
    images: Int64Array
    truths: list[GroundTruth]

    __test__ = False  # not a test of pytest

    @classmethod
    def of(cls, reader: ShardReader, cfg: EvaluateConfig) -> ScoredImages:
        """Raises DataMismatch if nobody drew boxes on any image of the split."""
        images = split_of(reader, cfg.split)
        images = first_of_each_source(reader, images[reader.image_boxed[images]], cfg.limit)
        if not len(images):
            raise DataMismatch(
                f"{reader.folder}: split '{cfg.split}' has no images with boxes to score on. "
                "Merge a source with boxes into it, or name another split."
            )
        truths = [ground_truth(reader, int(image)) for image in images]
        return cls(reader, images, ignoring_kinds_below(truths, reader.tree))

    def lifted(self, label_counts: LabelCounts) -> ScoredImages:
        """The same images, each box named by the nearest node at or above its own that training had boxes of."""
        truths = [lift_to_boxed(ground_truth(self.reader, int(image)), label_counts) for image in self.images]
        return replace(self, truths=ignoring_kinds_below(truths, self.reader.tree))

    @property
    def sizes_px(self) -> list[tuple[int, int]]:
        """(width, height) of each image."""
        reader = self.reader
        return [(int(reader.image_width[i]), int(reader.image_height[i])) for i in self.images]

    def nodes(self) -> Tensor:
        """The nodes that have a box in the split, ascending, (E,): what is asked of every place."""
        return torch.tensor(
            sorted({int(node) for truth in self.truths for node in truth.node}), dtype=torch.int64
        )


def evaluate(
    model: Detector,
    reader: ShardReader,
    label_counts: LabelCounts,
    size_px: int | tuple[int, int],
    cfg: EvaluateConfig,
) -> Scorecard:
    """The scorecard of `model` on a split; ledger: what stood behind the nodes in the model's own training."""
    images = ScoredImages.of(reader, cfg)
    found = detections_on(model, images, size_px, cfg)
    return from_first(
        lambda: score(
            images.truths,
            found,
            tree=model.tree,
            supervision=label_counts.supervision,
            sizes_px=images.sizes_px,
            max_detections=cfg.max_detections,
        )
    )


def detections_on(
    model: Detector, pictures: ScoredImages, size_px: int | tuple[int, int], cfg: EvaluateConfig
) -> list[ScoredBoxes]:
    """What the model answers for each image when asked for every node of the ground truth."""
    nodes = pictures.nodes().to(model.tree_tensors.parent.device)
    found = [
        score_nodes(BatchOutput(output, model.tree_tensors, boxes), nodes, cfg)
        for output, boxes in outputs(model, pictures, size_px, cfg)
    ]
    return [answers for batch in joined_shares(found) for answers in batch]


def best_boxes(
    model: Detector, pictures: ScoredImages, size_px: int | tuple[int, int], cfg: EvaluateConfig
) -> dict[int, tuple[np.ndarray, float]]:
    """For each image by its position, the box of highest objectness in pixels, and that objectness."""
    found = [
        [
            highest_objectness_box(BatchOutput(output, model.tree_tensors, boxes), image)
            for image in range(len(boxes))
        ]
        for output, boxes in outputs(model, pictures, size_px, cfg)
    ]
    return dict(enumerate(answer for batch in joined_shares(found) for answer in batch))


@torch.inference_mode()
def outputs(
    model: Detector, pictures: ScoredImages, size_px: int | tuple[int, int], cfg: EvaluateConfig
) -> Iterator[tuple[GridOutput, list[Letterbox]]]:
    """The raw output for the batches that fall to this process, with where each image lies on the canvas."""
    device = model.tree_tensors.parent.device
    starts = share_of(range(0, len(pictures.images), cfg.batch_size))
    for start in track_progress(starts, "evaluating", total=len(starts)):
        decoded = [
            decode_image(pictures.reader.encoded(int(i)), name=pictures.reader.source_id(int(i)))
            for i in pictures.images[start : start + cfg.batch_size]
        ]
        fitted = [letterbox(image, size_px, geometry=cfg.geometry) for image in decoded]
        images = torch.stack([image for image, _ in fitted]).to(device)
        yield model(images.contiguous(memory_format=torch.channels_last)), [box for _, box in fitted]


def ground_truth(reader: ShardReader, image: int) -> GroundTruth:
    """The labelled boxes of an image in its pixels."""
    rows = slice(*reader.box_offsets[image : image + 2])
    size = np.array([reader.image_width[image], reader.image_height[image]] * 2, np.float64)
    return GroundTruth(
        reader.boxes_xyxy_unit[rows] * size, reader.box_nodes[rows].astype(np.int64), reader.box_ignored[rows]
    )


def ignoring_kinds_below(truths: list[GroundTruth], tree: WordTree) -> list[GroundTruth]:
    """The same, where each box is also an ignored box of every class above its own that is scored.

    An ambulance is a car: to call it one is not wrong, but it is no *car* that the annotators asked for either.
    """
    scored = {int(node) for truth in truths for node in truth.node[~truth.ignored]}
    return [_with_boxes_above(truth, tree, scored) for truth in truths]


def _with_boxes_above(truth: GroundTruth, tree: WordTree, scored: set[int]) -> GroundTruth:
    above = [
        (row, node)
        for row, own in enumerate(truth.node)
        for node in tree.ancestors(int(own))
        if node in scored
    ]
    rows = np.array([row for row, _ in above], np.int64)
    nodes = np.array([node for _, node in above], np.int64)
    return GroundTruth(
        np.concatenate([truth.xyxy_px, truth.xyxy_px[rows]]),
        np.concatenate([truth.node, nodes]),
        np.concatenate([truth.ignored, np.ones(len(rows), bool)]),
    )


@torch.inference_mode()
def score_classifier(
    model: Classifier, reader: ShardReader, size_px: int, cfg: ClassifierEvaluateConfig
) -> ClassificationScore:
    """The score of `model` on a split of shards of its tree; DataMismatch if that has no images with image labels."""
    device, tree = model.head.weight.device, reader.tree
    candidates = lowest(tree, model.softmax.classes.cpu().numpy())
    data = ClassifierTestData(reader, cfg, size_px=size_px)
    judged = []
    for batch in track_progress(data, "evaluating", total=len(data)):
        absolute = model.softmax.absolute(model(batch.images.to(device))).cpu().numpy()
        judged.append(
            judge(absolute, batch.image.numpy(), batch.node.numpy(), tree=tree, candidates=candidates)
        )
    return summary(RankedLabels.joined(joined_shares(judged)), tree)
