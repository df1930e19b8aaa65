"""The network in PyTorch for inference: batch norm folded, channels last, in bfloat16 if asked for."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from yolo9000.models.darknet_network import DarknetNetwork
from yolo9000.models.detector import Detector

Network = Callable[[Tensor], tuple[Tensor, ...]]
"""Images (B, 3, H, W) to all that the heads of the detector read, float32 (`Detector.network`)."""


def float32_network(detector: Detector) -> Network:
    """The network as it is."""

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return detector.network(images.contiguous(memory_format=torch.channels_last))

    return run


def bfloat16_network(detector: Detector) -> Network:
    """A copy of the network that computes in bfloat16 from the second stage of the backbone on.

    The first stage stays in float32: there each value has the largest effect on the features, and the few channels gain
    hardly any time. Operations that autocast keeps in float32 stay in float32 too.
    """
    own = copy(detector)  # shares the head
    own._modules = {
        name: deepcopy(module) if name in ("backbone", "neck") else module
        for name, module in detector._modules.items()
    }
    _convert_to_bfloat16(own)
    exact = float32_network(own)
    device = detector.head.box.weight.device.type

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(device, torch.bfloat16):
            return tuple(output.float() for output in exact(images))

    return run


def _convert_to_bfloat16(detector: Detector) -> None:
    """Convert convolutions and linear layers; those of the backbone's first stage get a wrapper instead."""
    backbone = detector.backbone
    first = [] if isinstance(backbone, DarknetNetwork) else backbone.freezable_stages[0]
    of_first_stage = {layer for module in first for layer in module.modules()}
    for part in (backbone, detector.neck or nn.Identity()):
        for name, layer in list(part.named_modules()):
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            if layer in of_first_stage:
                part.set_submodule(name, _InFloat32(layer))
            else:
                layer.to(torch.bfloat16)


class _InFloat32(nn.Module):
    """A layer that computes in float32 under autocast."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            output: Tensor = self.layer(features.float())
            return output


def compiled_network(network: Network) -> Network:
    """The network compiled by `torch.compile`, which takes half a minute or more at each new shape of images."""
    compiled: Any = torch.compile(network, options={"freezing": True})
    return compiled  # type: ignore[no-any-return]
