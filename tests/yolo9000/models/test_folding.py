"""Folded batch norm computes what the network computed before, in every backbone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.yolo9000.darknet_golden import NOT_AT_HAND, ORIGINAL
from tests.yolo9000.made import random_tree
from yolo9000.config import ModelConfig
from yolo9000.models.darknet_network import read_network
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.efficientnet_lite import EfficientNetLite0
from yolo9000.models.folding import fold_batch_norm

EXACT = {"rtol": 1e-9, "atol": 1e-10}  # float64


def with_random_statistics(network: nn.Module) -> nn.Module:
    """The network in float64 and evaluation mode, with batch norm that does something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.double().modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    return network.eval()


def images(side: int = 64) -> Tensor:
    return torch.rand(2, 3, side, side, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def norms_left(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("architecture", ["yolov2", "yolo9000", "tiny"])
@torch.no_grad()
def test_a_folded_detector_computes_the_same_features(architecture: str) -> None:
    cfg = ModelConfig.model_validate(
        {"architecture": architecture, "width": 0.125, "anchors": [[1, 1], [2, 2]]}
    )
    detector = with_random_statistics(build_detector(cfg, random_tree(20)))
    assert isinstance(detector, Detector)

    def run() -> Tensor:
        return detector.head_input(detector.features(images()))

    expected, norms = run(), norms_left(detector)
    assert fold_batch_norm(detector, run) == norms > 0
    assert norms_left(detector) == 0
    torch.testing.assert_close(run(), expected, **EXACT)


@torch.no_grad()
def test_efficientnet_lite_computes_the_same_features() -> None:
    network = with_random_statistics(EfficientNetLite0())
    expected, norms = network(images())[1], norms_left(network)
    assert fold_batch_norm(network, lambda: network(images())[1]) == norms
    torch.testing.assert_close(network(images())[1], expected, **EXACT)


@pytest.mark.parametrize("batch_norm", ["standard", "darknet_cpu"])
@torch.no_grad()
def test_a_darknet_network_computes_the_same_output(batch_norm: str) -> None:
    if ORIGINAL is None:
        pytest.skip(NOT_AT_HAND)
    nets = ORIGINAL / "nets"
    network = read_network(nets / "yolov2_narrow.cfg", nets / "yolov2_narrow.weights", batch_norm=batch_norm)
    network.double()
    expected, norms = network(images()), norms_left(network)
    assert fold_batch_norm(network, lambda: network(images())) == norms > 10
    torch.testing.assert_close(network(images()), expected, **EXACT)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto", "nf_resnet26"])
@torch.no_grad()
def test_a_timm_network_computes_the_same_features(name: str) -> None:
    timm = pytest.importorskip("timm")
    network = with_random_statistics(timm.create_model(name, features_only=True))
    expected, norms = network(images())[-1], norms_left(network)
    assert fold_batch_norm(network, lambda: network(images())[-1]) == norms
    torch.testing.assert_close(network(images())[-1], expected, **EXACT)


class Shared(nn.Module):
    """A convolution whose output is read twice, and one that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.twice_read, self.twice_called = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        read = self.twice_read(images)
        images = self.norms[0](read) + read
        images = self.norms[1](self.twice_called(images))
        return self.norms[2](self.twice_called(images))


@torch.no_grad()
def test_a_convolution_whose_output_or_weights_serve_twice_is_left_alone() -> None:
    network = with_random_statistics(Shared())
    assert fold_batch_norm(network, lambda: network(images())) == 0
    assert norms_left(network) == 3


class Standardised(nn.Conv2d):
    """A convolution that rescales its weights, so that folding into them has no effect."""

    def forward(self, images: Tensor) -> Tensor:
        return self._conv_forward(images, self.weight / self.weight.norm(), self.bias)


@torch.no_grad()
def test_a_network_that_folding_would_change_stays_as_it_is() -> None:
    network = with_random_statistics(nn.Sequential(Standardised(3, 4, 3, bias=False), nn.BatchNorm2d(4)))
    expected = network(images())
    assert fold_batch_norm(network, lambda: network(images())) == 0
    assert torch.equal(network(images()), expected)
    assert network[0].bias is None
