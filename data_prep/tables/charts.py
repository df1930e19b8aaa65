"""Line charts and stacked bars as SVG: for an HTML page, and as files that stand alone.

Both kinds use the same elements and classes: `<g class="s0">` to `s7` colour a series; `grid`, `faint`, `dot`, `bar`
style its parts. A page brings its own style sheet (yolo9000's report.css); a file contains one, light and dark.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from wordtree.support.arrays import Int64Array

COLOURS = 8  # series colours in a page's style sheet
SMOOTHED_FROM = 40  # points; shorter curves are drawn as they are
CHARACTER = 6.7  # px of a letter, about

_FILE_STYLE = """
  text { font: 12px system-ui, "Segoe UI", Roboto, Helvetica, sans-serif; fill: #5b6470 }
  .paper { fill: #ffffff } .grid { stroke: #e6e8eb }
  .title { font-size: 18px; font-weight: 600; fill: #1b1f24 } .fact { font-size: 13px }
  .s0 { color: #3b6fd4 } .s1 { color: #e3a33b } .s2 { color: #c3c8cf }
  .bar, .dot { fill: currentColor } polyline { fill: none; stroke: currentColor; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14171b } .grid { stroke: #2b3138 } text { fill: #9aa4b0 } .title { fill: #eceff3 }
    .s0 { color: #6f9bf0 } .s1 { color: #e8b45c } .s2 { color: #4a525c }
  }
"""


@dataclass(frozen=True)
class Series:
    """One curve: its name and its points, `steps` ascending."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Histogram:
    """Counts in named bins; `counts` has a row for each of `series`, stacked in a bin.

    fact: one line of text that sums the chart up in numbers.
    """

    file: str
    title: str
    fact: str
    x_title: str
    y_title: str
    bins: Sequence[str]
    series: Sequence[str]
    counts: Int64Array


@dataclass(frozen=True)
class Axis:
    """A scale that maps the values low … high to the coordinates start … end, evenly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """The coordinate of a value."""
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
        step = _round_step((self.high - self.low) / 4, (1, 2, 2.5, 5, 10))
        numbers = range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        return [step * number for number in numbers]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.logarithmic else value


@dataclass(frozen=True)
class ChartFrame:
    """The size of a drawing and the margins around its plot area, in units of the SVG."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    def x_axis(self, low: float, high: float) -> Axis:
        return Axis(low, high, self.left, self.width - self.right)

    def y_axis(self, low: float, high: float, *, logarithmic: bool = False) -> Axis:
        return Axis(low, high, self.height - self.bottom, self.top, logarithmic)

    def grid(self, y: Axis, ticks: Iterable[float], label: Callable[[float], str]) -> str:
        """Horizontal lines at the ticks of the y axis, with their labels."""
        lines = (
            f'<path class="grid" d="M{self.left} {y.position(tick):.1f}H{self.width - self.right}"/>'
            + _text(self.left - 8, y.position(tick) + 4, label(tick), anchor="end")
            for tick in ticks
        )
        return "".join(lines)

    def x_labels(self, labels: Mapping[float, str]) -> str:
        """Labels below the plot area, by their coordinate."""
        y = self.height - self.bottom + 22
        return "".join(_text(x, y, label, anchor="middle") for x, label in labels.items())


FILE_FRAME = ChartFrame(width=760, height=420, left=64, right=28, top=108, bottom=72)


def page_frame(height: int) -> ChartFrame:
    """The frame of a figure in a page, which scales the drawing."""
    return ChartFrame(width=720, height=height, left=56, right=26, top=12, bottom=34)


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    height: int = 300,
    logarithmic: bool = False,
    last_values: bool = True,
) -> str:
    """An HTML figure with curves, over the training step or another quantity.

    last_values: whether the legend has the last value of each curve.
    Long curves are smoothed, and their single points are drawn faint behind them. A logarithmic axis leaves out
    values up to 0. Empty where nothing can be drawn.
    """
    drawable = (_drawable(curve, logarithmic) for curve in series)
    series = [curve for curve in drawable if curve.steps]
    if not series:
        return ""
    smooth, frame = [_smoothed(curve) for curve in series], page_frame(height)
    x = frame.x_axis(0, max(curve.steps[-1] for curve in series))
    y = _fitting_y_axis(frame, smooth, logarithmic)
    grid = frame.grid(y, y.ticks(), three_digits)
    grid += frame.x_labels({x.position(tick): f"{tick:,.0f}" for tick in x.ticks()})
    curves = "".join(
        f'<g class="s{number % COLOURS}">{_faint(raw, curve, x, y)}{_line(curve, x, y)}</g>'
        for number, (raw, curve) in enumerate(zip(series, smooth, strict=True))
    )
    legend = "".join(
        f'<li class="s{number % COLOURS}">{escape(curve.name)}{value}</li>'
        for number, curve in enumerate(smooth)
        for value in [f" <b>{three_digits(curve.values[-1])}</b>" if last_values else ""]
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {frame.width} {height}" role="img" aria-label="{escape(title)}">'
        f"{grid}{curves}</svg><ul class='legend'>{legend}</ul></figure>"
    )


def histogram_svg(histogram: Histogram) -> str:
    """An SVG file with stacked bars, title, fact, axes and, for several series, a legend."""
    frame = FILE_FRAME
    most = int(histogram.counts.sum(axis=0).max(initial=0))
    step = _round_step(max(most / 4, 1), (1, 2, 5, 10))
    steps = max(1, math.ceil(most / step - 1e-9))
    y = frame.y_axis(0, step * steps)
    return _svg_file(
        (histogram.title, histogram.fact, histogram.x_title, histogram.y_title),
        frame.grid(y, [step * number for number in range(steps + 1)], lambda tick: short_count(round(tick))),
        *_bars(histogram, y),
        frame.x_labels(_bin_labels(histogram)),
        *_legend(histogram),
    )


def sweep_svg(ious: Mapping[int, float], elbow: int) -> str:
    """An SVG file with the average IoU over the number of anchors, the elbow marked."""
    frame, counts = FILE_FRAME, list(ious)
    x, y = frame.x_axis(min(counts) - 0.5, max(counts) + 0.5), frame.y_axis(0, 100)
    curve = Series("average IoU", counts, [100 * iou for iou in ious.values()])
    points = [
        (x.position(count), y.position(value)) for count, value in zip(counts, curve.values, strict=True)
    ]
    at_x, at_y = points[counts.index(elbow)]
    most, best = max(ious.items())
    fact = f"the elbow is at {elbow}: {100 * ious[elbow]:.1f} %; {most} anchors: {100 * best:.1f} %"
    return _svg_file(
        ("How many anchors", fact, "anchors", "average IoU of a box with its best anchor, %"),
        frame.grid(y, range(0, 101, 20), "{:.0f}".format),
        f'<path class="grid" d="M{at_x:.1f} {frame.top}V{frame.height - frame.bottom}"/>',
        f'<g class="s0">{_line(curve, x, y)}{"".join(_dot(*point, radius=3.5) for point in points)}</g>',
        f'<g class="s1">{_dot(at_x, at_y, radius=7)}</g>',
        frame.x_labels({left: str(count) for count, (left, _) in zip(counts, points, strict=True)}),
        *(
            _text(left, top - 12, f"{value:.1f}", anchor="middle")
            for (left, top), value in zip(points, curve.values, strict=True)
        ),
    )


def three_digits(value: float) -> str:
    """A number in three significant digits: `0.5`, `12.3`, `12,345`, `8.22e-7`."""
    if value == 0 or 0.001 <= abs(value) < 100_000:
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def short_count(number: int) -> str:
    """A count in few characters: `950`, `1k`, `12k`, `3M`."""
    for size, unit in ((1_000_000, "M"), (1000, "k")):
        if number >= size:
            return f"{number / size:.2g}{unit}" if number < 10 * size else f"{number // size}{unit}"
    return str(number)


def _drawable(curve: Series, logarithmic: bool) -> Series:
    points = [
        (step, value)
        for step, value in zip(curve.steps, curve.values, strict=True)
        if math.isfinite(value) and (value > 0 or not logarithmic)
    ]
    return Series(curve.name, [step for step, _ in points], [value for _, value in points])


def _smoothed(curve: Series) -> Series:
    """The curve with each value replaced by the mean over a twentieth of the curve around it."""
    reach = len(curve.steps) // 40 if len(curve.steps) >= SMOOTHED_FROM else 0
    windows = (curve.values[max(0, i - reach) : i + reach + 1] for i in range(len(curve.values)))
    return Series(curve.name, curve.steps, [sum(window) / len(window) for window in windows])


def _fitting_y_axis(frame: ChartFrame, series: Sequence[Series], logarithmic: bool) -> Axis:
    values = [value for curve in series for value in curve.values]
    low, high = min(values), max(values)
    if logarithmic:
        # Five decades: smaller values play no part in a loss.
        return frame.y_axis(max(low, high * 1e-5) / 1.15, high * 1.15, logarithmic=True)
    low = min(0.0, low)
    return frame.y_axis(low, high + 0.05 * (high - low) or 1.0)


def _line(curve: Series, x: Axis, y: Axis) -> str:
    """A polyline; a dot where the curve has one point."""
    points = [
        (x.position(step), y.position(value)) for step, value in zip(curve.steps, curve.values, strict=True)
    ]
    return _dot(*points[0], radius=4) if len(points) == 1 else f'<polyline points="{_joined(points)}"/>'


def _faint(raw: Series, smooth: Series, x: Axis, y: Axis) -> str:
    """The single values behind a smoothed curve, clipped to the plot area."""
    if list(raw.values) == list(smooth.values):
        return ""
    points = [
        (x.position(step), min(max(y.position(value), y.end), y.start))
        for step, value in zip(raw.steps, raw.values, strict=True)
    ]
    return f'<polyline class="faint" points="{_joined(points)}"/>'


def _joined(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{left:.1f},{top:.1f}" for left, top in points)


def _dot(x: float, y: float, *, radius: float) -> str:
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def _bars(histogram: Histogram, y: Axis) -> list[str]:
    slot, parts = _slot(histogram), []
    width = min(slot * 0.8, 64)
    for bin_number, name in enumerate(histogram.bins):
        below = 0
        for number, count in enumerate(histogram.counts[:, bin_number].tolist()):
            if count:
                top, bottom = y.position(below + count), y.position(below)
                x = FILE_FRAME.left + slot * (bin_number + 0.5) - width / 2
                message = escape(f"{name}: {count:,} {histogram.series[number]}")
                parts.append(
                    f'<g class="s{number}"><rect class="bar" x="{x:.1f}" y="{min(top, bottom - 1):.1f}" '
                    f'width="{width:.1f}" height="{max(bottom - top, 1):.1f}" rx="2"><title>{message}</title>'
                    "</rect></g>"
                )
            below += count
    return parts


def _bin_labels(histogram: Histogram) -> dict[float, str]:
    """The name of each bin by its coordinate; only every second, third … where room is short."""
    slot = _slot(histogram)
    every = math.ceil((max(map(len, histogram.bins)) * CHARACTER + 8) / slot)
    return {
        FILE_FRAME.left + slot * (bin_number + 0.5): name
        for bin_number, name in list(enumerate(histogram.bins))[::every]
    }


def _slot(histogram: Histogram) -> float:
    """The width of a bin."""
    return (FILE_FRAME.width - FILE_FRAME.left - FILE_FRAME.right) / len(histogram.bins)


def _legend(histogram: Histogram) -> list[str]:
    if len(histogram.series) == 1:
        return []
    x, parts = float(FILE_FRAME.width - FILE_FRAME.right), []
    for number, name in reversed(list(enumerate(histogram.series))):
        x -= len(name) * CHARACTER + 24
        box = f'<rect class="bar" x="{x:.0f}" y="28" width="11" height="11" rx="2"/>'
        parts.append(f'<g class="s{number}">{box}</g>{_text(x + 17, 38, name)}')
    return parts


def _svg_file(texts: tuple[str, str, str, str], *parts: str) -> str:
    """A whole SVG file in FILE_FRAME; texts: title, fact, names of the x and the y axis."""
    title, fact, x_title, y_title = texts
    frame = FILE_FRAME
    body = [
        f'<rect class="paper" width="{frame.width}" height="{frame.height}" rx="8"/>',
        _text(28, 38, title, style="title"),
        _text(28, 60, fact, style="fact"),
        _text(28, frame.top - 18, y_title),
        _text((frame.left + frame.width - frame.right) / 2, frame.height - 16, x_title, anchor="middle"),
        *parts,
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {frame.width} {frame.height}" '
        f'width="{frame.width}" height="{frame.height}" role="img" aria-label="{escape(title)}">\n'
        f"<style>{_FILE_STYLE}</style>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, style: str = "", anchor: str = "start") -> str:
    css = f' class="{style}"' if style else ""
    return f'<text{css} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _round_step(step: float, digits: Sequence[float]) -> float:
    """The smallest of the digits times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    return next(power * digit for digit in digits if power * digit >= step * (1 - 1e-9))
