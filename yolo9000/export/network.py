"""The network of a detector up to its heads as an ONNX graph, for the inference engines."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from yolo9000.errors import Yolo9000Error
from yolo9000.models.detector import Detector

OPSET = 18
MAX_CELLS = 256  # rows and columns of the largest image, in steps of the network's largest stride


class ExportError(Yolo9000Error):
    """A detector cannot be exported."""


class NetworkGraph(nn.Module):
    """Images (B, 3, H, W) to all that the heads of a detector read."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.detector.network(images)


def network_onnx(detector: Detector) -> bytes:
    """The ONNX file of `NetworkGraph`, for any number of images and any multiple of the stride. Raises ExportError."""
    stride: int = detector.backbone.stride
    program = traced(
        NetworkGraph(detector).eval(), stride, side_px=4 * stride, outputs=detector.network_outputs
    )
    content: bytes = program.SerializeToString()
    return content


def traced(graph: nn.Module, multiple_px: int, *, side_px: int, outputs: Sequence[str]) -> Any:
    """The `onnx.ModelProto` of a graph that takes images (B, 3, H, W).

    multiple_px: height and width are multiples of it; side_px: side of the images that the exporter tries.
    """
    _refuse_missing_packages()
    device = next(graph.parameters()).device
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter, about its own internals
        program = torch.onnx.export(
            graph,
            (torch.zeros(2, 3, side_px, side_px, device=device),),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=list(outputs),
            dynamic_shapes={"images": _dynamic_dimensions(multiple_px)},
        )
    assert program is not None
    model = program.model_proto
    _remove_traces(model)
    return model


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


def _dynamic_dimensions(multiple_px: int) -> dict[int, Any]:
    dim = torch.export.Dim
    rows, columns = dim("rows", min=2, max=MAX_CELLS), dim("columns", min=2, max=MAX_CELLS)
    return {0: dim("batch", min=1, max=65536), 2: multiple_px * rows, 3: multiple_px * columns}


def _refuse_missing_packages() -> None:
    try:
        import onnx  # noqa: F401 - torch.onnx imports it
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"Export needs the package {error.name}: pip install 'yolo9000[export]'.") from None
