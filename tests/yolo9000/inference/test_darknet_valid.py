"""The files of `detector valid`, whole runs of the original program: cfg, weights and images in, results out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.yolo9000.darknet_golden import NOT_AT_HAND, ORIGINAL
from yolo9000.checkpoints.darknet_import import DarknetFiles, read_darknet
from yolo9000.darknet.cfg import read_cfg
from yolo9000.darknet.data_file import read_data
from yolo9000.darknet.plan import DetectorPlan
from yolo9000.inference.darknet_results import write_results

Row = tuple[tuple[str, ...], float, list[float]]  # what it is about, score, box
NEAR = 1e-5  # of the threshold


def runs() -> list[object]:
    """Each `.data` with the cfg of as many classes, that has a tree where the data has a map."""
    if not ORIGINAL or not (ORIGINAL / "valid").is_dir():
        return [pytest.param(None, None, id="none", marks=pytest.mark.skip(reason=NOT_AT_HAND))]
    found = []
    for path in sorted((ORIGINAL / "valid").glob("*.data")):
        data, plans = read_data(path), [read_cfg(cfg) for cfg in sorted(path.parent.glob("*.cfg"))]
        fit = [plan for plan in plans if (plan.tree is not None) == ("map" in data.paths)]
        best = max(fit, key=lambda plan, data=data: DetectorPlan.of(plan).answer.classes == data.classes)
        found.append(pytest.param(path, Path(best.place), id=path.stem))
    return found


def rows_of(path: Path) -> list[Row]:
    """The rows of a results file, whatever its format; VOC's know their class from the file's name."""
    if path.suffix == ".json":
        return [
            ((str(row["image_id"]), str(row["category_id"])), row["score"], row["bbox"])
            for row in json.loads(path.read_text())
        ]
    lines = [line.split() for line in path.read_text().splitlines()]
    about = 2 if path.name.startswith("imagenet") else 1
    return [
        ((path.name, *words[:about]), float(words[about]), [float(word) for word in words[about + 1 :]])
        for words in lines
    ]


@pytest.mark.parametrize(("data_path", "cfg"), runs())
def test_the_results_of_whole_runs_agree_with_darknet(data_path: Path, cfg: Path, tmp_path: Path) -> None:
    files = DarknetFiles(cfg=cfg, weights=cfg.with_suffix(".weights"))
    checkpoint, _ = read_darknet(files, batch_norm="darknet_cpu", answers="darknet")
    written = write_results(checkpoint, read_data(data_path), tmp_path)
    compared = 0
    for path in written:
        theirs = rows_of(data_path.parent / "results" / path.name)
        assert_same_rows(rows_of(path), theirs)
        compared += len(theirs)
    assert compared > 0


def assert_same_rows(ours: list[Row], theirs: list[Row]) -> None:
    unmatched = sorted(ours, key=lambda row: row[0])
    for about, score, box in theirs:
        same = [
            k
            for k, mine in enumerate(unmatched)
            if mine[0] == about
            and abs(mine[1] - score) < 1e-5
            and np.allclose(mine[2], box, rtol=1e-5, atol=1e-3)
        ]
        if same:
            unmatched.pop(same[0])
        else:
            assert abs(score - 0.005) < NEAR, f"{about}, score {score}, box {box} is not among ours"
    assert [row for row in unmatched if abs(row[1] - 0.005) >= NEAR] == []
