"""`yolo9000 pretrain`: it learns, resumes exactly, reports mistakes, and gives a detector its backbone."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import yolo9000.training.loop as loop
import yolo9000.training.pretrain as classifier
import yolo9000.training.resume as resume
from data_prep import LabelCounts, MergeConfig, ShardReader, merge
from tests.yolo9000.made import LABEL_ONLY, made_config, metrics_of, random_tree
from tests.yolo9000.training.runs import (
    CLASSIFIER_YAML,
    assert_equal_checkpoints,
    interrupt_after,
    made_classifier_config,
)
from wordtree.errors import ConfigError
from yolo9000.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    load_classifier,
    load_detector,
    refuse_other_tree,
    save_checkpoint,
)
from yolo9000.checkpoints.start_from import InitialWeights
from yolo9000.cli import main
from yolo9000.config import PretrainConfig, read_pretrain_config
from yolo9000.data.sampler import DataMismatch
from yolo9000.models.backbone import ConvBackbone
from yolo9000.models.classifier import build_classifier
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run_folder import TrainingError, read_metrics
from yolo9000.training.train import train

SHAPES = {  # of a class by its wnid: where its square of 64 px is lit
    "n02084071": lambda x, y: x < 32,  # dog
    "n02121620": lambda x, y: y < 32,  # cat
    "n02958343": lambda x, y: (x // 8 + y // 8) % 2 == 0,  # car
    "n02858304": lambda x, y: abs(x - 32) + abs(y - 32) < 24,  # boat
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of four shapes in random colours: eight training and four test images of each."""
    folder, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    for split, count in (("train", 8), ("test", 4)):
        for wnid, lit in SHAPES.items():
            (folder / split / wnid).mkdir(parents=True)
            for number in range(count):
                dark, bright = rng.integers(0, 100, 3), rng.integers(150, 256, 3)
                pixels = np.where(lit(x, y)[..., None], bright, dark) + rng.integers(-20, 20, (64, 64, 3))
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / split / wnid / f"{split}{number}.png")
    sources = [
        {"name": split, "format": "imagenet", "images": str(folder / split), "split": split}
        for split in ("train", "test")
    ]
    merge(MergeConfig.model_validate({"sources": sources}), folder / "shards")
    return folder / "shards"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command line in this process: exit code, stdout, stderr."""

    def run_with(*arguments: object) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["yolo9000", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run_with


# --- from the command line


@pytest.mark.parametrize("softmax", ["tree", "flat"])
def test_a_classifier_learns_a_set_and_recognises_new_images_of_it(
    run: Callable[..., Any], drawn: Path, tmp_path: Path, softmax: str
) -> None:
    (tmp_path / "mine.yaml").write_text(CLASSIFIER_YAML)
    settings = {"name": softmax, "data.shards": drawn, "model.softmax": softmax, "evaluate.split": "test"}
    settings |= {"schedule.max_steps": 40, "augment.angle": 0, "augment.flip": "false", "log.every": 10}
    given = [text for name, value in settings.items() for text in ("--set", f"{name}={value}")]
    code, out, err = run("pretrain", tmp_path / "mine.yaml", "--runs", tmp_path / "runs", *given)
    assert (code, err) == (0, "")
    best = tmp_path / "runs" / softmax / "best.pt"
    assert f"--set model.start_from={best}" in "".join(out.split("\n"))
    found = load_classifier(best)
    assert found.best_metric == 100
    assert found.step == 40

    code, out, _ = run("evaluate", best, drawn, "--split", "train", "--json")
    score = json.loads(out)
    assert code == 0
    assert (score["images"], score["top1"], score["path"]) == (32, 100, 100)
    code, out, _ = run("info", best, "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["kind"] == "a classifier of `yolo9000 pretrain`"
    assert facts["top1"] == 100
    code, out, err = run("predict", best, next(drawn.parent.rglob("*.png")))
    assert (code, out) == (2, "")
    assert "expected a detector of `yolo9000 train`, found a classifier of `yolo9000 pretrain`" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("evaluate.split=val", "split 'val' is not in the shards; they have: train, test"),
        ("data.train_split=val", "split 'val' is not in the shards"),
        ("data.ratio={scenes: 1}", "data.ratio names scenes"),
        ("model.softmax=soft", "model.softmax"),
        ("model.input_size_px=100", "must be a multiple of 16 for tiny, found 100"),
        ("schedule.sizes_px=[64, 70]", "must be multiples of 16, found [70]"),
        ("augment.shorter_side=[2, 1]", "shorter_side must be [least, most], found [2.0, 1.0]"),
        ("augment.shorter_side=[1]", "augment.shorter_side"),
        ("augment.aspect=0.75", "augment.aspect"),
        ("augment.mosaic=0.3", "augment.mosaic"),
        ("loss.label_weight=1", "loss"),
        ("model.start_from=none.pt", "none.pt: no such checkpoint"),
    ],
)
def test_a_mistake_is_reported_in_one_line_before_anything_is_written(
    run: Callable[..., Any], drawn: Path, tmp_path: Path, setting: str, message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(CLASSIFIER_YAML)
    arguments = ("--runs", tmp_path / "runs", "--set", f"data.shards={drawn}", "--set", setting)
    code, out, err = run("pretrain", tmp_path / "mine.yaml", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("yolo9000: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (tmp_path / "runs").exists()


def test_shards_whose_test_split_has_only_boxes_are_reported(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(DataMismatch, match="split 'test' has no images with image labels") as caught:
        pretrain(made_classifier_config(shards, tmp_path, evaluate__split="test"), tmp_path / "run")
    assert "name another split" in str(caught.value)
    assert not (tmp_path / "run").exists()


# --- a run


def test_a_run_writes_its_files_and_a_line_for_each_step_and_evaluation(shards: Path, tmp_path: Path) -> None:
    score = pretrain(made_classifier_config(shards, tmp_path, evaluate__every=2), tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"best.pt", "last.pt", "config.yaml", "metrics.csv", "report.html"}
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    accuracies = ["accuracy_top1", "accuracy_top5", "accuracy_path"]
    measured = ["images_per_second", "input_px", "memory_mib"]
    assert list(rows[0]) == ["step", "learning_rate", "total", *measured, *accuracies]
    assert [(row["step"], bool(row["total"]), bool(row["accuracy_top1"])) for row in rows] == [
        ("1", True, False), ("2", True, False), ("2", False, True),
        ("3", True, False), ("4", True, False), ("4", False, True),
    ]  # fmt: skip
    assert float(rows[-1]["accuracy_top1"]) == pytest.approx(score.top1)
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert all(text in page for text in ("4 of 4", "top-1", "Accuracy along the tree", "accuracy top1"))
    assert load_classifier(tmp_path / "run" / "best.pt").training is None
    assert load_classifier(tmp_path / "run" / "last.pt").training is not None


def test_the_first_loss_is_that_of_equal_probabilities(shards: Path, tmp_path: Path) -> None:
    """Logits begin near 0: log 2 for two flat classes; in the tree the logarithm of each group on the path."""
    for softmax in ("tree", "flat"):
        cfg = made_classifier_config(
            shards, tmp_path, model__softmax=softmax, schedule__max_steps=1, data__batch_size=64
        )
        pretrain(cfg, tmp_path / softmax)
    tree = ShardReader(shards).tree
    groups = [
        sum(math.log(tree.group_size[tree.group[above]]) for above in (node, *tree.ancestors(node)))
        for node in (tree.node(wnid) for wnid in LABEL_ONLY)
    ]
    first = [float(read_metrics(tmp_path / name / "metrics.csv")[0]["total"]) for name in ("tree", "flat")]
    assert first == [pytest.approx(sum(groups) / 2, abs=0.2), pytest.approx(math.log(2), abs=0.2)]


def test_the_written_configuration_trains_the_same_run_again(shards: Path, tmp_path: Path) -> None:
    pretrain(made_classifier_config(shards, tmp_path), tmp_path / "run")
    pretrain(read_pretrain_config(tmp_path / "run" / "config.yaml"), tmp_path / "again")
    assert_equal_checkpoints(tmp_path / "run" / "last.pt", tmp_path / "again" / "last.pt")


def test_best_is_selected_by_top_1(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, left = classifier.evaluate_classifier, iter([30.0, 60.0, 20.0])

    def given(*arguments: Any) -> Any:
        score = usual(*arguments)
        return score.__class__(**{**vars(score), "top1": next(left)})

    monkeypatch.setattr(classifier, "evaluate_classifier", given)
    pretrain(
        made_classifier_config(shards, tmp_path, schedule__max_steps=3, evaluate__every=1), tmp_path / "run"
    )
    best = load_classifier(tmp_path / "run" / "best.pt")
    assert (best.step, best.best_metric) == (2, 60)


def test_a_loss_that_is_not_finite_stops_the_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, steps = classifier.label_loss, iter(range(1, 10))
    monkeypatch.setattr(
        classifier,
        "label_loss",
        lambda *a, **named: usual(*a, **named) * (math.nan if next(steps) == 3 else 1),
    )
    with pytest.raises(TrainingError, match=r"^Step 3: the loss is not finite \(total nan\)"):
        pretrain(made_classifier_config(shards, tmp_path, schedule__max_steps=6), tmp_path / "run")
    assert load_classifier(tmp_path / "run" / "last.pt").step == 2


# --- resuming


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="AdamW with average"),
        pytest.param({"optimizer__name": "sgd", "optimizer__ema": 0, "optimizer__clip_norm": 1.0}, id="SGD"),
        pytest.param({"model__softmax": "flat", "precision": "bfloat16"}, id="flat, bfloat16"),
        pytest.param({"schedule__sizes_px": [32, 48], "augment__hue": 0.1}, id="multi-scale"),
    ],
)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    cfg = made_classifier_config(shards, tmp_path, schedule__max_steps=6, evaluate__every=3, **changes)
    straight = pretrain(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)  # the last checkpoint is that of step 4
        with pytest.raises(KeyboardInterrupt):
            pretrain(cfg, tmp_path / "resumed")
    assert load_classifier(tmp_path / "resumed" / "last.pt").step == 4
    assert pretrain(cfg, tmp_path / "resumed", resume=True) == straight
    assert metrics_of(tmp_path / "resumed") == metrics_of(tmp_path / "straight")
    settings = [(tmp_path / name / "config.yaml").read_bytes() for name in ("resumed", "straight")]
    assert settings[0] == settings[1]
    for name in ("last.pt", "best.pt"):
        assert_equal_checkpoints(tmp_path / "resumed" / name, tmp_path / "straight" / name)


@pytest.fixture(scope="module")
def finished(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of four steps."""
    folder = tmp_path_factory.mktemp("finished")
    pretrain(made_classifier_config(shards, folder), folder / "made")
    return folder / "made"


