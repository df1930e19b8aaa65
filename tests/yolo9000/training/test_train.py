"""Joint training: the effects of a step, the files of a run, exact resuming, and what stops a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo9000.training.loop as loop
import yolo9000.training.train as detector
from data_prep import MergeConfig, ShardReader, merge
from tests.yolo9000.made import made_config, made_shards, metrics_of
from tests.yolo9000.training.runs import assert_equal_checkpoints, weights_of
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.config import OptimizerConfig, read_config
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.sampler import DataMismatch
from yolo9000.losses.joint import JointLoss
from yolo9000.models.detector import build_detector
from yolo9000.training.optim import build_optimizer
from yolo9000.training.run_folder import read_metrics
from yolo9000.training.train import train, with_anchors

# --- a step


@pytest.mark.parametrize("architecture", ["yolov2", "yolo9000", "tiny", "yolov2_paper"])
def test_two_joint_steps_train_only_the_path_members_of_the_labels_in_a_tree_as_large_as_the_papers(
    large_shards: Path, architecture: str
) -> None:
    cfg = made_config(
        large_shards,
        model__architecture=architecture,
        model__width=0.25,
        augment__mosaic=0,
        loss__objectness_loss="squared",
        loss__label_objectness="paper",
        loss__label_assignment="max_score",
    )
    reader = ShardReader(large_shards)
    hierarchy_nodes = len(reader.tree)
    assert hierarchy_nodes == 9418
    model = build_detector(with_anchors(cfg, reader).model, reader.tree).train()
    criterion = JointLoss(cfg.loss, model.tree_tensors)
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=0.001, weight_decay=0))
    before = model.head.classes.weight.detach().clone()
    asked: set[int] = set()
    data = DetectorData(reader, cfg)
    for step in (1, 2):
        batch = data.batch(step)
        assert len(batch.targets.boxes.image)
        assert len(batch.targets.image_labels.image)
        terms = criterion(model(batch.images), batch.targets, images_seen=8 * step)
        assert all(value.isfinite() for value in terms.by_name().values())
        optimizer.zero_grad()
        terms.total.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert name.startswith("head.classes") or parameter.grad.any(), name
        optimizer.step()
        nodes = torch.cat([batch.targets.boxes.node, batch.targets.image_labels.node])
        asked |= set(model.tree_tensors.path_members(nodes).node.tolist())
    changed = (model.head.classes.weight != before).any(dim=2).any(dim=0)
    assert set(changed.nonzero()[:, 0].tolist()) <= asked
    has_siblings = (
        model.tree_tensors.group_size[model.tree_tensors.group[nodes]] > 1
    )  # P of an only child is 1
    assert changed[nodes[has_siblings]].all()
    assert has_siblings.any()
    assert len(asked) < 500


def test_a_run_with_a_tree_as_large_as_the_papers_scores_its_classes(
    large_shards: Path, tmp_path: Path
) -> None:
    cfg = made_config(large_shards, model__width=0.25, schedule__max_steps=2)
    scorecard = train(cfg, tmp_path / "run")
    assert (scorecard.boxed.classes, scorecard.label_only.classes) == (2, 2)
    assert len(load_detector(tmp_path / "run" / "best.pt").tree) == 9418


def test_learning_rate_zero_changes_no_weight(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "learning_rate_at", lambda *_: 0.0)
    train(made_config(shards, schedule__max_steps=2), tmp_path / "run")
    cfg = load_detector(tmp_path / "run" / "last.pt").config
    torch.manual_seed(cfg.seed)
    fresh = build_detector(cfg.model, ShardReader(shards).tree).state_dict()
    found = load_detector(tmp_path / "run" / "last.pt").training
    assert found is not None
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    compared = [name for name in fresh if not name.endswith(statistics)]
    assert len(compared) > 10
    assert all(torch.equal(fresh[name], found["weights"][name]) for name in compared)


# --- a run


def test_a_run_writes_its_files_and_no_others(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards), tmp_path / "run")
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"best.pt", "last.pt", "config.yaml", "metrics.csv", "report.html"}


def test_the_written_configuration_trains_the_same_run_again(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards), tmp_path / "run")
    cfg = read_config(tmp_path / "run" / "config.yaml")
    assert cfg == load_detector(tmp_path / "run" / "last.pt").config
    assert cfg.model.anchors is not None
    train(cfg, tmp_path / "again")
    assert_equal_checkpoints(tmp_path / "run" / "last.pt", tmp_path / "again" / "last.pt")


def test_relative_shards_are_found_from_the_written_configuration(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards.parent)
    cfg = made_config(shards)
    cfg = cfg.model_copy(update={"data": cfg.data.model_copy(update={"shards": Path(shards.name)})})
    train(cfg, tmp_path / "run")
    assert read_config(tmp_path / "run" / "config.yaml").data.shards == shards


def test_metrics_have_a_line_each_logged_step_and_each_evaluation(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, schedule__max_steps=5, log__every=2, evaluate__every=3), tmp_path / "run")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    terms = ["coordinates", "objectness", "no_object", "box_class", "label_class", "label_objectness"]
    terms += ["negative_label", "exclusion", "roi_objectness", "roi_class", "anchor_warm_up"]
    evaluated = ["ap50_boxed", "ap50_label_only"]
    measured = ["images_per_second", "input_px", "memory_mib"]
    assert list(rows[0]) == ["step", "learning_rate", "total", *terms, *measured, *evaluated]
    assert [(row["step"], bool(row["total"]), bool(row["ap50_boxed"])) for row in rows] == [
        ("2", True, False), ("3", False, True), ("4", True, False), ("5", True, False), ("5", False, True),
    ]  # fmt: skip
    for row in rows:
        if row["total"]:
            assert sum(float(row[name]) for name in terms) == pytest.approx(float(row["total"]), rel=1e-4)


def test_a_multi_scale_run_uses_all_its_sizes(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    micro_batches = DetectorData.micro_batches

    def recorded(self: DetectorData, first: int, last: int) -> Any:
        for step in micro_batches(self, first, last):
            seen.extend(micro_batch.images.shape[-1] for micro_batch in step)
            yield step

    monkeypatch.setattr(DetectorData, "micro_batches", recorded)
    cfg = made_config(shards, schedule__max_steps=8, schedule__sizes_px=[32, 64, 96], schedule__size_every=1)
    train(cfg, tmp_path / "run")
    assert len(seen) == 8
    assert set(seen) == {32, 64, 96}
    logged = [row["input_px"] for row in metrics_of(tmp_path / "run") if row["input_px"]]
    assert logged == [str(size) for size in seen]


# --- best.pt


def evaluations(monkeypatch: pytest.MonkeyPatch, scores: list[tuple[float | None, float | None]]) -> None:
    """Let each evaluation return the next AP50 of (boxed, label-only) classes."""
    evaluate, left = detector.evaluate_detector, iter(scores)

    def given(*arguments: Any, **settings: Any) -> Any:
        card = evaluate(*arguments, **settings)
        boxed, label_only = next(left)
        parts = {"boxed": boxed, "label_only": label_only}
        changed = {
            name: card.group(name).__class__(**{**vars(card.group(name)), "ap50": ap})
            for name, ap in parts.items()
        }
        return card.__class__(**{**vars(card), **changed})

    monkeypatch.setattr(detector, "evaluate_detector", given)


@pytest.mark.parametrize(
    ("scores", "best_step", "best_score"),
    [
        pytest.param([(10.0, 90.0), (30.0, 0.0), (20.0, 99.0)], 2, 30, id="label-only classes do not count"),
        pytest.param([(30.0, 0.0), (10.0, 50.0), (20.0, 60.0)], 1, 30, id="the first"),
        pytest.param([(0.0, 0.0), (0.0, 0.0), (0.0, 5.0)], 3, 0, id="the latest of equal scores"),
        pytest.param(
            [(None, 1.0), (None, 2.0), (None, 1.0)], 3, math.nan, id="the latest if no class has boxes"
        ),
    ],
)
def test_best_is_selected_by_boxed_classes_alone(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: list[tuple[float | None, float | None]],
    best_step: int,
    best_score: float,
) -> None:
    evaluations(monkeypatch, scores)
    train(made_config(shards, schedule__max_steps=3, evaluate__every=1), tmp_path / "run")
    best = load_detector(tmp_path / "run" / "best.pt")
    assert best.step == best_step
    assert best.best_metric == pytest.approx(best_score, nan_ok=True)
    assert load_detector(tmp_path / "run" / "last.pt").step == 3


def test_best_holds_the_ema_weights(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, optimizer__ema=0.9), tmp_path / "run")
    last = load_detector(tmp_path / "run" / "last.pt")
    assert last.training is not None
    average = last.training["average"]["average"]
    best = weights_of(tmp_path / "run" / "best.pt")
    assert all(torch.equal(best[name], value) for name, value in average.items())
    assert not torch.equal(best["head.box.weight"], last.training["weights"]["head.box.weight"])


# --- what stops a run


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"evaluate__split": "val"}, "split 'val' is not in the shards; they have: train, test"),
        ({"data__train_split": "val"}, "split 'val' is not in the shards"),
        ({"data__ratio": {"coco": 1}}, "data.ratio names coco"),
        ({"model__anchor_count": 50}, "too few to find 50 anchors"),
    ],
)
def test_missing_splits_sources_and_boxes_are_reported_before_anything_is_written(
    shards: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataMismatch) as caught:
        train(made_config(shards, **changes), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_split_without_boxes_is_reported_before_training(tmp_path: Path) -> None:
    made_shards(tmp_path)
    labels = {"name": "labels", "format": "imagenet", "images": str(tmp_path / "labels")}
    held_out = {**labels, "name": "held_out", "split": "test"}
    scenes = {"name": "scenes", "format": "coco", "images": str(tmp_path / "train" / "images")}
    scenes["annotations"] = str(tmp_path / "train" / "instances.json")
    config = {"sources": [scenes, labels, held_out], "duplicates": "keep"}
    merge(MergeConfig.model_validate(config), tmp_path / "without")
    with pytest.raises(DataMismatch, match=r"split 'test' has no images with boxes to evaluate on"):
        train(made_config(tmp_path / "without"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- it learns


@pytest.mark.slow
def test_eight_made_up_images_are_memorised(tmp_path: Path) -> None:
    made_shards(tmp_path, scenes=4, label_images=2)
    reader = ShardReader(tmp_path / "shards")
    assert len(reader.split("train")) == 8
    cfg = made_config(
        tmp_path / "shards",
        model__anchors=((1.8125, 1.8125), (2.0, 2.0)),
        evaluate__split="train",
        augment__jitter=0,
        augment__flip=False,
        augment__zoom_out=0,
        augment__mosaic=0,
        augment__paste=0,
        schedule__max_steps=300,
        schedule__burn_in_steps=10,
        log__every=50,
        log__checkpoint_every=300,
    )
    scorecard = train(cfg, tmp_path / "run")
    assert scorecard.boxed.ap50 == pytest.approx(100)
    rows = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if row["total"]]
    assert float(rows[-1]["total"]) < 0.05 < 1 < float(rows[0]["total"])
    assert float(rows[-1]["label_class"]) < 0.01
