"""Predictions with an exported file: the rules of `predict` on arrays, and the command without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import batched_nms

from tests.fuzz.onnx_files import made_detector
from tests.yolo9000.export.test_graph import small_detector
from wordtree import WordTree
from yolo9000 import Predictor
from yolo9000.cli import main
from yolo9000.config import PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.export.graph import ExportedDetector
from yolo9000.inference.onnx_predict import OUTPUTS, detections_in_image, problem_of_outputs, suppressed
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput

ALL = 64  # locations of a 64 × 64 image


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="threshold"),
        pytest.param({"min_absolute": 0.05}, id="deep"),
        pytest.param({"min_absolute": 0.999}, id="roots"),
        pytest.param({"nms": "by_node", "nms_iou": 0.1}, id="suppression by node"),
        pytest.param({"descent": "darknet", "geometry": "darknet"}, id="darknet"),
        pytest.param({"max_detections": 3, "max_locations": 9}, id="few"),
        pytest.param({"min_score": 1.0}, id="nothing"),
    ],
)
@torch.no_grad()
def test_an_exported_graph_gives_the_detections_of_predict(changes: dict[str, object]) -> None:
    detector = small_detector(3)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    cfg = PredictConfig.model_validate({"min_score": 0.05, "nms_iou": 0.2, **changes})
    boxes = [Letterbox.fit(image_size_px=size, network_size_px=(64, 64)) for size in ((90, 51), (64, 64))]
    expected = detect(BatchOutput(detector(images), detector.tree_tensors, boxes), ["a", "b"], cfg)
    graph = ExportedDetector(detector, locations=ALL, min_absolute=0.5)
    outputs = {key: value.numpy() for key, value in graph(images)._asdict().items()}
    for row, theirs in enumerate(expected):
        of_image = {key: column[row] for key, column in outputs.items()}
        ours = detections_in_image(of_image, boxes[row], theirs.image, detector.tree, cfg)
        assert ours.node.tolist() == theirs.node.tolist()
        assert ours.best_leaf is not None
        assert theirs.best_leaf is not None
        assert ours.best_leaf.tolist() == theirs.best_leaf.tolist()
        assert ours.stopped == theirs.stopped
        for column in ("xyxy_px", "objectness", "absolute", "score"):
            assert getattr(ours, column) == pytest.approx(getattr(theirs, column), rel=1e-4, abs=1e-4)
        for path, other in zip(ours.conditional, theirs.conditional, strict=True):
            assert path == pytest.approx(other, rel=1e-4)
    assert any(len(found) for found in expected) == (cfg.min_score < 1)


def columns(**changes: object) -> dict[str, object]:
    """Outputs of two images with three locations each, for a tree of seven nodes at up to three levels."""
    outputs: dict[str, object] = {
        "boxes": np.zeros((2, 3, 4), np.float32),
        "objectness": np.zeros((2, 3), np.float32),
        "leaf": np.full((2, 3), 6, np.int64),
        "path_conditional": np.ones((2, 3, 3), np.float32),
    }
    return outputs | changes


def test_outputs_of_an_exported_graph_have_no_problem(toy_tree: WordTree) -> None:
    assert problem_of_outputs(columns(), 2, toy_tree) is None
    assert problem_of_outputs(columns(leaf=np.zeros((2, 3), np.int32)), 2, toy_tree) is None
    none = {name: np.asarray(column)[:, :0] for name, column in columns().items()}
    assert problem_of_outputs(none, 2, toy_tree) is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"boxes": np.zeros((2, 3), np.float32)}, "boxes of type float32 and shape (2, 3)"),
        ({"boxes": np.zeros((2, 4, 4), np.float32)}, "boxes of type float32 and shape (2, 4, 4)"),
        ({"objectness": np.float32(1)}, "boxes"),
        ({"objectness": np.zeros((1, 3), np.float32)}, "objectness of type float32 and shape (1, 3)"),
        ({"leaf": np.zeros((2, 3), np.float32)}, "leaf of type float32"),
        ({"leaf": np.full((2, 3), 7)}, "a class that is not in its tree"),
        ({"leaf": np.full((2, 3), -1)}, "a class that is not in its tree"),
        ({"path_conditional": np.ones((2, 3, 2), np.float32)}, "path_conditional of type float32"),
        ({"path_conditional": np.array("x")}, "path_conditional of type <U1"),
        ({"path_conditional": np.full((2, 3, 3), 1e30, np.float32)}, "path_conditional outside 0..1"),
        ({"objectness": np.full((2, 3), np.nan, np.float32)}, "objectness outside 0..1"),
    ],
)
def test_outputs_of_another_graph_are_refused(
    changes: dict[str, object], problem: str, toy_tree: WordTree
) -> None:
    found = problem_of_outputs(columns(**changes), 2, toy_tree)
    assert found is not None
    assert found.startswith(problem)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("leaf", np.array([[6, 99]]), "expected the outputs of a detector with 7 classes"),
        ("boxes", np.zeros((1, 2, 3), np.float32), "expected the outputs of a detector"),
        ("objectness", np.array([[2.0, 0.5]], np.float32), "found objectness outside 0..1"),
        ("boxes", np.full((1, 2, 4), np.nan, np.float32), "expected finite boxes"),
    ],
)
def test_a_graph_of_a_stranger_ends_in_one_line_and_exit_code_2(
    name: str,
    value: np.ndarray[Any, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = onnx.load_from_string(made_detector())
    (constant,) = (one for one in model.graph.initializer if one.name == f"{name}_value")
    constant.CopyFrom(onnx.numpy_helper.from_array(value, constant.name))
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=output) for output in OUTPUTS)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    code = run(monkeypatch, "predict", tmp_path / "model.onnx", tmp_path / "a.png", "--engine", "onnxruntime")
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_box_beyond_the_range_of_float32_is_clipped_without_a_warning(toy_tree: WordTree) -> None:
    outputs = columns(objectness=np.ones((2, 3), np.float32))
    outputs["boxes"] = np.array([-3e38, 0, 3e38, 1], np.float32) * np.ones((2, 3, 1), np.float32)
    letterbox = Letterbox.fit(image_size_px=(90, 51), network_size_px=(64, 64))
    of_image = {name: np.asarray(column)[0] for name, column in outputs.items()}
    found = detections_in_image(of_image, letterbox, "a.jpg", toy_tree, PredictConfig())
    assert found.xyxy_px.tolist() == [[0, 0, 90, 51]]


@pytest.mark.parametrize("seed", range(5))
def test_suppression_on_arrays_agrees_with_torchvision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 50, (40, 2))
    xyxy = np.concatenate([corner, corner + rng.uniform(0, 30, (40, 2))], axis=1).astype(np.float32)
    xyxy[3] = xyxy[5] = 7  # empty
    score, group = rng.integers(0, 12, 40).astype(np.float32) / 12, rng.integers(0, 3, 40)
    tensors = (torch.from_numpy(xyxy).double(), torch.from_numpy(score).double(), torch.from_numpy(group))
    assert suppressed(xyxy, score, group, 0.3).tolist() == batched_nms(*tensors, 0.3).tolist()


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["yolo9000", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


WITHOUT_TORCH = """
import sys
for name in ("torch", "torchvision", "onnx", "onnxscript", "timm"):
    sys.modules[name] = None
