"""The metadata of an ONNX file of `yolo9000 export`, which describes its detector; needs neither torch nor onnx."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from data_prep.dataset.label_counts import LabelCounts
from wordtree import WordTree
from wordtree.errors import WordTreeError
from wordtree.support.config_files import StrictModel, validate
from wordtree.support.lines import one_line
from yolo9000.config import MAX_SIDE_PX, PredictConfig
from yolo9000.errors import Yolo9000Error

FORMAT = "yolo9000 detector"
VERSION = 2
SETTINGS = ("min_score", "min_absolute", "descent", "nms_iou", "nms", "geometry", "max_detections")
_GRAPH, _METADATA, _KEY, _VALUE = (
    7,
    14,
    1,
    2,
)  # fields of ModelProto and of StringStringEntryProto (onnx.proto)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protobuf
MAX_FIELDS = 1_000_000  # of a file; an exported detector has about ten thousand
# The messages of onnx.proto in which tensors lie: the kind of message in their fields.
_PARTS = {
    "model": {_GRAPH: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA = "tensor", 13


class OnnxFileError(Yolo9000Error):
    """A file is not an ONNX file of `yolo9000 export`, or is damaged."""


Side = Annotated[int, Field(gt=0, le=MAX_SIDE_PX)]
Count = Annotated[int, Field(ge=0, lt=2**53)]


class _Numbers(StrictModel):
    """Numbers in the metadata."""

    input_size_px: tuple[Side, Side]
    input_multiple_px: Side
    boxes: list[Count]
    image_labels: list[Count]


@dataclass(frozen=True)
class OnnxDetector:
    """A detector in an ONNX file.

    content: of the file. size_px: width and height in training. multiple_px: sides of images are multiples of it.
    """

    content: bytes
    tree: WordTree
    label_counts: LabelCounts
    settings: PredictConfig
    size_px: tuple[int, int]
    multiple_px: int


def read_onnx_detector(path: Path) -> OnnxDetector:
    """Read the file and its metadata. Raises OnnxFileError."""
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise OnnxFileError(f"{path}: cannot be read: {reason.strerror}.") from None
    try:
        entries = metadata_of(content)
    except (ValueError, IndexError):
        raise OnnxFileError(
            f"{path}: expected an ONNX file of `yolo9000 export`; this file is damaged or something else."
        ) from None
    if entries.get("format") != FORMAT:
        raise OnnxFileError(
            f"{path}: expected an ONNX file of `yolo9000 export`, found one of another program, without its names and "
            "tree."
        )
    if entries.get("version") != str(VERSION):
        raise OnnxFileError(
            f"{path}: expected version {VERSION} of the export, found {entries.get('version', 'none')[:20]}. Export "
            "the checkpoint again with `yolo9000 export`."
        )
    if any((kind, number) == _EXTERNAL_DATA for kind, number, _ in _all_fields(content)):
        raise OnnxFileError(
            f"{path}: expected weights in the file itself, found names of other files, which are not read. Export "
            "the checkpoint again with `yolo9000 export`."
        )
    try:
        return _detector_of(content, {key: _value(text) for key, text in entries.items()})
    except (KeyError, TypeError, ValueError, RecursionError, WordTreeError, Yolo9000Error) as reason:
        raise OnnxFileError(f"{path}: its metadata is damaged ({one_line(reason)[:150]}).") from None


def metadata_of(content: bytes) -> dict[str, str]:
    """The texts that an ONNX file stores for its users. Raises ValueError or IndexError for any other file."""
    entries, has_graph = {}, False
    for kind, number, value in _all_fields(content):
        has_graph |= (kind, number) == ("model", _GRAPH)
        if (kind, number) == ("model", _METADATA):
            entry = dict(_fields(value))
            key, text = (bytes(entry.get(part, b"")).decode() for part in (_KEY, _VALUE))
            entries[key] = text
    if not has_graph:
        raise ValueError("no graph")
    return entries


def _detector_of(content: bytes, facts: Mapping[str, Any]) -> OnnxDetector:
    tree = WordTree(ids=facts["ids"], parents=facts["parents"], names=facts["names"])
    numbers = validate({name: facts[name] for name in _Numbers.model_fields}, _Numbers, where="its metadata")
    if not len(numbers.boxes) == len(numbers.image_labels) == len(tree):
        raise ValueError(f"expected label counts of {len(tree)} nodes")
    settings = {name: facts[name] for name in SETTINGS} | {"max_locations": facts["locations"]}
    return OnnxDetector(
        content=content,
        tree=tree,
        label_counts=LabelCounts(tree, numbers.boxes, numbers.image_labels),
        settings=validate(settings, PredictConfig, where="its metadata"),
        size_px=numbers.input_size_px,
        multiple_px=numbers.input_multiple_px,
    )


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _all_fields(content: bytes) -> Iterator[tuple[str, int, memoryview]]:
    """Kind of message, number and bytes of each field of a model, and of each message in it that may hold tensors."""
    messages, left = [("model", memoryview(content))], MAX_FIELDS
    while messages:
        kind, message = messages.pop()
        for number, value in _fields(message):
            left -= 1
            if left < 0:
                raise ValueError("too many fields")
            yield kind, number, value
            if number in _PARTS[kind]:
                messages.append((_PARTS[kind][number], value))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The number and bytes of each field of a protobuf message; no bytes where the field holds a number."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
            yield tag >> 3, message[:0]
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
            yield tag >> 3, message[:0]
        elif kind == _BYTES:
            length, at = _varint(message, at)
            if at + length > len(message):
                raise ValueError("a field is longer than the file")
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError("no protobuf message")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number at a position, seven bits in each byte, and the position after it."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return number, at
        if shift > 63:
            raise ValueError("no protobuf number")
