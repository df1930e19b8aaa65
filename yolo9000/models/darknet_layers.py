"""Darknet's layers as modules, one for each layer type of plan.py, with Darknet's padding and memory order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from yolo9000.config import BatchNormRule
from yolo9000.darknet.plan import (
    AvgPool,
    Convolution,
    Dropout,
    LayerPlan,
    MaxPool,
    Region,
    Reorg,
    Route,
    Softmax,
    SpaceToDepth,
)
from yolo9000.models.grouped_softmax import GroupedSoftmax

_ACTIVATIONS: dict[str, Any] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "relie": lambda: nn.LeakyReLU(0.01, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "elu": lambda: nn.ELU(inplace=True),
    "hardtan": lambda: nn.Hardtanh(inplace=True),
}


def layer_module(layer: LayerPlan, *, batch_norm: BatchNormRule, tree: WordTree | None) -> nn.Module:
    """The module of a layer. A route takes a list of tensors, every other layer one tensor (B, C, H, W)."""
    if isinstance(layer, Convolution):
        return ConvolutionLayer(layer, batch_norm)
    if isinstance(layer, MaxPool):
        return MaxPoolLayer(layer)
    if isinstance(layer, Route):
        return RouteLayer()
    if isinstance(layer, Reorg):
        return ReorgLayer(layer)
    if isinstance(layer, SpaceToDepth):
        return SpaceToDepthLayer(layer.stride)
    if isinstance(layer, Dropout):
        return nn.Dropout(layer.probability)
    if isinstance(layer, Softmax):
        return SoftmaxLayer(layer, tree)
    if isinstance(layer, Region):
        return RegionLayer(layer, tree)
    return nn.AdaptiveAvgPool2d(1) if isinstance(layer, AvgPool) else nn.Identity()  # [cost] computes nothing


class ConvolutionLayer(nn.Module):
    """Convolution, then batch norm or bias, then activation."""

    def __init__(self, layer: Convolution, batch_norm: BatchNormRule) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            layer.channels,
            layer.filters,
            layer.size,
            layer.stride,
            layer.padding,
            groups=layer.groups,
            bias=not layer.batch_normalize,
        )
        self.norm = _BATCH_NORMS[batch_norm](layer.filters) if layer.batch_normalize else nn.Identity()
        self.activation = _ACTIVATIONS[layer.activation]()
        nn.init.kaiming_normal_(self.convolution.weight, a=0.1)
        if self.convolution.bias is not None:
            nn.init.zeros_(self.convolution.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.norm(self.convolution(images)))  # type: ignore[no-any-return]

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the layer under the names of `weights.LayerWeights`."""
        tensors = {"weights": self.convolution.weight}
        if self.convolution.bias is not None:
            tensors["biases"] = self.convolution.bias
        if isinstance(norm := self.norm, nn.BatchNorm2d):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            tensors |= {"biases": norm.bias, "scales": norm.weight}
            tensors |= {"means": norm.running_mean, "variances": norm.running_var}
        return tensors


class DarknetCpuBatchNorm(nn.BatchNorm2d):
    """Batch norm as in Darknet on CPUs (batchnorm_layer.c, blas.c; decision 19).

    The forward pass divides by the standard deviation + 1e-6, in training by the *unbiased* one; the gradient has 1e-5
    under the root. The running statistics have momentum .01.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, momentum=0.01)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            variance, mean = torch.var_mean(images, (0, 2, 3))  # (C,), unbiased
            self._update_running_statistics(mean.detach(), variance.detach())
            normal = _CpuNormalised.apply(images, mean.detach(), variance.detach())
        else:
            assert self.running_mean is not None
            assert self.running_var is not None
            normal = _divided_by_deviation(images, self.running_mean, self.running_var)
        return normal * _by_channel(self.weight) + _by_channel(self.bias)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        self.running_mean.lerp_(mean, 0.01)
        self.running_var.lerp_(variance, 0.01)


class _CpuNormalised(torch.autograd.Function):
    """(x − mean) / (deviation + 1e-6), with the gradient of (x − mean) / √(variance + 1e-5)."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        ctx.save_for_backward(images, mean, variance)
        return _divided_by_deviation(images, mean, variance)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        images, mean, variance = ctx.saved_tensors
        (gradient,) = gradients
        deviation = (variance + 1e-5).sqrt()
        normal = (images - _by_channel(mean)) / _by_channel(deviation)
        dims = (0, 2, 3)
        mean_part = gradient.mean(dims, keepdim=True) + normal * (gradient * normal).mean(dims, keepdim=True)
        return (gradient - mean_part) / _by_channel(deviation), None, None


