"""EfficientNet-Lite0, whose ImageNet weights ship in a package, so that training can start from them offline.

Module names are those of timm's `tf_efficientnet_lite0`: each loads the weights of the other, and a checkpoint needs no
timm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Kernel, stride, expansion, channels and number of blocks of each stage.
STAGES = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
FINE_STAGE, FINE_CHANNELS = 4, 112  # the last stage of stride 16
CHANNELS = 320  # of the last stage, of stride 32
NORM_EPSILON = 1e-3  # TensorFlow's


class SamePadConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: output sides are ceil(input / stride). It gets a bias by folding."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(channels_in, channels_out, kernel, stride, groups=groups, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        is_trained = self.weight.requires_grad and torch.is_grad_enabled()
        if self.groups == 1 or images.device.type != "cpu" or images.dtype == torch.float32 or not is_trained:
            return self._convolved(images)
        # On CPUs, the gradient of a depthwise convolution in bfloat16 takes several times as long.
        with torch.autocast("cpu", enabled=False):
            return self._convolved(images.float()).to(images.dtype)

    def _convolved(self, images: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(images, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        # A constant for sides that the stride divides; export proves that it does.
        down, across = (max(0, kernel - (side % stride or stride)) for side in images.shape[2:])
        padded = F.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.conv2d(padded, self.weight, self.bias, stride, 0, 1, self.groups)


class _Separable(nn.Module):
    """A depthwise and a pointwise convolution: the block without expansion."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SamePadConv(channels, channels, kernel, stride, channels)
        self.bn1 = nn.BatchNorm2d(channels, NORM_EPSILON)
        self.conv_pw = SamePadConv(channels, out, 1)
        self.bn2 = nn.BatchNorm2d(out, NORM_EPSILON)

    def forward(self, features: Tensor) -> Tensor:
        features = F.relu6(self.bn1(self.conv_dw(features)))
        return self.bn2(self.conv_pw(features))  # type: ignore[no-any-return]


class _InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection, and a shortcut where the shape is unchanged."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.conv_pw = SamePadConv(channels, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner, NORM_EPSILON)
        self.conv_dw = SamePadConv(inner, inner, kernel, stride, inner)
        self.bn2 = nn.BatchNorm2d(inner, NORM_EPSILON)
        self.conv_pwl = SamePadConv(inner, out, 1)
        self.bn3 = nn.BatchNorm2d(out, NORM_EPSILON)
        self.has_shortcut = stride == 1 and channels == out

    def forward(self, features: Tensor) -> Tensor:
        inner = F.relu6(self.bn1(self.conv_pw(features)))
        inner = F.relu6(self.bn2(self.conv_dw(inner)))
        projected: Tensor = self.bn3(self.conv_pwl(inner))
        return projected + features if self.has_shortcut else projected


class EfficientNetLite0(nn.Module):
    """Normalised images (B, 3, H, W) to features of stride 16, (B, 112, …), and of stride 32, (B, 320, …)."""

    def __init__(self) -> None:
        super().__init__()
        channels = 32
        self.conv_stem = SamePadConv(3, channels, 3, 2)
        self.bn1 = nn.BatchNorm2d(channels, NORM_EPSILON)
        stages = []
        for kernel, stride, expansion, out, blocks in STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                step = stride if block == 0 else 1
                stage.append(
                    _Separable(channels, out, kernel, step)
                    if expansion == 1
                    else _InvertedResidual(channels, out, kernel, step, expansion)
                )
                channels = out
            stages.append(stage)
        self.blocks = nn.Sequential(*stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, images: Tensor) -> list[Tensor]:
        features = F.relu6(self.bn1(self.conv_stem(images)))
        outputs = []
        for number, stage in enumerate(self.blocks):
            features = stage(features)
            if number in (FINE_STAGE, len(STAGES) - 1):
                outputs.append(features)
        return outputs
