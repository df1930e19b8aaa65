"""The report of a run: its content, when it is written, and that a failure does not stop the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import yolo9000.training.background_evaluation as background
from data_prep import ShardReader
from tests.yolo9000.made import COLOURS, made_config, made_shards
from yolo9000 import Predictor
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.reports.detector_report import Baseline
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.run_report import TEST_IMAGES, ReportText, draw_test_images
from yolo9000.training.train import train


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text("utf-8")


def test_the_page_holds_scores_scenes_curves_and_settings(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "credits.txt").write_bytes("Squares by us, © Zoë.".encode("latin-1"))  # not UTF-8
    words = ReportText("Run <made>", "Squares & noise.", [Baseline("the oracle", 90.0, 80.0)])
    cfg = made_config(shards, data__attribution=str(tmp_path / "credits.txt"))
    train(cfg, tmp_path / "run", report_text=words)
    page = page_of(tmp_path / "run")
    for text in (
        "Run &lt;made&gt;", "Squares &amp; noise.", "the oracle", "Squares by us, © Zoë.", "max_steps: 4", "4 of 4",
        "images seen <b>32</b>", "images/s", "GiB", "Missed and wrongly classified objects", "Best and worst classes",
    ):  # fmt: skip
        assert text in page
    assert "tiny, width 0.5, input 64 px" in page
    tree = ShardReader(shards).tree
    assert f"{len(tree)} nodes" in page
    assert all(tree.names[tree.node(wnid)] in page for wnid in COLOURS)
    scenes_and_objects = 4 + 4  # one object in each test scene
    assert page.count("data:image/") == scenes_and_objects


def test_a_page_without_text_names_the_run_and_its_data(shards: Path, tmp_path: Path) -> None:
    train(made_config(shards, schedule__max_steps=1), tmp_path)
    assert "<h1>Run made</h1>" in page_of(tmp_path)
    assert f"Trained on {shards.name}, evaluated on its split" in page_of(tmp_path)


def test_the_page_is_written_anew_at_each_evaluation(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[str] = []
    written = background.write_run_report

    def kept(task: Any, run: Any, folder: Path, *rest: Any) -> None:
        written(task, run, folder, *rest)
        pages.append(page_of(folder))

    monkeypatch.setattr(background, "write_run_report", kept)
    train(made_config(shards, evaluate__every=2), tmp_path)
    assert len(pages) == 2
    assert "2 of 4" in pages[0]
    assert "Missed and wrongly classified objects" in pages[0]
    assert "Test images" not in pages[0]  # they need the finished best.pt
    assert "4 of 4" in pages[1]
    assert "Test images" in pages[1]


def test_a_page_that_cannot_be_written_does_not_stop_the_run(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    assert train(made_config(shards), tmp_path / "run").images == 4
    assert (tmp_path / "run" / "last.pt").exists()
    message = capsys.readouterr().err
    assert message.startswith(f"{tmp_path / 'run' / 'report.html'} is not written: ")
    assert len(message.splitlines()) == 1


def test_a_missing_file_of_licences_is_reported_before_training(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards, data__attribution=str(tmp_path / "none.txt"))
    with pytest.raises(
        TrainingError, match=r"data\.attribution: there is no file .*none\.txt\. Name a text file"
    ):
        train(cfg, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_test_images_come_from_all_over_the_split(tmp_path: Path) -> None:
    shards = made_shards(tmp_path / "data", scenes=4, label_images=1, test_scenes=30)
    train(made_config(shards, schedule__max_steps=1), tmp_path / "run")
    reader = ShardReader(shards)
    found = draw_test_images(Predictor(tmp_path / "run" / "best.pt"), reader, reader.split("test"))
    assert len(found) == TEST_IMAGES
    assert len({image.caption for image in found}) == TEST_IMAGES
    assert all(image.alt.startswith(f"{image.caption}, detected: ") for image in found)


def test_the_page_shows_scored_images_only(tmp_path: Path) -> None:
    shards = made_shards(tmp_path / "data", scenes=8, label_images=6, test_scenes=2)
    cfg = made_config(shards, schedule__max_steps=1, evaluate__split="train", evaluate__limit=3)
    card = train(cfg, tmp_path / "run")
    page = page_of(tmp_path / "run")
    shown = re.findall(r'alt="([^",]*), detected: ', page)
    reader = ShardReader(shards)
    scored = {reader.source_id(int(image)) for image in EvaluationSet.of(reader, cfg.evaluate).images}
    assert card.images == len(scored) == 3
    assert set(shown) == scored
    assert len(shown) == 3


def test_the_page_shows_images_although_the_shards_moved_before_the_resume(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shards = made_shards(tmp_path / "data")
    train(made_config(shards, schedule__max_steps=2), tmp_path / "run")
    (tmp_path / "data").rename(tmp_path / "moved")
    cfg = made_config(tmp_path / "moved" / "shards", schedule__max_steps=3)
    train(cfg, tmp_path / "run", resume=True)
    assert page_of(tmp_path / "run").count("data:image/") == 8
    assert "3 of 3" in page_of(tmp_path / "run")
