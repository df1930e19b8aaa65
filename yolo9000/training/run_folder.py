"""The files of a run's folder: its lock, config.yaml and metrics.csv."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml
from pydantic import BaseModel

from wordtree.support.file_lock import locked
from wordtree.support.files import is_own_output, path_in_errors, remove_leftover_parts, write_atomically
from wordtree.support.lines import quoted
from wordtree.support.outputs import refuse_links_out
from yolo9000.distributed import is_first, on_first_process
from yolo9000.errors import Yolo9000Error

WRITTEN = ("last.pt", "best.pt", "config.yaml", "metrics.csv", "report.html", "classes_from.json")
MAX_STEP_DIGITS = 15


class TrainingError(Yolo9000Error):
    """Training cannot start or continue: the folder holds a run, there is nothing to resume, the loss is not finite."""


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Lock the folder for this run; TrainingError if another process writes there."""
    if not is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, name="run.lock", error=TrainingError):
        yield


@on_first_process
def prepare_folder(folder: Path, cfg: BaseModel, *, step: int) -> None:
    """Write config.yaml, and keep only the lines of metrics.csv up to step `step`.

    Files that a killed run left half-written are removed. Raises TrainingError if files of a new run exist already
    and are not those of a run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(cfg.model_dump(mode="json"), sort_keys=False)
    _refuse_foreign_files(folder, text)
    refuse_links_out(folder, [*WRITTEN, "tensorboard"])
    remove_leftover_parts(folder, WRITTEN)
    write_atomically(folder / "config.yaml", text)
    path = folder / "metrics.csv"
    rows = [row for row in (read_metrics(path) if path.exists() else []) if int(row["step"]) <= step]
    if rows:
        _write_metrics(path, rows)
    else:
        path.unlink(missing_ok=True)


def _refuse_foreign_files(folder: Path, config_yaml: str) -> None:
    """Raise TrainingError unless the files of a run are absent, or config.yaml shows that they are those of a run."""
    existing = [folder / name for name in WRITTEN if (folder / name).is_file()]
    config = folder / "config.yaml"
    if not existing or (folder / "last.pt").exists() or is_own_output(config):
        return
    if config.exists() and config.read_bytes() == config_yaml.encode():
        return  # of a run that was killed before its first checkpoint, on a file system without marks
    raise TrainingError(
        f"{existing[0]}: exists, and was not written by a run of yolo9000. Choose another name for the run, or rename "
        "the file."
    )


@on_first_process
def write_line(folder: Path, step: int, values: Mapping[str, float]) -> None:
    """Add a line to metrics.csv, after other lines of its step; a line of this step with the same columns is replaced.

    A new column is empty in earlier lines.
    """
    path = folder / "metrics.csv"
    rows = read_metrics(path) if path.exists() else []
    row = {"step": str(step), **{name: f"{value:.6g}" for name, value in values.items()}}
    if rows and set(row) <= set(rows[0]) and int(rows[-1]["step"]) < step:
        _append(path, row, list(rows[0]))
        return
    others = [old for old in rows if (old["step"], _filled(old)) != (row["step"], _filled(row))]
    _write_metrics(path, sorted([*others, row], key=lambda row: int(row["step"])))


def _append(path: Path, row: Mapping[str, str], columns: list[str]) -> None:
    """Append a line, or nothing if the disk is full."""
    size = path.stat().st_size
    try:
        with path_in_errors(path), path.open("a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)
    except OSError:
        os.truncate(path, size)
        raise


def _filled(row: Mapping[str, str]) -> set[str]:
    return {name for name, value in row.items() if value}


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The complete lines of a metrics.csv, without those that a power cut has torn.

    Raises TrainingError if the first line does not name our columns.
    """
    advice = "Restore the file, or remove it: training then continues without its earlier curves."
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.DictReader(file)
        try:
            names, rows = list(lines.fieldnames or ()), list(lines)
        except csv.Error as reason:
            raise TrainingError(f"{path}: line {lines.line_num}: not CSV ({reason}). {advice}") from None
    if "step" not in names:
        found = ", ".join(map(quoted, (names or ["nothing"])[:3]))
        raise TrainingError(
            f"{path}: expected a first line of column names with step, separated by commas, found {found}. {advice}"
        )
    # DictReader puts surplus fields under the key None, and None in the place of missing ones.
    complete = [row for row in rows if None not in row and None not in row.values()]
    return [row for row in complete if row["step"].isdecimal() and len(row["step"]) <= MAX_STEP_DIGITS]


def _write_metrics(path: Path, rows: list[dict[str, str]]) -> None:
    # Columns without any value are dropped, and `extrasaction` ignores their empty fields.
    columns = list(dict.fromkeys(name for row in rows for name, value in row.items() if value))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
