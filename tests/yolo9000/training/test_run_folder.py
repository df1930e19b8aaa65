"""The files of a run's folder: its lock, and the lines of metrics.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.yolo9000.made import made_config
from yolo9000.config import OptimizerConfig
from yolo9000.training.run_folder import TrainingError, locked_run, prepare_folder, read_metrics, write_line
from yolo9000.training.train import train


@pytest.fixture(autouse=True)
def _folder_of_a_run(tmp_path: Path) -> None:
    """The checkpoint that shows that the other files of the folder are those of a run."""
    (tmp_path / "last.pt").touch()


def test_new_columns_leave_earlier_lines_empty(tmp_path: Path) -> None:
    write_line(tmp_path, 1, {"loss": 2.5})
    write_line(tmp_path, 2, {"ap50": 10})
    write_line(tmp_path, 3, {"loss": 1e-9})
    assert read_metrics(tmp_path / "metrics.csv") == [
        {"step": "1", "loss": "2.5", "ap50": ""},
        {"step": "2", "loss": "", "ap50": "10"},
        {"step": "3", "loss": "1e-09", "ap50": ""},
    ]


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


@pytest.mark.parametrize(
    "text", ["step,total\n1," + "x" * 200_000 + "\n", "x" * 200_000 + ",step\n", '"' + "1,2\n" * 50_000]
)
def test_a_metrics_file_with_endless_cells_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(TrainingError, match=r"metrics\.csv: ") as caught:
        read_metrics(tmp_path / "metrics.csv")
    assert len(str(caught.value)) < 600


def test_a_step_of_thousands_of_digits_is_a_torn_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(f"step,total\n1,2\n{'9' * 5000},3\n")
    assert read_metrics(tmp_path / "metrics.csv") == [{"step": "1", "total": "2"}]
