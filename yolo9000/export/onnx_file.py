"""A detector as one ONNX file: from images to boxes and classes, with the tree inside (docs/export.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.config import PredictConfig
from yolo9000.export.graph import ExportedDetector, ExportedOutput, WithSuppression
from yolo9000.export.network import ExportError, traced
from yolo9000.export.onnx_metadata import FORMAT, SETTINGS, VERSION
from yolo9000.models.detector import Detector
from yolo9000.models.folding import fold_detector
from yolo9000.models.roi_head import MIN_LOCATIONS

TRIAL_CELLS = 4  # on each side of the image that the exporter tries


@dataclass(frozen=True)
class ExportOptions:
    """Choices of `yolo9000 export`.

    locations: the locations of highest objectness per image that the graph classifies; None: `predict.max_locations`,
    so that the file finds the same as the checkpoint.
    suppress: add the output `kept`.
    """

    locations: int | None = None
    suppress: bool = False


def export_onnx(checkpoint: DetectorCheckpoint, options: ExportOptions, settings: PredictConfig) -> bytes:
    """The ONNX file of a detector, for any number of images and any multiple of the network's stride.

    settings: `min_absolute`, `descent` and `nms_iou` become part of the graph.
    Raises ExportError if a package is missing or an image of the usual size has too few locations.
    """
    cfg, detector = checkpoint.config.model, checkpoint.build_model()
    multiple_px: int = detector.backbone.stride
    columns, rows = (side // detector.stride for side in cfg.wh_px)
    count = rows * columns * len(detector.head.anchors_cell)
    if options.locations is not None and options.locations > count:
        raise ExportError(
            f"--locations: expected at most {count}, the grid locations at "
            f"{cfg.wh_px[0]}×{cfg.wh_px[1]} px, found {options.locations}."
        )
    fold_detector(detector)
    locations = options.locations or settings.max_locations
    graph = _graph(detector, options, locations, settings)
    names = [*ExportedOutput._fields, *(["kept"] if options.suppress else [])]
    model = traced(graph, multiple_px, side_px=TRIAL_CELLS * multiple_px, outputs=names)
    for key, value in metadata(checkpoint, locations, settings, multiple_px=multiple_px).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = (
            key,
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
        )
    content: bytes = model.SerializeToString()
    return content


def metadata(
    checkpoint: DetectorCheckpoint, locations: int, settings: PredictConfig, *, multiple_px: int
) -> Mapping[str, Any]:
    """The metadata for programs without this package, by key; all values but texts are stored as JSON.

    multiple_px: height and width of images are multiples of this number.
    """
    tree = checkpoint.tree
    return {
        "format": FORMAT,
        "version": VERSION,
        "names": list(tree.names),
        "ids": list(tree.ids),
        "parents": tree.parent.tolist(),
        "input_size_px": list(checkpoint.config.model.wh_px),
        "input_multiple_px": multiple_px,
        "locations": locations,
        **{name: getattr(settings, name) for name in SETTINGS},
        "boxes": checkpoint.label_counts.boxes.tolist(),
        "image_labels": checkpoint.label_counts.image_labels.tolist(),
    }


def _graph(detector: Detector, options: ExportOptions, locations: int, settings: PredictConfig) -> nn.Module:
    graph = ExportedDetector(
        detector,
        locations=locations,
        min_absolute=settings.min_absolute,
        by="product" if settings.descent == "darknet" else "absolute",
        roi_locations=max(settings.max_locations, MIN_LOCATIONS),
    )
    return (WithSuppression(graph, nms_iou=settings.nms_iou) if options.suppress else graph).eval()
