"""Metadata of exported files; foreign and damaged files; what an ONNX file cannot do."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from wordtree import WordTree
from yolo9000.cli import main
from yolo9000.config import PredictConfig
from yolo9000.export.onnx_metadata import SETTINGS, OnnxFileError, metadata_of, read_onnx_detector


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in protobuf's encoding."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def onnx_file(entries: dict[str, str]) -> bytes:
    """An ONNX file without a graph: version, producer, a long field, and the entries."""
    pairs = [field(1, key.encode()) + field(2, value.encode()) for key, value in entries.items()]
    begin = varint(1 << 3) + varint(10) + field(2, b"pytorch") + field(7, field(2, b"graph" * 60))
    return begin + b"".join(field(14, pair) for pair in pairs)


def entries_of(tree: WordTree, **changes: Any) -> dict[str, str]:
    settings = PredictConfig().model_dump(mode="json")
    values = {name: settings[name] for name in SETTINGS} | {
        "ids": list(tree.ids),
        "names": list(tree.names),
        "parents": tree.parent.tolist(),
        "input_size_px": [416, 320],
        "input_multiple_px": 32,
        "locations": 50,
        "boxes": [1] * len(tree),
        "image_labels": [0] * len(tree),
        "version": 2,
        "format": "yolo9000 detector",
    }
    values |= changes
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def test_metadata_are_read_without_other_packages(toy_tree: WordTree, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_file(entries_of(toy_tree, min_score=0.125)))
    found = read_onnx_detector(path)
    assert found.tree == toy_tree
    assert (found.size_px, found.multiple_px) == ((416, 320), 32)
    assert (found.settings.min_score, found.settings.max_locations) == (0.125, 50)
    assert found.label_counts.supervision(2) == "boxes"


def test_metadata_agree_with_onnx() -> None:
    onnx = pytest.importorskip("onnx")
    entries = {"names": "æ漢字" * 100, "empty": ""}
    content = onnx_file(entries)
    model = onnx.load_from_string(content)
    assert {entry.key: entry.value for entry in model.metadata_props} == metadata_of(content) == entries


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "damaged or something else", id="empty"),
        pytest.param(b"%PDF-1.7 a page", "damaged or something else", id="PDF"),
        pytest.param(b"\xff\xd8\xff\xe0" * 9, "damaged or something else", id="JPEG"),
        pytest.param(b"PK\x03\x04" + bytes(60), "damaged or something else", id="zip"),
        pytest.param(onnx_file({"author": "someone"}), "of another program", id="another program"),
        pytest.param(
            onnx_file({"format": "yolo9000 detector", "version": "1"}), "expected version 2", id="version"
        ),
        pytest.param(
            onnx_file({"format": "yolo9000 detector", "version": "2"}),
            "its metadata is damaged",
            id="no tree",
        ),
    ],
)
def test_foreign_and_damaged_files_are_one_line_and_exit_code_2(
    content: bytes,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert predict(monkeypatch, tmp_path) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"parents": [0] * 7},
        {"parents": "none"},
        {"min_score": 7},
        {"input_size_px": 3},
        {"input_size_px": [1e308, 32]},
        {"input_size_px": [10**6, 32]},
        {"input_multiple_px": 0},
        {"input_multiple_px": [16]},
        {"boxes": "x"},
        {"boxes": [1]},
        {"boxes": [-1] * 7},
        {"image_labels": [2**70] * 7},
        {"image_labels": [[0]] * 7},
        {"min_score": float("nan")},
        {"min_absolute": float("inf")},
        {"locations": -1},
        {"nms": "never"},
        {"names": ["a"]},
        {"names": "x" * 10**6},
        {"ids": "[" * 10**5},
    ],
    ids=lambda changes: " ".join(f"{key} {value}"[:40] for key, value in changes.items()),
)
def test_damaged_metadata_are_refused(toy_tree: WordTree, tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_file(entries_of(toy_tree, **changes)))
    with pytest.raises(OnnxFileError, match="its metadata is damaged") as caught:
        read_onnx_detector(path)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


def test_a_file_of_a_million_fields_ends_at_once(toy_tree: WordTree, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_file(entries_of(toy_tree)) + varint(1 << 3) * 2_200_000)
    began = time.process_time()
    with pytest.raises(OnnxFileError, match="damaged or something else"):
        read_onnx_detector(path)
    assert time.process_time() - began < 5


EXTERNAL_TENSOR = field(13, field(1, b"location") + field(2, b"secret.bin"))
NODE = field(5, field(5, EXTERNAL_TENSOR))  # with an attribute


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(field(7, field(5, EXTERNAL_TENSOR)), id="weight"),
        pytest.param(field(7, field(1, NODE)), id="constant"),
        pytest.param(field(7, field(1, field(5, field(6, field(5, EXTERNAL_TENSOR))))), id="inner graph"),
        pytest.param(field(7, field(15, field(1, EXTERNAL_TENSOR))), id="sparse weight"),
        pytest.param(field(25, field(7, NODE)), id="function"),
        pytest.param(field(20, field(1, field(5, EXTERNAL_TENSOR))), id="training"),
    ],
)
def test_weights_in_another_file_are_refused(model: bytes, toy_tree: WordTree, tmp_path: Path) -> None:
    """OpenVINO would read a file of the working directory."""
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_file(entries_of(toy_tree)) + model)
    with pytest.raises(OnnxFileError, match="names of other files, which are not read"):
        read_onnx_detector(path)


def test_every_beginning_of_a_file_is_refused(toy_tree: WordTree, tmp_path: Path) -> None:
    content = onnx_file(entries_of(toy_tree))
    path = tmp_path / "model.onnx"
    for length in range(0, len(content) - 1, 37):
        path.write_bytes(content[:length])
        with pytest.raises(OnnxFileError):
            read_onnx_detector(path)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_file_without_a_graph_is_refused_by_the_engines(
    engine: str,
    toy_tree: WordTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(engine)
    (tmp_path / "model.onnx").write_bytes(onnx_file(entries_of(toy_tree)))
    assert predict(monkeypatch, tmp_path, "--engine", engine) == 2
    assert "expected an ONNX file that" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--classes", "dog"], "use the checkpoint for --classes"),
        (["--accuracy", "0.9"], "use the checkpoint for --accuracy"),
        (["--device", "cuda"], "runs on the CPU"),
        (["--engine", "torch"], "torch does not run ONNX files"),
        (["--engine", "openvno"], "Did you mean 'openvino'?"),
        (["--size", "33"], "expected multiples of 32"),
    ],
)
def test_what_a_file_cannot_do_is_refused(
    options: list[str],
    message: str,
    toy_tree: WordTree,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(onnx_file(entries_of(toy_tree)))
    assert predict(monkeypatch, tmp_path, *options) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def predict(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> object:
    (folder / "list.txt").write_text("absent.jpg\n")
    arguments = ["yolo9000", "predict", str(folder / "model.onnx"), str(folder / "list.txt"), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code