def test_a_new_run_in_the_folder_of_another_is_refused(shards: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"holds a run already\. Continue it with --resume"):
        pretrain(made_classifier_config(shards, tmp_path), finished)
    with pytest.raises(TrainingError, match="nothing to resume"):
        pretrain(made_classifier_config(shards, tmp_path), tmp_path / "none", resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__width": 0.25}, "model.width is 0.25, but the run was made with 0.5"),
        ({"model__softmax": "flat"}, "model.softmax is flat, but the run was made with tree"),
        (
            {"model__architecture": "darknet19"},
            "model.architecture is darknet19, but the run was made with tiny",
        ),
        ({"optimizer__name": "sgd"}, "optimizer.name is sgd, but the run was made with adamw"),
    ],
)
def test_another_network_or_optimizer_is_refused(
    shards: Path, finished: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        pretrain(
            made_classifier_config(shards, tmp_path, schedule__max_steps=6, **changes), finished, resume=True
        )
    assert message in str(caught.value)


def test_shards_of_another_tree_or_of_other_classes_are_refused(
    shards: Path, drawn: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "training_nodes", lambda *_: np.array([0, 1, 2]))
    with pytest.raises(
        TrainingError, match=r"made with labels of 2 nodes, but split 'train' of .* of 3"
    ) as caught:
        pretrain(made_classifier_config(shards, tmp_path, schedule__max_steps=6), finished, resume=True)
    assert len(str(caught.value).splitlines()) == 1
    other = random_tree(30)
    monkeypatch.setattr(resume, "refuse_other_tree", lambda found, path, _: refuse_other_tree(
        found, path, type("Reader", (), {"tree": other, "folder": drawn}),
    ))  # fmt: skip
    with pytest.raises(CheckpointError, match=r"was trained on tree .*, but the index in .* has tree"):
        pretrain(made_classifier_config(shards, tmp_path, schedule__max_steps=6), finished, resume=True)


def test_a_detector_cannot_resume_a_classifier_nor_a_classifier_a_detector(
    shards: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="expected a detector of `yolo9000 train`, found a classifier"):
        train(made_config(shards), finished, resume=True)
    train(made_config(shards, schedule__max_steps=1), tmp_path / "detector")
    with pytest.raises(
        CheckpointError, match="expected a classifier of `yolo9000 pretrain`, found a detector"
    ):
        pretrain(made_classifier_config(shards, tmp_path), tmp_path / "detector", resume=True)


# --- checkpoints


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(None, id="none"),
        pytest.param(torch.tensor([0, 999]), id="outside the tree"),
        pytest.param(torch.tensor([1, 1]), id="twice"),
        pytest.param(torch.tensor([], dtype=torch.int64), id="empty"),
        pytest.param(torch.tensor([0.0, 1.0]), id="no integers"),
        pytest.param("0 1", id="text"),
    ],
)
def test_classes_that_are_not_nodes_of_the_tree_are_reported(
    finished: Path, tmp_path: Path, classes: object
) -> None:
    content = torch.load(finished / "best.pt", weights_only=True)
    content["weights"]["softmax.classes"] = classes
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(
        CheckpointError, match=r"classes are not distinct nodes of its tree|its weight softmax.classes is a"
    ):
        load_classifier(tmp_path / "best.pt").build_model()


