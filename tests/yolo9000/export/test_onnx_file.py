"""`yolo9000 export`: ONNX Runtime computes what the detector computes, and a program of 20 lines can use the file."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.yolo9000.darknet_golden import NOT_AT_HAND, ORIGINAL
from yolo9000.checkpoints.checkpoint import DetectorCheckpoint, load_detector, save_checkpoint
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.cli import main
from yolo9000.engines.names import is_installed
from yolo9000.engines.sessions import open_session
from yolo9000.export.graph import ExportedDetector, WithSuppression
from yolo9000.export.network import ExportError
from yolo9000.export.onnx_file import ExportOptions, export_onnx
from yolo9000.inference.detections import Detections
from yolo9000.inference.onnx_predict import OnnxPredictor
from yolo9000.inference.predict import Predictor
from yolo9000.models.detector import build_detector

ROOT = Path(__file__).parents[3]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr(sys, "argv", ["yolo9000", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_a_name_without_onnx_is_refused(
    made_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "export", made_detector, "-o", tmp_path / "model.pb") == 2
    assert "expected a name that ends with .onnx" in capsys.readouterr().err


def test_a_file_of_the_user_is_not_replaced(
    made_detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model.onnx"
    out.write_text("mine")
    assert run(monkeypatch, "export", made_detector, "-o", out) == 2
    assert "choose another name, or add --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_more_locations_than_the_grid_has_are_refused(made_detector: Path) -> None:
    pytest.importorskip("onnxscript")
    checkpoint = load_detector(made_detector)
    with pytest.raises(ExportError, match="--locations: expected at most"):
        export_onnx(checkpoint, ExportOptions(locations=10**6), checkpoint.config.predict)


@pytest.mark.slow
def test_onnx_runtime_agrees_with_the_detector_at_every_size(
    made_detector: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    checkpoint = load_detector(made_detector)
    settings = checkpoint.config.predict.model_copy(update={"nms_iou": 0.02})
    content = export_onnx(checkpoint, ExportOptions(locations=30, suppress=True), settings)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert capsys.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(content)
    names = [output.name for output in session.get_outputs()]
    graph = ExportedDetector(checkpoint.build_model(), locations=30, min_absolute=settings.min_absolute)
    whole = WithSuppression(graph, nms_iou=settings.nms_iou).eval()
    for shape in ((1, 3, 64, 64), (3, 3, 96, 160)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(shape[0]))
        found = dict(zip(names, session.run(None, {"images": images.numpy()}), strict=True))
        with torch.no_grad():
            expected = whole(images)
        for name, value in zip(names, expected, strict=True):
            np.testing.assert_allclose(found[name], value.numpy(), rtol=1e-3, atol=1e-4, err_msg=name)
        assert 0 < found["kept"].sum() < found["kept"].size
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["names"]) == list(checkpoint.tree.names)
    assert json.loads(facts["parents"]) == checkpoint.tree.parent.tolist()
    assert float(facts["min_absolute"]) == settings.min_absolute


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "suppress"), [("tiny", True), ("yolov2_paper", False)], ids=["one scale", "two scales"]
)
def test_a_file_with_an_roi_head_predicts_by_default_what_the_checkpoint_predicts(
    architecture: str,
    suppress: bool,
    made_detector: Path,
    scene: Image.Image,
    tmp_path: Path,
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    best, model = random_detector_with_roi_head(load_detector(made_detector), architecture, tmp_path)
    checkpoint = load_detector(best)
    model.write_bytes(export_onnx(checkpoint, ExportOptions(suppress=suppress), checkpoint.config.predict))
    images = [scene, scene.resize((50, 90)), scene.rotate(90)]
    changes = {"precision": "float32", "batch_size": 2}
    for size_px in (64, [128, 64]):
        of_size = {**changes, "input_size_px": size_px}
        expected = list(Predictor(best, changes=of_size)(images))
        assert sum(len(one.names) for one in expected) > 3
        for engine in ("onnxruntime", "openvino"):
            if is_installed(engine):
                found = OnnxPredictor(model, changes=of_size, engine=engine)(images)
                for one, other in zip(expected, found, strict=True):
                    assert_same_detections(one, other)


def random_detector_with_roi_head(
    checkpoint: DetectorCheckpoint, architecture: str, folder: Path
) -> tuple[Path, Path]:
    """best.pt, written, and the name of its ONNX file."""
    network = {"architecture": architecture, "width": 0.1, "grid_stride": 16, "roi_head": True}
    cfg = checkpoint.config.model_copy(update={"model": checkpoint.config.model.model_copy(update=network)})
    cfg = cfg.model_copy(
        update={"predict": cfg.predict.model_copy(update={"min_score": 0.05, "min_absolute": 0.1})}
    )
    torch.manual_seed(1)
    detector = build_detector(cfg.model, checkpoint.tree)
    assert detector.roi_head is not None
    with torch.no_grad():
        for layer in (detector.roi_head.objectness, detector.roi_head.classes, detector.head.box):
            torch.nn.init.normal_(layer.weight)
    weights = {name: value.clone() for name, value in detector.state_dict().items()}
    save_checkpoint(folder / "best.pt", replace(checkpoint, config=cfg, weights=weights))
    return folder / "best.pt", folder / "model.onnx"


def assert_same_detections(one: Detections, other: Detections) -> None:
    assert list(one.names) == list(other.names)
    np.testing.assert_allclose(other.score, one.score, atol=1e-3)
    np.testing.assert_allclose(other.xyxy_px, one.xyxy_px, atol=0.05)
    assert other.best_leaf.tolist() == one.best_leaf.tolist()


@pytest.mark.slow
def test_the_example_of_the_documentation_prints_the_detections_of_predict(
    made_detector: Path, scene: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    scene.save(tmp_path / "photo.jpg", quality=95)
    model, anchors = tmp_path / "model.onnx", load_detector(made_detector).config.model.anchors
    assert anchors
    every_location = (64 // 16) ** 2 * len(anchors)
    assert run(monkeypatch, "export", made_detector, "-o", model, "--locations", every_location, "--nms") == 0
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)
    # Only the three packages of the example may be imported.
    guarded = "import sys\nsys.modules['torch'] = sys.modules['yolo9000'] = None\n" + example
    done = subprocess.run(
        [sys.executable, "-c", guarded], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (expected,) = Predictor(made_detector)([tmp_path / "photo.jpg"])
    boxes = [json.loads(line[line.index("[") :]) for line in done.stdout.splitlines()]
    assert done.stdout.startswith(f"{expected.names[0]} {expected.score[0]:.2f} ")
    assert len(boxes) == len(expected.names)
    np.testing.assert_allclose(np.clip(boxes, 0, 64), expected.xyxy_px, atol=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolov2_narrow", "yolo9000_narrow"])
def test_a_converted_darknet_network_runs_in_onnx_runtime_and_openvino(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    if ORIGINAL is None:
        pytest.skip(NOT_AT_HAND)
    nets, trees = ORIGINAL / "nets", ORIGINAL / "trees"
    files = [nets / f"{name}.cfg", nets / f"{name}.weights"]
    if name == "yolo9000_narrow":
        files.append(trees / "small.tree")
    checkpoint, _ = read_darknet(DarknetFiles.of(files), rules="ours")
    settings = checkpoint.config.predict.model_copy(update={"min_absolute": 0.3})
    content = export_onnx(checkpoint, ExportOptions(locations=12), settings)
    graph = ExportedDetector(checkpoint.build_model(), locations=12, min_absolute=0.3)
    images = torch.rand(2, 3, *reversed(checkpoint.config.model.wh_px))
    with torch.no_grad():
        expected = graph(images)._asdict()
    for engine in ("onnxruntime", "openvino"):
        if not is_installed(engine):
            continue
        found = open_session(engine, content, list(expected), where=name)(images.numpy())
        for output, value in expected.items():
            np.testing.assert_allclose(found[output], value.numpy(), rtol=1e-3, atol=1e-4, err_msg=output)
