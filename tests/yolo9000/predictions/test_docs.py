"""The Python blocks of docs/predicting.md run as they stand, in order, in a folder with best.pt and photos/."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from yolo9000 import Predictor
from yolo9000.inference.sources import find_images
from yolo9000.predictions.identity import run_identity
from yolo9000.predictions.run import OutputChoice, predict_images
from yolo9000.predictions.store import StoreWriter

PAGE = Path(__file__).parents[3] / "docs" / "predicting.md"


def test_every_block_runs(
    photos: Path,
    made_detector: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for library in ("pandas", "dask.distributed"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.chdir(tmp_path)
    shutil.copy(made_detector, "best.pt")
    predictor = Predictor("best.pt", changes={"min_score": 0.01})
    identity = run_identity(predictor, predictor.checkpoint, None)
    with StoreWriter(Path("detections.sqlite"), predictor.tree, identity) as store:
        predict_images(predictor, find_images([photos]), OutputChoice(), sinks=[store])
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 6
    printed = []
    for block in blocks:
        lines = [line for line in block.splitlines() if line]
        assert len(lines) <= 15
        exec(compile(block, str(PAGE), "exec"), {"__name__": "block"})
        printed.append(capsys.readouterr().out)
    assert "a.jpeg" in printed[0]
    assert "image 2" in printed[1]
    assert "5 images, 0 failed" in printed[2]
    assert "a.jpeg" in printed[3]
    assert "detections in 5 images" in printed[4]
    assert "5 images" in printed[5]
