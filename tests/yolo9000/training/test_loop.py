"""The loop stops at a loss or at weights that are not finite, and keeps the last checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.yolo9000.made import made_config
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.train import train


def spoil(monkeypatch: pytest.MonkeyPatch, spoiled: Callable[[LossTerms, int], LossTerms]) -> None:
    """Let `spoiled` change the terms of the criterion, given the step."""
    forward, steps = JointLoss.forward, iter(range(1, 1000))

    def changed(self: JointLoss, *arguments: Any, **named: Any) -> LossTerms:
        return spoiled(forward(self, *arguments, **named), next(steps))

    monkeypatch.setattr(JointLoss, "forward", changed)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "step", [3, 4, 6], ids=["between checkpoints", "at a checkpoint", "at the last step"]
)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float, step: int
) -> None:
    def spoiled(terms: LossTerms, at: int) -> LossTerms:
        named = vars(terms)
        return LossTerms(**{**named, "box_class": named["box_class"] * bad}) if at == step else terms

    spoil(monkeypatch, spoiled)
    with pytest.raises(TrainingError) as caught:
        train(made_config(shards, schedule__max_steps=6), tmp_path / "run")
    text = str(caught.value)
    assert text.startswith(f"Step {step}: the loss is not finite (total {bad:g}, ")
    assert f"box_class {bad:g}" in text
    assert "coordinates 0." in text
    assert len(text.splitlines()) == 1
    last = load_detector(tmp_path / "run" / "last.pt")
    assert last.step == {3: 2, 4: 2, 6: 4}[step]
    assert last.training is not None
    assert all(value.isfinite().all() for value in last.training["weights"].values())


def test_weights_that_are_not_finite_are_never_written(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(terms: LossTerms, at: int) -> LossTerms:
        if at == 4:  # the loss stays finite, its gradient does not
            terms.box_class.register_hook(lambda gradient: gradient * math.nan)
        return terms

    spoil(monkeypatch, spoiled)
    with pytest.raises(
        TrainingError, match=r"^Step 4: \d+ of \d+ weights are not finite, .* first\. The last"
    ):
        train(made_config(shards, schedule__max_steps=6), tmp_path / "run")
    last = load_detector(tmp_path / "run" / "last.pt")
    assert last.step == 2
    assert all(value.isfinite().all() for value in last.weights.values())
