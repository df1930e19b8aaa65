"""The result files of `detector valid`, written from a checkpoint and a `.data` file, and errors in that file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep import LabelCounts
from tests.yolo9000.made import random_tree
from wordtree import WordTree
from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.config import Config
from yolo9000.darknet.data_file import read_data
from yolo9000.darknet.options import DarknetError
from yolo9000.data.pixels import UnreadableImage
from yolo9000.inference.darknet_results import (
    ImageResults,
    coco_json,
    imagenet_lines,
    voc_lines,
    write_results,
)
from yolo9000.models.detector import build_detector

FLAT = WordTree(["dog", "cat", "car"], [-1, -1, -1])


def checkpoint_of(tree: WordTree) -> DetectorCheckpoint:
    """A random detector on a canvas of 2 × 1 cells of 32 pixels."""
    config = Config.model_validate(
        {
            "model": {
                "architecture": "yolo9000",
                "width": 0.1,
                "input_size_px": [64, 32],
                "anchors": [[1, 1], [0.5, 2]],
            },
            "data": {"shards": "none"},
            "schedule": {"max_steps": 1},
        }
    )
    torch.manual_seed(1)
    nothing = np.zeros(len(tree), np.int64)
    weights = build_detector(config.model, tree).state_dict()
    return DetectorCheckpoint(config, tree, LabelCounts(tree, nothing, nothing), 0, weights, None, math.nan)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, their list, and names; `.data` files are the tests' own."""
    rng = np.random.default_rng(0)
    for name, size in (
        ("val_000000000139.v2.png", (20, 30, 3)),
        ("val_000000000007.png", (25, 10, 3)),
        ("žába_1.png", (8, 8, 3)),
    ):
        Image.fromarray(rng.integers(0, 256, size).astype(np.uint8)).save(tmp_path / name)
    (tmp_path / "valid.list").write_text(
        "val_000000000139.v2.png\n\nval_000000000007.png\nžába_1.png\n", "utf-8"
    )
    (tmp_path / "three.names").write_text("dog\ncat\ncar\n")
    return tmp_path


def data_file(folder: Path, **settings: str) -> Path:
    path = folder / "my.data"
    path.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
    return path


def written(folder: Path, tree: WordTree, **settings: str) -> dict[str, str]:
    data = read_data(data_file(folder, valid="valid.list", **settings))
    return {path.name: path.read_text() for path in write_results(checkpoint_of(tree), data, folder / "out")}


def test_the_three_formats_hold_the_same_detections(folder: Path) -> None:
    voc = written(folder, FLAT, names="three.names", eval="voc")
    assert list(voc) == [f"comp4_det_test_{name}.txt" for name in ("dog", "cat", "car")]
    of_voc = sorted(
        (name, index, float(score), *(float(value) for value in box))
        for index, text in enumerate(voc.values())
        for name, score, *box in map(str.split, text.splitlines())
    )
    of_imagenet = sorted(
        (
            ["", "val_000000000139", "val_000000000007", "žába_1"][int(number)],
            int(class_number) - 1,
            float(score),
            *(float(value) for value in box),
        )
        for number, class_number, score, *box in map(
            str.split, written(folder, FLAT, eval="imagenet")["imagenet-detection.txt"].splitlines()
        )
    )
    of_coco = json.loads(written(folder, FLAT, eval="coco")["coco_results.json"])
    assert len(of_voc) == len(of_imagenet) == len(of_coco) > 10
    for theirs, ours in zip(of_voc, of_imagenet, strict=True):
        assert theirs[:3] == ours[:3]
        assert all(
            -1e-5 <= a - b <= 1 + 1e-5 for a, b in zip(theirs[3:], ours[3:], strict=True)
        )  # pixels from 1 instead of 0, unless clipped
    ids = {(int(name.rpartition("_")[2]), index + 1, score) for name, index, score, *_ in of_voc}
    assert {(row["image_id"], row["category_id"], row["score"]) for row in of_coco} == ids


def test_a_map_gives_scores_of_its_nodes_numbered_in_its_order(folder: Path) -> None:
    tree = random_tree(12)
    (folder / "three.map").write_text("7\n0\n11\n")
    text = written(folder, tree, map="three.map", eval="imagenet")["imagenet-detection.txt"]
    assert {line.split()[1] for line in text.splitlines()} == {"1", "2", "3"}


