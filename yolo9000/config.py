"""All settings of training, evaluation and prediction: meaning, unit, default and its source. Imports no torch.

Settings come from YAML files and `--set a.b=c`; unknown keys are errors. Networks get plain values from `build_*`;
loss, evaluation and prediction read their own section. The sources are the YOLO9000 paper, Darknet's cfg files, and
docs/decisions.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from wordtree.errors import ConfigError
from wordtree.support.config_files import ConfigLocation, ConfigPath, StrictModel, load_config

Share = Annotated[float, Field(ge=0, le=1)]
# Which boxes suppress each other: all boxes of an image, or those of the same node (decision 8).
NmsRule = Literal["by_objectness", "by_node"]
# How images are resized, and how boxes are mapped back and compared (decision 13).
Geometry = Literal["exact", "darknet"]
# Whose rules of average precision apply.
Protocol = Literal["coco", "lvis", "lvis_fixed", "openimages", "ilsvrc"]
PACKAGED_BACKBONE = "timm/tf_efficientnet_lite0"
RUN_NAME = r"^\w[\w.-]*$"  # the run's folder is runs/NAME
# The epsilon of batch norm: 1e-5 under the root (PyTorch, Darknet on GPUs), or as in Darknet on CPUs (decision 19).
BatchNormRule = Literal["standard", "darknet_cpu"]
# auto: bfloat16 if the device supports it, otherwise float32.
Precision = Literal["float32", "bfloat16", "auto"]
# Statistics that batch norm uses in training (models/batch_norm.py): of the images of this process, of all processes
# (synchronised), or the running statistics (frozen).
BatchStatistics = Literal["per_process", "frozen", "synchronised"]


def _side_or_sides(value: object) -> int | tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    sides = tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
        return sides
    raise ValueError(f"expected a side in pixels or [width, height], found {value!r}")


InputSize = Annotated[int | tuple[int, int], BeforeValidator(_side_or_sides)]


def _known_backbone(name: str | None) -> str | None:
    if name is None or re.fullmatch(r"darknet19|tiny|timm/[\w.]+", name):
        return name
    raise ValueError(f"expected darknet19, tiny or timm/NAME, found {name!r}")


class NetworkConfig(StrictModel):
    """Network settings that detectors and classifiers share."""

    architecture: str
    # Text of the .cfg of architecture darknet, one character per byte (written by `yolo9000 convert`).
    darknet_cfg: str | None = None
    # For architecture darknet only.
    batch_norm: BatchNormRule = "standard"
    # Checkpoint, or Darknet backbone file, with the initial weights; None: random weights.
    start_from: ConfigPath | None = None
    # Backbone: darknet19, tiny, or timm/NAME for a network of timm; None: as the architecture says.
    backbone: Annotated[str | None, AfterValidator(_known_backbone)] = None
    # Initial weights of the backbone: random; packaged (ImageNet weights of timm/tf_efficientnet_lite0, from the extra
    # `photos`); pretrained (timm downloads them); or a .pth or .safetensors file. Unused with start_from.
    backbone_weights: Annotated[
        Literal["random", "packaged", "pretrained"] | ConfigPath, Field(union_mode="left_to_right")
    ] = "random"
    # Number of stages of the backbone, from the image on, whose weights and batch norm statistics do not change.
    freeze: Literal["all"] | NonNegativeInt = 0
    # Factor for the number of filters of every layer, except those of a timm backbone. 1: the paper's networks; .25
    # suits training on a CPU.
    width: PositiveFloat = 1.0
    # Input size for evaluation and prediction, px: a side or [width, height]. Training may vary it: schedule.sizes_px.
    input_size_px: InputSize = 416

    @property
    def stride(self) -> int:
        """Grid cell size in px of a named architecture; a Darknet network's depends on its cfg."""
        return 16 if self.architecture == "tiny" else self.input_multiple_px

    @property
    def backbone_name(self) -> str:
        """The setting `backbone`, or the backbone of the architecture."""
        return self.backbone or ("tiny" if self.architecture == "tiny" else "darknet19")

    @property
    def input_multiple_px(self) -> int:
        """Sides of the input are multiples of this: the stride of the backbone's coarsest features."""
        return 16 if self.backbone_name == "tiny" else 32

    @property
    def has_known_stride(self) -> bool:
        """Whether these settings determine the stride; a cfg or a checkpoint in start_from may change it."""
        return self.architecture != "darknet" and (
            self.start_from is None or "architecture" in self.model_fields_set
        )

    @property
    def wh_px(self) -> tuple[int, int]:
        """Width and height of the input."""
        size = self.input_size_px
        return (size, size) if isinstance(size, int) else size

    @property
    def side_px(self) -> int:
        """Side of a square input; ConfigError if it is not square, because training needs a square."""
        width, height = self.wh_px
        if width != height:
            raise ConfigError(
                f"model.input_size_px: expected a square input, found {width}×{height}; set one side."
            )
        return width

    @property
    def network(self) -> str:
        """Short description of the network for people."""
        scale = "" if self.architecture == "darknet" else f", width {self.width:g}"
        width, height = self.wh_px
        backbone = f" on {self.backbone}" if self.backbone else ""
        size = f"{width}" if width == height else f"{width}×{height}"
        return f"{self.architecture}{backbone}{scale}, input {size} px"

    @model_validator(mode="after")
    def _size_fits_the_grid(self) -> Self:
        if self.has_known_stride and any(side % self.input_multiple_px for side in self.wh_px):
            raise ValueError(
                f"input_size_px must be a multiple of {self.input_multiple_px} for "
                f"{self.backbone or self.architecture}, found {self.input_size_px}"
            )
        return self

    @model_validator(mode="after")
    def _darknet_settings_fit_the_architecture(self) -> Self:
        if self.architecture == "darknet":
            if self.darknet_cfg is None and self.start_from is None:
                raise ValueError(
                    "architecture darknet needs darknet_cfg; convert a .cfg with `yolo9000 convert` and set start_from"
                )
            if self.backbone or self.backbone_weights != "random" or self.freeze:
                raise ValueError(
                    "architecture darknet takes its backbone from its cfg; backbone must be null"
                )
            if self.width != 1:
                raise ValueError("architecture darknet takes its filters from its cfg; width must be 1")
        elif self.darknet_cfg is not None or self.batch_norm != "standard":
            raise ValueError("darknet_cfg and batch_norm are for architecture darknet only")
        return self

    @model_validator(mode="after")
    def _weights_fit_the_backbone(self) -> Self:
        name = self.backbone_name
        if self.backbone_weights == "packaged" and name != PACKAGED_BACKBONE:
            raise ValueError(
                f"backbone_weights packaged fits {PACKAGED_BACKBONE} only, but the backbone is {name}"
            )
        if self.backbone_weights == "pretrained" and not name.startswith("timm/"):
            raise ValueError(f"backbone_weights pretrained fits timm/NAME only, but the backbone is {name}")
        return self


