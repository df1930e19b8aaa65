"""Histograms and curves as SVG files that need nothing else; colours follow the reader's light or dark setting."""

import math
from html import escape
from pathlib import Path

from data_prep.tables.histograms import Histogram, short
from wordtree.support.files import write_atomically

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 28, 108, 72  # margins of the bars
TEXT_LEFT = 28
CHARACTER = 6.7  # px of a letter of the labels, about

_STYLE = """
  text { font: 12px system-ui, "Segoe UI", Roboto, Helvetica, sans-serif; fill: #5b6470 }
  .paper { fill: #ffffff } .grid { stroke: #e6e8eb }
  .title { font-size: 18px; font-weight: 600; fill: #1b1f24 } .fact { font-size: 13px }
  .l0 { fill: none; stroke: #3b6fd4; stroke-width: 2 }
  .s0 { fill: #3b6fd4 } .s1 { fill: #e3a33b } .s2 { fill: #c3c8cf }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #14171b } .grid { stroke: #2b3138 } text { fill: #9aa4b0 } .title { fill: #eceff3 }
    .l0 { stroke: #6f9bf0 }
    .s0 { fill: #6f9bf0 } .s1 { fill: #e8b45c } .s2 { fill: #4a525c }
  }
"""


def write_chart(folder: Path, histogram: Histogram) -> Path:
    """Write the chart of a histogram under its file name into a folder."""
    path = folder / histogram.file
    write_atomically(path, chart_svg(histogram))
    return path


def chart_svg(histogram: Histogram) -> str:
    """Stacked bars with title, fact, axes and, for several series, a legend."""
    most = int(histogram.counts.sum(axis=0).max(initial=0))
    step = _round_step(most / 4)
    top = step * max(1, math.ceil(most / step - 1e-9))
    parts = [
        *_frame(histogram.title, histogram.fact, histogram.x_title, histogram.y_title),
        *_value_axis(top, step),
        *_bars(histogram, top),
        *_bin_names(histogram),
        *_legend(histogram),
    ]
    return _document(histogram.title, parts)


def sweep_svg(ious: dict[int, float], elbow: int) -> str:
    """A curve of the average IoU over the number of anchors, the elbow marked."""
    top, slot = 100.0, (WIDTH - LEFT - RIGHT) / len(ious)
    points = {
        count: (LEFT + slot * (place + 0.5), _height(100 * iou, top))
        for place, (count, iou) in enumerate(ious.items())
    }
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points.values())
    at_x, at_y = points[elbow]
    most, best = max(ious.items())
    fact = f"the elbow is at {elbow}: {100 * ious[elbow]:.1f} %; {most} anchors: {100 * best:.1f} %"
    parts = [
        *_frame("How many anchors", fact, "anchors", "average IoU of a box with its best anchor, %"),
        *_value_axis(top, 20),
        f'<path class="grid" d="M{at_x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>',
        f'<polyline class="l0" points="{line}"/>',
        *(f'<circle class="s0" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points.values()),
        f'<circle class="s1" cx="{at_x:.1f}" cy="{at_y:.1f}" r="7"/>',
        *(_text(x, HEIGHT - BOTTOM + 20, str(count), anchor="middle") for count, (x, _) in points.items()),
        *(_text(x, y - 12, f"{100 * ious[count]:.1f}", anchor="middle") for count, (x, y) in points.items()),
    ]
    return _document("How many anchors", parts)


def _frame(title: str, fact: str, x_title: str, y_title: str) -> list[str]:
    """Paper, title, what the image shows in numbers, and the names of the axes."""
    return [
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        _text(TEXT_LEFT, 38, title, "title"),
        _text(TEXT_LEFT, 60, fact, "fact"),
        _text(TEXT_LEFT, TOP - 18, y_title),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, x_title, anchor="middle"),
    ]


def _document(title: str, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n{body}\n</svg>\n'
    )


def _value_axis(top: float, step: float) -> list[str]:
    parts = []
    for number in range(round(top / step) + 1):
        y = _height(number * step, top)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 8, y + 4, short(round(number * step)), anchor="end"))
    return parts


def _bars(histogram: Histogram, top: float) -> list[str]:
    slot, parts = _slot(histogram), []
    width = min(slot * 0.8, 64)
    for place in range(len(histogram.bins)):
        below = 0
        for number, count in enumerate(histogram.counts[:, place].tolist()):
            if count:
                y, bottom = _height(below + count, top), _height(below, top)
                x = LEFT + slot * (place + 0.5) - width / 2
                message = f"{histogram.bins[place]}: {count:,} {histogram.series[number]}"
                parts.append(
                    f'<rect class="s{number}" x="{x:.1f}" y="{min(y, bottom - 1):.1f}" width="{width:.1f}" '
                    f'height="{max(bottom - y, 1):.1f}" rx="2"><title>{escape(message)}</title></rect>'
                )
            below += count
    return parts


def _bin_names(histogram: Histogram) -> list[str]:
    """Under each bar, or under every second, third … where there is no room."""
    slot, y = _slot(histogram), HEIGHT - BOTTOM + 20
    every = math.ceil((max(map(len, histogram.bins)) * CHARACTER + 8) / slot)
    names = list(enumerate(histogram.bins))[::every]
    return [_text(LEFT + slot * (place + 0.5), y, name, anchor="middle") for place, name in names]


def _legend(histogram: Histogram) -> list[str]:
    if len(histogram.series) == 1:
        return []
    x, parts = float(WIDTH - RIGHT), []
    for number, name in reversed(list(enumerate(histogram.series))):
        x -= len(name) * CHARACTER + 24
        parts.append(f'<rect class="s{number}" x="{x:.0f}" y="28" width="11" height="11" rx="2"/>')
        parts.append(_text(x + 17, 38, name))
    return parts


def _text(x: float, y: float, text: str, style: str = "", *, anchor: str = "start") -> str:
    shown = f' class="{style}"' if style else ""
    return f'<text{shown} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _slot(histogram: Histogram) -> float:
    return (WIDTH - LEFT - RIGHT) / len(histogram.bins)


def _height(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _round_step(step: float) -> float:
    """The next of 1, 2 and 5 times a power of ten, at least 1."""
    power = 10.0 ** math.floor(math.log10(max(step, 1)))
    return next(power * digit for digit in (1, 2, 5, 10) if power * digit >= step * (1 - 1e-9))
