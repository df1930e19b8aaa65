"""Detectors as files for other programs."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    network="ExportError network_onnx",
    onnx_metadata="OnnxFileError read_onnx_detector",
    onnx_file="ExportOptions export_onnx",
)