class ModelConfig(NetworkConfig):
    """Network of a detector."""

    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "siblings": {"exclusive": "softmax", "independent": "sigmoid"}
    }

    # Named networks: models/detector.py. darknet: the network of a converted .cfg.
    architecture: Literal["yolov2", "yolov2_paper", "yolo9000", "tiny", "darknet"] = "yolov2"
    # Grid cell size, px: 32 or 16, the coarse or the fine features of the backbone; None: as the architecture says
    # (16 for tiny, otherwise the coarse ones).
    grid_stride: Literal[16, 32] | None = None
    # Width and height of each anchor in grid cells; None: k-means over the training boxes (paper, section 2).
    anchors: Annotated[tuple[tuple[PositiveFloat, PositiveFloat], ...], Field(min_length=1)] | None = None
    # Number of anchors for k-means. Paper: 5; 3 for YOLO9000.
    anchor_count: PositiveInt = 5
    # A second head, which reads the backbone's features in each predicted box. The objectness and the classes of a
    # detection are weighted means of both heads (decision 39).
    roi_head: bool = False
    # Softmax over each sibling group (paper), or a sigmoid for each node (decision 10).
    siblings: Literal["softmax", "sigmoid"] = "softmax"
    # Classifier with one softmax from which the class rows of the head start (decision 35): packaged (ImageNet's 1000
    # classes, from the extra `photos`), a .pth or .safetensors file of `backbone` with its last layer, or a .pt file of
    # `yolo9000 pretrain` with softmax flat; None: random rows.
    classes_from: Annotated[Literal["packaged"] | ConfigPath | None, Field(union_mode="left_to_right")] = None
    # Classes of the .pth or .safetensors file in the order of its outputs: imagenet-1k, or a text file with a wnid, the
    # id of a node or a name in each line.
    class_list: Annotated[Literal["imagenet-1k"] | ConfigPath | None, Field(union_mode="left_to_right")] = (
        None
    )

    @property
    def stride(self) -> int:
        """Grid cell size in px of a named architecture; a Darknet network's depends on its cfg."""
        return self.grid_stride or super().stride

    @property
    def has_fine_grid(self) -> bool:
        """Whether the grid is that of the backbone's finer features."""
        return self.architecture != "darknet" and self.stride < self.input_multiple_px

    @model_validator(mode="after")
    def _grid_fits_the_backbone(self) -> Self:
        if self.architecture == "darknet" and self.grid_stride:
            raise ValueError("architecture darknet takes its grid from its cfg; grid_stride must be null")
        if self.stride > self.input_multiple_px:
            raise ValueError(
                f"grid_stride: expected 16 for backbone {self.backbone_name}, found {self.stride}"
            )
        return self

    @model_validator(mode="after")
    def _classifier_has_features_and_classes(self) -> Self:
        source = self.classes_from
        needs_list = isinstance(source, Path) and source.suffix != ".pt"
        if source and self.architecture == "darknet":
            raise ValueError("architecture darknet has a class head of its own; classes_from must be null")
        if source and self.backbone_weights == "random" and self.start_from is None:
            raise ValueError(
                "classes_from needs the features of a trained backbone; set backbone_weights or start_from"
            )
        if needs_list and not self.class_list:
            raise ValueError(
                f"classes_from {source} has no class list; set class_list to imagenet-1k, or to a text file with one "
                "class per line, in the order of the classifier's outputs"
            )
        if self.class_list and not needs_list:
            raise ValueError("class_list is for a .pth or .safetensors file in classes_from only")
        return self


