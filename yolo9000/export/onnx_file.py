"""A detector as one ONNX file: from images to boxes and classes, with the tree inside (docs/export.md)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.config import PredictConfig
from yolo9000.errors import Yolo9000Error
from yolo9000.export.graph import ExportedDetector, ExportedOutput, WithSuppression
from yolo9000.models.detector import Detector

OPSET = 18
FORMAT = "yolo9000 detector"
VERSION = 1
MAX_CELLS = 256  # rows and columns of the largest image, in steps of the network's largest stride
TRIAL_CELLS = 4


class ExportError(Yolo9000Error):
    """A detector cannot be exported."""


@dataclass(frozen=True)
class ExportOptions:
    """Choices of `yolo9000 export`.

    locations: the locations of highest objectness per image that the graph classifies.
    suppress: add the output `kept`.
    """

    locations: int = 100
    suppress: bool = False


def export_onnx(checkpoint: DetectorCheckpoint, options: ExportOptions, settings: PredictConfig) -> bytes:
    """The ONNX file of a detector, for any number of images and any multiple of the network's stride.

    settings: `min_absolute`, `descent` and `nms_iou` become part of the graph.
    Raises ExportError if a package is missing or an image of the usual size has too few locations.
    """
    _refuse_missing_packages()
    cfg, detector = checkpoint.config.model, checkpoint.build_model().eval()
    multiple_px: int = detector.backbone.stride
    columns, rows = (side // detector.stride for side in cfg.wh_px)
    count = rows * columns * len(detector.head.anchors_cell)
    if options.locations > count:
        raise ExportError(
            f"--locations: expected at most {count}, the grid locations at "
            f"{cfg.wh_px[0]}×{cfg.wh_px[1]} px, found {options.locations}."
        )
    graph = _graph(detector, options, settings)
    names = [*ExportedOutput._fields, *(["kept"] if options.suppress else [])]
    side = _trial_side_px(detector, multiple_px, options.locations)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about its own internals
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 3, side, side),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=names,
            dynamic_shapes={"images": _dynamic_dimensions(multiple_px)},
        )
    assert program is not None
    model = program.model_proto
    _remove_traces(model)
    for key, value in metadata(checkpoint, options, settings, multiple_px=multiple_px).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = (
            key,
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
        )
    content: bytes = model.SerializeToString()
    return content


def _remove_traces(model: Any) -> None:
    """Remove what the exporter notes about the code that made each node: it has the folders of this machine."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        graph = waiting.pop()
        for part in (graph, *graph.node, *graph.value_info):
            del part.metadata_props[:]
            part.doc_string = ""
        attributes = [attribute for node in graph.node for attribute in node.attribute]
        waiting += [
            inner for attribute in attributes for inner in (attribute.g, *attribute.graphs) if inner.node
        ]


def metadata(
    checkpoint: DetectorCheckpoint, options: ExportOptions, settings: PredictConfig, *, multiple_px: int
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
        "locations": options.locations,
        "min_score": settings.min_score,
        "min_absolute": settings.min_absolute,
        "nms_iou": settings.nms_iou,
        "descent": settings.descent,
    }


def _graph(detector: Detector, options: ExportOptions, settings: PredictConfig) -> nn.Module:
    graph = ExportedDetector(
        detector,
        locations=options.locations,
        min_absolute=settings.min_absolute,
        by="product" if settings.descent == "darknet" else "absolute",
    )
    return (WithSuppression(graph, nms_iou=settings.nms_iou) if options.suppress else graph).eval()


def _dynamic_dimensions(multiple_px: int) -> dict[int, Any]:
    dim = torch.export.Dim
    rows, columns = dim("rows", min=2, max=MAX_CELLS), dim("columns", min=2, max=MAX_CELLS)
    return {0: dim("batch", min=1, max=65536), 2: multiple_px * rows, 3: multiple_px * columns}


def _trial_side_px(detector: Detector, multiple_px: int, locations: int) -> int:
    """Side of a square image for the exporter, with enough locations."""
    cells = TRIAL_CELLS
    while (cells * multiple_px // detector.stride) ** 2 * len(detector.head.anchors_cell) < locations:
        cells += 1
    return cells * multiple_px


def _refuse_missing_packages() -> None:
    try:
        import onnx  # noqa: F401 - torch.onnx imports it
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"Export needs the package {error.name}: pip install 'yolo9000[export]'.") from None
