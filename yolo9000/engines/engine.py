"""`DetectorInEngine`: a detector whose network runs in PyTorch, ONNX Runtime or OpenVINO; the head stays in PyTorch."""

from __future__ import annotations

import sys
from typing import TypeAlias

import torch
from torch import Tensor

from wordtree import WordTree
from yolo9000.config import Precision
from yolo9000.distributed import computes_in_bfloat16
from yolo9000.engines.names import PACKAGE_OF, EngineError, chosen_engine
from yolo9000.engines.sessions import open_session
from yolo9000.engines.torch_network import (
    Network,
    bfloat16_network,
    compiled_network,
    float32_network,
)
from yolo9000.export.network import network_onnx
from yolo9000.models.detector import Detector
from yolo9000.models.folding import fold_detector
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors

MAX_OBJECTNESS_DIFFERENCE = 0.1  # at any location, between bfloat16 and float32


class DetectorInEngine:
    """Images (B, 3, H, W), RGB in 0..1, to `GridOutput`, like the detector itself; made by `build_engine`.

    name: torch, torch_compile, onnxruntime or openvino. precision: bfloat16 or float32; with `auto`, the first images
    decide whether bfloat16 is kept.
    """

    def __init__(
        self, name: str, detector: Detector, network: Network, *, exact: Network | None, precision: Precision
    ) -> None:
        self.name, self.precision, self.detector = name, precision, detector
        self._network, self._exact = network, exact

    @property
    def description(self) -> str:
        """Name and precision."""
        return f"{self.name} in {self.precision}"

    @property
    def chooses_precision(self) -> bool:
        """Whether the next images decide the precision."""
        return self._exact is not None

    @property
    def tree_tensors(self) -> TreeTensors:
        return self.detector.tree_tensors

    @property
    def tree(self) -> WordTree:
        return self.detector.tree

    def __call__(self, images: Tensor) -> GridOutput:
        output = self.detector.output_of_network(self._network(images))
        if self._exact is None:
            return output
        exact, self._exact = self._exact, None
        expected = self.detector.output_of_network(exact(images))
        if _agree(output, expected):
            return output
        self._network, self.precision = exact, "float32"
        print(
            f"yolo9000: {self.name} in bfloat16 differs from float32 on these images, so float32 is used.",
            file=sys.stderr,
        )
        return expected


AnyDetector: TypeAlias = Detector | DetectorInEngine


def build_engine(
    detector: Detector, name: str = "torch", *, precision: Precision = "float32"
) -> DetectorInEngine:
    """The detector in an engine; `auto` is the fastest that is installed.

    detector: in evaluation mode; its batch norm is folded. precision: `auto` is bfloat16 where the processor computes
    it and the first images agree with float32. Raises EngineError, ExportError.
    """
    device = detector.head.box.weight.device
    in_bfloat16 = computes_in_bfloat16(precision, device)
    chosen = chosen_engine(name, on_gpu=device.type != "cpu", has_fast_bfloat16=in_bfloat16)
    if device.type != "cpu" and PACKAGE_OF[chosen] != "torch":
        raise EngineError(f"engine: {chosen} runs on the CPU, found the device {device}; use torch.")
    fold_detector(detector)
    exact = float32_network(detector)
    if PACKAGE_OF[chosen] == "torch":
        network = bfloat16_network(detector) if in_bfloat16 else exact
        if chosen == "torch_compile":
            network = compiled_network(network)
        used: Precision = "bfloat16" if in_bfloat16 else "float32"
    else:
        network, used = _session_network(detector, chosen, precision)
    is_checked = precision == "auto" and used == "bfloat16"
    return DetectorInEngine(chosen, detector, network, exact=exact if is_checked else None, precision=used)


def _session_network(detector: Detector, engine: str, precision: Precision) -> tuple[Network, Precision]:
    session = open_session(
        engine,
        network_onnx(detector),
        detector.network_outputs,
        precision=precision,
        where="the exported network",
    )

    def run(images: Tensor) -> tuple[Tensor, ...]:
        outputs = session(images.contiguous().numpy())
        return tuple(torch.from_numpy(outputs[name]) for name in detector.network_outputs)

    return run, session.precision


def _agree(output: GridOutput, expected: GridOutput) -> bool:
    difference = (output.objectness - expected.objectness).abs().max()
    return bool(difference <= MAX_OBJECTNESS_DIFFERENCE)  # not for NaN
