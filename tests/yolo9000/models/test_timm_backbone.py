"""Networks of timm as backbones: features, normalisation, freezing, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tests.yolo9000.made import random_tree
from yolo9000.config import ClassifierConfig, ModelConfig
from yolo9000.models.backbone import freeze
from yolo9000.models.batch_norm import set_training
from yolo9000.models.classifier import build_classifier
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.efficientnet_lite import EfficientNetLite0
from yolo9000.models.timm_backbone import BackboneError, TimmBackbone

LITE = "timm/tf_efficientnet_lite0"
timm = pytest.importorskip("timm", reason="the extra `photos` is not installed")


def detector(backbone: str = LITE, **changes: Any) -> Detector:
    torch.manual_seed(0)
    settings = {"architecture": "yolov2", "width": 0.25, "anchors": [[1, 1], [2, 2]], "backbone": backbone}
    return build_detector(ModelConfig.model_validate(settings | changes), random_tree(30)).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (50, 71)])
def test_our_efficientnet_lite_is_timms_weight_by_weight(height: int, width: int) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(3, 4)).eval()
    ours = EfficientNetLite0().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    images = torch.rand(2, 3, height, width)
    for own, expected in zip(ours(images), theirs(images), strict=True):
        assert torch.equal(own, expected)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", "tf_efficientnet_lite0"])
def test_a_network_gives_features_of_stride_16_and_32(name: str) -> None:
    backbone = TimmBackbone(name).eval()
    features, fine = backbone.both_scales(torch.rand(2, 3, 64, 96))
    assert features.shape == (2, backbone.channels, 2, 3)
    assert fine.shape == (2, backbone.fine_channels, 4, 6)
    assert torch.equal(backbone(torch.ones(1, 3, 64, 64)), backbone.both_scales(torch.ones(1, 3, 64, 64))[0])


def test_the_normalisation_is_inside_the_model() -> None:
    backbone = TimmBackbone("resnet18").eval()
    assert backbone.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert backbone.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    images = torch.rand(1, 3, 64, 64)
    expected = backbone.network((images - backbone.mean) / backbone.std)[-1]
    assert torch.equal(backbone(images), expected)
    assert {"mean", "std"} <= backbone.state_dict().keys()


@pytest.mark.parametrize(
    ("architecture", "stride", "expected"),
    [
        ("yolov2", None, 32),
        ("yolov2", 16, 16),
        ("yolov2_paper", 16, 16),
        ("yolo9000", 32, 32),
        ("yolo9000", 16, 16),
        ("tiny", None, 16),
        ("tiny", 32, 32),
    ],
)
@pytest.mark.parametrize("backbone", [LITE, "darknet19"])
def test_the_grid_may_use_either_stride(
    architecture: str, stride: int | None, expected: int, backbone: str
) -> None:
    model = detector(backbone, architecture=architecture, grid_stride=stride)
    assert model.stride == expected
    output = model(torch.rand(2, 3, 64, 96))
    assert output.box_logits.shape == (2, 2, 64 // expected, 96 // expected, 5)


def test_a_classifier_has_the_same_backbones() -> None:
    cfg = ClassifierConfig(backbone=LITE, input_size_px=64)
    classifier = build_classifier(cfg, random_tree(30), torch.arange(30)).eval()
    assert classifier(torch.rand(2, 3, 64, 64)).shape == (2, 30)


# --- freezing


@pytest.mark.parametrize(
    ("name", "stages"), [("tf_efficientnet_lite0", 7), ("resnet18", 4), ("mobilenetv3_small_100", 6)]
)
def test_every_weight_belongs_to_one_stage(name: str, stages: int) -> None:
    backbone = TimmBackbone(name)
    found = [p for stage in backbone.freezable_stages for module in stage for p in module.parameters()]
    assert len(backbone.freezable_stages) == stages
    assert sorted(map(id, found)) == sorted(id(p) for p in backbone.parameters())


@pytest.mark.parametrize("backbone", [LITE, "darknet19", "tiny"])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(backbone: str) -> None:
    model = detector(backbone)
    freeze(model, 2)
    set_training(model, "per_process")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.rand(2, 3, 64, 64)).features.square().sum().backward()
    frozen = {
        id(p)
        for stage in model.backbone.freezable_stages[:2]
        for module in stage
        for p in module.parameters()
    }
    assert len(frozen) > 2
    for name, parameter in model.named_parameters():
        assert (id(parameter) in frozen) == (not parameter.requires_grad)
        if id(parameter) in frozen:
            assert parameter.grad is None, name
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    modules = {
        module for stage in model.backbone.freezable_stages[:2] for part in stage for module in part.modules()
    }
    names = {name for name, module in model.named_modules() if module in modules}
    assert moved
    assert not [name for name in moved if name.rpartition(".")[0] in names]


def test_all_stages_may_be_frozen_but_not_more() -> None:
    model = detector()
    freeze(model, "all")
    assert not [p for p in model.backbone.parameters() if p.requires_grad]
    assert [p for p in model.neck.parameters() if p.requires_grad]
    with pytest.raises(BackboneError, match="expected at most 7 stages for this backbone, found 8"):
        freeze(model, 8)


# --- refused


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        pytest.param("timm/resnet19", r"timm has no network 'resnet19'.*timm/resnet18", id="misspelt"),
        pytest.param("timm/vit_tiny_patch16_224", "gives no features for images of any size", id="one size"),
    ],
)
def test_a_network_without_the_features_is_refused(backbone: str, expected: str) -> None:
    with pytest.raises(BackboneError, match=expected) as caught:
        detector(backbone)
    assert "\n" not in str(caught.value)


def test_without_timm_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert detector(LITE).stride == 32  # our own code
    with pytest.raises(BackboneError, match=r"timm/resnet18 needs timm: pip install 'yolo9000\[photos\]'"):
        detector("timm/resnet18")


def test_an_old_timm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "__version__", "0.9.16")
    with pytest.raises(BackboneError, match=r"expected timm 1\.0 or newer, found 0\.9\.16"):
        detector("timm/resnet18")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(
            {"backbone": "resnet18"},
            r"expected darknet19, tiny or timm/NAME, found 'resnet18'",
            id="no prefix",
        ),
        pytest.param({"backbone_weights": "packaged"}, "packaged fits timm/tf_effi", id="packaged"),
        pytest.param({"backbone_weights": "pretrained"}, "pretrained fits timm/NAME only", id="pretrained"),
        pytest.param({"backbone": "tiny", "grid_stride": 32}, "expected 16 for backbone tiny", id="coarse"),
        pytest.param(
            {"backbone": LITE, "input_size_px": 400}, "must be a multiple of 32 for timm/tf_", id="size"
        ),
        pytest.param({"freeze": -1}, "greater than or equal to 0", id="negative"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        ModelConfig.model_validate(settings)
