"""Ctrl-C and SIGTERM: the run saves its present step, ends, and continues as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import yolo9000.training.loop as loop
from tests.yolo9000.made import made_config, metrics_of
from tests.yolo9000.made_runs import two_slots
from tests.yolo9000.training.runs import assert_equal_checkpoints, made_classifier_config, weights_of
from tests.yolo9000.training.test_background_evaluation import around, at_step
from yolo9000.checkpoints.checkpoint import (
    load_checkpoint,
    load_detector,
    save_checkpoint,
)
from yolo9000.errors import Yolo9000Error
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run_folder import prepare_folder
from yolo9000.training.train import train

ROOT = Path(__file__).parents[3]
CHANGES: dict[str, Any] = {"schedule__max_steps": 8, "evaluate__every": 4, "log__checkpoint_every": 100}
ENDS = [  # at an evaluation, at the first and at a late step
    pytest.param(signal.SIGINT, KeyboardInterrupt, 4, id="Ctrl-C in step 4"),
    pytest.param(signal.SIGTERM, SystemExit, 1, id="SIGTERM in step 1"),
    pytest.param(signal.SIGTERM, SystemExit, 7, id="SIGTERM in step 7"),
]


def signal_in_step(at: int, *numbers: int) -> Callable[[int], None]:
    def sends(step: int) -> None:
        for number in numbers if step == at else ():
            os.kill(os.getpid(), number)

    return sends


def assert_same_run(one: Path, other: Path) -> None:
    assert_equal_checkpoints(one / "last.pt", other / "last.pt")
    assert metrics_of(one) == metrics_of(other)
    best, expected = (weights_of(folder / "best.pt") for folder in (one, other))
    assert all(torch.equal(best[name], value) for name, value in expected.items())


@pytest.mark.parametrize(("number", "error", "step"), ENDS)
def test_a_run_that_a_signal_stops_has_saved_its_step_and_continues_exactly(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type, step: int
) -> None:
    before = signal.getsignal(number)
    cfg = made_config(shards, **CHANGES)
    train(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        at_step(patch, signal_in_step(step, number))
        with pytest.raises(error) as caught:
            train(cfg, tmp_path / "stopped")
    assert error is KeyboardInterrupt or caught.value.code == 143
    assert signal.getsignal(number) is before
    assert load_detector(tmp_path / "stopped" / "last.pt").step == step
    train(cfg, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")


def test_a_classifier_stops_in_the_same_way(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_classifier_config(shards, tmp_path, **CHANGES)
    pretrain(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        at_step(patch, signal_in_step(3, signal.SIGTERM))
        with pytest.raises(SystemExit):
            pretrain(cfg, tmp_path / "stopped")
    assert load_checkpoint(tmp_path / "stopped" / "last.pt").step == 3
    pretrain(cfg, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")


def test_a_stopped_run_does_not_wait_for_an_evaluation_and_the_resumed_one_makes_it(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_config(shards, **CHANGES)
    train(cfg, tmp_path / "straight")
    saved = threading.Event()
    with monkeypatch.context() as patch:
        around(
            patch, lambda _: saved.wait(60) and None
        )  # the evaluation of step 4 ends when the run is saved
        at_step(patch, signal_in_step(6, signal.SIGTERM))
        patch.setattr(loop, "wait_for_all", saved.set)
        began = time.monotonic()
        with pytest.raises(SystemExit):
            train(cfg, tmp_path / "stopped")
    assert time.monotonic() - began < 50
    assert load_detector(tmp_path / "stopped" / "last.pt").step == 6
    assert not (tmp_path / "stopped" / "best.pt").exists()
    train(cfg, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "straight")


def test_a_second_signal_interrupts_at_once(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(monkeypatch, signal_in_step(2, signal.SIGTERM, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(made_config(shards, **CHANGES), tmp_path)
    assert not (tmp_path / "last.pt").exists()


def test_weights_to_be_evaluated_are_checked(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, schedule__max_steps=2), tmp_path)
    saved = load_detector(tmp_path / "last.pt")
    assert saved.training is not None
    for wrong, message in (
        ({"step": 1}, "incomplete"),
        ({"step": -1, "weights": {}}, "have no step"),
        ({"step": 1, "weights": {"a": torch.tensor(float("nan"))}}, "not a number"),
        ({"step": 1, "weights": {"a": torch.zeros(3)}}, "do not fit its own configuration"),
    ):
        save_checkpoint(
            tmp_path / "last.pt", replace(saved, training={**saved.training, "unevaluated": wrong})
        )
        with pytest.raises(Yolo9000Error, match=message):
            train(made_config(shards, schedule__max_steps=4), tmp_path, resume=True)


def stop_when_it_trains(
    command: list[Any], folder: Path, victims: Callable[[int], list[int]]
) -> tuple[int, str]:
    """Start a command, send SIGTERM once it has recorded steps; its exit code and stderr."""
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listening,
    ) as process:
        deadline = time.monotonic() + 200
        while not (folder / "metrics.csv").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for victim in victims(process.pid):
            os.kill(victim, signal.SIGTERM)
        _, err = process.communicate(timeout=120)
    return process.returncode, err


def processes_below(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sorted(map(int, found))


@pytest.mark.slow
@pytest.mark.parametrize("received_by", ["one process", "torchrun", "all"])
def test_two_processes_stop_at_the_same_step(shards: Path, tmp_path: Path, received_by: str) -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("needs /proc to find the processes of torchrun")
    endless = two_slots(shards, schedule__max_steps=100_000, log__checkpoint_every=100_000)
    prepare_folder(tmp_path / "made", endless, step=0)
    (tmp_path / "made" / "config.yaml").rename(tmp_path / "config.yaml")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["-m", "yolo9000", "train", tmp_path / "config.yaml", "--runs", tmp_path, "--set", "name=made"]
    victims: dict[str, Callable[[int], list[int]]] = {
        "one process": lambda pid: processes_below(pid)[-1:],
        "torchrun": lambda pid: [pid],
        "all": lambda pid: [*processes_below(pid), pid],
    }
    code, err = stop_when_it_trains(command, tmp_path / "made", victims[received_by])
    assert code != 0
    step = load_detector(tmp_path / "made" / "last.pt").step
    assert err.count(f"Interrupted after step {step:,}, which is saved; --resume continues.") == 1, err
    assert int(metrics_of(tmp_path / "made")[-1]["step"]) == step
    assert "is gone or does not reply" not in err


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["train", "pretrain"])
def test_a_process_that_gets_sigterm_ends_with_143_and_its_run_continues_exactly(
    shards: Path, tmp_path: Path, kind: str
) -> None:
    changes = {"schedule__max_steps": 60, "evaluate__every": 7, "log__checkpoint_every": 1000}
    made: Any = made_config(shards, **changes)
    if kind == "pretrain":
        made = made_classifier_config(shards, tmp_path, **changes)
    run: Any = train if kind == "train" else pretrain
    straight = tmp_path / "straight" / made.name
    run(made, straight)
    command = [sys.executable, "-m", "yolo9000", kind, straight / "config.yaml", "--runs", tmp_path / "runs"]
    folder = tmp_path / "runs" / made.name
    code, err = stop_when_it_trains(command, folder, lambda pid: [pid])
    assert code == 143, err
    assert "Traceback" not in err
    step = load_checkpoint(folder / "last.pt").step
    assert f"Interrupted after step {step}, which is saved; --resume continues." in err
    assert 1 <= step < 60
    run(made, folder, resume=True)
    assert_same_run(folder, straight)
