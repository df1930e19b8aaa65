"""The parameter groups of the optimizer, and the EMA of the weights."""

from __future__ import annotations

import torch
from torch import nn

from tests.yolo9000.made import random_tree
from yolo9000.config import ModelConfig, OptimizerConfig
from yolo9000.models.detector import build_detector
from yolo9000.training.optim import ModelEma, build_optimizer, set_learning_rate


def test_biases_and_batch_norm_have_no_weight_decay() -> None:
    cfg = ModelConfig(architecture="tiny", width=0.25, input_size_px=32, anchors=((1, 1),))
    model = build_detector(cfg, random_tree(9))
    decayed, free = build_optimizer(model, OptimizerConfig(weight_decay=0.1)).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)] for p in free["params"]} == {
        name for name, p in model.named_parameters() if p.ndim == 1 or "bias" in name
    }
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)


def test_sgd_over_subdivisions_equals_darknets_update_of_its_accumulators() -> None:
    """Darknet sums the gradients of the mini-batches of an update, and applies decay and momentum to the sum."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)).double()
    cfg = OptimizerConfig(momentum=0.9, weight_decay=0.05)
    optimizer = build_optimizer(model, cfg)
    twin = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    gathered = {name: torch.zeros_like(value) for name, value in twin.items()}
    minibatches, images_each = 3, 2
    batch = minibatches * images_each
    for rate in (0.1, 0.02, 0.2, 0.05):
        optimizer.zero_grad()
        for _ in range(minibatches):
            loss = model(torch.randn(images_each, 2, 5, 5, dtype=torch.float64)).square().sum() / 2
            gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
            for name, gradient in zip(twin, gradients, strict=True):
                gathered[name] -= gradient
            (loss / batch).backward()
        set_learning_rate(optimizer, rate)
        optimizer.step()
        for name, value in twin.items():
            if value.ndim == 4:  # decay on weights, not on biases and scales
                gathered[name] -= cfg.weight_decay * batch * value
            value += rate / batch * gathered[name]
            gathered[name] *= cfg.momentum
        torch.testing.assert_close(dict(model.named_parameters()), twin)


def test_the_ema_follows_the_weights_and_two_swaps_change_nothing() -> None:
    model = nn.Linear(1, 1)
    ema = ModelEma(model, decay=0.5)
    nn.init.constant_(model.weight, 0.0)
    first = ema._ema["weight"].clone()
    expected = first
    for step in range(1, 6):
        nn.init.constant_(model.weight, float(step))
        ema.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    ema.swap()
    torch.testing.assert_close(model.weight.detach(), expected)
    ema.swap()
    assert model.weight.item() == 5


def test_an_ema_survives_its_state_dict() -> None:
    model = nn.Linear(2, 2)
    ema = ModelEma(model, decay=0.9)
    nn.init.ones_(model.weight)
    ema.update()
    other = ModelEma(nn.Linear(2, 2), decay=0.9)
    other.load_state_dict(ema.state_dict())
    assert other.updates == 1
    torch.testing.assert_close(other._ema, ema._ema)


def test_the_learning_rate_reaches_every_group() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), OptimizerConfig(name="adamw"))
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
