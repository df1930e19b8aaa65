"""Short runs that must have the same result in one process and in two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from data_prep import ShardReader
from tests.yolo9000.made import made_config
from yolo9000.config import Config, EvaluateConfig, PretrainConfig
from yolo9000.evaluation.evaluate import predict_boxes
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.models.detector import build_detector
from yolo9000.training.train import with_anchors

# SGD: AdamW would turn gradients that are only rounding errors into steps of full length.
OPTIMIZER = {"name": "sgd", "learning_rate": 0.01, "ema": 0.9, "clip_norm": 2.0}


def detector_config(shards: Path, **changes: object) -> Config:
    """Four steps of a narrow network with frozen batch norm, which does not depend on the other images of a batch."""
    optimizer = {f"optimizer__{name}": value for name, value in OPTIMIZER.items()}
    fixed = {"model__width": 0.25, "precision": "float32", "evaluate__batch_size": 1, **optimizer}
    asked = {
        "loss__label_assignment": "max_score",
        "loss__label_objectness": "paper",
        "loss__anchor_warm_up_images": 16,
    }
    drawn = {"pseudo_boxes": {"at_steps": [2], "min_agreement": 0.1}}
    return made_config(shards, **{**fixed, **asked, **drawn, "batch_statistics": "frozen", **changes})


def two_slots(shards: Path, **changes: object) -> Config:
    """Batches of two images: of two processes, one has only boxes in every step and the other only image labels."""
    augment = {"augment__paste": 0, "augment__mosaic": 0, "augment__zoom_out": 0}
    return detector_config(shards, data__batch_size=2, pseudo_boxes={}, **augment, **changes)


def classifier_config(shards: Path, **changes: object) -> PretrainConfig:
    return PretrainConfig.model_validate(
        {
            "model": {"architecture": "tiny", "width": 0.25, "input_size_px": 32},
            "data": {"shards": str(shards), "batch_size": 8, "train_split": "train", **changes},
            "evaluate": {"split": "train", "batch_size": 3},
            "optimizer": OPTIMIZER,
            "schedule": {"max_steps": 3, "burn_in_steps": 0},
            "log": {"every": 1},
            "precision": "float32",
            "batch_statistics": "frozen",
        }
    )


def predictions(shards: Path) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Nodes and scores that a random network predicts for three images, one at a time."""
    reader, cfg = ShardReader(shards), made_config(shards)
    torch.manual_seed(0)
    model = build_detector(with_anchors(cfg, reader).model, reader.tree).eval()
    asked = EvaluateConfig(batch_size=1, limit=3, min_objectness=0)
    return [
        (found.node, found.score)
        for found in predict_boxes(model, EvaluationSet.of(reader, asked), 64, asked)
    ]
