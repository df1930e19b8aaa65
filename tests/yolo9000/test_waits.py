"""Where a training step and a batch of detections would wait for a GPU, counted on the CPU (benchmarks/waits.py)."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from yolo9000.config import PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput

STEP, DETECTIONS = 27, 39  # docs/speed.md
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CountedWaits = Callable[[Callable[[], object]], Counter[str]]


@pytest.fixture
def counted_waits(monkeypatch: pytest.MonkeyPatch) -> CountedWaits:
    monkeypatch.syspath_prepend(BENCHMARKS)
    counted: CountedWaits = importlib.import_module("waits").counted_waits
    return counted


def test_operations_at_which_the_host_waits_are_counted(counted_waits: CountedWaits) -> None:
    values, index = torch.arange(4.0), torch.tensor([0, 1, 1])
    waiting: dict[str, Callable[[], object]] = {
        "tolist": lambda: values.tolist(),
        "cpu": lambda: values.cpu(),
        "new_tensor": lambda: values.new_tensor([1]),
        "_local_scalar_dense": lambda: bool(values[0] > 0),
        "nonzero": lambda: values.nonzero(),
        "index": lambda: values[values > 1],
        "bincount": lambda: torch.bincount(index, minlength=2),
        "_unique2": lambda: values.unique(),
        "repeat_interleave": lambda: index.repeat_interleave(index),
    }
    for name, work in waiting.items():
        assert counted_waits(work) == {name: 1}
    ahead: list[Callable[[], object]] = [
        lambda: values[index] * values[:3],
        lambda: values.clone().index_put((index,), values[:3]),
        lambda: index.repeat_interleave(index, output_size=2),
        lambda: torch.where(values > 1, values, 0).sum(),
    ]
    for work in ahead:
        assert not counted_waits(work)


def test_a_step_and_a_batch_wait_as_often_as_the_documentation_says(
    counted_waits: CountedWaits,
) -> None:
    training = importlib.import_module("generated_training")
    made = training.GeneratedTraining.of(4500, training.Size(3, 64, 0.125), precision="float32")
    with_boxes = np.array([True, False, True])
    targets = training.generated_targets(made.model.tree_tensors, with_boxes)
    made = replace(made, targets=[targets] * training.BATCHES)
    made.step(0)
    assert sum(counted_waits(lambda: made.step(1)).values()) <= STEP

    made.model.eval()
    fitted = [
        Letterbox.fit(image_size_px=size, network_size_px=(64, 64)) for size in ((64, 64), (90, 50), (9, 9))
    ]
    with torch.inference_mode():
        output = BatchOutput(made.model(made.images), made.model.tree_tensors, fitted)
    found = []
    waits = counted_waits(
        lambda: found.extend(detect(output, ["a", "b", "c"], PredictConfig(min_score=0.05)))
    )
    assert sum(map(len, found)) > 3
    assert sum(waits.values()) <= DETECTIONS
