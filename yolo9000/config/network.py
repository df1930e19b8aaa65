"""Settings of networks: of a detector and of a classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from wordtree.errors import ConfigError
from wordtree.support.config_files import ConfigPath, StrictModel
from yolo9000.config.values import PACKAGED_BACKBONE, BatchNormRule, InputSize


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
        needs_list = isinstance(source, Path) and source.suffix.lower() != ".pt"
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
