"""Repeated batches, and features of a frozen backbone that are computed once for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_prep import ShardReader
from tests.yolo9000.made import made_config
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after
from tests.yolo9000.training.test_frozen_backbone import frozen_run
from wordtree.errors import ConfigError
from yolo9000.config import Config
from yolo9000.data.detector_data import DetectorData
from yolo9000.models.detector import Detector
from yolo9000.training.frozen_features import FrozenFeatures
from yolo9000.training.train import train


def repeating_run(folder: Path, shards: Path, **changes: object) -> Config:
    return frozen_run(folder, shards, model__freeze="all", data__distinct_batches=2, **changes)


def test_batches_repeat_after_their_number(shards: Path) -> None:
    cfg = made_config(shards, data__distinct_batches=3, pseudo_boxes={})
    data = DetectorData(ShardReader(shards), cfg)
    first, again, other = (data.batch(step) for step in (2, 8, 3))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    new = DetectorData(ShardReader(shards), made_config(shards))
    assert torch.equal(new.batch(2).images, first.images)


def test_kept_features_give_the_weights_of_a_run_that_computes_them_anew(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    usual = Detector.features

    def counted(self: Detector, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self.training:
            read.append(len(images))
        return usual(self, images)

    monkeypatch.setattr(Detector, "features", counted)
    cfg = repeating_run(tmp_path, shards)
    train(cfg, tmp_path / "kept")
    assert len(read) == 2  # of four steps
    monkeypatch.setattr(FrozenFeatures, "output", lambda self, batch: self._model(batch.images))
    train(cfg, tmp_path / "anew")
    assert len(read) == 6
    assert_equal_checkpoints(tmp_path / "kept" / "last.pt", tmp_path / "anew" / "last.pt")


def test_a_run_with_kept_features_resumes_bit_for_bit(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = repeating_run(tmp_path, shards, data__accumulate=2)
    train(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "parts")
    train(cfg, tmp_path / "parts", resume=True)
    assert_equal_checkpoints(tmp_path / "whole" / "last.pt", tmp_path / "parts" / "last.pt")


def test_repeated_batches_and_pseudo_boxes_exclude_each_other(shards: Path) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        made_config(shards, data__distinct_batches=2, pseudo_boxes={"at_steps": [3]})