def test_a_tree_without_a_map_gives_one_detection_for_each_location(folder: Path) -> None:
    tree = random_tree(12)
    text = written(folder, tree, eval="imagenet")["imagenet-detection.txt"]
    found = [line.split() for line in text.splitlines()]
    assert 3 <= len(found) <= 3 * 2 * 2  # images, cells, anchors
    voc = written(folder, tree)
    assert list(voc) == [f"comp4_det_test_{name}.txt" for name in tree.names]
    assert sum(len(content.splitlines()) for content in voc.values()) == len(found)


def test_boxes_are_clipped_as_darknet_clips_them() -> None:
    beside = ImageResults(
        Path("some/COCO_val_0012.a.b.jpg"),
        (100, 50),
        np.array([0, 79]),
        np.array([0.5, 0.25]),
        np.array([[-3.0, 5, 40, 60], [110, 10, 120, 20]]),
    )
    assert voc_lines([beside], 0) == "COCO_val_0012 0.500000 1.000000 6.000000 41.000000 50.000000\n"
    assert voc_lines([beside], 79) == "COCO_val_0012 0.250000 111.000000 11.000000 100.000000 21.000000\n"
    assert imagenet_lines([beside]).splitlines()[0] == "1 1 0.500000 0.000000 5.000000 40.000000 50.000000"
    assert json.loads(coco_json([beside])) == [
        {"image_id": 12, "category_id": 1, "bbox": [0, 5, 40, 45], "score": 0.5},
        {"image_id": 12, "category_id": 90, "bbox": [110, 10, -10, 10], "score": 0.25},
    ]


def test_files_without_detections_are_valid() -> None:
    assert json.loads(coco_json([])) == []
    assert voc_lines([], 0) == imagenet_lines([]) == ""


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        pytest.param({}, DarknetError, "expected valid=FILE, a list of images", id="no list"),
        pytest.param({"valid": "absent.list"}, DarknetError, "absent.list", id="no such list"),
        pytest.param({"valid": "empty.list"}, DarknetError, "expected the path of an image", id="empty list"),
        pytest.param({"valid": "holes.list"}, DarknetError, "gone.png", id="no such image"),
        pytest.param({"valid": "text.list"}, UnreadableImage, "three.names: expected an image", id="no image"),
        pytest.param({"valid": "valid.list", "names": "two.names"}, DarknetError, "found 2 names", id="too few"),
        pytest.param({"valid": "valid.list", "names": "slash.names"}, DarknetError, "'a/b' among", id="slash"),
        pytest.param({"valid": "valid.list", "names": "twice.names"}, DarknetError, "'dog' among", id="twice"),
        pytest.param({"valid": "other.list", "eval": "coco"}, DarknetError, "with the image's id", id="no id"),
    ],
)  # fmt: skip
def test_an_error_is_reported_before_any_file_is_written(
    folder: Path, settings: dict[str, str], error: type[Exception], message: str
) -> None:
    (folder / "holes.list").write_text("gone.png\n")
    (folder / "empty.list").write_text("\n")
    (folder / "text.list").write_text("three.names\n")
    (folder / "other.list").write_text("dog.png\n")
    (folder / "two.names").write_text("dog\ncat\n")
    (folder / "slash.names").write_text("a/b\ncat\ncar\n")
    (folder / "twice.names").write_text("dog\ncat\ndog\n")
    (folder / "val_000000000007.png").rename(folder / "dog.png")
    (folder / "valid.list").write_text("dog.png\n")
    data = read_data(data_file(folder, **settings))
    with pytest.raises(error, match=message):
        write_results(checkpoint_of(FLAT), data, folder / "out")
    assert not (folder / "out").exists()


def test_coco_results_have_at_most_eighty_classes() -> None:
    result = ImageResults(Path("1.jpg"), (9, 9), np.array([80]), np.array([0.5]), np.zeros((1, 4)))
    with pytest.raises(
        DarknetError, match="at most 80 classes, counted from 0, found a detection of class 80"
    ):
        coco_json([result])
