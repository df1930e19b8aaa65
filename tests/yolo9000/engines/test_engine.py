"""Every engine computes what the detector computes; `auto` and errors."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import yolo9000.engines.engine as engine_module
import yolo9000.engines.names as names
from tests.yolo9000.made import random_tree
from wordtree.errors import ConfigError
from yolo9000 import Predictor
from yolo9000.config import ModelConfig
from yolo9000.engines.engine import build_engine
from yolo9000.engines.names import EngineError, chosen_engine
from yolo9000.models.detector import Detector, build_detector


def small_detector(seed: int = 0) -> Detector:
    torch.manual_seed(seed)
    cfg = ModelConfig.model_validate(
        {"architecture": "yolo9000", "width": 0.125, "anchors": [[1, 1], [2, 2]]}
    )
    detector = build_detector(cfg, random_tree(30)).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_()
    return detector


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


# --- what is computed


@torch.inference_mode()
def test_torch_in_float32_computes_what_the_detector_computes() -> None:
    detector, given = small_detector(), images(2, 3, 64, 96)
    expected = copy.deepcopy(detector)(given)
    engine = build_engine(detector)
    assert (engine.name, engine.precision) == ("torch", "float32")
    torch.testing.assert_close(engine(given).box_logits, expected.box_logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(engine(given).features, expected.features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@torch.inference_mode()
def test_an_roi_head_reads_the_features_of_the_engine(precision: Literal["float32", "bfloat16"]) -> None:
    cfg = ModelConfig.model_validate(
        {"architecture": "yolov2", "width": 0.125, "anchors": [[1, 1], [2, 2]], "roi_head": True}
    )
    detector, given = build_detector(cfg, random_tree(30)).eval(), images(2, 3, 64, 64)
    expected = copy.deepcopy(detector)(given).roi
    found = build_engine(detector, precision=precision)(given).roi
    assert expected is not None
    assert found is not None
    assert len(found.features) == len(expected.features) == 2
    for ours, theirs in zip(found.features, expected.features, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.1, atol=0.1)


@torch.inference_mode()
def test_bfloat16_gives_float32_outputs_near_those_of_float32() -> None:
    detector, given = small_detector(), images(2, 3, 64, 64)
    expected = detector(given)
    output = build_engine(copy.deepcopy(detector), precision="bfloat16")(given)
    assert output.features.dtype == output.box_logits.dtype == torch.float32
    assert not torch.equal(output.features, expected.features)
    error = (output.features - expected.features).norm() / expected.features.norm()
    assert error < 0.03


@pytest.mark.parametrize(
    ("model", "first_stage"),
    [
        pytest.param({"architecture": "yolov2", "width": 0.125}, 1, id="Darknet-19"),
        pytest.param(
            {"architecture": "yolov2", "width": 0.125, "backbone": "timm/tf_efficientnet_lite0"},
            3,
            id="EfficientNet-Lite0",
        ),
    ],
)
@torch.no_grad()
def test_bfloat16_begins_with_the_second_stage_of_the_backbone(
    model: dict[str, object], first_stage: int
) -> None:
    cfg = ModelConfig.model_validate({"anchors": [[1, 1], [2, 2]], **model})
    detector = build_detector(cfg, random_tree(30)).eval()
    engine = build_engine(detector, precision="bfloat16")
    with ConvolutionTypes() as seen:
        output = engine(images(1, 3, 64, 64))
    assert seen.types[:first_stage] == [torch.float32] * first_stage
    assert set(seen.types[first_stage:-1]) == {torch.bfloat16}
    assert seen.types[-1] == torch.float32  # the boxes of the head
    assert output.features.dtype == torch.float32
    assert {weight.dtype for weight in detector.parameters()} == {torch.float32}


class ConvolutionTypes(TorchDispatchMode):
    """The types of the weights of all convolutions, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.types: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ == "convolution":
            self.types.append(args[1].dtype)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_bfloat16_is_given_up_where_the_first_images_disagree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(engine_module, "computes_in_bfloat16", lambda *_: True)
    detector, given = small_detector(), images(1, 3, 64, 64)
    agreeing = build_engine(copy.deepcopy(detector), precision="auto")
    agreeing(given)
    assert agreeing.precision == "bfloat16"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(engine_module, "MAX_OBJECTNESS_DIFFERENCE", 1e-6)
    expected = detector(given)
    engine = build_engine(detector, precision="auto")
    torch.testing.assert_close(engine(given).features, expected.features, rtol=1e-4, atol=1e-4)
    assert engine.precision == "float32"
    assert "torch in bfloat16 differs from float32" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@torch.inference_mode()
