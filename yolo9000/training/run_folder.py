"""The folder of a run: its metrics.csv, its config.yaml, and whether a run may start or go on there."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from wordtree.support.file_lock import locked
from wordtree.support.files import naming, write_atomically
from yolo9000.distributed import by_first_process, is_first
from yolo9000.errors import Yolo9000Error


class TrainingError(Yolo9000Error):
    """Training cannot start or go on: a run in the way, nothing to resume, a loss that is no number."""


@contextmanager
def locked_run(folder: Path) -> Iterator[None]:
    """Hold the folder for one training; TrainingError where another process writes there."""
    if not is_first():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, name="run.lock", error=TrainingError):
        yield


@by_first_process
def prepare_folder(folder: Path, cfg: BaseModel, *, step: int) -> None:
    """The effective configuration, and of metrics.csv what belongs to the first `step` steps."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "config.yaml", config_yaml(cfg))
    path = folder / "metrics.csv"
    rows = [row for row in (read_metrics(path) if path.exists() else []) if int(row["step"]) <= step]
    if rows:
        _write_metrics(path, rows)
    else:
        path.unlink(missing_ok=True)


def config_yaml(cfg: BaseModel) -> str:
    return yaml.safe_dump(cfg.model_dump(mode="json"), sort_keys=False)


@by_first_process
def write_line(folder: Path, step: int, values: Mapping[str, float]) -> None:
    """Put a line into metrics.csv, behind those of its step; an earlier line of the same numbers gives way.

    Columns that the file does not know yet start empty.
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
    """A line at the end of the file, all of it or, where the disk is full, nothing."""
    size = path.stat().st_size
    try:
        with naming(path), path.open("a", newline="") as file:
            csv.DictWriter(file, columns).writerow(row)
    except OSError:
        os.truncate(path, size)
        raise


def _filled(row: Mapping[str, str]) -> set[str]:
    return {name for name, value in row.items() if value}


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The lines of a metrics.csv that are whole: one that a power cut tore is left out.

    Raises TrainingError where its first line is none of ours.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.DictReader(file)
        if "step" not in (lines.fieldnames or ()):
            found = ", ".join(map(repr, (lines.fieldnames or ["nothing"])[:3]))
            raise TrainingError(
                f"{path}: expected a first line of names with commas, step among them, found {found}. Put the file "
                "back as it was, or remove it: its curves begin anew, and the run goes on."
            )
        return [dict(line) for line in lines if _is_whole(line)]


def _is_whole(line: Mapping[Any, Any]) -> bool:
    return None not in line and None not in line.values() and line["step"].isdecimal()


def _write_metrics(path: Path, rows: list[dict[str, str]]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name, value in row.items() if value))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")  # what is left out is empty
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())
