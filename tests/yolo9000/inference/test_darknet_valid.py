"""Our result files agree with those of whole runs of Darknet's `detector valid`: cfg, weights and images in."""

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

Row = tuple[tuple[str, ...], float, list[float]]  # image and class, score, box
NEAR = 1e-5  # of the threshold


def runs() -> list[object]:
    """Each `.data` file with the cfg of the same number of classes; with a tree where the `.data` file has a map."""
    if not ORIGINAL or not (ORIGINAL / "valid").is_dir():
        return [pytest.param(None, None, id="none", marks=pytest.mark.skip(reason=NOT_AT_HAND))]
    found = []
    for path in sorted((ORIGINAL / "valid").glob("*.data")):
        data, plans = read_data(path), [read_cfg(cfg) for cfg in sorted(path.parent.glob("*.cfg"))]
        fit = [plan for plan in plans if (plan.tree is not None) == ("map" in data.paths)]
        best = max(
            fit, key=lambda plan, data=data: DetectorPlan.of(plan).output_layer.classes == data.classes
        )
        found.append(pytest.param(path, Path(best.source), id=path.stem))
    return found


def rows_of(path: Path) -> list[Row]:
    """The rows of a results file of any format. In VOC's format the file name is the class."""
    if path.suffix == ".json":
        return [
            ((str(row["image_id"]), str(row["category_id"])), row["score"], row["bbox"])
            for row in json.loads(path.read_text())
        ]
    lines = [line.split() for line in path.read_text().splitlines()]
    key_words = 2 if path.name.startswith("imagenet") else 1
    return [
        (
            (path.name, *words[:key_words]),
            float(words[key_words]),
            [float(word) for word in words[key_words + 1 :]],
        )
        for words in lines
    ]


@pytest.mark.parametrize(("data_path", "cfg"), runs())
def test_the_results_of_whole_runs_agree_with_darknet(data_path: Path, cfg: Path, tmp_path: Path) -> None:
    files = DarknetFiles(cfg=cfg, weights=cfg.with_suffix(".weights"))
    checkpoint, _ = read_darknet(files, batch_norm="darknet_cpu", rules="darknet")
    written = write_results(checkpoint, read_data(data_path), tmp_path)
    compared = 0
    for path in written:
        theirs = rows_of(data_path.parent / "results" / path.name)
        assert_same_rows(rows_of(path), theirs)
        compared += len(theirs)
    assert compared > 0


def assert_same_rows(ours: list[Row], theirs: list[Row]) -> None:
    unmatched = sorted(ours, key=lambda row: row[0])
    for key, score, box in theirs:
        same = [
            k
            for k, mine in enumerate(unmatched)
            if mine[0] == key
            and abs(mine[1] - score) < 1e-5
            and np.allclose(mine[2], box, rtol=1e-5, atol=1e-3)
        ]
        if same:
            unmatched.pop(same[0])
        else:
            assert abs(score - 0.005) < NEAR, f"{key}, score {score}, box {box} is not among ours"
    assert [row for row in unmatched if abs(row[1] - 0.005) >= NEAR] == []