from yolo9000.cli import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_onnx_file_predicts_in_a_process_without_torch(
    engine: str, made_detector: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnxscript", engine):
        pytest.importorskip(package)
    model, out = tmp_path / "model.onnx", tmp_path / "out"
    assert run(monkeypatch, "export", made_detector, "-o", model, "--locations", 32) == 0
    command = ["predict", model, photos, "-o", out, "--format", "coco", "--report", "--min-score", "0.01"]
    command += ["--engine", engine, "--store", tmp_path / "found.sqlite", "--precision", "float32"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    changes = {"min_score": 0.01, "max_locations": 32, "precision": "float32"}
    expected = [found.to_dict() for found in Predictor(made_detector, changes=changes)(photos)]
    found = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    assert [row["image"] for row in found] == [row["image"] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours["detections"]) == len(theirs["detections"]) > 0
        for one, other in zip(ours["detections"], theirs["detections"], strict=True):
            assert (one["id"], one["stopped"]) == (other["id"], other["stopped"])
            assert one["xyxy_px"] == pytest.approx(other["xyxy_px"], abs=1)
            assert one["score"] == pytest.approx(other["score"], abs=0.02)
    names = {path.name for path in out.iterdir()}
    assert {"a.jpg", "coco.json", "coco_results.json", "report.html", "run.json"} <= names
