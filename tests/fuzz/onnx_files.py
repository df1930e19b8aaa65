"""Harnesses of exported ONNX files: the metadata, which are read without an engine, and whole files in ONNX Runtime."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz.harness import Harness, write
from tests.fuzz.structure import deep, json_value
from tests.fuzz.trees import TOY
from tests.yolo9000.export.test_onnx_metadata import entries_of, field, onnx_file
from yolo9000.export.onnx_metadata import metadata_of, read_onnx_detector
from yolo9000.inference.onnx_predict import OnnxPredictor

SIDE_PX = 32
_IMAGE = np.full((24, 40, 3), 90, np.uint8)


def made_detector() -> bytes:
    """An ONNX file as `yolo9000 export` writes it, with two locations and the same outputs for every image."""
    from onnx import TensorProto, helper

    depth = int(TOY.depth.max()) + 1
    outputs = {
        "boxes": np.array([[[0.1, 0.2, 0.6, 0.8], [0.3, 0.3, 0.5, 0.5]]], np.float32),
        "objectness": np.array([[0.9, 0.4]], np.float32),
        "leaf": np.array([[6, 4]], np.int64),
        "path_conditional": np.full((1, 2, depth), 0.9, np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    constants = [helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])]
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(helper.make_tensor(f"{name}_value", kind, value.shape, value.flatten().tolist()))
        nodes.append(helper.make_node("Cast", ["nothing"], [f"{name}_zero"], to=kind))
        nodes.append(helper.make_node("Add", [f"{name}_zero", f"{name}_value"], [name]))
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, "H", "W"])],
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in outputs.items()
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content + b"".join(_entry(key, text) for key, text in _entries().items())


def _entries() -> dict[str, str]:
    return entries_of(TOY, input_size_px=[SIDE_PX, SIDE_PX], input_multiple_px=16, locations=2)


def _entry(key: str, text: str) -> bytes:
    return field(14, field(1, key.encode()) + field(2, text.encode("utf-8", "surrogatepass")))


def _metadata(rng: Random, data: bytes) -> bytes:
    """Change a value of the metadata: the last entry of a key counts."""
    try:
        entries = metadata_of(data)
    except (ValueError, IndexError):
        return data
    key = rng.choice(sorted(entries) or [""])
    odd = (
        "",
        "[",
        "NaN",
        "1e999",
        "null",
        "\0",
        "[" * 9999,
        "9" * 400,
        '"x"',
        "[[0]]",
        "-1",
        "1e300",
        "true",
    )
    text = entries.get(key, "")
    if rng.random() < 0.7:
        mutator = rng.choice((json_value, deep))
        text = mutator(rng, text.encode()).decode("utf-8", "replace")
    else:
        text = rng.choice(odd)
    return data + _entry(key, text)


def _graph(rng: Random, data: bytes) -> bytes:
    """Change a node, a constant or an output of the graph."""
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception:  # protobuf's errors have no common base
        return data
    graph = model.graph
    try:
        match rng.randrange(6):
            case 0:
                constant = rng.choice(graph.initializer)
                odd: Any = rng.choice((0, -1, 1, 7, 2**31, float("nan"), 1e38, 0.5))
                array = np.full([size % 9 for size in constant.dims], odd).astype(
                    rng.choice(("float32", "int64", "float64", "int32"))
                )
                constant.CopyFrom(onnx.numpy_helper.from_array(array, constant.name))
            case 1:
                constant = rng.choice(graph.initializer)
                shape = [rng.choice((0, 1, 2, 3, 5, 1000)) for _ in range(rng.randrange(5))]
                if np.prod(shape) < 10**6:
                    array = np.zeros(shape, np.float32)
                    constant.CopyFrom(onnx.numpy_helper.from_array(array, constant.name))
            case 2:
                rng.choice(graph.node).op_type = rng.choice(
                    ("Add", "Identity", "Shape", "Exp", "Loop", "Reshape", "NonZero", "Gather", "Expand", "x")
                )
            case 3:
                node = rng.choice(graph.node)
                node.input[rng.randrange(len(node.input))] = rng.choice(
                    ("images", "zero", "mean", "boxes_value", "")
                )
            case 4:
                constant = rng.choice(graph.initializer)
                constant.data_location = onnx.TensorProto.EXTERNAL
                entry = constant.external_data.add()
                entry.key, entry.value = "location", rng.choice(("model.onnx", "../x", "/etc/passwd"))
            case _:
                rng.choice((*graph.output, *graph.input)).name = rng.choice(("images", "leaf", "other", ""))
    except (ValueError, IndexError, TypeError, OverflowError, RuntimeWarning):
        return data
    content: bytes = model.SerializeToString()
    return content


def _read_metadata(folder: Path, data: bytes) -> None:
    found = read_onnx_detector(write(folder, "model.onnx", data))
    found.label_counts.csv_text()
    found.label_counts.rows()


def _predict(folder: Path, data: bytes) -> None:
    predictor = OnnxPredictor(write(folder, "model.onnx", data), engine="onnxruntime")
    for found in predictor([_IMAGE]):
        json.dumps(found.to_dict(), allow_nan=False)


_TOKENS = tuple(key.encode() for key in _entries())

HARNESSES = (
    Harness(
        "onnx-metadata",
        "yolo9000",
        lambda _: [onnx_file(_entries())],
        _read_metadata,
        (_metadata, _metadata),
        _TOKENS,
        named="model.onnx",
    ),
    *(
        [
            Harness(
                "onnx",
                "yolo9000",
                lambda _: [made_detector()],
                _predict,
                (_metadata, _graph, _graph),
                _TOKENS,
            )
        ]
        if find_spec("onnxruntime") and find_spec("onnx")
        else []
    ),
)
