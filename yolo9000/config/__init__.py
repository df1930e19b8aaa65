"""All settings of training, evaluation and prediction: meaning, unit, default and its source. Imports no torch.

Settings come from YAML files and `--set a.b=c`; unknown keys are errors. Networks get plain values from `build_*`;
loss, evaluation and prediction read their own section. The sources are the YOLO9000 paper, Darknet's cfg files, and
docs/decisions.md.
"""

from yolo9000.config.data import AugmentConfig, CropConfig, DataConfig
from yolo9000.config.evaluation import ClassifierEvaluateConfig, EvaluateConfig, PredictConfig
from yolo9000.config.loss import LossConfig, PseudoBoxConfig
from yolo9000.config.network import ClassifierConfig, ModelConfig, NetworkConfig
from yolo9000.config.runs import (
    Config,
    LogConfig,
    PretrainConfig,
    overfit_overrides,
    read_config,
    read_pretrain_config,
)
from yolo9000.config.schedule import ClassifierOptimizerConfig, OptimizerConfig, ScheduleConfig
from yolo9000.config.values import (
    MAX_SIDE_PX,
    PACKAGED_BACKBONE,
    RUN_NAME,
    BatchNormRule,
    BatchStatistics,
    Geometry,
    InputSize,
    NmsRule,
    Precision,
    Protocol,
    Share,
)

__all__ = [
    "MAX_SIDE_PX",
    "PACKAGED_BACKBONE",
    "RUN_NAME",
    "AugmentConfig",
    "BatchNormRule",
    "BatchStatistics",
    "ClassifierConfig",
    "ClassifierEvaluateConfig",
    "ClassifierOptimizerConfig",
    "Config",
    "CropConfig",
    "DataConfig",
    "EvaluateConfig",
    "Geometry",
    "InputSize",
    "LogConfig",
    "LossConfig",
    "ModelConfig",
    "NetworkConfig",
    "NmsRule",
    "OptimizerConfig",
    "Precision",
    "PredictConfig",
    "PretrainConfig",
    "Protocol",
    "PseudoBoxConfig",
    "ScheduleConfig",
    "Share",
    "overfit_overrides",
    "read_config",
    "read_pretrain_config",
]
