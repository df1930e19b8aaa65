"""Every hyper-parameter of the detector, once: name, default, unit, reason. Importing this file imports no torch.

Files are YAML, `--set a.b=c` overrides a value, unknown keys are refused. Only builders and loops read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PositiveFloat, PositiveInt, model_validator

from wordtree.errors import ConfigError
from wordtree.support.config_files import ConfigLocation, ConfigPath, StrictModel, load_config

Share = Annotated[float, Field(ge=0, le=1)]
# Which boxes compete: all of an image, or those of one node (decision 8).
Overlap = Literal["by_objectness", "by_node"]
# How images are resized, and boxes brought back to them and compared (decision 13).
Geometry = Literal["exact", "darknet"]
RUN_NAME = r"^\w[\w.-]*$"  # the run's folder: runs/NAME
Precision = Literal["float32", "bfloat16", "auto"]  # auto: bfloat16 where the processor computes in it
# Whose images batch norm normalises by in training (batch_norm.py); frozen: by its running statistics.
BatchStatistics = Literal["per_process", "frozen", "synchronised"]


def _side_or_sides(value: object) -> int | tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    sides = tuple(value) if isinstance(value, list | tuple) else ()
    if len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
        return sides
    raise ValueError(f"expected a side in pixels or [width, height], found {value!r}")


InputSize = Annotated[int | tuple[int, int], BeforeValidator(_side_or_sides)]


class NetworkConfig(StrictModel):
    """What the networks of detectors and classifiers have in common."""

    architecture: str
    # Of architecture darknet: the text of its .cfg, one character a byte (`yolo9000 convert`).
    darknet_cfg: str | None = None
    # Of architecture darknet: where the epsilon stands (decision 19).
    batch_norm: Literal["standard", "darknet_cpu"] = "standard"
    # A checkpoint, or a backbone of Darknet, whose weights the run begins with; None: random ones.
    start_from: ConfigPath | None = None
    width: PositiveFloat = 1.0  # multiplies every layer's filters; .25 is of CPU size
    # For evaluation and prediction, a side or [width, height]; training may vary it (schedule.sizes_px).
    input_size_px: InputSize = 416

    @property
    def stride(self) -> int:
        """Pixels in a grid cell, of the named architectures; that of a Darknet network is in its cfg."""
        return 16 if self.architecture == "tiny" else 32

    @property
    def is_of_known_stride(self) -> bool:
        """Whether these settings alone tell the stride: not that of a cfg, or of the network that a run starts from."""
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
        """The side of a square input; ConfigError if it is not square, as training needs it."""
        width, height = self.wh_px
        if width != height:
            raise ConfigError(
                f"Only a square input will do here, found {width}×{height}; set model.input_size_px to one side."
            )
        return width

    @property
    def network(self) -> str:
        """The network in words."""
        scale = "" if self.architecture == "darknet" else f", width {self.width:g}"
        width, height = self.wh_px
        return (
            f"{self.architecture}{scale}, input {f'{width}' if width == height else f'{width}×{height}'} px"
        )

    @model_validator(mode="after")
    def _size_fits_the_grid(self) -> Self:
        if self.is_of_known_stride and any(side % self.stride for side in self.wh_px):
            raise ValueError(
                f"input_size_px must be a multiple of {self.stride} for {self.architecture}, found {self.input_size_px}"
            )
        return self

    @model_validator(mode="after")
    def _a_cfg_goes_with_darknet(self) -> Self:
        if self.architecture == "darknet":
            if self.darknet_cfg is None and self.start_from is None:
                raise ValueError(
                    "architecture darknet needs darknet_cfg; convert a .cfg by `yolo9000 convert` and set start_from"
                )
            if self.width != 1:
                raise ValueError("width is not for architecture darknet; its cfg states all filters")
        elif self.darknet_cfg is not None or self.batch_norm != "standard":
            raise ValueError("darknet_cfg and batch_norm are for architecture darknet only")
        return self


class ModelConfig(NetworkConfig):
    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "siblings": {"exclusive": "softmax", "independent": "sigmoid"}
    }

    architecture: Literal["yolov2", "yolov2_paper", "yolo9000", "tiny", "darknet"] = "yolov2"
    # Width, height in cells; None: k-means.
    anchors: Annotated[tuple[tuple[PositiveFloat, PositiveFloat], ...], Field(min_length=1)] | None = None
    anchor_count: PositiveInt = 5  # for k-means; paper: 5, and 3 for YOLO9000
    # A softmax over each sibling group (paper), or each node its own logistic (decision 10).
    siblings: Literal["softmax", "sigmoid"] = "softmax"


class DataConfig(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"balance": "repeat_factor_power"}

    # A folder that `data-prep merge` wrote, relative to this file; or where fsspec reads one: s3://…
    shards: ConfigLocation
    train_split: str = "train"
    batch_size: PositiveInt = 64  # of a step, over all processes; darknet yolo9000.cfg: batch
    accumulate: PositiveInt = 1  # in so many parts, one by one, to save memory; darknet: subdivisions
    # Of images by source, {coco: 1, imagenet: 4}; None: the merge's.
    ratio: dict[str, PositiveFloat] | None = None
    # Within a source: 0 each image once a pass; 1 rare nodes as often as common ones (decision 23).
    repeat_factor_power: Share = 0.0
    limit: PositiveInt | None = None  # only the first images of each source, for tries and overfitting
    # So many images that cannot be read are left out, others in their places, before a run stops.
    max_damaged: int = Field(10, ge=0)
    loader_threads: PositiveInt = 2
    # A text that names the images' authors and licences, for report.html, which shows images.
    attribution: ConfigPath | None = None


class AugmentConfig(StrictModel):
    """Defaults are darknet's: jitter of yolo9000.cfg, colours of yolov2.cfg; label tiles are ours (decision 5)."""

    old_names: ClassVar[Mapping[str, str]] = {"mosaic_cuts": "mosaic_crops", "scene_cuts": "scene_crops"}

    jitter: float = Field(0.2, ge=0, lt=1)  # of width and height, for the aspect
    flip: bool = True
    hue: float = Field(0.1, ge=0, le=0.5)  # shift by up to this part of the circle
    saturation: float = Field(1.5, ge=1)  # factor up to this, or its inverse
    exposure: float = Field(1.5, ge=1)
    # Images of one thing, for the next three; None: those without boxes.
    tile_sources: tuple[str, ...] | None = None
    zoom_out: Share = 0.0  # of those: shrunk, so that their things have the scale of boxed ones
    # To a side between these, of the canvas.
    zoom_out_side: tuple[PositiveFloat, PositiveFloat] = (0.35, 0.75)
    # Tiles that lie on the canvas alone reach over its edge by up to this part of their side, as things in scenes do.
    tile_overhang: float = Field(0.0, ge=0, le=0.5)
    # Of the shrunk: laid on one of the other images, with its boxes, instead of on grey.
    zoom_out_onto: Share = 0.0
    mosaic: Share = 0.0  # of those: set in a 2×2 mosaic of four
    # Of a mosaic's further tiles: cut out of the other images, around one of their boxes.
    mosaic_crops: Share = 0.0
    paste: Share = 0.0  # of the other images: get one of those pasted in
    # Of tiles that lie on the other images: cut out of these, or beside one that is.
    scene_crops: Share = 0.0
    # A tile that lies on an image fades into it over up to this part of its sides.
    soft_edges: float = Field(0.0, ge=0, le=0.5)
    min_box_side: Share = 0.001  # darknet: smaller boxes are dropped after the crop, unit

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
    old_names: ClassVar[Mapping[str, str]] = {
        "vouching": "unannotated_objectness",
        "unvouched_siblings": "unannotated_siblings",
    }

    object_weight: float = Field(5.0, ge=0)  # darknet object_scale; the paper gives none
    no_object_weight: float = Field(1.0, ge=0)
    class_weight: float = Field(1.0, ge=0)
    coordinate_weight: float = Field(1.0, ge=0)  # times 2 − w·h, so small boxes count up to twice (darknet)
    # A box goes to the anchor, or the predicted box, most like it in shape (darknet bias_match=1 / 0).
    match: Literal["anchor", "prediction"] = "anchor"
    ignore_iou: Share = 0.6  # an unmatched place above this overlap is not told "no object"
    objectness_target: Literal["iou", "one"] = "iou"  # darknet rescore=1 / 0
    objectness_loss: Literal["squared", "cross_entropy"] = "squared"  # paper and darknet: squared
    # Darknet: all places are pulled to their anchors over the first images.
    warm_up_images: int = Field(12800, ge=0)

    # Siblings whose training leaves each other alone: those of `wordtree lint`, or a file of two ids a line.
    non_exclusive: Annotated[Literal["lint"] | ConfigPath | None, Field(union_mode="left_to_right")] = None

    label_weight: float = Field(1.0, ge=0)
    # Which places an image label goes to (weak_labels.py; decision 33); paper: max_score.
    assign: Literal["max_score", "max_objectness", "max_size", "top_k"] = "top_k"
    top_k: PositiveInt = 4  # of assign top_k: so many places share a label
    label_objectness: Literal["paper", "darknet", "ignore"] = "paper"  # decision 4
    assumed_iou: Share = 0.3  # paper, section 4: the chosen box is assumed to overlap by this
    # Of "there is no such thing in this image": as much as a label, since it fades by itself as scores fall.
    negative_weight: float = Field(1.0, ge=0)
    # Places of more objectness that see what a source does not annotate are not told so.
    unannotated_objectness: Share | None = 0.3
    # A thing far from all boxes is none of what its image vouches for (decision 28); needs vouching.
    exclusion_weight: float = Field(0.0, ge=0)
    # What siblings that their source does not vouch for count in the softmax of boxes (decision 31).
    unannotated_siblings: Share = 1.0

    @model_validator(mode="after")
    def _exclusion_has_what_it_needs(self) -> LossConfig:
        if self.exclusion_weight and self.unannotated_objectness is None:
            raise ValueError(
                "exclusion_weight needs vouching, the objectness above which a place sees a thing; vouching is null"
            )
        return self


