"""A full disk: one line, complete files stay, no partial file is left, and the run can be resumed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.yolo9000.made import made_config, metrics_of
from tests.yolo9000.training.runs import assert_equal_checkpoints
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.cli import main
from yolo9000.training.run_folder import write_line
from yolo9000.training.train import train

STEPS = {"schedule__max_steps": 4, "log__checkpoint_every": 2}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the disk with one file."""
    filler = folder / "filler"

    def write_on() -> None:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    with pytest.raises(OSError, match="No space left"):
        write_on()
    return filler


def full_at_sync(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Raise the error of a full disk, without a file name, at a sync for which `when()` is true."""
    sync = os.fsync

    def full(handle: int) -> None:
        if when():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr("wordtree.support.files.os.fsync", full)


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_former_one_to_resume_from(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg, folder = made_config(shards, **STEPS), tmp_path / "run"
    train(cfg, tmp_path / "straight")
    with monkeypatch.context() as patch:
        full_at_sync(patch, lambda: (folder / "last.pt").exists() and any(folder.glob("*.pt.*.part")))
        with pytest.raises(OSError, match=r"No space left on device: '.*/run/last\.pt'"):
            train(cfg, folder)
    assert load_detector(folder / "last.pt").step == 2
    assert {path.name for path in folder.iterdir()} == {"last.pt", "config.yaml", "metrics.csv"}
    train(cfg, folder, resume=True)
    assert metrics_of(folder) == metrics_of(tmp_path / "straight")
    assert_equal_checkpoints(folder / "last.pt", tmp_path / "straight" / "last.pt")


def test_a_really_full_disk_is_reported_in_one_line_and_the_run_resumes_when_there_is_space(
    shards: Path,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_config(shards)  # writes made.yaml
    command = ["yolo9000", "train", str(shards.parent / "made.yaml"), "--runs", str(small_disk)]
    command += ["--set", f"data.shards={shards}"]

    def run(*more: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", [*command, *more])
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code, capsys.readouterr().err

    assert run("--set", "schedule.max_steps=2")[0] == 0
    filler = fill(small_disk)
    with filler.open("r+b") as file:  # room for a few lines, not for a checkpoint
        file.truncate(filler.stat().st_size - (1 << 16))
    code, err = run("--resume")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"yolo9000: No space left on device: {small_disk}/made/")
    assert "Traceback" not in err
    assert load_detector(small_disk / "made" / "last.pt").step == 2
    assert not list((small_disk / "made").glob("*.part"))
    filler.unlink()
    assert run("--resume")[0] == 0
    assert load_detector(small_disk / "made" / "last.pt").step == 4


def test_a_line_of_metrics_is_written_completely_or_not_at_all(small_disk: Path) -> None:
    write_line(small_disk, 1, {"total": 2.5})
    filler, written = fill(small_disk), [1]

    def write_on() -> None:
        while True:
            write_line(small_disk, written[-1] + 1, {"total": 2.5})
            written.append(written[-1] + 1)

    with pytest.raises(OSError, match=r"No space left on device: '.*metrics\.csv'"):
        write_on()
    filler.unlink()
    assert [row["step"] for row in metrics_of(small_disk)] == [str(step) for step in written]
    write_line(small_disk, written[-1] + 1, {"total": 2.5})
