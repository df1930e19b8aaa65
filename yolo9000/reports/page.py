"""What the HTML pages about runs have in common: their frame, figures, curves, settings, licences.

A page embeds its images, runs no script, loads nothing and follows the reader's light or dark setting.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from PIL import Image

from yolo9000.errors import Yolo9000Error
from yolo9000.reports.charts import Series, line_chart

NO_CURVES = ("images_per_second", "input_px", "memory_mib")  # columns of metrics.csv that `last_values` tells


class InvalidReport(Yolo9000Error):
    """What a page should show cannot be shown: a metrics file that holds no numbers."""


@dataclass(frozen=True)
class Scene:
    """An annotated image, what to say below it, and what to say of it to those who cannot see it."""

    picture: Image.Image
    caption: str = ""
    alt: str = ""


def page(title: str, sections: Iterable[str]) -> str:
    """The sections that are not empty as one HTML page."""
    style = (files("yolo9000") / "assets" / "report.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def head(title: str, summary: str, facts: Sequence[tuple[str, str]], tiles: str) -> str:
    listed = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in facts)
    return (
        f'<h1>{escape(title)}</h1>\n<p class="lead">{escape(summary)}</p>\n'
        + (f'<ul class="facts">{listed}</ul>\n' if listed else "")
        + f'<div class="tiles">{tiles}</div>'
    )


def tile(value: float, measure: str, told: str, *, kind: str = "") -> str:
    """A large number, what it measures, and a line about it."""
    return f'<div class="tile {kind}"><b>{value:.1f}</b>{escape(measure)}<small>{escape(told)}</small></div>'


def figure(scene: Scene) -> str:
    alt = escape(scene.alt or scene.caption or "test image with detections")
    return (
        f'<figure><img src="{_data_uri(scene.picture)}" width="{scene.picture.width}" '
        f'height="{scene.picture.height}" alt="{alt}" loading="lazy">'
        f"<figcaption>{escape(scene.caption)}</figcaption></figure>"
    )


def table(heads: str, rows: Iterable[str]) -> str:
    """A table on a card, scrolled sideways where it is too wide."""
    return f'<div class="card scroll"><table><tr>{heads}</tr>{"".join(rows)}</table></div>'


def row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def curves(metrics_csv: str) -> str:
    """Charts of the losses, the scores and the learning rate. Raises InvalidReport."""
    series = [curve for curve in read_series(metrics_csv) if curve.name not in NO_CURVES]
    scores = [curve for curve in series if curve.name.startswith(("ap50", "ap_", "recall50", "accuracy"))]
    rates = [curve for curve in series if curve.name.startswith("learning_rate")]
    losses = [curve for curve in series if curve not in (*scores, *rates) and any(curve.values)]
    figures = [
        line_chart(_spoken(losses), title="Loss and its terms, logarithmic", height=540, logarithmic=True),
        line_chart(_spoken(scores), title="Scores on the test split, %", height=225),
        line_chart(_spoken(rates), title="Learning rate", height=170),
    ]
    cards = "".join(f'<div class="card">{chart}</div>' for chart in figures if chart)
    return f'<h2>Training</h2>\n<div class="curves">{cards}</div>' if cards else ""


def read_series(metrics_csv: str) -> list[Series]:
    """The curve of each column of a metrics file over its column `step`; empty cells are left out.

    Raises InvalidReport, naming line and column, for a cell that is no number.
    """
    lines = csv.DictReader(io.StringIO(metrics_csv))
    points: dict[str, tuple[list[float], list[float]]] = {}
    for line in lines:
        step = _number(line.get("step"), "step", lines.line_num)
        for column, cell in line.items():
            if column is not None and column != "step" and cell:
                steps, values = points.setdefault(column, ([], []))
                steps.append(step)
                values.append(_number(cell, column, lines.line_num))
    return [Series(column, steps, values) for column, (steps, values) in points.items()]


def settings(config_yaml: str) -> str:
    if not config_yaml:
        return ""
    return (
        "<h2>Settings</h2>\n<details><summary>The effective configuration</summary>\n"
        f"<pre>{escape(config_yaml)}</pre></details>"
    )


def attribution(text: str) -> str:
    """Licences and credits; addresses in them are links."""
    if not text:
        return ""
    linked = re.sub(
        r"https?://[^\s<>()]*[^\s<>().,;:]",
        lambda url: f'<a href="{url[0]}">{url[0]}</a>',
        escape(text),
    )
    return f'<h2>Licences and credits</h2>\n<pre class="notice">{linked}</pre>'


def _number(cell: str | None, column: str, line: int) -> float:
    try:
        return float(cell or "")
    except ValueError:
        raise InvalidReport(
            f"metrics.csv, line {line}: expected a number in column '{column}', found '{cell or ''}'. "
            "Remove the line, or the file to report without curves."
        ) from None


def _spoken(series: Sequence[Series]) -> list[Series]:
    """The same curves with names for people."""
    return [
        Series(re.sub(r"^ap50", "AP50", curve.name).replace("_", " "), curve.steps, curve.values)
        for curve in series
    ]


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    # Full colour resolution (subsampling 0), or the labels' coloured edges blur.
    picture.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
