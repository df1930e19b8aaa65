"""Learning rate and input size by step."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.yolo9000.darknet_golden import golden_folders
from yolo9000.config import ScheduleConfig
from yolo9000.data.sampler import input_size_at
from yolo9000.training.optim import learning_rate_at


def golden_cases() -> list[Any]:
    """Option sets of [net] with their rates: our own, and those of `DARKNET_GOLDEN`."""
    return [
        pytest.param(case, id=f"{whose}-{name}")
        for whose, folder in golden_folders()
        if (folder / "learning_rates.json").exists()
        for name, case in json.loads((folder / "learning_rates.json").read_text()).items()
    ]


def schedule_of(net_options: str) -> tuple[float, ScheduleConfig]:
    """The base rate and our schedule for the options of a [net] section, as darknet reads them.

    Its update number is unsigned, so it never reaches a negative step, nor the steps after it (decision 12).
    """
    options = dict(line.split("=", 1) for line in net_options.split())

    def number(name: str, default: float) -> float:
        return float(np.float32(options.get(name, default)))  # what a float there holds

    power, step = number("power", 4), int(options.get("step", 1))
    steps = [int(at) for at in options.get("steps", "").split(",") if at]
    reached = next((number for number, at in enumerate(steps) if at < 0), len(steps))
    scales = [float(scale) for scale in options.get("scales", "").split(",") if scale]
    cfg = ScheduleConfig(
        max_steps=int(options.get("max_batches", 1)),
        burn_in_steps=int(options.get("burn_in", 0)),
        burn_in_power=power,
        power=power,
        policy=options.get("policy", "constant"),
        steps=steps[:reached],
        scales=scales[:reached],
        step_every=step,
        step_scale=number("scale", 1),
        gamma=number("gamma", 1),
        middle=step,
    )
    return number("learning_rate", 0.001), cfg


@pytest.mark.parametrize("case", golden_cases())
def test_learning_rates_agree_with_darknet(case: dict[str, Any]) -> None:
    base, cfg = schedule_of(case["net_options"])
    compared = 0
    for step, rate in case["rates"]:
        if cfg.policy == "sigmoid" and cfg.burn_in_steps <= step < cfg.middle:
            assert rate == 0  # the original's unsigned t − step; ours is near the base rate (decision 12)
            assert learning_rate_at(step, base, cfg) > base / 2
            continue
        expected = pytest.approx(rate, rel=1e-5, abs=1e-7 * base)  # float32 there
        assert learning_rate_at(step, base, cfg) == expected
        compared += 1
    assert compared >= 5


def test_a_scale_at_a_negative_step_applies_from_the_start() -> None:
    cfg = ScheduleConfig(max_steps=100, burn_in_steps=0, steps=(-1, 50), scales=(0.1, 10))
    assert [learning_rate_at(step, 1.0, cfg) for step in (1, 49, 50)] == pytest.approx([0.1, 0.1, 1])


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        pytest.param({"policy": "step", "step_every": 10, "step_scale": 0.5}, [2, 2, 1, 0.5], id="step"),
        pytest.param({"policy": "exp", "gamma": 0.9}, [1.8, 2 * 0.9**9, 2 * 0.9**10, 2 * 0.9**20], id="exp"),
        pytest.param(
            {"policy": "sigmoid", "gamma": 0.1, "middle": 10},
            [2 / (1 + math.exp(-0.9)), 2 / (1 + math.exp(-0.1)), 1, 2 / (1 + math.e)],
            id="sigmoid",
        ),
        pytest.param(
            {"policy": "poly", "power": 2}, [2 * 0.99**2, 2 * 0.91**2, 2 * 0.9**2, 2 * 0.8**2], id="poly"
        ),
        pytest.param({"policy": "constant"}, [2, 2, 2, 2], id="constant"),
    ],
)
def test_rates_of_updates_1_9_10_and_20_by_hand(settings: dict[str, Any], rates: list[float]) -> None:
    cfg = ScheduleConfig(max_steps=100, burn_in_steps=0, **settings)
    assert [learning_rate_at(step, 2.0, cfg) for step in (1, 9, 10, 20)] == pytest.approx(rates)


@pytest.mark.parametrize("step", [1, 10**6])
def test_a_steep_sigmoid_does_not_overflow(step: int) -> None:
    cfg = ScheduleConfig(max_steps=10**6, burn_in_steps=0, policy="sigmoid", gamma=1e6, middle=1000)
    assert learning_rate_at(step, 1.0, cfg) == (1 if step == 1 else 0)


def test_cosine_falls_from_the_base_rate_to_0() -> None:
    cfg = ScheduleConfig(max_steps=100, burn_in_steps=10, burn_in_power=1, policy="cosine")
    rates = [learning_rate_at(step, 2.0, cfg) for step in range(1, 101)]
    assert rates[4] == pytest.approx(1.0)
    assert max(rates) == rates[9] == 2.0
    assert rates[-1] == pytest.approx(0)
    assert all(a > b for a, b in pairwise(rates[9:]))


def test_multi_scale_keeps_a_size_for_some_steps_and_uses_all_sizes() -> None:
    cfg = ScheduleConfig(max_steps=1000, sizes_px=(320, 352, 384), size_every=10)
    sizes = [input_size_at(step, cfg, fixed_px=416, seed=1) for step in range(1, 1001)]
    assert all(len(set(sizes[start : start + 10])) == 1 for start in range(0, 1000, 10))
    assert set(sizes) == {320, 352, 384}
    assert sizes == [input_size_at(step, cfg, fixed_px=416, seed=1) for step in range(1, 1001)]
    assert sizes != [input_size_at(step, cfg, fixed_px=416, seed=2) for step in range(1, 1001)]


def test_without_sizes_the_input_size_is_fixed() -> None:
    assert input_size_at(5, ScheduleConfig(max_steps=10), fixed_px=416, seed=0) == 416


def test_steps_and_scales_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="steps and scales must be of equal length, found 2 and 1"):
        ScheduleConfig(max_steps=10, steps=(1, 2), scales=(0.1,))
