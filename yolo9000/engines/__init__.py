"""Inference engines: the network in PyTorch, ONNX Runtime or OpenVINO, from images to `GridOutput`."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    names="EngineError chosen_engine",
    engine="AnyDetector DetectorInEngine build_engine",
    sessions="OnnxSession open_session",
)
