"""Joint training: the effects of a step, the files of a run, exact resuming, and what stops a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo9000.training.loop as loop
import yolo9000.training.train as detector
from data_prep import MergeConfig, ShardReader, merge
from tests.yolo9000.made import COLOURS, made_config, made_shards, metrics_of, random_tree
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after, weights_of
from wordtree import WordTree
from yolo9000.checkpoints.checkpoint import CheckpointError, load_detector, save_checkpoint
from yolo9000.config import OptimizerConfig, read_config
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.image import UnreadableImage
from yolo9000.data.sampler import DataMismatch
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.models.detector import build_model
from yolo9000.training.optim import build_optimizer
from yolo9000.training.resume import start_or_resume
from yolo9000.training.run_folder import TrainingError, locked_run, prepare_folder, read_metrics, write_line
from yolo9000.training.train import DetectorTask, train, with_anchors


def random_tree_with_made_classes(nodes: int) -> WordTree:
    """A random tree, four of whose nodes have the ids of the made classes."""
    tree = random_tree(nodes)
    ids = list(tree.ids)
    for node, wnid in zip((nodes // 9, nodes // 3, nodes // 2, nodes - 1), COLOURS, strict=True):
        ids[node] = wnid
    return WordTree(ids, tree.parent.tolist())


@pytest.fixture(scope="module")
def large_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made images under a random tree of 9418 nodes, as many as the paper's."""
    folder = tmp_path_factory.mktemp("large")
    made_shards(folder)
    random_tree_with_made_classes(9418).save(folder / "tree.json")
    coco = [
        {"name": name, "format": "coco", "images": str(folder / split / "images"), "split": split}
        | {"annotations": str(folder / split / "instances.json")}
        for name, split in (("scenes", "train"), ("test", "test"))
    ]
    labels = {"name": "labels", "format": "imagenet", "images": str(folder / "labels")}
    config = {"sources": [*coco, labels], "tree": str(folder / "tree.json")}
    merge(MergeConfig.model_validate(config), folder / "large")
    return folder / "large"


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
        loss__assign="max_score",
    )
    reader = ShardReader(large_shards)
    hierarchy_nodes = len(reader.tree)
    assert hierarchy_nodes == 9418
    model = build_model(with_anchors(cfg, reader).model, reader.tree).train()
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
    fresh = build_model(cfg.model, ShardReader(shards).tree).state_dict()
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
    terms += ["negative_label", "exclusion", "anchor_warm_up"]
    evaluated = ["ap50_boxed", "ap50_label_only"]
    measured = ["images_per_second", "input_px", "memory_mib"]
    assert list(rows[0]) == ["step", "learning_rate", "total", *terms, *measured, *evaluated]
    assert [(row["step"], bool(row["total"]), bool(row["ap50_boxed"])) for row in rows] == [
        ("2", True, False), ("3", False, True), ("4", True, False), ("5", True, False), ("5", False, True),
    ]  # fmt: skip
    for row in rows:
        if row["total"]:
            assert sum(float(row[name]) for name in terms) == pytest.approx(float(row["total"]), rel=1e-4)


def test_new_columns_leave_earlier_lines_empty(tmp_path: Path) -> None:
    write_line(tmp_path, 1, {"loss": 2.5})
    write_line(tmp_path, 2, {"ap50": 10})
    write_line(tmp_path, 3, {"loss": 1e-9})
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"step": "1", "loss": "2.5", "ap50": ""},
        {"step": "2", "loss": "", "ap50": "10"},
        {"step": "3", "loss": "1e-09", "ap50": ""},
    ]


