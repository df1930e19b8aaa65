"""The units and backbones of our named networks in Darknet's words, for backbone files and for writing weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from yolo9000.darknet.cfg import plan_cfg
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import Convolution, LayerPlan, Shape
from yolo9000.darknet.text import section
from yolo9000.darknet.weights import Numbers, read_layers
from yolo9000.models.backbone import Backbone, ConvUnit
from yolo9000.models.darknet_network import DarknetNetwork

NO_WEIGHT = 1e6  # as large is no number of a trained network

_TENSORS = (  # of a layer of DarknetNetwork, and of a ConvUnit: module, module, tensors
    ("convolution", 0, "weight"),
    ("norm", 1, "weight bias running_mean running_var num_batches_tracked"),
)


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


def backbone_sections(backbone: Backbone) -> list[str]:
    """One section for each unit and pool: 23 for Darknet-19."""
    modules = [module for stage in backbone.stages for module in stage.children()]
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
def load_backbone(backbone: Backbone | DarknetNetwork, path: Path) -> None:
    """Give a backbone the first layers of a `.weights` file, which may end with them. Raises DarknetError."""
    layers = backbone.plans if isinstance(backbone, DarknetNetwork) else backbone_layers(backbone)
    numbers = read_layers(path, layers, "the backbone", whole=False).layers
    _refuse_other_files(path, numbers)
    if isinstance(backbone, DarknetNetwork):
        backbone.load_numbers(numbers)
        return
    units = [module for module in backbone.modules() if isinstance(module, ConvUnit)]
    for unit, found in zip(units, numbers.values(), strict=True):
        for name, tensor in unit_tensors(unit).items():
            tensor.copy_(torch.from_numpy(found[name].astype("float32")))


def _refuse_other_files(path: Path, numbers: Mapping[int, Numbers]) -> None:
    """DarknetError where these are no weights: of any other long enough file some are not finite, or huge."""
    for layer, parts in numbers.items():
        if not all((np.abs(part) < NO_WEIGHT).all() for part in parts.values()):  # nor with NaN
            raise DarknetError(
                f"{path}: neither a checkpoint nor a file of Darknet's weights: expected numbers below {NO_WEIGHT:g} "
                f"for layer {layer} of the backbone, found others. Name one of these files."
            )


def names_in(backbone: Backbone, layers: Sequence[LayerPlan]) -> dict[str, str]:
    """For each tensor of a `DarknetNetwork` of `layers` its name in a backbone that begins with the same layers.

    Empty where the backbone's layers are not the first of them.
    """
    own = backbone_layers(backbone)
    if [_apart_from_size(layer) for layer in own] != [
        _apart_from_size(layer) for layer in layers[: len(own)]
    ]:
        return {}
    names = [name for name, module in backbone.named_modules() if isinstance(module, ConvUnit)]
    convolutions = [layer for layer in own if isinstance(layer, Convolution)]
    return {
        f"layers.{layer.index}.{theirs}.{tensor}": f"{name}.{ours}.{tensor}"
        for layer, name in zip(convolutions, names, strict=True)
        for theirs, ours, tensors in _TENSORS
        for tensor in tensors.split()
    }


def backbone_layers(backbone: Backbone) -> tuple[LayerPlan, ...]:
    """The plan of a backbone, for any one size of input."""
    text = "\n".join([section("net", width=512, height=512, channels=3), *backbone_sections(backbone)])
    return plan_cfg(text, "the backbone").layers


def _apart_from_size(layer: LayerPlan) -> LayerPlan:
    return replace(layer, line=0, out=Shape(layer.out.channels, 0, 0))


def unit_numbers(unit: ConvUnit) -> Numbers:
    """The numbers of a unit as a `.weights` file has them."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in unit_tensors(unit).items()}


def _parts(unit: ConvUnit) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, norm = unit[0], unit[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm
