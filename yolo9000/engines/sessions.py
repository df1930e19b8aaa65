"""An ONNX graph that runs in ONNX Runtime or OpenVINO; needs no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wordtree.support.arrays import Float32Array
from wordtree.support.lines import one_line
from yolo9000.config import Precision
from yolo9000.engines.names import EngineError


@dataclass(frozen=True)
class OnnxSession:
    """A graph with the input `images`, loaded into an engine.

    name: onnxruntime or openvino. where: the file, for messages.
    """

    name: str
    where: str
    precision: Precision  # float32 or bfloat16
    outputs: list[str]
    _run: Callable[[Float32Array], dict[str, Any]]

    @property
    def description(self) -> str:
        """Name and precision."""
        return f"{self.name} in {self.precision}"

    def __call__(self, images: Float32Array) -> dict[str, Any]:
        """The outputs for images (B, 3, H, W) in 0..1, as arrays by name. Raises EngineError."""
        try:
            return self._run(images)
        except MemoryError:
            raise
        except Exception as reason:  # ONNX Runtime's errors have no base class
            raise _damaged(self.where, self.name, reason) from None


def open_session(
    engine: str, content: bytes, outputs: Sequence[str], *, precision: Precision = "float32", where: str
) -> OnnxSession:
    """Load the content of an ONNX file into `onnxruntime` or `openvino`.

    outputs: those that the caller needs. precision: `auto` is bfloat16 where the engine computes it faster on this
    processor. where: the file, for messages. Raises EngineError.
    """
    open_in_engine = _onnxruntime_session if engine == "onnxruntime" else _openvino_session
    session = open_in_engine(content, precision, where)
    if missing := sorted({*outputs} - {*session.outputs}):
        raise _damaged(where, engine, f"it has no output {missing[0]}")
    return session


def thread_count() -> int:
    """Number of threads of an engine: OMP_NUM_THREADS if it is set, else one for each core of this process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else len(os.sched_getaffinity(0))


def _onnxruntime_session(content: bytes, precision: Precision, where: str) -> OnnxSession:
    import onnxruntime

    if precision == "bfloat16":
        raise EngineError("precision: ONNX Runtime computes in float32 on CPUs; use openvino for bfloat16.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.log_severity_level = 4
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # other threads decode images meanwhile
    try:
        session = onnxruntime.InferenceSession(  # the fallback would print on stdout
            content, options, providers=["CPUExecutionProvider"], enable_fallback=False
        )
        names = [output.name for output in session.get_outputs()]
    except Exception as reason:  # its errors have no base class
        raise _damaged(where, "onnxruntime", reason) from None

    def run(images: Float32Array) -> dict[str, Any]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return OnnxSession("onnxruntime", where, "float32", names, run)


def _openvino_session(content: bytes, precision: Precision, where: str) -> OnnxSession:
    import openvino

    core = openvino.Core()
    has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    chosen: Precision = (
        "bfloat16" if precision == "bfloat16" or (precision == "auto" and has_bfloat16) else "float32"
    )
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if chosen == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": thread_count(),
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # other threads decode images meanwhile
    }
    try:
        model = core.read_model(content)
        compiled = core.compile_model(model, "CPU", settings)
        names = [output.any_name for output in compiled.outputs]
    except (RuntimeError, ValueError) as reason:
        raise _damaged(where, "openvino", reason) from None
    request = compiled.create_infer_request()

    def run(images: Float32Array) -> dict[str, Any]:
        found = request.infer({"images": images}, share_inputs=True)
        return {name: found[index].copy() for index, name in enumerate(names)}

    return OnnxSession("openvino", where, chosen, names, run)


def _damaged(where: str, engine: str, reason: object) -> EngineError:
    name = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}[engine]
    return EngineError(
        f"{where}: expected an ONNX file that {name} can run; this one is damaged or something else "
        f"({one_line(reason)[:150]})."
    )