class DataConfig(StrictModel):
    """Training data: shards, batches and the mixture of sources."""

    old_names: ClassVar[Mapping[str, str]] = {"balance": "repeat_factor_power"}

    # Folder that `data-prep merge` wrote, relative to the configuration file, or an address that fsspec reads: s3://…
    shards: ConfigLocation
    # Split to train on.
    train_split: str = "train"
    # Images in a step, summed over all processes. Darknet's yolo9000.cfg: batch=64.
    batch_size: PositiveInt = 64
    # Parts of a batch that are computed one after another to save memory. Darknet: subdivisions.
    accumulate: PositiveInt = 1
    # Relative number of images from each source, for example {coco: 1, imagenet: 4}; None: the ratio of the merge.
    ratio: dict[str, PositiveFloat] | None = None
    # Repeat-factor sampling within a source: 0 shows each image once per epoch, 1 shows rare nodes as often as common
    # ones (decision 23).
    repeat_factor_power: Share = 0.0
    # Use only so many images of each source, evenly spaced, for trial runs and overfitting tests.
    limit: PositiveInt | None = None
    # Number of different batches, which training then repeats in turn; None: every batch is new. With a frozen backbone
    # (model.freeze: all), its features of these batches are computed once and kept (decision 37).
    distinct_batches: PositiveInt | None = None
    # Unreadable images that are replaced by others before the run stops (decision 30).
    max_damaged: int = Field(10, ge=0)
    # Threads that decode and augment images.
    loader_threads: PositiveInt = 2
    # Text file with the authors and licences of the images, for report.html, which shows images.
    attribution: ConfigPath | None = None