# --- a detector starts from it


def backbone_of(weights: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights.items() if name.startswith("backbone.")}


@pytest.mark.parametrize("softmax", ["tree", "flat"])
def test_a_detector_starts_with_the_backbone_of_a_classifier(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, softmax: str
) -> None:
    pretrain(made_classifier_config(shards, tmp_path, model__softmax=softmax), tmp_path / "classifier")
    best = tmp_path / "classifier" / "best.pt"
    monkeypatch.setattr(loop, "learning_rate_at", lambda *_: 0.0)
    for name, changes in {"from it": {"model__start_from": str(best)}, "random": {}}.items():
        train(made_config(shards, schedule__max_steps=1, **changes), tmp_path / name)
    found, random = (load_detector(tmp_path / name / "last.pt").training for name in ("from it", "random"))
    assert found is not None
    assert random is not None
    expected = backbone_of(load_classifier(best).weights)
    statistics = ("running_mean", "running_var", "num_batches_tracked")  # follow the first batch
    learnt = [name for name in expected if not name.endswith(statistics)]
    assert len(learnt) == 3 * 6
    for name in learnt:
        assert torch.equal(found["weights"][name], expected[name]), name
    heads = [name for name in found["weights"] if name.startswith("head.")]
    assert len(heads) == 5
    assert all(torch.equal(found["weights"][name], random["weights"][name]) for name in heads)


