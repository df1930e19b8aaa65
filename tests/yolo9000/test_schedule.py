"""Learning rate and input size by step."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from yolo9000.config import ScheduleConfig
from yolo9000.schedule import input_size_at, learning_rate_at

GOLDEN = Path(os.environ.get("DARKNET_GOLDEN", ""), "learning_rates.json")
POLICIES = {"constant", "steps", "poly"}


def golden_cases() -> dict[str, tuple[float, ScheduleConfig, list[tuple[int, float]]]]:
    """Darknet's option sets that we have; a first step of -1 is a bug of the original and not repeated."""
    if not os.environ.get("DARKNET_GOLDEN") or not GOLDEN.exists():
        return {}
    cases = {}
    for name, case in json.loads(GOLDEN.read_text()).items():
        options = dict(line.split("=", 1) for line in case["net_options"].split())
        policy = options.get("policy", "constant")
        steps = tuple(int(step) for step in options.get("steps", "").split(",") if step)
        if policy not in POLICIES or -1 in steps:
            continue
        power = float(options.get("power", 4))
        cfg = ScheduleConfig(
            max_steps=int(options.get("max_batches", 1)),
            burn_in_steps=int(options.get("burn_in", 0)),
            burn_in_power=power,
            power=power,
            policy=policy,
            steps=steps,
            scales=tuple(float(scale) for scale in options.get("scales", "").split(",") if scale),
        )
        cases[name] = (float(options["learning_rate"]), cfg, case["rates"])
    return cases


@pytest.mark.skipif(not golden_cases(), reason="DARKNET_GOLDEN is not set: Darknet's numbers are not at hand")
@pytest.mark.parametrize("name", sorted(golden_cases()))
def test_learning_rates_agree_with_darknet(name: str) -> None:
    base, cfg, rates = golden_cases()[name]
    assert rates
    for step, rate in rates:
        if step:
            assert learning_rate_at(step, base, cfg) == pytest.approx(
                rate, rel=1e-5, abs=1e-7 * base
            )  # float32 there


def test_cosine_falls_from_the_base_rate_to_nothing() -> None:
    cfg = ScheduleConfig(max_steps=100, burn_in_steps=10, burn_in_power=1, policy="cosine")
    rates = [learning_rate_at(step, 2.0, cfg) for step in range(1, 101)]
    assert rates[4] == pytest.approx(1.0)
    assert max(rates) == rates[9] == 2.0
    assert rates[-1] == pytest.approx(0)
    assert all(a > b for a, b in pairwise(rates[9:]))


def test_multi_scale_keeps_a_size_for_some_steps_and_uses_them_all() -> None:
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