class AugmentConfig(StrictModel):
    """Augmentation of a detector's images. Defaults are Darknet's; tiles are off (decision 5).

    A *tile* is a label image, or a crop of another image, that is shrunk onto a canvas, put into a mosaic or pasted
    into another image.
    """

    old_names: ClassVar[Mapping[str, str]] = {"mosaic_cuts": "mosaic_crops", "scene_cuts": "scene_crops"}

    # Largest change of width and height in the random crop, as a share. Darknet's yolo9000.cfg: .2.
    jitter: float = Field(0.2, ge=0, lt=1)
    # Flip half of the images horizontally.
    flip: bool = True
    # Largest shift of the hue, as a share of the colour circle. Darknet's yolov2.cfg: .1.
    hue: float = Field(0.1, ge=0, le=0.5)
    # Largest factor for the saturation, or its inverse. Darknet's yolov2.cfg: 1.5.
    saturation: float = Field(1.5, ge=1)
    # Largest factor for the brightness, or its inverse. Darknet's yolov2.cfg: 1.5.
    exposure: float = Field(1.5, ge=1)
    # Sources whose images may become tiles; None: all sources without boxes.
    tile_sources: tuple[str, ...] | None = None
    # Share of the tile sources' images that are shrunk, so that their objects have the size of boxed objects.
    zoom_out: Share = 0.0
    # Range of a shrunk image's side, as a share of the canvas.
    zoom_out_side: tuple[PositiveFloat, PositiveFloat] = (0.35, 0.75)
    # Largest share of its side by which a single tile may reach over the edge of the canvas, as objects in scenes do.
    tile_overhang: float = Field(0.0, ge=0, le=0.5)
    # Share of the shrunk images that are placed on an image of the other sources, with its boxes, instead of on grey.
    zoom_out_onto: Share = 0.0
    # Share of the tile sources' images that are put into a 2×2 mosaic.
    mosaic: Share = 0.0
    # Share of a mosaic's other three tiles that are crops of the other sources' images, around one of their boxes.
    mosaic_crops: Share = 0.0
    # Share of the other sources' images that get a tile pasted in.
    paste: Share = 0.0
    # Share of the tiles on another image that are crops of the other sources' images, or placed next to such a crop.
    scene_crops: Share = 0.0
    # Largest width of the soft edge of a tile on another image, as a share of the tile's side.
    soft_edges: float = Field(0.0, ge=0, le=0.5)
    # Smallest side of a box after the crop, as a share of the image; smaller boxes are dropped. Darknet: .001.
    min_box_side: Share = 0.001

    @model_validator(mode="after")
    def _shares_fit(self) -> AugmentConfig:
        if self.mosaic + self.zoom_out > 1:
            raise ValueError(
                "mosaic and zoom_out are shares of the same images, at most 1 together, "
                f"found {self.mosaic + self.zoom_out:g}"
            )
        least, most = self.zoom_out_side
        if not least <= most <= 1:
            raise ValueError(f"zoom_out_side must be [least, most], at most 1, found {[least, most]}")
        return self


