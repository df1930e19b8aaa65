"""Curves and bars as inline SVG and HTML; their colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 720  # of a drawing, in its own units; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 56, 26, 12, 34  # margins
COLOURS = 8  # series colours in the style sheet
SMOOTHED_FROM = 40  # points; shorter curves are shown as they are


@dataclass(frozen=True)
class Series:
    """One curve: its name and its points, `steps` ascending."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Axis:
    """Values low … high laid on start … end, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Where the value lies."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / ((high - low) or 1)

    def ticks(self) -> list[float]:
        """About five round values from low to high."""
        if self.logarithmic:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            digits = (1, 2, 5) if len(decades) <= 3 else (1,)
            every = -(-len(decades) // 6)
            ticks = [digit * 10.0**decade for decade in decades[::every] for digit in digits]
            return [tick for tick in ticks if self.low <= tick <= self.high]
        step = _round_step((self.high - self.low) / 4)
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [step * number for number in numbers]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value


def line_chart(series: Sequence[Series], *, title: str, height: int = 300, logarithmic: bool = False) -> str:
    """A figure with all curves over the training step; its legend gives each curve's last value.

    Long curves are smoothed, their single points faint behind. A logarithmic axis leaves out values up to 0.
    """
    series = [curve for curve in (_drawable(curve, logarithmic) for curve in series) if curve.steps]
    if not series:
        return ""
    smooth = [_smoothed(curve) for curve in series]
    x = Axis(0, max(curve.steps[-1] for curve in series), LEFT, WIDTH - RIGHT)
    y = _value_axis(smooth, height - BOTTOM, logarithmic)
    lines = [
        f'<g class="s{number % COLOURS}">{_faint(raw, curve, x, y)}{_line(curve, x, y)}</g>'
        for number, (raw, curve) in enumerate(zip(series, smooth, strict=True))
    ]
    legend = "".join(
        f'<li class="s{number % COLOURS}">{escape(curve.name)} <b>{short(curve.values[-1])}</b></li>'
        for number, curve in enumerate(smooth)
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{_grid(x, y)}{''.join(lines)}</svg><ul class='legend'>{legend}</ul></figure>"
    )


def bar(percent: float | None) -> str:
    """A bar from 0 to 100 with its number, as HTML; a dash where there is no value."""
    if percent is None:
        return '<span class="bar none">–</span>'
    return f'<span class="bar" style="--n:{max(0.0, min(100.0, percent)):.1f}">{percent:.1f}</span>'


def short(value: float) -> str:
    """The number in three significant digits."""
    if value == 0 or 0.001 <= abs(value) < 100_000:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _drawable(curve: Series, logarithmic: bool) -> Series:
    points = [
        (step, value)
        for step, value in zip(curve.steps, curve.values, strict=True)
        if math.isfinite(value) and (value > 0 or not logarithmic)
    ]
    return Series(curve.name, [step for step, _ in points], [value for _, value in points])


def _smoothed(curve: Series) -> Series:
    """Each value replaced by the mean of its neighbours, a twentieth of the curve on both sides."""
    reach = len(curve.steps) // 40 if len(curve.steps) >= SMOOTHED_FROM else 0
    windows = (curve.values[max(0, i - reach) : i + reach + 1] for i in range(len(curve.values)))
    return Series(curve.name, curve.steps, [sum(window) / len(window) for window in windows])


def _value_axis(series: Sequence[Series], bottom: float, logarithmic: bool) -> Axis:
    values = [value for curve in series for value in curve.values]
    low, high = min(values), max(values)
    if logarithmic:
        # Five decades: what is smaller than that plays no part in a loss.
        return Axis(max(low, high * 1e-5) / 1.15, high * 1.15, bottom, TOP, logarithmic=True)
    low = min(0.0, low)
    return Axis(low, high + 0.05 * (high - low) or 1.0, bottom, TOP)


def _grid(x: Axis, y: Axis) -> str:
    parts = [
        f'<path class="grid" d="M{LEFT} {y.place(tick):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{LEFT - 8}" y="{y.place(tick) + 4:.1f}" text-anchor="end">{short(tick)}</text>'
        for tick in y.ticks()
    ]
    parts += [
        f'<text x="{x.place(tick):.1f}" y="{y.start + 22:.1f}" text-anchor="middle">{tick:,.0f}</text>'
        for tick in x.ticks()
    ]
    return "".join(parts)


def _line(curve: Series, x: Axis, y: Axis) -> str:
    points = [(x.place(step), y.place(value)) for step, value in zip(curve.steps, curve.values, strict=True)]
    if len(points) == 1:
        return f'<circle class="dot" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="4"/>'
    return f'<polyline points="{_joined(points)}"/>'


def _faint(raw: Series, smooth: Series, x: Axis, y: Axis) -> str:
    """The single values behind a smoothed curve, inside the frame."""
    if list(raw.values) == list(smooth.values):
        return ""
    points = [
        (x.place(step), min(max(y.place(value), y.end), y.start))
        for step, value in zip(raw.steps, raw.values, strict=True)
    ]
    return f'<polyline class="faint" points="{_joined(points)}"/>'


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{left:.1f},{top:.1f}" for left, top in points)


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit >= step * (1 - 1e-9))
