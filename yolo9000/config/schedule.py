"""Settings of the optimizer, the learning rate and the length of a run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from wordtree.support.config_files import StrictModel


class OptimizerConfig(StrictModel):
    """Optimizer, and exponential moving average (EMA) of the weights."""

    name: Literal["sgd", "adamw"] = "sgd"
    # Peak learning rate. Darknet: .001.
    learning_rate: PositiveFloat = 0.001
    # Learning rate of the backbone, as a factor of the rate of the other layers.
    backbone_lr_scale: PositiveFloat = 1.0
    # Momentum of SGD. Darknet: .9. AdamW does not use it.
    momentum: float = Field(0.9, ge=0, lt=1)
    # Weight decay, of weights only, not of biases and batch norm. Darknet: .0005.
    weight_decay: float = Field(0.0005, ge=0)
    # Rows of a detector's class head that a step updates: all (dense), or only those with a gradient (lazy, decision
    # 38). auto: lazy from 4096 nodes.
    class_rows: Literal["auto", "dense", "lazy"] = "auto"
    # Largest norm of the gradient; None: no clipping.
    clip_norm: PositiveFloat | None = None
    # Decay per step of the EMA of the weights, which is evaluated and saved; 0: no EMA.
    ema: float = Field(0.0, ge=0, lt=1)


class ClassifierOptimizerConfig(OptimizerConfig):
    """Optimizer of a classifier."""

    # Paper, section 3: .1.
    learning_rate: PositiveFloat = 0.1


class ScheduleConfig(StrictModel):
    """Length, learning rate and input sizes of a training run."""

    # Length of the training.
    max_steps: PositiveInt
    # Steps of burn-in (learning-rate warm-up), in which the rate is multiplied by
    # (step / burn_in_steps)^burn_in_power. Darknet: 1000, 4.
    burn_in_steps: int = Field(1000, ge=0)
    burn_in_power: PositiveFloat = 4.0
    # Rule for the learning rate at step t; the names are Darknet's, except cosine.
    policy: Literal["constant", "steps", "step", "exp", "poly", "sigmoid", "cosine"] = "steps"
    # Policy steps: from each of these steps on, the rate is multiplied by its scale.
    steps: tuple[int, ...] = ()
    scales: tuple[PositiveFloat, ...] = ()
    # Policy step: rate × step_scale^(t // step_every).
    step_every: PositiveInt = 1
    step_scale: PositiveFloat = 1.0
    # Policy exp: rate × gamma^t. Policy sigmoid: rate / (1 + e^(gamma · (t − middle))).
    gamma: PositiveFloat = 1.0
    middle: int = 0
    # Policy poly: rate × (1 − t / max_steps)^power.
    power: PositiveFloat = 4.0
    # Multi-scale training: one of these input sizes is drawn every size_every steps; empty: fixed size (decision 24).
    # Paper: every 10 steps.
    sizes_px: tuple[PositiveInt, ...] = ()
    size_every: PositiveInt = 10

    @model_validator(mode="after")
    def _one_scale_for_each_step(self) -> ScheduleConfig:
        if len(self.steps) != len(self.scales):
            raise ValueError(
                f"steps and scales must be of equal length, found {len(self.steps)} and {len(self.scales)}"
            )
        return self
