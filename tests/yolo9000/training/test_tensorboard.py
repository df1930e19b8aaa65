"""Curves for TensorBoard: what the event files hold, and that they hold each step once."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path

import pytest

from tests.yolo9000.made import made_config
from tests.yolo9000.training.runs import interrupt_after
from yolo9000.training.journal import TensorBoardLog, tensorboard_log_for
from yolo9000.training.run_folder import TrainingError, read_metrics
from yolo9000.training.train import train

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None,
    reason="tensorboard is not installed (pip install 'yolo9000[tensorboard]')",
)


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every curve, as TensorBoard shows it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@needs_tensorboard
def test_curves_hold_every_number_of_the_metrics(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards, evaluate__every=2, log__tensorboard=True)
    train(cfg, tmp_path)
    found = points(tmp_path)
    rows = read_metrics(tmp_path / "metrics.csv")
    columns = [name for name in rows[0] if name != "step"]
    assert len(columns) >= 14
    assert {name.split("/")[1] for name in found} == set(columns)
    for name, curve in found.items():
        written = [
            (int(row["step"]), float(row[name.split("/")[1]])) for row in rows if row[name.split("/")[1]]
        ]
        assert [step for step, _ in curve] == [step for step, _ in written], name
        assert [value for _, value in curve] == pytest.approx([value for _, value in written], rel=1e-5), name
    assert {"loss/total", "loss/box_class", "run/learning_rate", "metrics/ap50_label_only"} <= set(found)


@needs_tensorboard
def test_a_resumed_run_has_every_step_once(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = made_config(shards, schedule__max_steps=6, log__checkpoint_every=2, log__tensorboard=True)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):  # the last checkpoint is that of step 4
            train(cfg, tmp_path)
    assert [step for step, _ in points(tmp_path)["loss/total"]] == [1, 2, 3, 4, 5]
    train(cfg, tmp_path, resume=True)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert [step for step, _ in points(tmp_path)["loss/total"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in points(tmp_path)["metrics/ap50_boxed"]] == [6]


@needs_tensorboard
def test_numbers_are_on_disk_at_once(tmp_path: Path) -> None:
    board = TensorBoardLog(tmp_path, first_step=1)
    board.add("loss", {"total": 0.5, "rest": math.nan}, step=1)  # no close: the process may be killed
    assert points(tmp_path)["loss/total"] == [(1, 0.5)]
    board.close()


@needs_tensorboard
def test_a_board_without_numbers_writes_no_file(tmp_path: Path) -> None:
    TensorBoardLog(tmp_path, first_step=1).close()
    assert list(tmp_path.iterdir()) == []


def test_a_run_needs_tensorboard_only_where_it_is_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # as where it is not installed
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    assert tensorboard_log_for(tmp_path, wanted=None, first_step=1) is None
    with pytest.raises(
        TrainingError, match=r"^log\.tensorboard is true, but TensorBoard is not installed: pip"
    ):
        tensorboard_log_for(tmp_path, wanted=True, first_step=1)


@needs_tensorboard
def test_no_board_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    assert tensorboard_log_for(tmp_path, wanted=None, first_step=1) is not None
    assert tensorboard_log_for(tmp_path, wanted=False, first_step=1) is None