class PseudoBoxConfig(StrictModel):
    """Boxes that training draws itself around what image labels name (decision 27)."""

    at_steps: tuple[PositiveInt, ...] = ()  # drawn anew after each of these steps; none: never
    sizes_px: tuple[
        PositiveInt, ...
    ] = ()  # each labelled image is looked at in these input sizes, and mirrored; none: in the model's own
    min_agreement: Share = 0.6  # mean IoU of what the views find, below which a label gets no box


class OptimizerConfig(StrictModel):
    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.001
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.0005, ge=0)  # on weights only, as in darknet
    clip_norm: PositiveFloat | None = None
    ema: float = Field(0.0, ge=0, lt=1)  # decay of the averaged weights; 0: none


class ScheduleConfig(StrictModel):
    max_steps: PositiveInt
    burn_in_steps: int = Field(1000, ge=0)  # darknet: rate × (step / burn_in)^4
    burn_in_power: PositiveFloat = 4.0
    policy: Literal["constant", "steps", "step", "exp", "poly", "sigmoid", "cosine"] = "steps"
    steps: tuple[int, ...] = ()  # of policy steps: from step t on, the rate is multiplied by …
    scales: tuple[PositiveFloat, ...] = ()  # … its scale
    step_every: PositiveInt = 1  # of policy step: rate × step_scale^(t // step_every)
    step_scale: PositiveFloat = 1.0
    gamma: PositiveFloat = 1.0  # of policies exp: rate × gamma^t, and sigmoid
    middle: int = 0  # of policy sigmoid: rate / (1 + e^(gamma · (t − middle)))
    power: PositiveFloat = 4.0  # of policy poly: rate × (1 − t / max_steps)^power
    sizes_px: tuple[
        PositiveInt, ...
    ] = ()  # multi-scale: one of these is drawn every `size_every` steps; empty: fixed (decision 24)
    size_every: PositiveInt = 10

    @model_validator(mode="after")
    def _one_scale_for_each_step(self) -> ScheduleConfig:
        if len(self.steps) != len(self.scales):
            raise ValueError(
                f"steps and scales must be of equal length, found {len(self.steps)} and {len(self.scales)}"
            )
        return self


