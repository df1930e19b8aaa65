"""A run whose detector has an RoI head: resumed, predicted from, and started from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after
from tests.yolo9000.training.test_frozen_features import repeating_run
from yolo9000 import Predictor
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.checkpoints.darknet_export import write_darknet
from yolo9000.checkpoints.start_from import InitialWeights
from yolo9000.config import Config
from yolo9000.darknet.options import DarknetError
from yolo9000.training.train import train


@pytest.fixture(scope="module")
def cfg(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return repeating_run(tmp_path_factory.mktemp("backbone"), shards, model__roi_head=True)


@pytest.fixture(scope="module")
def trained(cfg: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roi") / "run"
    train(cfg, folder)
    return folder


def test_a_run_with_an_roi_head_resumes_bit_for_bit(
    cfg: Config, tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "parts")
    train(cfg, tmp_path / "parts", resume=True)
    assert_equal_checkpoints(trained / "last.pt", tmp_path / "parts" / "last.pt")


def test_a_checkpoint_predicts_with_its_trained_roi_head(trained: Path) -> None:
    image = torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8)
    predictor = Predictor(trained / "best.pt", changes={"min_score": 0.0})
    assert predictor.model.roi_head is not None
    first = next(iter(predictor(image)))
    with torch.no_grad():
        predictor.model.roi_head.objectness.bias -= 5
    lower = next(iter(predictor(image)))
    assert len(first)
    assert np.max(lower.objectness) < np.max(first.objectness)


def test_a_run_that_starts_from_a_detector_keeps_its_roi_head(trained: Path) -> None:
    checkpoint = load_detector(trained / "best.pt")
    model = checkpoint.build_model()
    assert model.roi_head is not None
    with torch.no_grad():
        model.roi_head.hidden.weight.zero_()
    loaded = InitialWeights.read(trained / "best.pt").load_into(model, checkpoint.tree)
    assert "roi_head" in loaded
    assert torch.equal(model.roi_head.hidden.weight, checkpoint.weights["roi_head.hidden.weight"])


def test_a_detector_with_an_roi_head_cannot_become_darknet_files(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(DarknetError, match="Darknet has no RoI head"):
        write_darknet(load_detector(trained / "best.pt"), tmp_path / "net.weights")
