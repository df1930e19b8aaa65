"""The record of a run while it trains: lines of metrics.csv, lines on stderr, a bar on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.yolo9000.made import made_config
from wordtree.support.progress import LINE_EVERY
from yolo9000.training.journal import Journal, peak_memory_mib, step_notes
from yolo9000.training.run import Run
from yolo9000.training.run_folder import read_metrics

TERMS = {"total": 2.5, "coordinates": 0.5, "box_class": 2.0, "label_class": 0.0}


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run_at(step: int, tmp_path: Path, **changes: object) -> Run[Any, Any]:
    """A run of 100 steps of 8 images after step `step`, without data."""
    cfg = made_config(tmp_path / "shards", schedule__max_steps=100, **changes)
    model = nn.Linear(1, 1)
    return Run(cfg, None, model, torch.optim.SGD(model.parameters()), None, step=step)  # type: ignore[arg-type]


def take_steps(run: Run[Any, Any], journal: Journal, count: int, terms: Mapping[str, float] = TERMS) -> None:
    for _ in range(count):
        run.step += 1
        journal.step(0.001, {name: torch.tensor(value) for name, value in terms.items()}, input_px=64)


def lines(tmp_path: Path) -> list[dict[str, str]]:
    return read_metrics(tmp_path / "metrics.csv")


# --- metrics.csv


def test_a_line_holds_learning_rate_terms_speed_size_and_memory(tmp_path: Path) -> None:
    run, clock = run_at(0, tmp_path, log__every=5), Clock()
    with Journal(run, tmp_path, clock=clock) as journal:
        clock.now += 2
        take_steps(run, journal, 12)
    first, second = lines(tmp_path)
    assert (first["step"], second["step"]) == ("5", "10")
    assert {name: float(first[name]) for name in TERMS} == TERMS
    assert (first["learning_rate"], first["input_px"]) == ("0.001", "64")
    assert float(first["images_per_second"]) == 5 * 8 / 2
    assert float(first["memory_mib"]) > 1


def test_the_speed_excludes_evaluations(tmp_path: Path) -> None:
    run, clock = run_at(0, tmp_path, log__every=4), Clock()
    with Journal(run, tmp_path, clock=clock) as journal:
        clock.now += 1
        take_steps(run, journal, 4)
        clock.now += 1
        take_steps(run, journal, 2)
        with journal.paused():
            clock.now += 1000
        clock.now += 0.5
        take_steps(run, journal, 2)
    assert [float(row["images_per_second"]) for row in lines(tmp_path)] == [4 * 8 / 1, 2 * 8 / 0.5]


def test_the_speed_of_a_resumed_run_counts_only_its_own_steps(tmp_path: Path) -> None:
    run, clock = run_at(50, tmp_path, log__every=60), Clock()
    with Journal(run, tmp_path, clock=clock) as journal:
        clock.now += 10
        take_steps(run, journal, 10)
    assert float(lines(tmp_path)[0]["images_per_second"]) == 10 * 8 / 10


def test_numbers_of_the_device_are_read_for_logged_steps_only(tmp_path: Path) -> None:
    class Unread(torch.Tensor):
        def __float__(self) -> float:
            raise AssertionError("waits for the device")

    run = run_at(0, tmp_path, log__every=50)
    with Journal(run, tmp_path) as journal:
        run.step = 1
        journal.step(0.1, {"total": torch.zeros(()).as_subclass(Unread)}, input_px=64)
        run.step = 50
        with pytest.raises(AssertionError, match="waits for the device"):
            journal.step(0.1, {"total": torch.zeros(()).as_subclass(Unread)}, input_px=64)


# --- on stderr


def test_without_a_terminal_evaluations_are_one_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_at(0, tmp_path, log__every=1)
    with Journal(run, tmp_path) as journal:
        take_steps(run, journal, 3)
        with journal.paused():
            pass
        journal.record_evaluation({"ap50_boxed": 31.25, "ap50_label_only": 4.0}, step=run.step)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "step 3 of 100: AP50 boxed 31.2, AP50 label only 4.0\n"
    assert [row["step"] for row in lines(tmp_path)] == ["1", "2", "3", "3"]
    assert lines(tmp_path)[-1]["ap50_boxed"] == "31.25"


def test_without_a_terminal_steps_are_a_line_at_intervals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, clock = run_at(0, tmp_path, log__every=1), Clock()
    with Journal(run, tmp_path, clock=clock) as journal:
        for _ in range(6):
            clock.now += LINE_EVERY / 4
            take_steps(run, journal, 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("made: 4/100  ")
    assert "images/s   64 px" in line
    assert line.endswith("; loss 2.50 = coords 0.500 + box class 2.00")


def test_the_last_evaluation_is_written_but_not_printed_because_its_scorecard_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_at(100, tmp_path)
    with Journal(run, tmp_path) as journal:
        journal.record_evaluation({"ap50_boxed": 31.25}, step=run.step)
    assert capsys.readouterr() == ("", "")
    assert lines(tmp_path) == [{"step": "100", "ap50_boxed": "31.25"}]


def test_on_a_terminal_a_bar_shows_step_time_left_and_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in (("COLUMNS", "200"), ("TERM", "xterm")):
        monkeypatch.setenv(name, value)
    run, clock = run_at(20, tmp_path, log__every=5), Clock()
    with Journal(run, tmp_path, clock=clock) as journal:
        for _ in range(20):
            clock.now += 5
            take_steps(run, journal, 1)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "40/100" in shown
    assert "5 min 0 s left" in shown  # 60 steps of 5 s each
    assert "64 px" in shown
    assert "loss 2.50 = coords 0.500 + box class 2.00" in shown
    assert "label class" not in shown  # it is 0


def test_notes_leave_out_terms_that_are_zero_and_keep_unknown_ones() -> None:
    speed, loss = step_notes(
        1e-3,
        {"total": 7.0, "no_object": 1.0, "new_term": 6.0, "objectness": 0.0},
        {"images_per_second": 123.4, "input_px": 416, "memory_mib": 2048},
    )
    assert speed == "123 images/s   416 px   memory 2.0 GiB   learning rate 1.00e-03"
    assert loss == "loss 7.00 = no object 1.00 + new term 6.00"


def test_without_a_gpu_the_memory_is_that_of_the_process() -> None:
    before = peak_memory_mib(torch.device("cpu"))
    taken = torch.ones(64, 2**20)  # 256 MiB
    assert 20 < before <= peak_memory_mib(torch.device("cpu"))
    assert peak_memory_mib(torch.device("cpu")) >= 256
    assert taken.sum() == 64 * 2**20
