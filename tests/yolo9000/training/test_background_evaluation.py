"""Evaluation during training: it changes no weight, its metrics belong to their step, and it is never lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo9000.training.loop as loop
import yolo9000.training.run
import yolo9000.training.train as detector
from tests.yolo9000.made import made_config, metrics_of
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after, weights_of
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.data.sampler import DataMismatch
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.models.detector import Detector
from yolo9000.training.train import train

WAIT_S = 60


def around(monkeypatch: pytest.MonkeyPatch, before: Callable[[Detector], None]) -> None:
    """Call `before` at the start of each evaluation, in its thread."""
    evaluate = detector.evaluate_detector

    def changed(model: Detector, *rest: Any, **settings: Any) -> Scorecard:
        before(model)
        return evaluate(model, *rest, **settings)

    monkeypatch.setattr(detector, "evaluate_detector", changed)


def at_step(monkeypatch: pytest.MonkeyPatch, happens: Callable[[int], None]) -> None:
    """Call `happens` at the start of each training step."""
    rate = loop.learning_rate_at

    def changed(step: int, *rest: Any) -> float:
        happens(step)
        return rate(step, *rest)

    monkeypatch.setattr(loop, "learning_rate_at", changed)


@pytest.mark.parametrize(
    "changes", [{}, {"optimizer__ema": 0, "precision": "bfloat16"}], ids=["average", "live"]
)
def test_evaluations_do_not_change_training(shards: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    cfg = made_config(shards, schedule__max_steps=6, log__checkpoint_every=100, **changes)
    train(cfg, tmp_path / "without")
    train(made_config(shards, schedule__max_steps=6, evaluate__every=1, **changes), tmp_path / "with")
    one, other = (load_detector(tmp_path / name / "last.pt") for name in ("without", "with"))
    assert one.training is not None
    assert other.training is not None
    for part in ("weights", "average"):
        mine, theirs = one.training.get(part, {}), other.training.get(part, {})
        mine, theirs = mine.get("average", mine), theirs.get("average", theirs)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_scores_and_best_weights_belong_to_the_step_that_was_scored(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An evaluation of step 2 that ends after step 3 gives the scores of one that ended at once."""
    cfg = made_config(shards, schedule__max_steps=5, evaluate__every=2, log__checkpoint_every=100)
    train(made_config(shards, schedule__max_steps=2, schedule__policy="constant"), tmp_path / "short")
    gone_on, steps_before_it_ended = threading.Event(), []

    def slow(_: Detector) -> None:
        if threading.current_thread() is not threading.main_thread() and not gone_on.is_set():
            assert gone_on.wait(WAIT_S)

    def note(step: int) -> None:
        if step == 4:
            steps_before_it_ended.append([row["step"] for row in metrics_of(tmp_path / "run")])
            gone_on.set()

    around(monkeypatch, slow)
    at_step(monkeypatch, note)
    cfg = cfg.model_copy(update={"schedule": cfg.schedule.model_copy(update={"policy": "constant"})})
    train(cfg, tmp_path / "run")
    assert steps_before_it_ended == [["1", "2", "3"]]
    rows = [row for row in metrics_of(tmp_path / "run") if row["ap50_boxed"]]
    assert [row["step"] for row in rows] == ["2", "4", "5"]
    expected = [row for row in metrics_of(tmp_path / "short") if row["ap50_boxed"]]
    assert rows[0] == expected[0]


def test_best_holds_the_weights_that_were_scored(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[dict[str, torch.Tensor]] = []
    around(monkeypatch, lambda model: scored.append({k: v.clone() for k, v in model.state_dict().items()}))
    train(made_config(shards, schedule__max_steps=5, evaluate__every=1), tmp_path / "run")
    best = load_detector(tmp_path / "run" / "best.pt")
    assert len(scored) == 5
    assert all(torch.equal(value, scored[best.step - 1][name]) for name, value in best.weights.items())


def test_one_evaluation_at_a_time_and_a_later_checkpoint_has_its_score(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, alone, begun = detector.evaluate_detector, threading.Lock(), []

    def slow(*arguments: Any, **settings: Any) -> Scorecard:
        begun.append(alone.acquire(blocking=False))
        time.sleep(0.1)  # two steps take less
        scorecard = evaluate(*arguments, **settings)
        alone.release()
        return scorecard

    monkeypatch.setattr(detector, "evaluate_detector", slow)
    scores: dict[int, float] = {}
    save = yolo9000.training.run.save_checkpoint

    def saved(path: Path, checkpoint: Any) -> None:
        if path.name == "last.pt":
            scores[checkpoint.step] = checkpoint.best_metric
        save(path, checkpoint)

    monkeypatch.setattr(yolo9000.training.run, "save_checkpoint", saved)
    cfg = made_config(shards, schedule__max_steps=6, evaluate__every=2, log__checkpoint_every=3)
    train(cfg, tmp_path / "run")
    assert begun == [True] * 3
    rows = metrics_of(tmp_path / "run")
    found = [(int(row["step"]), float(row["ap50_boxed"])) for row in rows if row["ap50_boxed"]]
    for step, score in scores.items():
        known = [ap for at, ap in found if at < step or (at == step == 6)]
        assert score == pytest.approx(max(known, default=float("nan")), rel=1e-4, nan_ok=True)


def test_an_error_in_an_evaluation_stops_the_run_with_its_message(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Detector) -> None:
        raise DataMismatch("test image 3 is damaged")

    around(monkeypatch, broken)
    with pytest.raises(DataMismatch, match="test image 3 is damaged"):
        train(made_config(shards, schedule__max_steps=9, evaluate__every=2), tmp_path / "run")
    assert load_detector(tmp_path / "run" / "last.pt").step == 2


def test_after_an_error_the_rest_of_an_evaluation_is_abandoned(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation would start its first batch after the interruption, and never end."""
    batches, interrupted = [], threading.Event()

    def endless(model: Detector) -> None:
        assert interrupted.wait(WAIT_S)
        while True:
            model(torch.zeros(1, 3, 64, 64))
            batches.append(1)

    def interrupt(step: int) -> None:
        if step == 4:
            threading.Timer(0.2, interrupted.set).start()
            raise KeyboardInterrupt

    around(monkeypatch, endless)
    at_step(monkeypatch, interrupt)
    cfg = made_config(shards, schedule__max_steps=9, evaluate__every=2, log__checkpoint_every=100)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, tmp_path / "run")
    assert batches == []


def test_an_evaluation_that_was_killed_is_repeated_by_the_resumed_run(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_config(shards, schedule__max_steps=6, evaluate__every=3, log__checkpoint_every=100)
    train(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        released = threading.Event()
        around(patch, lambda _: released.wait(0.5) and None)
        interrupt_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "resumed")
    assert not any(row.get("ap50_boxed") for row in metrics_of(tmp_path / "resumed"))
    assert not (tmp_path / "resumed" / "best.pt").exists()
    train(cfg, tmp_path / "resumed", resume=True)
    assert metrics_of(tmp_path / "resumed") == metrics_of(tmp_path / "straight")
    assert_equal_checkpoints(tmp_path / "resumed" / "last.pt", tmp_path / "straight" / "last.pt")
    best, expected = (weights_of(tmp_path / name / "best.pt") for name in ("resumed", "straight"))
    assert all(torch.equal(best[name], value) for name, value in expected.items())