class LossConfig(StrictModel):
    """Assignment and loss of a detector. Defaults are Darknet's values, except for image labels (decision 9)."""

    old_names: ClassVar[Mapping[str, str]] = {
        "vouching": "unannotated_objectness",
        "unvouched_siblings": "unannotated_sibling_weight",
        "unannotated_siblings": "unannotated_sibling_weight",
        "warm_up_images": "anchor_warm_up_images",
        "match": "box_assignment",
        "assign": "label_assignment",
    }

    # --- boxes and background

    # Weight of the objectness loss at locations responsible for a box, and for an image label with label_objectness
    # paper. Darknet: object_scale=5.
    object_weight: float = Field(5.0, ge=0)
    # Weight of the objectness loss at background locations; with label_objectness darknet, also at all other locations
    # of an image with an image label. Darknet: noobject_scale=1.
    no_object_weight: float = Field(1.0, ge=0)
    # Weight of the class loss of boxes. Darknet: class_scale=1.
    class_weight: float = Field(1.0, ge=0)
    # Weight of the coordinate loss. Each box also counts 2 − width·height, so small boxes count up to twice (Darknet).
    coordinate_weight: float = Field(1.0, ge=0)
    # A box is assigned to the anchor, or to the predicted box, of the most similar shape. Darknet: bias_match=1 or 0.
    box_assignment: Literal["anchor", "prediction"] = "anchor"
    # A location without a box is not background if its predicted box overlaps a box by more than this IoU. Darknet:
    # thresh=.6.
    ignore_iou: Share = 0.6
    # Target for objectness at a box: the IoU of the predicted box, or 1. Darknet: rescore=1 or 0.
    objectness_target: Literal["iou", "one"] = "iou"
    # Squared error (paper, Darknet) or binary cross-entropy.
    objectness_loss: Literal["squared", "cross_entropy"] = "squared"
    # Number of images during which all locations without a box are also pulled towards their anchors. Darknet: 12800.
    anchor_warm_up_images: int = Field(12800, ge=0)
    # Pairs of siblings that may both apply, and are left out of each other's softmax in training (decision 22): those
    # that `wordtree lint` finds, or a file with two ids per line; None: no pairs.
    non_exclusive: Annotated[Literal["lint"] | ConfigPath | None, Field(union_mode="left_to_right")] = None

    # --- image labels

    # Weight of the class loss of image labels.
    label_weight: float = Field(1.0, ge=0)
    # Locations to which an image label is assigned (losses/label_assignment.py). Paper: max_score; top_k is
    # better (decision 33).
    label_assignment: Literal["max_score", "max_objectness", "max_size", "top_k"] = "top_k"
    # Number of locations that share a label, for label_assignment top_k.
    top_k: PositiveInt = 4
    # Objectness loss of images with image labels (decision 4).
    label_objectness: Literal["paper", "darknet", "ignore"] = "paper"
    # Assumed IoU of the chosen box with the object, for label_objectness paper. Paper, section 4: .3.
    assumed_iou: Share = 0.3
    # Weight of the loss of negative image labels (decision 20). The loss vanishes as the scores of the node fall.
    negative_weight: float = Field(1.0, ge=0)

    # --- objects of classes that a source does not annotate

    # A location above this objectness is not background if it shows a class that its source does not annotate
    # exhaustively; None: it is background.
    unannotated_objectness: Share | None = 0.3
    # Weight of the loss that lowers the probability of the exhaustively annotated classes at locations far from all
    # boxes whose objectness is above unannotated_objectness (decision 28).
    exclusion_weight: float = Field(0.0, ge=0)
    # Weight, in the softmax of a box, of siblings that its source does not annotate exhaustively (decision 31).
    unannotated_sibling_weight: Share = 1.0

    @model_validator(mode="after")
    def _exclusion_has_its_threshold(self) -> LossConfig:
        if self.exclusion_weight and self.unannotated_objectness is None:
            raise ValueError(
                "exclusion_weight needs unannotated_objectness, the objectness above which a location shows an object; "
                "unannotated_objectness is null"
            )
        return self


class PseudoBoxConfig(StrictModel):
    """Boxes that training itself draws for image labels (decision 27)."""

    # Steps after which all pseudo-boxes are predicted again; empty: never.
    at_steps: tuple[PositiveInt, ...] = ()
    # Input sizes of the views of each label image, each also mirrored; empty: the model's own input size.
    sizes_px: tuple[PositiveInt, ...] = ()
    # Smallest mean IoU between the predictions of all views for which a label gets a box.
    min_agreement: Share = 0.6