class EvaluateConfig(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"max_places": "max_locations"}

    split: str = "test"
    every: PositiveInt | None = None  # steps between evaluations; None: only at the end
    limit: PositiveInt | None = None  # only the first images of each source
    batch_size: PositiveInt = 16
    min_objectness: Share = 0.005  # darknet valid: .005
    max_locations: PositiveInt = 300  # the most objective places of an image that are looked at
    nms_iou: Share = 0.45
    nms: Overlap = "by_node"
    geometry: Geometry = "exact"
    max_detections: PositiveInt = 100  # COCO's number, for each image


class PredictConfig(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"max_places": "max_locations"}

    min_score: Share = 0.2  # objectness (an IoU, so seldom near 1) × absolute probability
    min_absolute: Share = 0.5  # descent goes on while P(node) exceeds this (paper, section 4)
    # Darknet: stops earlier, and the score is objectness alone (decision 11).
    level: Literal["threshold", "darknet"] = "threshold"
    max_locations: PositiveInt = 300  # the most objective places of an image that are looked at
    nms_iou: Share = 0.45
    nms: Overlap = "by_objectness"
    geometry: Geometry = "exact"
    max_detections: PositiveInt = 100
    batch_size: PositiveInt = 8


class LogConfig(StrictModel):
    every: PositiveInt = 20  # steps between lines of metrics.csv
    checkpoint_every: PositiveInt = 500
    tensorboard: bool | None = None  # curves to RUNS/NAME/tensorboard; None: where TensorBoard is installed