def test_a_detector_resumes_without_the_file_that_it_started_from(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(made_classifier_config(shards, tmp_path), tmp_path / "classifier")
    start = str(tmp_path / "classifier" / "best.pt")
    train(made_config(shards, model__start_from=start, schedule__max_steps=4), tmp_path / "straight")
    train(made_config(shards, model__start_from=start, schedule__max_steps=4), tmp_path / "resumed")
    (tmp_path / "classifier").rename(tmp_path / "gone")
    score = train(
        made_config(shards, model__start_from=start, schedule__max_steps=4), tmp_path / "resumed", resume=True
    )
    assert score.images == 4
    assert_equal_checkpoints(tmp_path / "resumed" / "last.pt", tmp_path / "straight" / "last.pt")


def test_a_second_classifier_starts_with_all_weights_of_the_first(
    shards: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As from 224 px to 448."""
    monkeypatch.setattr(loop, "learning_rate_at", lambda *_: 0.0)
    start, first = str(finished / "best.pt"), load_classifier(finished / "best.pt").weights
    cfg = made_classifier_config(
        shards, tmp_path, model__start_from=start, model__input_size_px=64, schedule__max_steps=1
    )
    pretrain(cfg, tmp_path / "second")
    assert f"Starting from {start}: its backbone, head." in capsys.readouterr().err
    assert load_classifier(tmp_path / "second" / "best.pt").images_seen == 8 * (4 + 1)
    second = load_classifier(tmp_path / "second" / "last.pt").training
    assert second is not None
    for name, value in first.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(second["weights"][name], value), name


def test_the_head_is_loaded_only_for_the_same_tree_and_softmax(shards: Path, finished: Path) -> None:
    start, tree = InitialWeights.read(finished / "best.pt"), ShardReader(shards).tree
    assert start.checkpoint is not None
    cfg, same = start.checkpoint.config.model, start.checkpoint.weights["softmax.classes"]
    flat_cfg, other_tree = cfg.model_copy(update={"softmax": "flat"}), random_tree(len(tree))
    assert start.load_into(build_classifier(cfg, tree, same), tree) == ("backbone", "head")
    assert start.load_into(build_classifier(cfg, tree, torch.tensor([0])), tree) == ("backbone", "head")
    assert start.load_into(build_classifier(cfg, other_tree, same), other_tree) == ("backbone",)
    assert start.load_into(build_classifier(flat_cfg, tree, same), tree) == ("backbone",)


@pytest.mark.parametrize(("classes", "taken"), [([4, 7], ("backbone", "head")), ([4, 6], ("backbone",))])
def test_a_flat_head_is_loaded_only_for_the_same_classes(
    tmp_path: Path, classes: list[int], taken: tuple[str, ...]
) -> None:
    tree = random_tree(10)
    cfg = PretrainConfig.model_validate(
        {
            "model": {"architecture": "tiny", "width": 0.25, "softmax": "flat"},
            "data": {"shards": "none"},
            "schedule": {"max_steps": 1},
        }
    )
    first = build_classifier(cfg.model, tree, torch.tensor([4, 7]))
    label_counts = LabelCounts(tree, np.zeros(10), np.zeros(10))
    found = Checkpoint(cfg, tree, label_counts, 1, first.state_dict(), None, math.nan)
    save_checkpoint(tmp_path / "best.pt", found)
    second = build_classifier(cfg.model, tree, torch.tensor(classes))
    assert InitialWeights.read(tmp_path / "best.pt").load_into(second, tree) == taken
    assert torch.equal(second.head.weight, first.head.weight) == ("head" in taken)


def test_a_backbone_of_another_shape_is_reported(shards: Path, finished: Path, tmp_path: Path) -> None:
    start = str(finished / "best.pt")
    for changes in ({"model__width": 0.25}, {"model__architecture": "yolo9000"}):
        with pytest.raises(CheckpointError) as caught:
            train(made_config(shards, model__start_from=start, **changes), tmp_path / "run")
        text = str(caught.value)
        assert "its backbone (tiny, width 0.5, input 32 px) is not the backbone of this run" in text
        assert len(text.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("architecture", ["yolov2", "yolov2_paper", "yolo9000"])
def test_every_detector_on_darknet19_has_the_backbone_of_the_classifier(architecture: str) -> None:
    from yolo9000.config import ClassifierConfig, ModelConfig
    from yolo9000.models.detector import build_detector

    tree = random_tree(10)
    classifier = build_classifier(ClassifierConfig(width=0.25), tree, torch.arange(10))
    settings = {"architecture": architecture, "width": 0.25, "anchors": [[1, 1]]}
    detector = build_detector(ModelConfig.model_validate(settings), tree)
    mine, theirs = backbone_of(classifier.state_dict()), backbone_of(detector.state_dict())
    assert isinstance(classifier.backbone, ConvBackbone)
    assert [(name, value.shape) for name, value in mine.items()] == [
        (name, value.shape) for name, value in theirs.items()
    ]


# --- configurations


def test_settings_of_detectors_are_refused_for_classifiers(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CLASSIFIER_YAML)
    with pytest.raises(ConfigError, match=r"2 problems: .*model: anchors.*evaluate\.nms_iou"):
        read_pretrain_config(tmp_path / "a.yaml", ["model.anchors=[[1, 1]]", "evaluate.nms_iou=0.5"])


def test_every_default_is_valid_for_its_field() -> None:
    cfg = PretrainConfig.model_validate({"data": {"shards": "shards"}, "schedule": {"max_steps": 1}})
    assert PretrainConfig.model_validate(cfg.model_dump()) == cfg
    assert PretrainConfig.model_validate(json.loads(cfg.model_dump_json())) == cfg
    given = {**json.loads(cfg.model_dump_json()), "optimizer": {"name": "sgd"}}
    assert (
        PretrainConfig.model_validate(given).optimizer.learning_rate == 0.1
    )  # detectors have another default
