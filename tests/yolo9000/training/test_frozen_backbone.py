"""Training on a pretrained backbone of which some stages are frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.yolo9000.made import made_config
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after
from yolo9000.checkpoints.checkpoint import load_checkpoint
from yolo9000.config import Config
from yolo9000.models.backbone import freeze
from yolo9000.models.efficientnet_lite import EfficientNetLite0
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.train import train


def frozen_run(folder: Path, shards: Path, **changes: object) -> Config:
    """Four steps of a detector on EfficientNet-Lite0 whose first five stages are frozen."""
    changes = {
        "model__architecture": "yolo9000",
        "model__backbone": "timm/tf_efficientnet_lite0",
        "model__backbone_weights": str(folder / "weights.pth"),
        "model__freeze": 5,
        "model__input_size_px": 64,
        "optimizer__backbone_lr_scale": 0.1,
        "optimizer__ema": 0.9,
        "schedule__max_steps": 4,
        **changes,
    }
    torch.manual_seed(3)
    torch.save(EfficientNetLite0().state_dict(), folder / "weights.pth")
    return made_config(shards, **changes)


def test_a_run_on_a_frozen_backbone_resumes_bit_for_bit_and_predicts_without_the_weights_file(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = frozen_run(tmp_path, shards)
    train(cfg, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(cfg, tmp_path / "parts")
    train(cfg, tmp_path / "parts", resume=True)
    assert_equal_checkpoints(tmp_path / "whole" / "last.pt", tmp_path / "parts" / "last.pt")

    first = torch.load(tmp_path / "weights.pth", weights_only=True)
    (tmp_path / "weights.pth").unlink()
    saved = load_checkpoint(tmp_path / "whole" / "best.pt")
    assert saved.build_model()(torch.rand(1, 3, 64, 64)).box_logits.shape == (1, 2, 2, 2, 5)
    stage = {name: saved.weights[f"backbone.network.{name}"] for name in first}
    changed = {name.split(".")[1] for name, value in stage.items() if not torch.equal(value, first[name])}
    assert changed == {"5", "6"}  # of the stages 0 to 6


def test_frozen_weights_have_no_optimizer_state_and_no_average(shards: Path, tmp_path: Path) -> None:
    train(frozen_run(tmp_path, shards), tmp_path / "run")
    training = load_checkpoint(tmp_path / "run" / "last.pt").training
    assert training is not None
    averaged = set(training["average"]["average"])
    assert "backbone.network.blocks.6.0.conv_pw.weight" in averaged
    assert not [name for name in averaged if name.startswith("backbone.network.blocks.4")]
    model = load_checkpoint(tmp_path / "run" / "last.pt").build_model()
    freeze(model, 5)
    assert len(training["optimizer"]["state"]) == sum(p.requires_grad for p in model.parameters())


def test_a_resumed_run_may_not_freeze_other_stages(shards: Path, tmp_path: Path) -> None:
    train(frozen_run(tmp_path, shards, schedule__max_steps=2), tmp_path / "run")
    with pytest.raises(TrainingError, match=r"model\.freeze is 3, but the run was made with 5"):
        train(frozen_run(tmp_path, shards, model__freeze=3), tmp_path / "run", resume=True)
