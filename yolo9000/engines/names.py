"""The names of the inference engines, the packages that they need, and the choice among them; imports no torch."""

from __future__ import annotations

from importlib.util import find_spec

from wordtree.support.lines import quoted
from wordtree.support.suggest import did_you_mean, near
from yolo9000.errors import Yolo9000Error

# The package that each engine needs.
PACKAGE_OF = {
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "torch": "torch",
    "torch_compile": "torch",
}
AUTO = "auto"


class EngineError(Yolo9000Error):
    """An inference engine is unknown, not installed, or cannot do what was asked."""


def chosen_engine(
    name: str, *, on_gpu: bool = False, has_fast_bfloat16: bool = False, from_file: bool = False
) -> str:
    """The engine of this name; `auto`: the fastest that is installed. Raises EngineError.

    has_fast_bfloat16: whether torch will compute in bfloat16. from_file: the network is an ONNX file, which torch does
    not run.
    """
    if name != AUTO:
        _refuse_unknown(name, from_file=from_file)
        return name
    if on_gpu:
        return "torch"
    order = (
        ["openvino", "torch", "onnxruntime"] if has_fast_bfloat16 else ["openvino", "onnxruntime", "torch"]
    )
    usable = [engine for engine in order if is_installed(engine) and not (from_file and engine == "torch")]
    if not usable:
        raise EngineError(
            "An ONNX file needs ONNX Runtime or OpenVINO: pip install onnxruntime, or pip install openvino."
        )
    return usable[0]


def is_installed(engine: str) -> bool:
    """Whether the package of an engine is installed."""
    return find_spec(PACKAGE_OF[engine]) is not None


def _refuse_unknown(name: str, *, from_file: bool) -> None:
    if name not in PACKAGE_OF:
        known = [AUTO, *sorted(PACKAGE_OF)]
        offer = did_you_mean(near(name, known) or [one for one in known if name and name in one][:1])
        raise EngineError(
            f"engine: expected {', '.join(known[:-1])} or {known[-1]}, found {quoted(name)}.{offer}"
        )
    if from_file and PACKAGE_OF[name] == "torch":
        raise EngineError(f"engine: {name} does not run ONNX files; use onnxruntime or openvino.")
    if not is_installed(name):
        extra = "export" if name == "onnxruntime" else name
        raise EngineError(
            f"engine: {name} needs the package {PACKAGE_OF[name]}: pip install 'yolo9000[{extra}]'."
        )