def _divided_by_deviation(images: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return (images - _by_channel(mean)) / _by_channel(variance.sqrt() + 1e-6)


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


_BATCH_NORMS: dict[str, type[nn.BatchNorm2d]] = {
    "standard": nn.BatchNorm2d,  # decision 7: momentum .1
    "darknet_cpu": DarknetCpuBatchNorm,
}


class MaxPoolLayer(nn.Module):
    """Max pool with Darknet's padding by minus infinity: right and bottom first, and only there for size 2."""

    def __init__(self, layer: MaxPool) -> None:
        super().__init__()
        self.size, self.stride, self.padding = layer.size, layer.stride, layer.padding

    def forward(self, images: Tensor) -> Tensor:
        before = self.padding // 2
        after = [self._padding_after(side) for side in images.shape[2:]]
        if before or any(after):
            images = F.pad(images, (before, after[1], before, after[0]), value=-torch.inf)
        return F.max_pool2d(images, self.size, self.stride)

    def _padding_after(self, side: int) -> int:
        """Number of pixels by which the last window exceeds the image."""
        last = (side + self.padding - self.size) // self.stride * self.stride
        return max(0, last + self.size - self.padding // 2 - side)


class RouteLayer(nn.Module):
    """Concatenation along the channels: Darknet's [route]."""

    def forward(self, sources: Sequence[Tensor]) -> Tensor:
        return sources[0] if len(sources) == 1 else torch.cat(list(sources), dim=1)


class ReorgLayer(nn.Module):
    """Darknet's [reorg], which is not a space-to-depth: it reads the memory in another order (decision 18)."""

    def __init__(self, layer: Reorg) -> None:
        super().__init__()
        self.stride, self.reverse = layer.stride, layer.reverse

    def forward(self, images: Tensor) -> Tensor:
        s = self.stride
        b, c, h, w = images.shape
        if self.reverse:
            split = images.reshape(b, s, s, c // s**2, h, w).permute(0, 3, 4, 1, 5, 2)
            return split.reshape(b, c // s**2, h * s, w * s)
        split = images.reshape(b, c // s**2, h, s, w, s).permute(0, 3, 5, 1, 2, 4)
        return split.reshape(b, c * s**2, h // s, w // s)


class SpaceToDepthLayer(nn.Module):
    """Each block of stride × stride cells becomes one cell, with channels in the order (row, column, channel)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        s = self.stride
        b, c, h, w = images.shape
        blocks = images.reshape(b, c, h // s, s, w // s, s).permute(0, 3, 5, 1, 2, 4)
        return blocks.reshape(b, c * s**2, h // s, w // s)


class SoftmaxLayer(nn.Module):
    """Softmax over groups of equal size, or over the sibling groups of a tree."""

    def __init__(self, layer: Softmax, tree: WordTree | None) -> None:
        super().__init__()
        self.groups, self.temperature = layer.groups, layer.temperature
        self.sibling_softmax = GroupedSoftmax(tree) if layer.tree and tree else None

    def forward(self, logits: Tensor) -> Tensor:
        flat = logits.flatten(1) / self.temperature
        if self.sibling_softmax is None:
            probabilities: Tensor = flat.unflatten(1, (self.groups, -1)).softmax(-1)
        else:
            probabilities = self.sibling_softmax(flat).exp()
        return probabilities.view_as(logits)


class RegionLayer(nn.Module):
    """Output of Darknet's region layer: sigmoid of x, y and objectness; raw w and h; class probabilities."""

    def __init__(self, layer: Region, tree: WordTree | None) -> None:
        super().__init__()
        self.anchors, self.softmax = len(layer.anchors), layer.softmax
        self.sibling_softmax = GroupedSoftmax(tree) if layer.tree and tree else None

    def forward(self, raw: Tensor) -> Tensor:
        entries = raw.unflatten(1, (self.anchors, -1))  # (B, A, 5 + C, H, W)
        offset, size, objectness, logits = entries.split([2, 2, 1, entries.shape[2] - 5], dim=2)
        if self.sibling_softmax:
            classes = self.sibling_softmax(logits, dim=2).exp()
        else:
            classes = logits.softmax(2) if self.softmax else logits.sigmoid()
        return torch.cat([offset.sigmoid(), size, objectness.sigmoid(), classes], dim=2).flatten(1, 2)
