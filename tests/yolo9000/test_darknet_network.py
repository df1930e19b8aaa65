"""Every layer of Darknet's networks against the original program, and their modules against obvious twins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.yolo9000.golden import ABSENT, golden_files
from yolo9000.darknet.network import read_network

NETS = golden_files("nets", "*.weights")


def expected_of(weights: Path) -> dict[str, np.ndarray]:
    """The golden arrays of a weights file; other header forms of one net share its arrays."""
    (npz,) = (path for path in golden_files("nets", "*.npz") if weights.stem.startswith(path.stem))
    return dict(np.load(npz))


def cfg_of(weights: Path) -> Path:
    (cfg,) = (path for path in golden_files("nets", "*.cfg") if weights.stem.startswith(path.stem))
    return cfg


def largest_deviation(found: torch.Tensor, expected: np.ndarray) -> float:
    """Relative to the largest value of the layer."""
    difference = found.detach().numpy().reshape(expected.shape) - expected
    return float(abs(difference).max() / abs(expected).max())


@pytest.mark.skipif(not NETS, reason=ABSENT)
@pytest.mark.parametrize("weights", NETS, ids=lambda path: path.stem)
def test_every_layer_agrees_with_darknet_to_1e_5(weights: Path) -> None:
    golden = expected_of(weights)
    network = read_network(cfg_of(weights), weights, batch_norm="darknet_cpu")

    outputs = network.every_output(torch.from_numpy(golden["input"])[None])

    assert len(outputs) == len([name for name in golden if name.startswith("layer_")])
    deviations = [largest_deviation(output, golden[f"layer_{k:02d}"]) for k, output in enumerate(outputs)]
    assert max(deviations) < 1e-5
    assert [tuple(output.shape[1:]) for output in outputs] == [plan.out for plan in network.plans]


@pytest.mark.skipif(not NETS, reason=ABSENT)
@pytest.mark.parametrize("weights", NETS, ids=lambda path: path.stem)
def test_the_forward_pass_keeps_only_what_is_needed_and_gives_the_last_output(weights: Path) -> None:
    network = read_network(cfg_of(weights), weights)
    images = torch.from_numpy(expected_of(weights)["input"])[None]
    assert torch.equal(network(images), network.every_output(images)[-1])
