"""Detectors as files for other programs."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    onnx_file="ExportError ExportOptions export_onnx",
)
