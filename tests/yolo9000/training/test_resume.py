"""Resuming a run: exactly, with changed settings, and the runs that cannot be resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo9000.training.train as detector
from tests.yolo9000.made import made_config, made_shards, metrics_of
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after, weights_of
from yolo9000.checkpoints.checkpoint import CheckpointError, load_detector, save_checkpoint
from yolo9000.config import read_config
from yolo9000.data.pixels import UnreadableImage
from yolo9000.training.resume import start_or_resume
from yolo9000.training.run_folder import TrainingError, read_metrics
from yolo9000.training.train import DetectorTask, train

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
    with run.ema_weights() as model:
        for name, value in model.state_dict().items():
            assert torch.equal(value, trained[name]), name


def test_an_error_in_the_last_evaluation_loses_no_training(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_config(shards, schedule__max_steps=3, log__checkpoint_every=500)
    train(cfg, tmp_path / "whole")

    def broken(*_: object, **__: object) -> None:
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
        ({"model__roi_head": True}, "model.roi_head is True, but the run was made with False"),
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
