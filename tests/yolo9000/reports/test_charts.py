"""Inline curves and bars: axes, what is drawn, what is left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolo9000.reports.charts import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Axis, Series, bar, line_chart, short

finite = st.floats(-1e6, 1e6)


def points(figure: str) -> list[tuple[float, float]]:
    """Every point of every curve of a figure."""
    found = re.findall(r'points="([^"]*)"', figure)
    return [(float(x), float(y)) for line in found for x, y in (pair.split(",") for pair in line.split())]


@settings(deadline=None)
@given(st.lists(finite, min_size=2, max_size=80))
def test_every_point_of_a_curve_lies_inside_the_frame(values: list[float]) -> None:
    figure = line_chart([Series("loss", range(1, len(values) + 1), values)], title="x", height=200)
    drawn = points(figure)
    assert len(drawn) >= len(values)
    for x, y in drawn:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP - 0.1 <= y <= 200 - BOTTOM + 0.1


@settings(deadline=None)
@given(finite, st.floats(1e-3, 1e6))
def test_ticks_are_few_ascending_and_within_the_axis(low: float, extent: float) -> None:
    axis = Axis(low, low + extent, 0, 100)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    slack = 0.01 * extent + 0.001 * max(abs(low), abs(low + extent))
    assert all(low - slack <= tick <= low + extent + slack for tick in ticks)


@settings(deadline=None)
@given(st.floats(1e-6, 1e3), st.floats(10, 1e6))
def test_ticks_of_a_logarithmic_axis_are_spread_over_it(low: float, factor: float) -> None:
    ticks = Axis(low, low * factor, 0, 100, logarithmic=True).ticks()
    assert 1 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))


def test_an_axis_lays_its_ends_on_its_ends() -> None:
    assert [Axis(2, 4, 10, 30).place(value) for value in (2, 3, 4)] == [10, 20, 30]
    assert Axis(1, 100, 0, 2, logarithmic=True).place(10) == pytest.approx(1)
    assert Axis(3, 3, 5, 9).place(3) == 5


def test_the_legend_names_every_curve_with_its_last_value() -> None:
    figure = line_chart([Series("a & b", [1, 2], [5, 0.125]), Series("c", [2], [7])], title="Two <curves>")
    assert "a &amp; b <b>0.125</b>" in figure
    assert "c <b>7</b>" in figure
    assert "Two &lt;curves&gt;" in figure
    assert figure.count("<polyline") == 1
    assert figure.count("<circle") == 1  # a single point is a dot


def test_long_curves_are_smoothed_with_their_points_behind_them() -> None:
    zigzag = Series("loss", range(100), [number % 2 for number in range(100)])
    figure = line_chart([zigzag], title="x")
    assert figure.count('class="faint"') == 1
    faint, smooth = (points(line) for line in re.findall(r"<polyline[^>]*>", figure))
    swing = [max(y for _, y in line[10:-10]) - min(y for _, y in line[10:-10]) for line in (faint, smooth)]
    assert swing[1] < swing[0] / 3


def test_what_cannot_be_drawn_is_left_out() -> None:
    assert line_chart([], title="x") == ""
    assert line_chart([Series("zero", [1, 2], [0, 0])], title="x", logarithmic=True) == ""
    figure = line_chart([Series("a", [1, 2, 3], [float("nan"), 2, 3])], title="x")
    assert len(points(figure)) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (12.345, "12.3"),
        (12345, "12,345"),
        (8.22e-7, "8.22e-7"),
        (2e6, "2e6"),
        (-0.25, "-0.25"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_bar_stays_within_its_track_and_a_missing_value_is_a_dash() -> None:
    assert "--n:42.0" in bar(42)
    assert "--n:100.0" in bar(123)
    assert "–" in bar(None)
