"""The detector: one network trained jointly on boxes and on image labels, answering with nodes of a WordTree.

Importing the package imports no torch: each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from yolo9000.detections import Detections as Detections
    from yolo9000.image import read_image as read_image
    from yolo9000.predict import Predictor as Predictor

__all__ = ["Detections", "Predictor", "Yolo9000Error", "read_image"]

_HOME = {  # where each lazy name lives
    "Detections": "yolo9000.detections",
    "Predictor": "yolo9000.predict",
    "read_image": "yolo9000.image",
}


class Yolo9000Error(Exception):
    """Base of every mistake of a user or a file that this package reports, in one line for people.

    Its family lives beside the code that raises it:

        Yolo9000Error
        ├── ConfigError          yolo9000.config: a training configuration that cannot be used
        ├── UnreadablePicture    yolo9000.image: a file that is missing or holds no picture
        ├── NoPictures           yolo9000.predict: a path without pictures
        ├── ProcessError         yolo9000.distributed: processes of torchrun that cannot start together or go on
        ├── TooManyDamaged       yolo9000.damage: more unreadable pictures than a run may leave out
        ├── DataMismatch         yolo9000.sampler: shards that lack what the configuration asks of them
        ├── DarknetError         yolo9000.darknet.options: a Darknet file that is malformed or asks for too much
        ├── CheckpointError      yolo9000.checkpoint: a file that is no checkpoint, or one of another tree
        │   └── DamagedCheckpoint    …, or changed since it was written
        ├── TrainingError        yolo9000.run_folder: a run that cannot start or go on
        ├── DemoMismatch         yolo9000.demo: a demo folder that was made with other settings
        ├── InvalidDetections    yolo9000.detections: columns that do not fit together
        ├── InvalidScores        yolo9000.scorecard.inputs: ground truth or answers that cannot be scored
        └── InvalidReport        yolo9000.page: content that a page cannot be made of
    """


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'yolo9000' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
