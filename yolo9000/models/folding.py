"""Batch norm in evaluation mode, folded into the convolution before it: the same function with one layer less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from yolo9000.models.darknet_layers import DarknetCpuBatchNorm
from yolo9000.models.detector import Detector

TOLERANCE = 1e-3  # relative to the largest output; rounding stays far below it


def fold_detector(detector: Detector) -> None:
    """Fold the batch norm of a detector in place; the tensors of its former weights keep their values."""
    side_px = 2 * detector.backbone.stride
    weight = detector.head.box.weight
    trial = torch.linspace(0, 1, 3 * side_px**2, device=weight.device, dtype=weight.dtype).view(
        1, 3, side_px, -1
    )
    fold_batch_norm(detector, lambda: detector.head_input(detector.features(trial)))


@torch.no_grad()
def fold_batch_norm(network: nn.Module, run: Callable[[], Tensor]) -> int:
    """Fold every batch norm whose input is the output of one convolution that nothing else reads; returns their number.

    network: in evaluation mode; changed in place, its old tensors are not. run: computes the network's output for
    trial images, by which the pairs are found. Where a convolution uses its weights in another way, and the output
    would change, the network stays as it is.
    """
    with _watched(network) as seen:
        expected = run()
    replaced = [_fold(network, convolution, norm) for convolution, norm in seen.pairs()]
    found = run()
    if (found - expected).abs().max() > TOLERANCE * expected.abs().max():
        for undo in replaced:
            undo()
        return 0
    return len(replaced)


@dataclass
class _Seen(TorchFunctionMode):
    """The outputs of convolutions in one forward pass, what reads them, and the inputs of batch norms."""

    convolutions: dict[int, tuple[nn.Conv2d, Tensor]] = field(default_factory=dict)  # by id of the output
    norms: list[tuple[_BatchNorm, int]] = field(default_factory=list)  # with the id of the input
    readers: Counter[int] = field(default_factory=Counter)
    calls: Counter[nn.Module] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor | tuple | list) and not isinstance(result, torch.Size):
            self.readers.update(id(value) for value in _tensors([*args, *(kwargs or {}).values()]))
        return result

    def pairs(self) -> list[tuple[nn.Conv2d, _BatchNorm]]:
        """The convolutions and batch norms that can be folded."""
        found = []
        for norm, read in self.norms:
            if read not in self.convolutions or norm.training or _activation_of(norm) is None:
                continue
            convolution = self.convolutions[read][0]
            if self.readers[read] == 1 and self.calls[norm] == 1 and self.calls[convolution] == 1:
                found.append((convolution, norm))
        return found


def _tensors(values: Sequence[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


@contextmanager
def _watched(network: nn.Module) -> Iterator[_Seen]:
    """A block in which the calls of the network's convolutions and batch norms are recorded."""
    seen, hooks = _Seen(), list[RemovableHandle]()

    def convolved(module: nn.Conv2d, _: Any, output: Tensor) -> None:
        seen.calls[module] += 1
        seen.convolutions[id(output)] = module, output  # kept, so that no later tensor gets its id
        seen.readers[id(output)] = 0  # an earlier tensor may have had it

    def normalised(module: _BatchNorm, given: tuple[Tensor, ...]) -> None:
        seen.calls[module] += 1
        seen.norms.append((module, id(given[0])))

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(convolved))
        elif isinstance(module, _BatchNorm):
            hooks.append(module.register_forward_pre_hook(normalised))
    try:
        with seen:
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _fold(network: nn.Module, convolution: nn.Conv2d, norm: _BatchNorm) -> Callable[[], None]:
    """Fold one pair; returns a function that undoes it."""
    old_weight, old_bias = convolution.weight, convolution.bias
    scale, shift = _scale_and_shift(norm)
    bias = shift if old_bias is None else shift + old_bias.double() * scale
    weight = old_weight.double() * scale[:, None, None, None]
    convolution.weight = _parameter(weight, old_weight)
    convolution.bias = _parameter(bias, old_weight)
    activation = _activation_of(norm)
    assert activation is not None
    names = [name for name, module in network.named_modules() if module is norm]
    for name in names:
        network.set_submodule(name, activation)

    def undo() -> None:
        convolution.weight, convolution.bias = old_weight, old_bias
        for name in names:
            network.set_submodule(name, norm)

    return undo


def _scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The factor and the summand of each channel, (C,) float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean.double(), norm.running_var.double()
    is_darknet = isinstance(norm, DarknetCpuBatchNorm)
    scale = 1 / (variance.sqrt() + 1e-6 if is_darknet else (variance + norm.eps).sqrt())
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -mean * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


def _activation_of(norm: _BatchNorm) -> nn.Module | None:
    """The layers that remain of a batch norm; None for a type that is not known to be only batch norm and these."""
    if type(norm) in (nn.BatchNorm2d, DarknetCpuBatchNorm):
        return nn.Identity()
    if type(norm).__name__ == "BatchNormAct2d":  # timm's
        return nn.Sequential(norm.get_submodule("drop"), norm.get_submodule("act"))
    return None


def _parameter(value: Tensor, like: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(like.dtype), requires_grad=False)
