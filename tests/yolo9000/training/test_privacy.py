"""Files of a run that people share name no folder of the machine."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.yolo9000.made import made_config
from tests.yolo9000.training.runs import made_classifier_config
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.export.onnx_file import ExportOptions, export_onnx
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run import without_folders
from yolo9000.training.train import train

REPOSITORY = Path(__file__).parents[3]


def members(path: Path) -> bytes:
    """The bytes of all members of a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def test_best_pt_and_the_report_contain_no_folder_and_last_pt_can_resume(
    shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "notice.txt").write_text("Photographs by nobody.")
    changes = {"data__attribution": str(tmp_path / "notice.txt"), "schedule__max_steps": 2}
    train(made_config(shards, **changes), tmp_path / "run")
    started = {"model__start_from": str(tmp_path / "run" / "best.pt"), **changes}
    train(made_config(shards, **started), tmp_path / "second")
    for name in ("run", "second"):
        folder = tmp_path / name
        private = [str(place).encode() for place in (tmp_path, shards.parent, REPOSITORY, Path.home())]
        contents = [members(folder / "best.pt"), (folder / "report.html").read_bytes()]
        assert [place for content in contents for place in private if place in content] == []
        assert b"notice.txt" in contents[0]
        assert b"Photographs by nobody." in contents[1]
        assert str(shards).encode() in members(folder / "last.pt")
    train(made_config(shards, **{**started, "schedule__max_steps": 3}), tmp_path / "second", resume=True)


def test_a_shared_classifier_and_an_exported_detector_contain_no_folder(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pretrain(made_classifier_config(shards, tmp_path), tmp_path / "run")
    train(made_config(shards, schedule__max_steps=1), tmp_path / "detector")
    detector = load_detector(tmp_path / "detector" / "last.pt")
    exported = export_onnx(detector, ExportOptions(10, suppress=True), detector.config.predict)
    private = [str(place).encode() for place in (tmp_path, shards.parent, REPOSITORY, Path.home())]
    for content in (members(tmp_path / "run" / "best.pt"), exported):
        assert [place for place in private if place in content] == []


def test_only_the_last_part_of_paths_and_addresses_is_shared(shards: Path) -> None:
    cfg = made_config(shards, data__shards="s3://bucket/secret/fruit/", loss__non_exclusive="lint")
    shared = without_folders(cfg)
    assert (shared.data.shards, shared.loss.non_exclusive) == ("fruit", "lint")
    assert without_folders(made_config(shards)).data.shards == Path(shards.name)
