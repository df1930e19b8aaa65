"""The detector: a backbone, an optional neck, and the head for the nodes of a tree.

yolov2        Darknet-19, three 3×3×1024 convolutions, passthrough reduced to 64 channels (darknet yolov2.cfg)
yolov2_paper  yolov2 with a passthrough of all 512 channels (paper, section 2)
yolo9000      Darknet-19 with the head on top (darknet yolo9000.cfg)
tiny          a shallow backbone of stride 16, for CPUs
darknet       the layers of a Darknet `.cfg` up to the last convolution, which becomes the head
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from yolo9000.config import ModelConfig
from yolo9000.darknet.plan import DetectorPlan
from yolo9000.models.backbone import Backbone, ConvUnit, build_backbone, scaled_filters
from yolo9000.models.darknet_network import DarknetNetwork, plan_of
from yolo9000.models.grid import GridOutput
from yolo9000.models.head import SplitHead
from yolo9000.models.roi_head import RoiHead, RoiOutput
from yolo9000.models.tree_tensors import TreeTensors

Features: TypeAlias = tuple[Tensor, ...]
"""Features of the backbone's stride, (B, C, H, W), and for a neck also those of half that stride."""


class PassthroughNeck(nn.Module):
    """3×3 convolutions, concatenated with a space-to-depth of the finer features (paper, section 2).

    squeeze: output channels of a 1×1 convolution before the space-to-depth; None: no such convolution.
    """

    def __init__(self, channels: int, fine_channels: int, *, filters: int, squeeze: int | None) -> None:
        super().__init__()
        self.deep = nn.Sequential(ConvUnit(channels, filters, 3), ConvUnit(filters, filters, 3))
        self.squeeze = ConvUnit(fine_channels, squeeze, 1) if squeeze else nn.Identity()
        self.join = ConvUnit(filters + 4 * (squeeze or fine_channels), filters, 3)
        self.channels = filters

    def forward(self, features: Tensor, fine: Tensor) -> Tensor:
        passed = F.pixel_unshuffle(self.squeeze(fine), 2)
        return self.join(torch.cat([passed, self.deep(features)], dim=1))  # type: ignore[no-any-return]


class UpsamplingNeck(nn.Module):
    """The neck for a grid of the finer features: 3×3 convolutions at the coarse stride, upsampled and concatenated.

    squeeze: output channels of a 1×1 convolution of the finer features; None: no such convolution.
    """

    def __init__(self, channels: int, fine_channels: int, *, filters: int, squeeze: int | None) -> None:
        super().__init__()
        self.deep = nn.Sequential(ConvUnit(channels, filters, 3), ConvUnit(filters, filters, 3))
        self.squeeze = ConvUnit(fine_channels, squeeze, 1) if squeeze else nn.Identity()
        self.join = ConvUnit(filters + (squeeze or fine_channels), filters, 3)
        self.channels = filters

    def forward(self, features: Tensor, fine: Tensor) -> Tensor:
        deep = F.interpolate(self.deep(features), scale_factor=2.0, mode="nearest")
        return self.join(torch.cat([self.squeeze(fine), deep], dim=1))  # type: ignore[no-any-return]


