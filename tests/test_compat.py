"""Files that version 0.1.0.dev0 wrote stay readable: shards, an index, and a run with its checkpoints.

They lie in the folder that YOLO9000_COMPAT names, with a README.md; without it these tests skip.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """A writable copy of the former version's files."""
    folder = os.environ.get("YOLO9000_COMPAT")
    if not folder:
        pytest.skip("YOLO9000_COMPAT names no folder with files of the former version")
    copy = tmp_path / "former"
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    return copy


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The finished process of a command that must succeed."""
    command = [sys.executable, "-m", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def metrics(run_folder: Path) -> list[dict[str, str]]:
    with (run_folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_check_finds_no_damage_in_former_shards(former: Path) -> None:
    report = json.loads(run("data_prep", "check", former / "shards", "--json").stdout)
    assert (report["shards"], report["images"]) == (1, 204)
    assert report["damages"] == report["lost_shards"] == report["other_files"] == []


def test_info_reads_a_former_index(former: Path) -> None:
    facts = json.loads(run("data_prep", "info", former / "shards", "--json").stdout)
    found = {source["name"]: (source["images"], source["boxes"]) for source in facts["sources"]}
    assert found == {"scenes": (60, 139), "labels": (124, 0), "test": (20, 65)}


def test_relabel_writes_a_readable_index_over_former_shards(former: Path) -> None:
    out = former / "relabelled"
    run("data_prep", "relabel", former / "shards", "--exhaustive", "scenes=n01503061", "-o", out)
    facts = json.loads(run("data_prep", "info", out, "--json").stdout)
    scenes = facts["sources"][0]
    assert (scenes["name"], scenes["images"], scenes["exhaustive"]) == ("scenes", 60, ["n01503061"])
    assert json.loads(run("data_prep", "check", out, "--json").stdout)["damages"] == []


def test_a_former_checkpoint_predicts_as_before(former: Path) -> None:
    images = former / "images"
    now = json.loads(run("yolo9000", "predict", former / "run/narrow/best.pt", images, "--json").stdout)
    before = json.loads((former / "predictions.json").read_text())
    assert len(before) == 20
    assert [Path(image["image"]).name for image in now] == [image["image"] for image in before]
    for found, expected in zip(now, before, strict=True):
        assert_same_detections(found["detections"], expected["detections"])
    assert sum(len(image["detections"]) for image in before) > 20


def assert_same_detections(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Boxes agree to the pixel, scores and probabilities to 1e-3."""
    assert [detection["id"] for detection in found] == [detection["id"] for detection in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["path"] == other["path"]
        assert one["xyxy_px"] == pytest.approx(other["xyxy_px"], abs=1)
        for name in ("objectness", "absolute", "score", "conditional"):
            assert one[name] == pytest.approx(other[name], abs=1e-3)


def test_a_former_run_resumes_from_its_own_configuration(former: Path) -> None:
    folder = former / "run" / "narrow"
    before = metrics(folder)
    assert [row["step"] for row in before] == ["8", "8"]

    changes = (f"data.shards={former / 'shards'}", "schedule.max_steps=12")
    settings = [part for change in changes for part in ("--set", change)]
    done = run("yolo9000", "train", folder / "config.yaml", "--resume", "--runs", former / "run", *settings)

    now = metrics(folder)
    assert {row["step"] for row in now} == {"8", "12"}
    assert [filled(row) for row in now[:2]] == [filled(row) for row in before]
    assert json.loads(run("yolo9000", "info", folder / "last.pt", "--json").stdout)["steps"] == 12

    warnings = [line for line in done.stderr.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "balance is now repeat_factor_power" in warnings[0]
    assert "max_places is now max_locations" in warnings[0]
    assert "warning" not in run("yolo9000", "train", folder / "config.yaml", "--check").stderr


def filled(row: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in row.items() if value}