def test_a_multi_scale_run_uses_all_its_sizes(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    parts = DetectorData.parts

    def recorded(self: DetectorData, first: int, last: int) -> Any:
        for step in parts(self, first, last):
            seen.extend(part.images.shape[-1] for part in step)
            yield step

    monkeypatch.setattr(DetectorData, "parts", recorded)
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

    def given(*arguments: Any) -> Any:
        card = evaluate(*arguments)
        boxed, label_only = next(left)
        parts = {"boxed": boxed, "label_only": label_only}
        changed = {
            name: card.part(name).__class__(**{**vars(card.part(name)), "ap50": ap})
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
    assert best.score == pytest.approx(best_score, nan_ok=True)
    assert load_detector(tmp_path / "run" / "last.pt").step == 3


def test_best_holds_the_averaged_weights(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, optimizer__ema=0.9), tmp_path / "run")
    last = load_detector(tmp_path / "run" / "last.pt")
    assert last.training is not None
    average = last.training["average"]["average"]
    best = weights_of(tmp_path / "run" / "best.pt")
    assert all(torch.equal(best[name], value) for name, value in average.items())
    assert not torch.equal(best["head.box.weight"], last.training["weights"]["head.box.weight"])


# --- resuming


OPTIMIZERS = [
    pytest.param({}, id="AdamW with average"),
    pytest.param({"optimizer__name": "sgd", "optimizer__ema": 0}, id="SGD"),
    pytest.param({"optimizer__name": "sgd", "optimizer__clip_norm": 1.0}, id="SGD with average, clipped"),
    pytest.param({"precision": "bfloat16"}, id="bfloat16"),
    pytest.param({"schedule__sizes_px": [32, 64], "schedule__size_every": 2}, id="multi-scale"),
]


@pytest.mark.parametrize("changes", OPTIMIZERS)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    cfg = made_config(shards, schedule__max_steps=6, evaluate__every=3, **changes)
    straight = train(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)  # the last checkpoint is that of step 4
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "resumed")
    assert load_detector(tmp_path / "resumed" / "last.pt").step == 4
    resumed = train(cfg, tmp_path / "resumed", resume=True)
    assert resumed.to_dict() == straight.to_dict()
    assert metrics_of(tmp_path / "resumed") == metrics_of(tmp_path / "straight")
    settings = [(tmp_path / name / "config.yaml").read_bytes() for name in ("resumed", "straight")]
    assert settings[0] == settings[1]
    assert_equal_checkpoints(tmp_path / "resumed" / "last.pt", tmp_path / "straight" / "last.pt")
    best, expected = (
        weights_of(tmp_path / "resumed" / "best.pt"),
        weights_of(tmp_path / "straight" / "best.pt"),
    )
    assert all(torch.equal(best[name], value) for name, value in expected.items())


def test_a_run_interrupted_before_its_first_checkpoint_starts_again_without_resume(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_config(shards)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "run")
    with pytest.raises(
        TrainingError, match=r"nothing to resume, there is no last\.pt\. Start without --resume"
    ):
        train(cfg, tmp_path / "run", resume=True)
    train(cfg, tmp_path / "run")
    train(cfg, tmp_path / "straight")
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "straight")


def test_resuming_a_finished_run_changes_no_file(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards)
    first = train(cfg, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert train(cfg, tmp_path, resume=True).to_dict() == first.to_dict()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_finished_run_resumes_with_more_steps(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, schedule__max_steps=2), tmp_path)
    train(made_config(shards, schedule__max_steps=4), tmp_path, resume=True)
    assert load_detector(tmp_path / "last.pt").step == 4
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == ["1", "2", "2", "3", "4", "4"]
    assert read_config(tmp_path / "config.yaml").schedule.max_steps == 4


def test_a_run_resumes_with_changed_settings_of_the_optimizer(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, schedule__max_steps=2), tmp_path)
    train(made_config(shards, schedule__max_steps=4, optimizer__weight_decay=0.25), tmp_path, resume=True)
    found = load_detector(tmp_path / "last.pt").training
    assert found is not None
    assert found["optimizer"]["param_groups"][0]["weight_decay"] == 0.25
    assert read_config(tmp_path / "config.yaml").optimizer.weight_decay == 0.25


def test_an_average_that_begins_at_a_resume_begins_with_the_weights_of_the_run(
    shards: Path, tmp_path: Path
) -> None:
    train(made_config(shards, schedule__max_steps=2, optimizer__ema=0), tmp_path)
    cfg = made_config(shards, schedule__max_steps=4, optimizer__ema=0.9)
    run = start_or_resume(DetectorTask(), cfg, tmp_path, resume=True)
    trained = {name: value.clone() for name, value in run.model.state_dict().items()}
    with run.averaged_weights() as model:
        for name, value in model.state_dict().items():
            assert torch.equal(value, trained[name]), name


def test_an_error_in_the_last_evaluation_loses_no_training(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_config(shards, schedule__max_steps=3, log__checkpoint_every=500)
    train(cfg, tmp_path / "whole")

    def broken(*_: object) -> None:
        raise UnreadableImage("test.png: expected an image")

    with monkeypatch.context() as patch:
        patch.setattr(detector, "evaluate_detector", broken)
        with pytest.raises(UnreadableImage):
            train(cfg, tmp_path / "stopped")
    train(cfg, tmp_path / "stopped", resume=True)
    assert_equal_checkpoints(tmp_path / "whole" / "last.pt", tmp_path / "stopped" / "last.pt")
    whole, stopped = (load_detector(tmp_path / name / "best.pt") for name in ("whole", "stopped"))
    assert all(torch.equal(value, stopped.weights[name]) for name, value in whole.weights.items())
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "stopped")


