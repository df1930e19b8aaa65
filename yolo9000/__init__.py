"""The detector: one network, trained jointly on boxes and on image labels, that predicts nodes of a WordTree.

Each public name loads its module, and with it torch, on first use.
"""

from typing import TYPE_CHECKING

from wordtree.support.exports import lazy_exports

if TYPE_CHECKING:
    from yolo9000.data.image import read_image as read_image
    from yolo9000.errors import Yolo9000Error as Yolo9000Error
    from yolo9000.inference.detections import Detections as Detections
    from yolo9000.inference.predict import Predictor as Predictor
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "yolo9000.data.image": ("read_image",),
            "yolo9000.errors": ("Yolo9000Error",),
            "yolo9000.inference.detections": ("Detections",),
            "yolo9000.inference.predict": ("Predictor",),
        },
    )
