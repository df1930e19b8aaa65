"""The network in PyTorch for inference: batch norm folded, channels last, in bfloat16 if asked for."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from yolo9000.models.detector import Detector

Network = Callable[[Tensor], tuple[Tensor, ...]]
"""Images (B, 3, H, W) to all that the heads of the detector read, float32 (`Detector.network`)."""


def float32_network(detector: Detector) -> Network:
    """The network as it is."""

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return detector.network(images.contiguous(memory_format=torch.channels_last))

    return run


def bfloat16_network(detector: Detector) -> Network:
    """A copy of the network that computes in bfloat16; operations that autocast keeps in float32 stay in float32."""
    own = copy(detector)  # shares the head
    own._modules = {
        name: deepcopy(module) if name in ("backbone", "neck") else module
        for name, module in detector._modules.items()
    }
    for part in (own.backbone, own.neck):
        for layer in part.modules() if part is not None else ():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.to(torch.bfloat16)
    exact = float32_network(own)
    device = detector.head.box.weight.device.type

    def run(images: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(device, torch.bfloat16):
            return tuple(output.float() for output in exact(images))

    return run


def compiled_network(network: Network) -> Network:
    """The network compiled by `torch.compile`, which takes half a minute or more at each new shape of images."""
    compiled: Any = torch.compile(network, options={"freezing": True})
    return compiled  # type: ignore[no-any-return]
