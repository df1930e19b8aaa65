"""Learning rate and input size as pure functions of the step (paper, sections 2 and 3; darknet network.c)."""

from __future__ import annotations

import math

import numpy as np

from yolo9000.config import ScheduleConfig


def learning_rate_at(step: int, base: float, cfg: ScheduleConfig) -> float:
    """The rate of update number `step`, counted from 1 as darknet does."""
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
    """1 / (1 + e^x), for any x without overflow."""
    return 1 / (1 + math.exp(x)) if x < 0 else math.exp(-x) / (1 + math.exp(-x))


def input_size_at(step: int, cfg: ScheduleConfig, *, fixed_px: int, seed: int) -> int:
    """Side of the square network input at a step; with `sizes_px`, drawn anew every `size_every` steps."""
    if not cfg.sizes_px:
        return fixed_px
    period = (step - 1) // cfg.size_every
    return int(np.random.default_rng((seed, period, len(cfg.sizes_px))).choice(cfg.sizes_px))