class OptimizerConfig(StrictModel):
    """Optimizer, and exponential moving average (EMA) of the weights."""

    name: Literal["sgd", "adamw"] = "sgd"
    # Peak learning rate. Darknet: .001.
    learning_rate: PositiveFloat = 0.001
    # Learning rate of the backbone, as a factor of the rate of the other layers.
    backbone_lr_scale: PositiveFloat = 1.0
    # Momentum of SGD. Darknet: .9. AdamW does not use it.
    momentum: float = Field(0.9, ge=0, lt=1)
    # Weight decay, of weights only, not of biases and batch norm. Darknet: .0005.
    weight_decay: float = Field(0.0005, ge=0)
    # Update all rows of a detector's class head in every step, or only those with a gradient (decision 38). auto: lazy
    # from 4096 nodes.
    class_rows: Literal["auto", "dense", "lazy"] = "auto"
    # Largest norm of the gradient; None: no clipping.
    clip_norm: PositiveFloat | None = None
    # Decay per step of the EMA of the weights, which is evaluated and saved; 0: no EMA.
    ema: float = Field(0.0, ge=0, lt=1)


class ScheduleConfig(StrictModel):
    """Length, learning rate and input sizes of a training run."""

    # Length of the training.
    max_steps: PositiveInt
    # Steps of burn-in (learning-rate warm-up), in which the rate is multiplied by
    # (step / burn_in_steps)^burn_in_power. Darknet: 1000, 4.
    burn_in_steps: int = Field(1000, ge=0)
    burn_in_power: PositiveFloat = 4.0
    # Rule for the learning rate at step t; the names are Darknet's, except cosine.
    policy: Literal["constant", "steps", "step", "exp", "poly", "sigmoid", "cosine"] = "steps"
    # Policy steps: from each of these steps on, the rate is multiplied by its scale.
    steps: tuple[int, ...] = ()
    scales: tuple[PositiveFloat, ...] = ()
    # Policy step: rate × step_scale^(t // step_every).
    step_every: PositiveInt = 1
    step_scale: PositiveFloat = 1.0
    # Policy exp: rate × gamma^t. Policy sigmoid: rate / (1 + e^(gamma · (t − middle))).
    gamma: PositiveFloat = 1.0
    middle: int = 0
    # Policy poly: rate × (1 − t / max_steps)^power.
    power: PositiveFloat = 4.0
    # Multi-scale training: one of these input sizes is drawn every size_every steps; empty: fixed size (decision 24).
    # Paper: every 10 steps.
    sizes_px: tuple[PositiveInt, ...] = ()
    size_every: PositiveInt = 10

    @model_validator(mode="after")
    def _one_scale_for_each_step(self) -> ScheduleConfig:
        if len(self.steps) != len(self.scales):
            raise ValueError(
                f"steps and scales must be of equal length, found {len(self.steps)} and {len(self.scales)}"
            )
        return self


class EvaluateConfig(StrictModel):
    """Evaluation of a detector."""

    old_names: ClassVar[Mapping[str, str]] = {"max_places": "max_locations"}

    # Split to evaluate on.
    split: str = "test"
    # Steps between evaluations; None: only after the last step.
    every: PositiveInt | None = None
    # Use only so many images of each source, evenly spaced.
    limit: PositiveInt | None = None
    batch_size: PositiveInt = 16
    # Smallest objectness of an evaluated detection. Darknet's `detector valid`: .005.
    min_objectness: Share = 0.005
    # Number of locations of highest objectness per image that are considered.
    max_locations: PositiveInt = 300
    # Smallest IoU at which a box of higher score suppresses another. Darknet: .45.
    nms_iou: Share = 0.45
    nms: NmsRule = "by_node"
    geometry: Geometry = "exact"
    # Largest number of detections per image. COCO: 100, LVIS: 300.
    max_detections: PositiveInt = 100
    # Rules of AP. lvis: only classes that annotators looked for in an image count; lvis_fixed: with at most 10,000
    # detections of each class instead of 300 per image; openimages: AP50 with group-of boxes, each box also of the
    # classes above; ilsvrc: a lower IoU for small boxes.
    protocol: Protocol = "coco"


