"""`EvaluationSet`: the images of a split that a detector is evaluated on, and their ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from data_prep import LabelCounts, ShardReader
from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from yolo9000.config import EvaluateConfig, Protocol
from yolo9000.data.sampler import DataMismatch, images_of_split, some_of_each_source
from yolo9000.evaluation.supervision import map_to_boxed
from yolo9000.evaluation.verified_labels import VerifiedLabels, expand_boxes, expand_labels
from yolo9000.inference.scored_boxes import GroundTruth

FORMATS_WITH_DIFFICULT_OBJECTS = ("voc", "imagenet")


@dataclass(frozen=True)
class EvaluationSet:
    """The images of a split whose sources have boxes, and their ground truth.

    images     (I,) rows of the reader
    annotated  labelled boxes of each image
    protocol   of average precision: OpenImages' takes a box as one of every class above its own, too
    """

    reader: ShardReader
    images: Int64Array
    annotated: list[GroundTruth]
    protocol: Protocol = "coco"

    @classmethod
    def of(cls, reader: ShardReader, cfg: EvaluateConfig) -> EvaluationSet:
        """The set of a split; DataMismatch if no image of the split comes from a source with boxes."""
        images = images_of_split(reader, cfg.split)
        images = some_of_each_source(reader, images[reader.image_boxed[images]], cfg.limit)
        if not len(images):
            raise DataMismatch(
                f"{reader.folder}: split '{cfg.split}' has no images with boxes to evaluate on. "
                "Merge a source with boxes into it, or name another split."
            )
        return cls(reader, images, [ground_truth(reader, int(image)) for image in images], cfg.protocol)

    @cached_property
    def truths(self) -> list[GroundTruth]:
        """Ground truth of each image for metrics by class: `annotated` with `ignored_for_ancestors` applied.

        OpenImages: each box of a class also stands for every class of the sources above it.
        """
        if self.protocol == "openimages":
            return [expand_boxes(truth, self.ancestors) for truth in self.annotated]
        return ignored_for_ancestors(self.annotated, self.reader.tree)

    @cached_property
    def class_nodes(self) -> frozenset[int]:
        """The nodes of all classes of the sources."""
        return frozenset(row.node for row in self.reader.classes if row.node >= 0)

    def ancestors(self, node: int) -> list[int]:
        """The classes of the sources above a node."""
        return [above for above in self.reader.tree.ancestors(node) if above in self.class_nodes]

    def descendants(self, node: int) -> list[int]:
        """The classes of the sources below a node."""
        classes = np.array(sorted(self.class_nodes - {node}), np.int64)
        below: list[int] = classes[self.reader.tree.is_at_or_under(classes, node)].tolist()
        return below

    def verified_labels(self) -> list[VerifiedLabels]:
        """The labels of each image; for OpenImages' protocol expanded to classes above or below."""
        nodes = self.nodes().numpy()
        labels = [VerifiedLabels.of_image(self.reader, int(image), nodes) for image in self.images]
        if self.protocol != "openimages":
            return labels
        return [expand_labels(label, self.ancestors, self.descendants) for label in labels]

    def mapped_to_boxed(self, label_counts: LabelCounts) -> EvaluationSet:
        """A copy in which each box has the nearest boxed node of its class (`map_to_boxed`)."""
        return replace(self, annotated=[map_to_boxed(truth, label_counts) for truth in self.annotated])

    @property
    def sizes_px(self) -> list[tuple[int, int]]:
        """(width, height) of each image."""
        reader = self.reader
        return [(int(reader.image_width[i]), int(reader.image_height[i])) for i in self.images]

    def nodes(self) -> Tensor:
        """The nodes that have a box in the split, ascending, (E,)."""
        return torch.tensor(
            sorted({int(node) for truth in self.truths for node in truth.node}), dtype=torch.int64
        )


def ground_truth(reader: ShardReader, image: int) -> GroundTruth:
    """The labelled boxes of an image."""
    rows = slice(*reader.box_offsets[image : image + 2])
    size = np.array([reader.image_width[image], reader.image_height[image]] * 2, np.float64)
    ignored = reader.box_ignored[rows]
    return GroundTruth(
        reader.boxes_xyxy_unit[rows] * size,
        reader.box_nodes[rows].astype(np.int64),
        ignored,
        crowd=ignored & has_crowds(reader, int(reader.image_source[image])),
    )


def has_crowds(reader: ShardReader, source: int) -> bool:
    """Whether the ignored boxes of a source are crowds and groups; in VOC's XML they are single difficult objects."""
    settings = reader.provenance.get("config", {}).get("sources", [])
    formats = {row["name"]: row["format"] for row in settings}
    return formats.get(reader.sources[source].name) not in FORMATS_WITH_DIFFICULT_OBJECTS


def ignored_for_ancestors(truths: list[GroundTruth], tree: WordTree) -> list[GroundTruth]:
    """The ground truth with each box added as an ignored box of every evaluated class above its own.

    A box labelled *ambulance* also shows a car. A detection of *car* with the box of the ambulance is not wrong, but
    the box is not part of the recall of *car* either. A detection of *car* somewhere inside it is wrong.
    """
    evaluated = {int(node) for truth in truths for node in truth.node[~truth.ignored]}
    return [_with_ancestors(truth, tree, evaluated) for truth in truths]


def _with_ancestors(truth: GroundTruth, tree: WordTree, evaluated: set[int]) -> GroundTruth:
    added = [
        (row, ancestor)
        for row, node in enumerate(truth.node)
        for ancestor in tree.ancestors(int(node))
        if ancestor in evaluated
    ]
    rows, nodes = np.array(added, np.int64).reshape(-1, 2).T
    return GroundTruth(
        np.concatenate([truth.xyxy_px, truth.xyxy_px[rows]]),
        np.concatenate([truth.node, nodes]),
        np.concatenate([truth.ignored, np.ones(len(rows), bool)]),
        crowd=np.concatenate([truth.crowd, truth.crowd[rows]]),
    )
