"""Backbones: Darknet-19 (paper, section 3, table 6) and a shallow one for CPUs.

A backbone maps images (B, 3, H, W) to features of one stride. `both_scales` also returns the features of half that
stride, for the passthrough layer and for a fine grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

from yolo9000.config import NetworkConfig
from yolo9000.models.timm_backbone import BackboneError, TimmBackbone

# Output channels, kernel size and, unless 1, stride of each convolution; "M" is a 2×2 max pool.
DARKNET19 = (
    (32, 3), "M", (64, 3), "M", (128, 3), (64, 1), (128, 3), "M", (256, 3), (128, 1), (256, 3), "M",
    (512, 3), (256, 1), (512, 3), (256, 1), (512, 3), "M", (1024, 3), (512, 1), (1024, 3), (512, 1), (1024, 3),
)  # fmt: skip
TINY = ((32, 6, 2), "M", (64, 3), "M", (128, 3), (128, 3), "M", (256, 3), (256, 3))  # ours; stride 16


class ConvUnit(nn.Sequential):
    """Convolution without bias, batch norm, leaky ReLU of slope .1: the building block of the paper's networks."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        padding = (kernel - stride + 1) // 2
        convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
        nn.init.kaiming_normal_(convolution.weight, a=0.1)
        super().__init__(
            convolution,
            nn.BatchNorm2d(channels_out),  # decision 7: momentum .1, darknet .01
            nn.LeakyReLU(0.1, inplace=True),
        )


class ConvBackbone(nn.Module):
    """A chain of ConvUnits and 2×2 max pools; each pool begins a new stage."""

    def __init__(self, layout: Sequence[tuple[int, ...] | str], *, width: float) -> None:
        super().__init__()
        channels, stages, stage = 3, [], nn.Sequential()
        self.stride = 1
        for layer in layout:
            if isinstance(layer, str):
                stages.append(stage)
                stage = nn.Sequential(nn.MaxPool2d(2, 2))
                self.stride *= 2
                continue
            filters, stride = scaled_filters(layer[0], width), layer[2] if len(layer) > 2 else 1
            stage.append(ConvUnit(channels, filters, layer[1], stride))
            channels = filters
            self.stride *= stride
        self.stages = nn.ModuleList([*stages, stage])
        self.channels = channels

    @property
    def freezable_stages(self) -> list[list[nn.Module]]:
        """The modules of each stage, from the image on."""
        return [[stage] for stage in self.stages]

    @property
    def fine_channels(self) -> int:
        """Channels of the second output of `both_scales`."""
        return int(self.stages[-2][-1][0].out_channels)  # type: ignore[index]

    def forward(self, images: Tensor) -> Tensor:
        return self.both_scales(images)[0]

    def both_scales(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features at the backbone's stride, (B, C, H, W), and at half that stride, (B, C', 2H, 2W)."""
        features = fine = images
        for stage in self.stages:
            fine, features = features, stage(features)
        return features, fine


def scaled_filters(filters: int, width: float) -> int:
    """Number of filters for a width multiplier: a multiple of 8, at least 8."""
    return max(8, round(filters * width / 8) * 8)


Backbone: TypeAlias = ConvBackbone | TimmBackbone


def build_backbone(cfg: NetworkConfig) -> Backbone:
    """The backbone of the configuration, with random weights. Raises BackboneError."""
    name = cfg.backbone_name
    if name.startswith("timm/"):
        return TimmBackbone(name.removeprefix("timm/"))
    return ConvBackbone(TINY if name == "tiny" else DARKNET19, width=cfg.width)


def freeze(model: nn.Module, count: int | Literal["all"]) -> None:
    """Freeze the first stages of the model's backbone: no gradient, and batch norm uses its running statistics.

    count: number of stages; 0 freezes nothing. Raises BackboneError if the backbone has fewer stages.
    """
    if not count:
        return
    backbone = model.backbone
    if not isinstance(backbone, Backbone):
        raise BackboneError("model.freeze: a converted Darknet network has no stages to freeze; set it to 0.")
    stages = backbone.freezable_stages
    count = len(stages) if count == "all" else count
    if count > len(stages):
        raise BackboneError(
            f"model.freeze: expected at most {len(stages)} stages for this backbone, found {count}."
        )
    for module in (module for stage in stages[:count] for module in stage):
        module.requires_grad_(False)