class PredictConfig(StrictModel):
    """Prediction with a detector."""

    old_names: ClassVar[Mapping[str, str]] = {"max_places": "max_locations", "level": "descent"}
    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"descent": {"threshold": "paper"}}

    # Smallest objectness × P(root of the predicted class); in a flat list of classes this is the score (decision 35).
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
    # Smallest IoU at which a box of higher score suppresses another. Darknet: .45.
    nms_iou: Share = 0.45
    nms: NmsRule = "by_objectness"
    geometry: Geometry = "exact"
    # Largest number of detections per image.
    max_detections: PositiveInt = 100
    batch_size: PositiveInt = 8
    # Side of the input, or [width, height], in pixels; None: that of the model.
    input_size_px: InputSize | None = None
    precision: Precision = "float32"


class LogConfig(StrictModel):
    """Records and checkpoints of a training run."""

    # Steps between lines of metrics.csv.
    every: PositiveInt = 20
    # Steps between writes of last.pt.
    checkpoint_every: PositiveInt = 500
    # Write curves to runs/NAME/tensorboard; None: if TensorBoard is installed.
    tensorboard: bool | None = None


class Config(StrictModel):
    """One training run of a detector."""

    # The run's folder is runs/NAME; `--runs` replaces `runs`.
    name: str = Field("train", pattern=RUN_NAME)
    # Seed of the initial weights, the order of images and their augmentation.
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
    # Keep freed memory in the process instead of returning it to the system after every step (Linux with glibc):
    # faster steps on CPUs, more memory.
    keep_freed_memory: bool = True
    batch_statistics: BatchStatistics = "per_process"
    model: ModelConfig = ModelConfig()
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    pseudo_boxes: PseudoBoxConfig = PseudoBoxConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig
    evaluate: EvaluateConfig = EvaluateConfig()
    predict: PredictConfig = PredictConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _repeated_batches_do_not_change(self) -> Config:
        if self.data.distinct_batches and self.pseudo_boxes.at_steps:
            raise ValueError(
                "data.distinct_batches and pseudo_boxes.at_steps exclude each other: repeated batches keep their labels"
            )
        return self

    @model_validator(mode="after")
    def _sizes_fit_the_grid(self) -> Config:
        _refuse_sizes_off_grid("schedule.sizes_px", self.schedule.sizes_px, self.model)
        _refuse_sizes_off_grid("pseudo_boxes.sizes_px", self.pseudo_boxes.sizes_px, self.model)
        return self


class ClassifierConfig(NetworkConfig):
    """Network of a classifier."""

    # Backbone of yolov2 and yolo9000, of tiny, or of a converted .cfg.
    architecture: Literal["darknet19", "tiny", "darknet"] = "darknet19"
    # Paper, section 2: 224, then 448 with the first run's weights.
    input_size_px: InputSize = 224
    # tree: a softmax over each sibling group (WordTree). flat: one softmax over all nodes that have training labels.
    softmax: Literal["tree", "flat"] = "tree"

    @model_validator(mode="before")
    @classmethod
    def _settings_are_of_a_classifier(cls, values: object) -> object:
        of_detectors = ModelConfig.model_fields.keys() - cls.model_fields.keys()
        if isinstance(values, dict) and (found := sorted(of_detectors & values.keys())):
            verb = "are settings" if len(found) > 1 else "is a setting"
            raise ValueError(f"{', '.join(found)} {verb} of `yolo9000 train` only")
        return values


class CropConfig(StrictModel):
    """Augmentation of a classifier's images. Defaults are those of Darknet's darknet19.cfg."""

    old_names: ClassVar[Mapping[str, str]] = {"cut_boxes": "crop_boxes"}

    # Also train on images with boxes, with a crop around one of their boxes (decision 32).
    crop_boxes: bool = False
    # Range of the shorter side after scaling, in input sides; a square of the input size is cropped from the scaled
    # image. Darknet: min_crop=128 and max_crop=448 for an input of 256.
    shorter_side: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.75)
    # Largest factor for the ratio of width to height, or its inverse. Darknet: .75.
    aspect: float = Field(1.33, ge=1)
    # Largest rotation in degrees, in both directions. Darknet: 7.
    angle: float = Field(7.0, ge=0, le=180)
    # Flip half of the images horizontally.
    flip: bool = True
    # Largest shift of the hue, as a share of the colour circle. Darknet: .1.
    hue: float = Field(0.1, ge=0, le=0.5)
    # Largest factor for the saturation, or its inverse. Darknet: .75.
    saturation: float = Field(1.33, ge=1)
    # Largest factor for the brightness, or its inverse. Darknet: .75.
    exposure: float = Field(1.33, ge=1)

    @model_validator(mode="after")
    def _shorter_side_is_a_range(self) -> CropConfig:
        if self.shorter_side[0] > self.shorter_side[1]:
            raise ValueError(f"shorter_side must be [least, most], found {list(self.shorter_side)}")
        return self