def test_fewer_steps_than_the_run_has_done_are_refused_and_nothing_changes(
    shards: Path, tmp_path: Path
) -> None:
    train(made_config(shards, schedule__max_steps=3), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(
        TrainingError, match=r"is at step 3 already, more than schedule\.max_steps, 2\. Raise schedule"
    ):
        train(made_config(shards, schedule__max_steps=2), tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_second_training_in_the_same_folder_is_refused(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards, schedule__max_steps=2)
    with (
        locked_run(tmp_path / "run"),
        pytest.raises(TrainingError, match=r"is writing into this folder\. Wait until"),
    ):
        train(cfg, tmp_path / "run")
    train(cfg, tmp_path / "run")
    assert not (tmp_path / "run" / "run.lock").exists()


def test_the_score_of_a_lost_step_leaves_no_column_in_the_metrics(tmp_path: Path) -> None:
    """The run was killed between its last score and its last checkpoint."""
    write_line(tmp_path, 1, {"total": 3.0})
    write_line(tmp_path, 2, {"ap50_boxed": 50.0})
    prepare_folder(tmp_path, OptimizerConfig(), step=1)
    assert (tmp_path / "metrics.csv").read_text() == "step,total\n1,3\n"
    write_line(tmp_path, 2, {"total": 2.0})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == ["1", "2"]


@pytest.mark.parametrize(
    ("torn", "left"),
    [
        pytest.param("step,total\n1,3\n2,2\n\0\0\0\0", ["1", "2"], id="zeros after a power cut"),
        pytest.param("step,total\n1,3\n2", ["1"], id="half a line"),
        pytest.param("step,total\n1,3\n,2\n", ["1"], id="no step"),
        pytest.param("step,total\n1,3\n2,1,7\n3,4\n", ["1", "3"], id="two lines in one"),
    ],
)
def test_a_resumed_run_drops_torn_lines_of_its_metrics(
    shards: Path, tmp_path: Path, torn: str, left: list[str]
) -> None:
    (tmp_path / "metrics.csv").write_text(torn)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == left
    prepare_folder(tmp_path, OptimizerConfig(), step=9)
    write_line(tmp_path, 10, {"total": 1.0})
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.csv")] == [*left, "10"]


@pytest.mark.parametrize("text", ["step;total\n1;3\n", "\0\0", ""])
def test_a_metrics_file_of_another_format_is_reported_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(
        TrainingError, match=r"metrics\.csv: expected a first line of column names .* or remove it"
    ):
        prepare_folder(tmp_path, OptimizerConfig(), step=9)


def test_images_seen_are_counted_by_the_batch_size_of_each_step(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, schedule__max_steps=2, data__batch_size=8), tmp_path)
    train(made_config(shards, schedule__max_steps=3, data__batch_size=4), tmp_path, resume=True)
    assert load_detector(tmp_path / "last.pt").images_seen == 2 * 8 + 4
    train(made_config(shards, schedule__max_steps=4, data__batch_size=16), tmp_path, resume=True)
    assert load_detector(tmp_path / "last.pt").images_seen == 2 * 8 + 4 + 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__width": 0.25}, "model.width is 0.25, but the run was made with 0.5"),
        (
            {"model__architecture": "yolo9000"},
            "model.architecture is yolo9000, but the run was made with tiny",
        ),
        ({"model__anchors": [[1, 1]]}, "model.anchors is"),
        ({"optimizer__name": "sgd"}, "optimizer.name is sgd, but the run was made with adamw"),
    ],
)
def test_a_run_of_another_network_or_optimizer_is_refused(
    shards: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    train(made_config(shards), tmp_path)
    with pytest.raises(TrainingError) as caught:
        train(made_config(shards, schedule__max_steps=6, **changes), tmp_path, resume=True)
    assert message in str(caught.value)


def test_resuming_on_shards_of_another_tree_is_refused(
    shards: Path, large_shards: Path, tmp_path: Path
) -> None:
    train(made_config(shards), tmp_path)
    with pytest.raises(CheckpointError, match=r"was trained on tree .*, but the index in .* has tree"):
        train(made_config(large_shards), tmp_path, resume=True)


def test_shards_may_move_before_a_run_is_resumed(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    own = made_shards(tmp_path / "data")
    train(made_config(own, schedule__max_steps=2), tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "moved")
    train(made_config(tmp_path / "moved" / "shards", schedule__max_steps=4), tmp_path / "run", resume=True)
    assert read_config(tmp_path / "run" / "config.yaml").data.shards == tmp_path / "moved" / "shards"


def test_a_new_run_in_the_folder_of_another_is_refused_and_changes_no_file(
    shards: Path, tmp_path: Path
) -> None:
    train(made_config(shards), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        TrainingError, match=r"holds a run already\. Continue it with --resume, or choose another name"
    ):
        train(made_config(shards, seed=1), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_weights_alone_cannot_be_resumed(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards), tmp_path)
    (tmp_path / "best.pt").replace(tmp_path / "last.pt")
    with pytest.raises(TrainingError, match="holds weights only, without the optimizer state"):
        train(made_config(shards), tmp_path, resume=True)


def test_a_damaged_checkpoint_is_reported_with_advice(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards), tmp_path)
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[:5000] + b"?" + whole[5001:])
    changed = r"last\.pt: .* changed since it was written\. The run cannot be resumed: "
    with pytest.raises(
        TrainingError, match=changed + r"start another run from its best\.pt \(--set .*/best\.pt\), or"
    ):
        train(made_config(shards), tmp_path, resume=True)
    (tmp_path / "best.pt").unlink()
    with pytest.raises(TrainingError, match=changed + r"remove .*last\.pt and start again\."):
        train(made_config(shards), tmp_path, resume=True)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"optimizer": {}}, id="no moments"),
        pytest.param(
            {"optimizer": {"state": {0: {"exp_avg": torch.zeros(2, 2)}}}}, id="moments of other shape"
        ),
        pytest.param({"optimizer": {"state": {0: [1]}}}, id="moments in a list"),
        pytest.param({"weights": {}}, id="no weights"),
        pytest.param({"average": {"updates": 4, "average": {}}}, id="no average"),
    ],
)
def test_a_training_state_that_does_not_fit_is_reported_in_one_line(
    shards: Path, tmp_path: Path, changed: dict[str, Any]
) -> None:
    train(made_config(shards, schedule__max_steps=1), tmp_path)
    found = load_detector(tmp_path / "last.pt")
    assert found.training is not None
    save_checkpoint(tmp_path / "last.pt", replace(found, training={**found.training, **changed}))
    with pytest.raises(
        CheckpointError, match=r"last\.pt: its state of training does not fit this run"
    ) as caught:
        train(made_config(shards), tmp_path, resume=True)
    assert len(str(caught.value).splitlines()) == 1


