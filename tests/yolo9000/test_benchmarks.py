"""The benchmarks of speed run, at small sizes; their numbers are for docs/speed.md."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


def results_of(program: str, folder: Path, *arguments: str) -> Any:
    """The JSON of a benchmark with --quick."""
    report = folder / "report.json"
    command = [sys.executable, ROOT / "benchmarks" / program, "--quick", "--json", report, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(report.read_text())


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_training_step(tmp_path: Path) -> None:
    small, large = results_of("training_step.py", tmp_path)
    assert (small["nodes"], large["nodes"]) == (80, 4500)
    assert small["times"] == small["memory_times"] == 1
    assert small["least_ms"] <= small["ms"]
    assert large["class_rows_mb"] > small["class_rows_mb"] > 0


def test_grouped_softmax(tmp_path: Path) -> None:
    tables = results_of("grouped_softmax.py", tmp_path)
    assert tables["forward"]["loop"][1] == 1
    assert all(ms > 0 for table in tables.values() for ms, _ in table.values())


@pytest.mark.parametrize(
    "program",
    [
        "coco_reading.py",
        "evaluation.py",
        "inference.py",
        "input_pipeline.py",
        "loss_time.py",
        "merge_speed.py",
        "queries.py",
        "reading.py",
        "stored_queries.py",
    ],
)
def test_a_quick_run_writes_its_numbers(program: str, tmp_path: Path) -> None:
    numbers = list(numbers_of(results_of(program, tmp_path)))
    assert len(numbers) > 5
    assert all(0 <= number < math.inf for number in numbers)
    assert sum(number > 0 for number in numbers) > len(numbers) / 2


def numbers_of(value: Any) -> Iterator[float]:
    """All numbers in a JSON value."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers_of(inner)
    elif isinstance(value, int | float):
        yield value


def test_gpu_on_a_cpu(tmp_path: Path) -> None:
    found = results_of("gpu.py", tmp_path, "--device", "cpu")
    assert found["left_out"] == []
    assert set(found["peak"]) == {"float32", "bfloat16"}
    for precision in ("float32", "bfloat16"):
        for kind in ("training", "inference"):
            rows = found[f"{kind} {precision}"]
            assert [row["nodes"] for row in rows] == [80, 4500]
            assert all(0 < row["share_of_peak"] < 1 for row in rows)
    assert found["waits in a training step"]["nonzero"] > 0
    assert found["waits in a batch of detections"]["cpu"] > 0
    assert found["processes"]["equal_weights"]
    assert found["processes"]["processes"] == 2


def test_gpu_leaves_out_what_does_not_fit_into_the_time(tmp_path: Path) -> None:
    found = results_of("gpu.py", tmp_path, "--device", "cpu", "--minutes", "0")
    assert "peak" not in found
    assert "peak: no time left" in found["left_out"]
    assert "processes: no time left" in found["left_out"]