class ClassifierOptimizerConfig(OptimizerConfig):
    """Optimizer of a classifier."""

    # Paper, section 3: .1.
    learning_rate: PositiveFloat = 0.1


class ClassifierEvaluateConfig(StrictModel):
    """Evaluation of a classifier."""

    # Split to evaluate on.
    split: str = "test"
    # Steps between evaluations; None: only after the last step.
    every: PositiveInt | None = None
    # Use only so many images of each source, evenly spaced.
    limit: PositiveInt | None = None
    batch_size: PositiveInt = 32
    # Threads that decode images.
    loader_threads: PositiveInt = 2


class PretrainConfig(StrictModel):
    """One training run of a classifier, from which a detector may start (paper, sections 2 to 4)."""

    # The run's folder is runs/NAME; `--runs` replaces `runs`.
    name: str = Field("pretrain", pattern=RUN_NAME)
    # Seed of the initial weights, the order of images and their augmentation.
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
    # Keep freed memory in the process instead of returning it to the system after every step (Linux with glibc):
    # faster steps on CPUs, more memory.
    keep_freed_memory: bool = True
    batch_statistics: BatchStatistics = "per_process"
    model: ClassifierConfig = ClassifierConfig()
    data: DataConfig
    augment: CropConfig = CropConfig()
    optimizer: ClassifierOptimizerConfig = ClassifierOptimizerConfig()
    schedule: ScheduleConfig
    evaluate: ClassifierEvaluateConfig = ClassifierEvaluateConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _batches_are_new(self) -> PretrainConfig:
        if self.data.distinct_batches:
            raise ValueError("data.distinct_batches is a setting of `yolo9000 train` only")
        return self

    @model_validator(mode="after")
    def _sizes_fit_the_grid(self) -> PretrainConfig:
        _refuse_sizes_off_grid("schedule.sizes_px", self.schedule.sizes_px, self.model)
        return self


def _refuse_sizes_off_grid(name: str, sizes_px: Sequence[int], model: NetworkConfig) -> None:
    off_grid = [size for size in sizes_px if size % model.input_multiple_px]
    if off_grid and model.has_known_stride:
        raise ValueError(f"{name} must be multiples of {model.input_multiple_px}, found {off_grid}")


def read_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of `yolo9000 train` in a YAML file, with overrides like `loss.label_weight=2`."""
    return load_config(path, Config, overrides)


def read_pretrain_config(path: Path | str, overrides: Sequence[str] = ()) -> PretrainConfig:
    """The configuration of `yolo9000 pretrain` in a YAML file, with overrides like `model.width=.5`."""
    return load_config(path, PretrainConfig, overrides)


def overfit_overrides(cfg: Config | PretrainConfig, images: int) -> list[str]:
    """Overrides to memorise some images of each source: no augmentation, and evaluation on the same images."""
    colours = {"flip": "false", "hue": 0, "saturation": 1, "exposure": 1}
    shapes = (
        {"jitter": 0, "zoom_out": 0, "mosaic": 0, "paste": 0}
        if isinstance(cfg, Config)
        else {"shorter_side": "[1, 1]", "aspect": 1, "angle": 0}
    )
    same = {"data.limit": images, "evaluate.limit": images, "evaluate.split": cfg.data.train_split}
    plain = {f"augment.{name}": value for name, value in (colours | shapes).items()}
    values = {"name": f"{cfg.name}-overfit", **same, **plain, "schedule.sizes_px": "[]"}
    return [f"{name}={value}" for name, value in values.items()]
