"""Backbones with ImageNet weights: any timm network with features of stride 16 and 32; each normalises its images."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from wordtree.support.lines import one_line
from wordtree.support.suggest import did_you_mean, near
from yolo9000.errors import Yolo9000Error
from yolo9000.models.efficientnet_lite import CHANNELS, FINE_CHANNELS, EfficientNetLite0

BUILT_IN = "tf_efficientnet_lite0"  # its checkpoints predict without timm
MIN_TIMM = (1, 0)
INSTALL_PHOTOS = "pip install 'yolo9000[photos]'"
STAGE_CONTAINERS = ("blocks", "stages", "layers")  # whose entries are stages, in timm's networks
STAGE = re.compile(r"(blocks|stages?|layers?|s)_?\d+")  # a child that is a stage itself
PROBE_HW_PX = (96, 160)  # size of a probe image; a network for images of one size only fails on it


class BackboneError(Yolo9000Error):
    """A backbone that cannot be built: an unknown name, no features of stride 16 and 32, timm missing or too old."""


class TimmBackbone(nn.Module):
    """A timm network as a backbone: images (B, 3, H, W) in 0..1 to features of stride 16 and 32.

    mean, std: (3, 1, 1), the normalisation of images that its weights need; both belong to the state dict. Raises
    BackboneError.
    """

    mean: Tensor
    std: Tensor
    channels: int
    fine_channels: int
    stride = 32

    def __init__(self, name: str) -> None:
        super().__init__()
        if name == BUILT_IN:
            self.network: nn.Module = EfficientNetLite0()
            self.fine_channels, self.channels = FINE_CHANNELS, CHANNELS
            mean = std = (0.5, 0.5, 0.5)
        else:
            self.network, (self.fine_channels, self.channels), (mean, std) = _timm_network(name)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.both_scales(images)[0]

    def both_scales(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of stride 32, (B, C, H, W), and of stride 16, (B, C', 2H, 2W)."""
        fine, features = self.network((images - self.mean) / self.std)
        return features, fine

    @property
    def freezable_stages(self) -> list[list[nn.Module]]:
        """The modules of each stage, from the image on; whatever precedes the first stage belongs to it."""
        stem: list[nn.Module] = []
        stages: list[list[nn.Module]] = []
        for name, child in self.network.named_children():
            if name in STAGE_CONTAINERS:
                stages += [[entry] for entry in child.children()]
            elif STAGE.fullmatch(name):
                stages.append([child])
            elif stages:
                stages[-1].append(child)
            else:
                stem.append(child)
        return [[*stem, *stages[0]], *stages[1:]] if stages else [stem]


def pretrained_timm_weights(name: str) -> dict[str, Tensor]:
    """The weights of a timm network under the names of its `TimmBackbone.network`, downloaded by timm.

    Raises BackboneError.
    """
    timm = _import_timm(name)
    indices = _feature_indices(timm, name)
    try:
        network = timm.create_model(name, features_only=True, out_indices=indices, pretrained=True)
    except (OSError, RuntimeError, ValueError) as reason:
        raise BackboneError(
            f"model.backbone_weights: pretrained: timm could not get the weights of {name} "
            f"({one_line(reason)[:150]}). Download them elsewhere and name the file instead."
        ) from None
    weights: dict[str, Tensor] = network.state_dict()
    return weights


def timm_classifier(name: str, classes: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A timm network with its classifier of `classes` outputs, random weights, and its images' mean and std, (3, 1, 1).

    Raises BackboneError.
    """
    timm = _import_timm(name, setting="model.classes_from")
    mean, std = (torch.tensor(values)[:, None, None] for values in _normalisation(timm, name))
    return timm.create_model(name, num_classes=classes), mean, std


def imagenet_classes() -> tuple[str, ...]:
    """The wnids of ImageNet's 1000 classes in the usual order, from timm. Raises BackboneError."""
    timm = _import_timm(BUILT_IN, setting="model.classes_from")
    return tuple(timm.data.ImageNetInfo("imagenet-1k").label_names())


def _timm_network(name: str) -> tuple[nn.Module, tuple[int, int], tuple[Any, Any]]:
    """The network with random weights; channels of its features of stride 16 and 32; mean and standard deviation."""
    timm = _import_timm(name)
    indices = _feature_indices(timm, name)
    network = timm.create_model(name, features_only=True, out_indices=indices)
    fine, coarse = network.feature_info.channels()
    return network, (int(fine), int(coarse)), _normalisation(timm, name)


def _normalisation(timm: Any, name: str) -> tuple[Any, Any]:
    """Mean and standard deviation of the images that the network was trained on."""
    settings = timm.get_pretrained_cfg(name)
    return (settings.mean, settings.std) if settings else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _import_timm(name: str, *, setting: str = "model.backbone") -> Any:
    """The module timm; BackboneError if it is missing, too old, or knows no network of that name."""
    try:
        import timm
    except ImportError:
        raise BackboneError(f"{setting}: timm/{name} needs timm: {INSTALL_PHOTOS}.") from None
    found = tuple(int(part) for part in timm.__version__.split(".")[:2] if part.isdecimal())
    if found < MIN_TIMM:
        needed = ".".join(map(str, MIN_TIMM))
        raise BackboneError(
            f"model.backbone: expected timm {needed} or newer, found {timm.__version__}: {INSTALL_PHOTOS}."
        )
    if not timm.is_model(name):
        offer = did_you_mean([f"timm/{other}" for other in near(name, timm.list_models(), limit=3)])
        raise BackboneError(f"model.backbone: timm has no network '{name}'.{offer}")
    return timm


def _feature_indices(timm: Any, name: str) -> tuple[int, int]:
    """Positions of the deepest features of stride 16 and of stride 32. Raises BackboneError if the network has none."""
    try:
        with torch.device("meta"):
            network = timm.create_model(name, features_only=True)
            shapes = [
                tuple(features.shape[2:]) for features in network.eval()(torch.empty(1, 3, *PROBE_HW_PX))
            ]
    except (RuntimeError, AttributeError, TypeError, AssertionError, NotImplementedError) as reason:
        message = one_line(reason)[:100]
        raise BackboneError(
            f"model.backbone: timm/{name} gives no features for images of any size ({message}); choose another."
        ) from None
    last = {
        stride: k for stride in (16, 32) for k, shape in enumerate(shapes) if shape == _probe_grid(stride)
    }
    if missing := [str(stride) for stride in (16, 32) if stride not in last]:
        raise BackboneError(
            f"model.backbone: expected features of stride 16 and 32, timm/{name} has none of stride "
            f"{' and '.join(missing)} (it has {', '.join(map(str, network.feature_info.reduction()))})."
        )
    return last[16], last[32]


def _probe_grid(stride: int) -> tuple[int, ...]:
    """Rows and columns of the features of the probe image."""
    return tuple(side // stride for side in PROBE_HW_PX)