class Config(StrictModel):
    """One training run."""

    name: str = Field("train", pattern=RUN_NAME)
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
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
    def _sizes_fit_the_grid(self) -> Config:
        for name, sizes in (
            ("schedule.sizes_px", self.schedule.sizes_px),
            ("pseudo_boxes.sizes_px", self.pseudo_boxes.sizes_px),
        ):
            odd = [size for size in sizes if size % self.model.stride]
            if odd and self.model.is_of_known_stride:
                raise ValueError(f"{name} must be multiples of {self.model.stride}, found {odd}")
        return self


class ClassifierConfig(NetworkConfig):
    # The backbone of yolov2 and yolo9000, that of tiny, or what darknet_cfg says.
    architecture: Literal["darknet19", "tiny", "darknet"] = "darknet19"
    input_size_px: InputSize = 224  # paper, section 2: 224, then 448, starting from the first
    # One over each sibling group (WordTree), or one over all nodes that training has labels of.
    softmax: Literal["tree", "flat"] = "tree"


class CropConfig(StrictModel):
    """What of an image a classifier sees in training; defaults are darknet's darknet19.cfg."""

    old_names: ClassVar[Mapping[str, str]] = {"cut_boxes": "crop_boxes"}

    crop_boxes: bool = False  # images with boxes take part, too: by what one of them holds (decision 32)
    # The image is scaled until its shorter side has a length between these, in input sides, and a square of the
    # input size is cut out of it; darknet min_crop 128, max_crop 448, of 256.
    shorter_side: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.75)
    aspect: float = Field(1.33, ge=1)  # width against height changed by a factor up to this, or its inverse
    angle: float = Field(7.0, ge=0, le=180)  # turned by up to this many degrees either way
    flip: bool = True
    hue: float = Field(0.1, ge=0, le=0.5)
    saturation: float = Field(1.33, ge=1)  # darknet .75: from that to its inverse
    exposure: float = Field(1.33, ge=1)

    @model_validator(mode="after")
    def _from_short_to_long(self) -> CropConfig:
        if self.shorter_side[0] > self.shorter_side[1]:
            raise ValueError(f"shorter_side must be [least, most], found {list(self.shorter_side)}")
        return self


class ClassifierOptimizerConfig(OptimizerConfig):
    learning_rate: PositiveFloat = 0.1  # paper, section 3


class ClassifierEvaluateConfig(StrictModel):
    split: str = "test"
    every: PositiveInt | None = None  # steps between evaluations; None: only at the end
    limit: PositiveInt | None = None  # only the first images of each source
    batch_size: PositiveInt = 32
    loader_threads: PositiveInt = 2


class PretrainConfig(StrictModel):
    """One training of a classifier, from which a detector may start (paper, sections 2 to 4)."""

    name: str = Field("pretrain", pattern=RUN_NAME)
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
    batch_statistics: BatchStatistics = "per_process"
    model: ClassifierConfig = ClassifierConfig()
    data: DataConfig
    augment: CropConfig = CropConfig()
    optimizer: ClassifierOptimizerConfig = ClassifierOptimizerConfig()
    schedule: ScheduleConfig
    evaluate: ClassifierEvaluateConfig = ClassifierEvaluateConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _sizes_fit_the_grid(self) -> PretrainConfig:
        odd = [size for size in self.schedule.sizes_px if size % self.model.stride]
        if odd and self.model.is_of_known_stride:
            raise ValueError(f"schedule.sizes_px must be multiples of {self.model.stride}, found {odd}")
        return self


def read_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a YAML file, with overrides like `loss.label_weight=2`."""
    return load_config(path, Config, overrides)


def read_pretrain_config(path: Path | str, overrides: Sequence[str] = ()) -> PretrainConfig:
    """The configuration of `yolo9000 pretrain`, likewise."""
    return load_config(path, PretrainConfig, overrides)


def overfitting(cfg: Config | PretrainConfig, pictures: int) -> list[str]:
    """Overrides to learn the first images of each source by heart: scored on the same, nothing drawn at random."""
    colours = {"flip": "false", "hue": 0, "saturation": 1, "exposure": 1}
    shapes = (
        {"jitter": 0, "zoom_out": 0, "mosaic": 0, "paste": 0}
        if isinstance(cfg, Config)
        else {"shorter_side": "[1, 1]", "aspect": 1, "angle": 0}
    )
    same = {"data.limit": pictures, "evaluate.limit": pictures, "evaluate.split": cfg.data.train_split}
    plain = {f"augment.{name}": value for name, value in (colours | shapes).items()}
    values = {"name": f"{cfg.name}-overfit", **same, **plain, "schedule.sizes_px": "[]"}
    return [f"{name}={value}" for name, value in values.items()]
