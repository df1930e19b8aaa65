"""The configuration of one run: of a detector and of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, PositiveInt, model_validator

from wordtree.support.config_files import StrictModel, load_config
from yolo9000.config.data import AugmentConfig, CropConfig, DataConfig
from yolo9000.config.evaluation import ClassifierEvaluateConfig, EvaluateConfig, PredictConfig
from yolo9000.config.loss import LossConfig, PseudoBoxConfig
from yolo9000.config.network import ClassifierConfig, ModelConfig, NetworkConfig
from yolo9000.config.schedule import ClassifierOptimizerConfig, OptimizerConfig, ScheduleConfig
from yolo9000.config.values import RUN_NAME, BatchStatistics, Precision


class LogConfig(StrictModel):
    """Records and checkpoints of a training run."""

    # Steps between lines of metrics.csv.
    every: PositiveInt = 20
    # Steps between writes of last.pt.
    checkpoint_every: PositiveInt = 500
    # Write curves to runs/NAME/tensorboard; None: if TensorBoard is installed.
    tensorboard: bool | None = None


class _RunConfig(StrictModel):
    """The settings that every training run has."""

    # The run's folder is runs/NAME; `--runs` replaces `runs`.
    name: str = Field(pattern=RUN_NAME)
    # Seed of the initial weights, the order of images and their augmentation.
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
    # Keep freed memory in the process instead of returning it to the system after every step (Linux with glibc):
    # faster steps on CPUs, more memory.
    keep_freed_memory: bool = True
    batch_statistics: BatchStatistics = "per_process"


class Config(_RunConfig):
    """One training run of a detector."""

    name: str = Field("train", pattern=RUN_NAME)
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


class PretrainConfig(_RunConfig):
    """One training run of a classifier, from which a detector may start (paper, sections 2 to 4)."""

    name: str = Field("pretrain", pattern=RUN_NAME)
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
    def _all_class_rows_are_updated(self) -> PretrainConfig:
        if self.optimizer.class_rows == "lazy":
            raise ValueError("optimizer.class_rows: lazy is a setting of `yolo9000 train` only")
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
