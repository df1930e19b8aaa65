"""The report page of a run: what it holds, and where it takes it from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_prep import ShardReader
from tests.yolo9000.made import COLOURS, made_config, made_shards
from yolo9000 import Predictor
from yolo9000.report import Yardstick
from yolo9000.run_report import SCENES, scenes, training_facts, write_run_report
from yolo9000.scorecard import Scorecard
from yolo9000.train import train


@pytest.fixture
def finished(shards: Path, tmp_path: Path) -> tuple[Path, Scorecard]:
    """The folder of a short training, and its scorecard."""
    return tmp_path / "run", train(made_config(shards), tmp_path / "run")


def test_the_page_holds_scores_scenes_curves_and_settings(
    finished: tuple[Path, Scorecard], shards: Path
) -> None:
    folder, scorecard = finished
    path = write_run_report(
        folder,
        scorecard,
        title="Run <made>",
        summary="Squares & noise.",
        yardsticks=[Yardstick("the oracle", 90.0, 80.0)],
        facts=[("colour", "mauve")],
        attribution="Squares by us.",
    )
    assert path == folder / "report.html"
    page = path.read_text("utf-8")
    for text in (
        "Run &lt;made&gt;",
        "Squares &amp; noise.",
        "the oracle",
        "mauve",
        "Squares by us.",
        "max_steps: 4",
    ):
        assert text in page
    assert page.count("data:image/") >= 4  # the four test scenes
    assert "tiny, width 0.5, input 64 px" in page
    tree = ShardReader(shards).tree
    assert all(tree.names[tree.node(wnid)] in page for wnid in COLOURS)


def test_writing_it_twice_gives_the_same_page(finished: tuple[Path, Scorecard]) -> None:
    folder, scorecard = finished
    pages = [write_run_report(folder, scorecard, title="a", summary="b").read_bytes() for _ in range(2)]
    assert pages[0] == pages[1]


def test_scenes_come_from_all_over_the_split(tmp_path: Path) -> None:
    shards = made_shards(tmp_path / "data", scenes=4, label_pictures=1, test_scenes=30)
    train(made_config(shards, schedule__max_steps=1), tmp_path / "run")
    found = scenes(Predictor(tmp_path / "run" / "best.pt"), ShardReader(shards))
    assert len(found) == SCENES
    assert len({scene.caption for scene in found}) == SCENES


def test_facts_tell_the_network_and_what_it_saw(shards: Path) -> None:
    facts = dict(training_facts(made_config(shards), ShardReader(shards)))
    assert facts["pictures seen"] == "32 in 4 steps"
    assert facts["tree"] == f"{len(ShardReader(shards).tree)} nodes"


def test_the_page_is_made_although_the_shards_moved_while_the_run_was_interrupted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shards = made_shards(tmp_path / "data")
    train(made_config(shards, schedule__max_steps=2), tmp_path / "run")
    best = tmp_path / "run" / "best.pt"
    shutil.copy(best, tmp_path / "kept.pt")
    (tmp_path / "data").rename(tmp_path / "moved")
    cfg = made_config(tmp_path / "moved" / "shards", schedule__max_steps=3)
    scorecard = train(cfg, tmp_path / "run", resume=True)
    shutil.copy(tmp_path / "kept.pt", best)  # as where the first evaluation was the best
    page = write_run_report(tmp_path / "run", scorecard, title="a", summary="b")
    assert page.read_text("utf-8").count("data:image/") >= 4
