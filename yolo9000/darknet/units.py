"""The units and trunks of our named networks in Darknet's words, for backbone files and for writing weights."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from yolo9000.backbone import ConvUnit, Trunk
from yolo9000.darknet.cfg import plan_cfg
from yolo9000.darknet.network import DarknetNetwork
from yolo9000.darknet.text import section
from yolo9000.darknet.weights import Numbers, read_layers


def unit_section(unit: ConvUnit) -> str:
    """The [convolutional] section of a unit."""
    convolution, _ = _parts(unit)
    return section(
        "convolutional",
        batch_normalize=1,
        filters=convolution.out_channels,
        size=convolution.kernel_size[0],
        stride=convolution.stride[0],
        padding=int(convolution.padding[0]),
        activation="leaky",
    )


def trunk_sections(trunk: Trunk) -> list[str]:
    """One section for each unit and pool: 23 for Darknet-19."""
    modules = [module for stage in trunk.stages for module in stage.children()]
    return [
        unit_section(module) if isinstance(module, ConvUnit) else section("maxpool", size=2, stride=2)
        for module in modules
    ]


def unit_tensors(unit: ConvUnit) -> dict[str, Tensor]:
    """The tensors of a unit under the names of `Numbers`."""
    convolution, norm = _parts(unit)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return {
        "biases": norm.bias,
        "scales": norm.weight,
        "means": norm.running_mean,
        "variances": norm.running_var,
        "weights": convolution.weight,
    }


@torch.no_grad()
def load_backbone(trunk: Trunk | DarknetNetwork, path: Path) -> None:
    """Give a trunk the first layers of a `.weights` file, which may end with them. Raises DarknetError."""
    if isinstance(trunk, DarknetNetwork):
        trunk.load_numbers(read_layers(path, trunk.plans, "the trunk", whole=False).layers)
        return
    text = "\n".join([section("net", width=512, height=512, channels=3), *trunk_sections(trunk)])
    plan = plan_cfg(text, "the trunk")
    numbers = read_layers(path, plan.layers, plan.place, whole=False).layers
    units = [module for module in trunk.modules() if isinstance(module, ConvUnit)]
    for unit, found in zip(units, numbers.values(), strict=True):
        for name, tensor in unit_tensors(unit).items():
            tensor.copy_(torch.from_numpy(found[name].astype("float32")))


def unit_numbers(unit: ConvUnit) -> Numbers:
    """The numbers of a unit as a `.weights` file has them."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in unit_tensors(unit).items()}


def _parts(unit: ConvUnit) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, norm = unit[0], unit[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm
