"""Backbones of this project as Darknet layers, to load backbone files and to export weights."""

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
from yolo9000.darknet.weights import LayerWeights, read_layers
from yolo9000.models.backbone import Backbone, ConvBackbone, ConvUnit
from yolo9000.models.darknet_network import DarknetNetwork
from yolo9000.models.timm_backbone import TimmBackbone

MAX_WEIGHT = 1e6  # no weight of a trained network is this large

_TENSORS = (  # module of a DarknetNetwork layer, module of a ConvUnit, tensors of both
    ("convolution", 0, "weight"),
    ("norm", 1, "weight bias running_mean running_var num_batches_tracked"),
)


def unit_section(unit: ConvUnit) -> str:
    """The [convolutional] section of a unit."""
    convolution, _ = _modules(unit)
    return section(
        "convolutional",
        batch_normalize=1,
        filters=convolution.out_channels,
        size=convolution.kernel_size[0],
        stride=convolution.stride[0],
        padding=int(convolution.padding[0]),
        activation="leaky",
    )


def backbone_sections(backbone: ConvBackbone) -> list[str]:
    """One section for each unit and pool; Darknet-19 has 23."""
    modules = [module for stage in backbone.stages for module in stage.children()]
    return [
        unit_section(module) if isinstance(module, ConvUnit) else section("maxpool", size=2, stride=2)
        for module in modules
    ]


def unit_tensors(unit: ConvUnit) -> dict[str, Tensor]:
    """Tensors of a unit, by the names of `LayerWeights`."""
    convolution, norm = _modules(unit)
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
    """Load the first layers of a `.weights` file, which may hold more, into a backbone. Raises DarknetError."""
    if isinstance(backbone, TimmBackbone):
        raise DarknetError(
            f"{path}: a Darknet file cannot start a timm backbone; use model.backbone darknet19."
        )
    layers = backbone.plans if isinstance(backbone, DarknetNetwork) else backbone_layers(backbone)
    weights = read_layers(path, layers, "the backbone", whole=False).layers
    _refuse_other_files(path, weights)
    if isinstance(backbone, DarknetNetwork):
        backbone.load_weights(weights)
        return
    units = [module for module in backbone.modules() if isinstance(module, ConvUnit)]
    for unit, arrays in zip(units, weights.values(), strict=True):
        for name, tensor in unit_tensors(unit).items():
            tensor.copy_(torch.from_numpy(arrays[name].astype("float32")))


def _refuse_other_files(path: Path, weights: Mapping[int, LayerWeights]) -> None:
    """Raise DarknetError if a value is not finite or is huge, which shows that the file is not a weights file."""
    for layer, arrays in weights.items():
        if not all((np.abs(array) < MAX_WEIGHT).all() for array in arrays.values()):  # false for NaN too
            raise DarknetError(
                f"{path}: expected a checkpoint or a Darknet weights file: layer {layer} of the backbone has values of "
                f"{MAX_WEIGHT:g} or more, or not finite."
            )


def tensor_names_in(backbone: ConvBackbone, layers: Sequence[LayerPlan]) -> dict[str, str]:
    """Names of a `DarknetNetwork`'s tensors, mapped to their names in a backbone with the same first layers.

    Empty if the backbone's layers are not the first of `layers`.
    """
    own = backbone_layers(backbone)
    if [_without_size(layer) for layer in own] != [_without_size(layer) for layer in layers[: len(own)]]:
        return {}
    names = [name for name, module in backbone.named_modules() if isinstance(module, ConvUnit)]
    convolutions = [layer for layer in own if isinstance(layer, Convolution)]
    return {
        f"layers.{layer.index}.{theirs}.{tensor}": f"{name}.{ours}.{tensor}"
        for layer, name in zip(convolutions, names, strict=True)
        for theirs, ours, tensors in _TENSORS
        for tensor in tensors.split()
    }


def backbone_layers(backbone: ConvBackbone) -> tuple[LayerPlan, ...]:
    """The planned layers of a backbone, at an arbitrary input size."""
    text = "\n".join([section("net", width=512, height=512, channels=3), *backbone_sections(backbone)])
    return plan_cfg(text, "the backbone").layers


def _without_size(layer: LayerPlan) -> LayerPlan:
    return replace(layer, line=0, out=Shape(layer.out.channels, 0, 0))


def unit_weights(unit: ConvUnit) -> LayerWeights:
    """The arrays of a unit, as a `.weights` file stores them."""
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in unit_tensors(unit).items()}


def _modules(unit: ConvUnit) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    convolution, norm = unit[0], unit[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return convolution, norm
