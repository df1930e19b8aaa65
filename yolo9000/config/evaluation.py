"""Settings of evaluation and of prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import PositiveInt

from wordtree.support.config_files import StrictModel
from yolo9000.config.values import Geometry, InputSize, NmsRule, Precision, Protocol, Share

LEAST_DETECTIONS = {"lvis": 300, "lvis_fixed": 1000}  # in each image, by protocol


class EvaluateConfig(StrictModel):
    """Evaluation of a detector."""

    old_names: ClassVar[Mapping[str, str]] = {"max_places": "max_locations"}

    # Split to evaluate on.
    split: str = "test"
    # Steps between evaluations; None: only after the last step.
    every: PositiveInt | None = None
    # Use only this many images of each source, evenly spaced.
    limit: PositiveInt | None = None
    batch_size: PositiveInt = 16
    # Smallest objectness, and smallest score (objectness × P(node)), of an evaluated detection. Darknet's `detector
    # valid`: .005.
    min_objectness: Share = 0.005
    # Number of locations of highest objectness per image that are considered.
    max_locations: PositiveInt = 300
    # IoU above which a box suppresses another of lower score. Darknet: .45.
    nms_iou: Share = 0.45
    nms: NmsRule = "by_node"
    geometry: Geometry = "exact"
    # Largest number of detections per image. COCO: 100. By the protocol lvis at least 300, by lvis_fixed at least 1000.
    max_detections: PositiveInt = 100
    # Rules of AP. lvis: only classes that annotators looked for in an image count; lvis_fixed: with at most 10,000
    # detections of each class instead of 300 per image; openimages: AP50 with group-of boxes, each box also of the
    # classes above; ilsvrc: a lower IoU for small boxes.
    protocol: Protocol = "coco"

    @property
    def detections_per_image(self) -> int:
        """Largest number of detections per image by the rules of the protocol."""
        return max(self.max_detections, LEAST_DETECTIONS.get(self.protocol, 1))


class ClassifierEvaluateConfig(StrictModel):
    """Evaluation of a classifier."""

    # Split to evaluate on.
    split: str = "test"
    # Steps between evaluations; None: only after the last step.
    every: PositiveInt | None = None
    # Use only this many images of each source, evenly spaced.
    limit: PositiveInt | None = None
    batch_size: PositiveInt = 32
    # Threads that decode images.
    loader_threads: PositiveInt = 2


class PredictConfig(StrictModel):
    """Prediction with a detector."""

    old_names: ClassVar[Mapping[str, str]] = {"max_places": "max_locations", "level": "descent"}
    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"descent": {"threshold": "paper"}}

    # Smallest objectness × P(root of the predicted class); in a flat list of classes this is the score (decision 34).
    # Objectness estimates an IoU, so it is seldom near 1.
    min_score: Share = 0.2
    # The descent in the tree continues while the absolute probability exceeds this (paper, section 4). A higher value
    # gives more general classes, which are more probable, so scores rise too.
    min_absolute: Share = 0.5
    # Rule of the descent: the paper's, or Darknet's, which stops earlier and takes objectness alone as the score
    # (decision 11). By Darknet's rule and without a tree, each class of a location with objectness × P(class) above
    # `min_score` is a detection.
    descent: Literal["paper", "darknet"] = "paper"
    # Number of locations of highest objectness per image that are considered.
    max_locations: PositiveInt = 300
    # IoU above which a box suppresses another, of lower objectness or, with nms by_node, of lower score. Darknet: .45.
    nms_iou: Share = 0.45
    nms: NmsRule = "by_objectness"
    geometry: Geometry = "exact"
    # Largest number of detections per image.
    max_detections: PositiveInt = 100
    batch_size: PositiveInt = 8
    # Side of the input, or [width, height], in pixels; None: that of the model.
    input_size_px: InputSize | None = None
    # auto: bfloat16 where the processor supports it and the first images agree with float32.
    precision: Precision = "auto"
