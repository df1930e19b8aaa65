"""The optimizer, its learning rate, and the exponential moving average (EMA) of the weights, which evaluation uses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from yolo9000.config import OptimizerConfig, ScheduleConfig


def build_optimizer(model: nn.Module, cfg: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD with momentum (the paper's) or AdamW for all weights that are not frozen.

    Biases and batch norm have no weight decay (darknet).
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    backbone = {name: p for name, p in trained.items() if name.startswith("backbone.")}
    if cfg.backbone_lr_scale == 1:
        groups = _decay_groups(trained, cfg, scale=1.0)
    else:
        rest = {name: p for name, p in trained.items() if name not in backbone}
        groups = [
            *_decay_groups(rest, cfg, scale=1.0),
            *_decay_groups(backbone, cfg, scale=cfg.backbone_lr_scale),
        ]
    if cfg.name == "adamw":
        return torch.optim.AdamW(groups, lr=cfg.learning_rate, fused=True)
    return torch.optim.SGD(groups, lr=cfg.learning_rate, momentum=cfg.momentum, fused=True)


def _decay_groups(
    named: Mapping[str, nn.Parameter], cfg: OptimizerConfig, *, scale: float
) -> list[dict[str, Any]]:
    """Two groups of parameters: with and without weight decay; `lr_scale` is read by `set_learning_rate`."""
    weights = [p for name, p in named.items() if p.ndim > 1 and not name.endswith("bias")]
    others = [p for name, p in named.items() if p.ndim <= 1 or name.endswith("bias")]
    return [
        {"params": weights, "weight_decay": cfg.weight_decay, "lr_scale": scale},
        {"params": others, "weight_decay": 0.0, "lr_scale": scale},
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all groups, scaled by their own factors."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]


def learning_rate_at(step: int, base: float, cfg: ScheduleConfig) -> float:
    """The learning rate of a step; steps count from 1, as in darknet.

    base: the rate after the burn-in.
    """
    if step < cfg.burn_in_steps:
        return float(base * (step / cfg.burn_in_steps) ** cfg.burn_in_power)
    if cfg.policy == "steps":
        return base * math.prod(scale for at, scale in zip(cfg.steps, cfg.scales, strict=True) if at <= step)
    if cfg.policy == "step":
        return float(base * cfg.step_scale ** (step // cfg.step_every))
    if cfg.policy == "exp":
        return float(base * cfg.gamma**step)
    if cfg.policy == "sigmoid":
        return base * _falling_logistic(cfg.gamma * (step - cfg.middle))
    if cfg.policy == "poly":
        return float(base * max(0.0, 1 - step / cfg.max_steps) ** cfg.power)
    if cfg.policy == "cosine":
        done = (step - cfg.burn_in_steps) / max(1, cfg.max_steps - cfg.burn_in_steps)
        return base * (1 + math.cos(math.pi * min(1.0, done))) / 2
    return base


def _falling_logistic(x: float) -> float:
    """1 / (1 + e^x), without overflow for any x."""
    return 1 / (1 + math.exp(x)) if x < 0 else math.exp(-x) / (1 + math.exp(-x))


class ModelEma:
    """The exponential moving average (EMA) of a model's floating-point state, under the names of its state dict.

    The first steps have a smaller decay, min(decay, (1 + n) / (10 + n)), so that the random start is forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = _trained_state(model)
        self._ema = {name: value.clone() for name, value in self._live.items()}
        self._updated = list(self._ema)  # the names of the state that `update` updates

    @property
    def current_decay(self) -> float:
        """The decay of the last update."""
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    def take_over(self, weight: nn.Parameter) -> Tensor:
        """The EMA of one weight, which the caller updates from now on."""
        name = next(name for name, live in self._live.items() if live.data_ptr() == weight.data_ptr())
        self._updated.remove(name)
        return self._ema[name]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        ema, live = ([state[name] for name in self._updated] for state in (self._ema, self._live))
        torch._foreach_lerp_(ema, live, 1 - self.current_decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin anew with the present weights."""
        self.updates = 0
        for name, live in self._live.items():
            self._ema[name].copy_(live)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and their EMA; a second call exchanges them back."""
        for name, live in self._live.items():
            kept = live.clone()
            live.copy_(self._ema[name])
            self._ema[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "average": self._ema}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        for name, value in self._ema.items():
            value.copy_(state["average"][name])


def _trained_state(model: nn.Module) -> dict[str, Tensor]:
    """The floating-point part of the state dict, without frozen modules."""
    frozen = {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if (own := list(module.parameters(recurse=False))) and not any(p.requires_grad for p in own)
        for name, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    }
    return {
        name: value
        for name, value in model.state_dict().items()
        if value.is_floating_point() and name not in frozen
    }
