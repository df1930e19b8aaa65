"""The detector: one network trained jointly on boxes and on image labels, answering with nodes of a WordTree.

Importing the package imports no torch: each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from yolo9000.errors import Yolo9000Error

if TYPE_CHECKING:
    from yolo9000.data.image import read_image as read_image
    from yolo9000.inference.detections import Detections as Detections
    from yolo9000.inference.predict import Predictor as Predictor

__all__ = ["Detections", "Predictor", "Yolo9000Error", "read_image"]

_HOME = {  # where each lazy name lives
    "Detections": "yolo9000.inference.detections",
    "Predictor": "yolo9000.inference.predict",
    "read_image": "yolo9000.data.image",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'yolo9000' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