# --- what stops a run


def spoil(monkeypatch: pytest.MonkeyPatch, spoiled: Callable[[LossTerms, int], LossTerms]) -> None:
    """Let `spoiled` change the terms of the criterion, given the step."""
    forward, steps = JointLoss.forward, iter(range(1, 1000))

    def changed(self: JointLoss, *arguments: Any, **named: Any) -> LossTerms:
        return spoiled(forward(self, *arguments, **named), next(steps))

    monkeypatch.setattr(JointLoss, "forward", changed)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "step", [3, 4, 6], ids=["between checkpoints", "at a checkpoint", "at the last step"]
)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float, step: int
) -> None:
    def spoiled(terms: LossTerms, at: int) -> LossTerms:
        named = vars(terms)
        return LossTerms(**{**named, "box_class": named["box_class"] * bad}) if at == step else terms

    spoil(monkeypatch, spoiled)
    with pytest.raises(TrainingError) as caught:
        train(made_config(shards, schedule__max_steps=6), tmp_path / "run")
    text = str(caught.value)
    assert text.startswith(f"Step {step}: the loss is not finite (total {bad:g}, ")
    assert f"box_class {bad:g}" in text
    assert "coordinates 0." in text
    assert len(text.splitlines()) == 1
    last = load_detector(tmp_path / "run" / "last.pt")
    assert last.step == {3: 2, 4: 2, 6: 4}[step]
    assert last.training is not None
    assert all(value.isfinite().all() for value in last.training["weights"].values())


def test_weights_that_are_not_finite_are_never_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(terms: LossTerms, at: int) -> LossTerms:
        if at == 4:  # the loss stays finite, its gradient does not
            terms.box_class.register_hook(lambda gradient: gradient * math.nan)
        return terms

    spoil(monkeypatch, spoiled)
    with pytest.raises(
        TrainingError, match=r"^Step 4: \d+ of \d+ weights are not finite, .* first\. The last"
    ):
        train(made_config(shards, schedule__max_steps=6), tmp_path / "run")
    last = load_detector(tmp_path / "run" / "last.pt")
    assert last.step == 2
    assert all(value.isfinite().all() for value in last.weights.values())


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
def test_eight_made_up_images_are_learnt_by_heart(tmp_path: Path) -> None:
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