def test_other_engines_compute_what_the_detector_computes_at_every_size(name: str) -> None:
    for package in ("onnxscript", names.PACKAGE_OF[name]):
        pytest.importorskip(package)
    detector = small_detector()
    engine = build_engine(copy.deepcopy(detector), name, precision="float32")
    assert engine.name == name
    for shape in ((1, 3, 64, 64), (3, 3, 96, 160)):
        output, expected = engine(images(*shape)), detector(images(*shape))
        torch.testing.assert_close(output.features, expected.features, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(output.box_logits, expected.box_logits, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@torch.inference_mode()
def test_the_compiled_network_computes_what_the_detector_computes() -> None:
    detector, given = small_detector(), images(1, 3, 64, 64)
    expected = detector(given)
    output = build_engine(detector, "torch_compile")(given)
    torch.testing.assert_close(output.features, expected.features, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_predict_gives_the_same_detections_in_every_engine(
    name: str, made_detector: Path, photos: Path
) -> None:
    for package in ("onnxscript", names.PACKAGE_OF[name]):
        pytest.importorskip(package)
    changes = {"min_score": 0.01, "precision": "float32"}
    expected = list(Predictor(made_detector, changes=changes)(photos))
    found = list(Predictor(made_detector, changes=changes, engine=name)(photos))
    assert sum(map(len, expected)) > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.node.tolist() == theirs.node.tolist()
        assert ours.score == pytest.approx(theirs.score, rel=1e-3)
        assert ours.xyxy_px == pytest.approx(theirs.xyxy_px, abs=0.01)


# --- the choice


@pytest.mark.parametrize(
    ("installed", "options", "expected"),
    [
        pytest.param({"torch", "onnxruntime", "openvino"}, {}, "openvino", id="openvino is the fastest"),
        pytest.param({"torch", "onnxruntime"}, {}, "onnxruntime", id="float32"),
        pytest.param({"torch", "onnxruntime"}, {"has_fast_bfloat16": True}, "torch", id="bfloat16"),
        pytest.param({"torch"}, {}, "torch", id="torch only"),
        pytest.param({"torch", "openvino"}, {"on_gpu": True}, "torch", id="GPU"),
        pytest.param(
            {"torch", "onnxruntime"}, {"from_file": True, "has_fast_bfloat16": True}, "onnxruntime", id="file"
        ),
    ],
)
def test_auto_is_the_fastest_engine_that_is_installed(
    installed: set[str], options: dict[str, bool], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "is_installed", lambda engine: names.PACKAGE_OF[engine] in installed)
    assert chosen_engine("auto", **options) == expected


def test_an_unknown_engine_gets_a_suggestion() -> None:
    with pytest.raises(EngineError, match=r"found 'openvno'\. Did you mean 'openvino'\?"):
        build_engine(small_detector(), "openvno")
    with pytest.raises(EngineError, match=r"found 'onnx'\. Did you mean 'onnxruntime'\?"):
        chosen_engine("onnx")


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "find_spec", lambda package: None)
    with pytest.raises(
        EngineError, match=r"openvino needs the package openvino: pip install 'yolo9000\[openvino\]'"
    ):
        chosen_engine("openvino")
    with pytest.raises(EngineError, match=r"pip install 'yolo9000\[export\]'"):
        chosen_engine("onnxruntime")


def test_an_onnx_file_does_not_run_in_torch() -> None:
    with pytest.raises(EngineError, match="torch does not run ONNX files"):
        chosen_engine("torch", from_file=True)


def test_an_engine_of_the_cpu_refuses_another_device() -> None:
    pytest.importorskip("openvino")
    with pytest.raises(EngineError, match="openvino runs on the CPU"):
        build_engine(small_detector().to("meta"), "openvino")


@pytest.mark.slow
def test_bfloat16_in_onnx_runtime_is_refused(made_detector: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with pytest.raises((EngineError, ConfigError), match="ONNX Runtime computes in float32"):
        Predictor(made_detector, changes={"precision": "bfloat16"}, engine="onnxruntime")
    assert "torch" in sys.modules
