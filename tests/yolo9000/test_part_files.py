"""No writer of yolo9000 touches files of the user that are named like its part files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.part_names import folder_contents, write_part_like
from tests.yolo9000.made import made_config
from tests.yolo9000.predictions.test_formats import found
from wordtree.support.files import part_path
from wordtree.tree.tree import WordTree
from yolo9000.demo_photographs import unpack
from yolo9000.inference.predict import Predictor
from yolo9000.inference.sources import find_images
from yolo9000.predictions.formats import FORMATS, write_format
from yolo9000.predictions.result_log import ResultLog
from yolo9000.predictions.run import OutputChoice, predict_images
from yolo9000.training.run_folder import WRITTEN, prepare_folder


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_keeps_them(tmp_path: Path, toy_tree: WordTree, name: str) -> None:
    log = tmp_path / "in" / "detections.jsonl"
    log.parent.mkdir()
    with ResultLog(log) as written:
        record = {"image": "a/1.jpg", "width_px": 40, "height_px": 40}
        written.add({**record, "detections": [found(toy_tree, 2, 6, 0.7)]})
    out = tmp_path / "out"
    outputs = [out / file.format(part="") for file in FORMATS[name].files]
    write_part_like(out, *(path.name for path in outputs))
    write_part_like(out / "labels", "1.txt")
    kept = folder_contents(out)
    for _ in range(2):
        write_format(name, log, outputs, toy_tree)
        assert folder_contents(out).items() >= kept.items()


def test_a_run_of_predictions_keeps_them_and_removes_its_own(
    tmp_path: Path, made_detector: Path, photos: Path
) -> None:
    out = tmp_path / "out"
    names = ["run.json", "tree.json", "report.html", "detections.jsonl", "e.jpg"]
    write_part_like(out, *names)
    write_part_like(out / "report_files", "x.jpg")
    kept = folder_contents(out)
    own = [part_path(out / name) for name in ("run.json", "report.html", "e.jpg")]
    for part in own:
        part.write_text("half")
    choice = OutputChoice(out, report=True, overwrite=True)
    predict_images(Predictor(made_detector), find_images([photos]), choice)
    assert folder_contents(out).items() >= kept.items()
    assert [part for part in own if part.exists()] == []


def test_a_training_run_keeps_them_and_removes_its_own(tmp_path: Path) -> None:
    kept = write_part_like(tmp_path, *WRITTEN)
    part_path(tmp_path / "last.pt").write_text("half")
    prepare_folder(tmp_path, made_config(tmp_path), step=0)
    content = folder_contents(tmp_path)
    del content["config.yaml"]
    assert content == kept


def test_the_photographs_of_the_demo_keep_them(tmp_path: Path) -> None:
    kept = write_part_like(tmp_path, "world")
    unpack(tmp_path / "world")
    assert folder_contents(tmp_path).items() >= kept.items()
    assert (tmp_path / "world" / "merge.yaml").is_file()