class Detector(nn.Module):
    """Images (B, 3, H, W), RGB in 0..1, to `GridOutput`; height and width are multiples of the backbone's stride.

    has_fine_grid: whether the grid is that of the backbone's finer features.
    """

    def __init__(
        self,
        backbone: Backbone | DarknetNetwork,
        neck: PassthroughNeck | UpsamplingNeck | None,
        head: SplitHead,
        tree_tensors: TreeTensors,
        *,
        has_fine_grid: bool = False,
        roi_head: RoiHead | None = None,
    ) -> None:
        super().__init__()
        self.has_fine_grid = has_fine_grid
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.roi_head = roi_head
        self.tree_tensors = tree_tensors

    @property
    def tree(self) -> WordTree:
        return self.tree_tensors.tree

    @property
    def stride(self) -> int:
        """Grid cell size in px."""
        stride: int = self.backbone.stride
        return stride // 2 if self.has_fine_grid else stride

    def forward(self, images: Tensor) -> GridOutput:
        return self.output_of(self.features(images))

    def features(self, images: Tensor) -> Features:
        """The backbone's features that the neck or the head reads."""
        if self.neck is None and not self.has_fine_grid:
            return (self.backbone(images),)
        assert not isinstance(self.backbone, DarknetNetwork)
        features, fine = self.backbone.both_scales(images)
        return (fine,) if self.neck is None else (features, fine)

    @property
    def network_outputs(self) -> tuple[str, ...]:
        """The names of the outputs of `network`."""
        return ("head_input", "features", "fine") if self.roi_head and self.neck else ("head_input",)

    def network(self, images: Tensor) -> tuple[Tensor, ...]:
        """All that the heads read: the input of the head, and the backbone's features if an RoI head reads them."""
        features = self.features(images)
        return (self.head_input(features), *features)[: len(self.network_outputs)]

    def output_of_network(self, outputs: tuple[Tensor, ...]) -> GridOutput:
        """The `GridOutput` that the heads compute from the tensors of `network`."""
        output: GridOutput = self.head(outputs[0])
        if self.roi_head is None:
            return output
        return replace(output, roi=RoiOutput(self.roi_head, outputs[1:] or outputs, output))

    def output_of(self, features: Features) -> GridOutput:
        """The output for features of the backbone."""
        output: GridOutput = self.head(self.head_input(features))
        if self.roi_head is None:
            return output
        return replace(output, roi=RoiOutput(self.roi_head, features, output))

    def head_input(self, features: Features) -> Tensor:
        """The input of the head, (B, C, H / stride, W / stride), for features of the backbone."""
        return features[0] if self.neck is None else self.neck(*features)


def build_detector(cfg: ModelConfig, tree: WordTree) -> Detector:
    """The detector of `cfg` with random weights, for the nodes of `tree`.

    Raises DarknetError if a Darknet cfg is not a detector or does not work at this input size.
    """
    assert cfg.anchors is not None, "anchors are computed before the model is built (train.py)"
    backbone, neck = _backbone_and_neck(cfg)
    if neck:
        assert not isinstance(backbone, DarknetNetwork)
        channels, roi_channels = neck.channels, backbone.channels + backbone.fine_channels
    elif cfg.has_fine_grid and not isinstance(backbone, DarknetNetwork):
        channels = roi_channels = backbone.fine_channels
    else:
        channels = roi_channels = backbone.channels
    detector = Detector(
        backbone,
        neck,
        SplitHead(channels, anchors_cell=torch.tensor(cfg.anchors), nodes=len(tree)),
        TreeTensors(tree, siblings=cfg.siblings),
        has_fine_grid=cfg.has_fine_grid,
        roi_head=RoiHead(roi_channels, nodes=len(tree)) if cfg.roi_head else None,
    )
    return detector.to(memory_format=torch.channels_last)


def _backbone_and_neck(
    cfg: ModelConfig,
) -> tuple[Backbone | DarknetNetwork, PassthroughNeck | UpsamplingNeck | None]:
    if cfg.architecture == "darknet":
        return DarknetNetwork(DetectorPlan.of(plan_of(cfg)).backbone, batch_norm=cfg.batch_norm), None
    backbone = build_backbone(cfg)
    neck = None
    if cfg.architecture in ("yolov2", "yolov2_paper"):
        squeeze = scaled_filters(64, cfg.width) if cfg.architecture == "yolov2" else None
        neck = (UpsamplingNeck if cfg.has_fine_grid else PassthroughNeck)(
            backbone.channels,
            backbone.fine_channels,
            filters=scaled_filters(1024, cfg.width),
            squeeze=squeeze,
        )
    return backbone, neck
