"""The frame that the HTML reports share; the templates are `assets/*.html`.

A report is one file. It embeds its images, runs no script, loads nothing from elsewhere and follows the reader's light
or dark setting.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from data_prep.tables.charts import Series, line_chart
from wordtree.support.lines import quoted
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation.scorecard import percentage

NO_CURVES = ("images_per_second", "input_px", "memory_mib")  # columns of metrics.csv that are not drawn


class InvalidReport(Yolo9000Error):
    """The cells of a metrics file are not numbers, so curves cannot be drawn."""


@dataclass(frozen=True)
class RunDetails:
    """Text and files of a run for its report, apart from the metrics.

    title         the heading
    summary       what was done, in one paragraph
    facts         (name, value) pairs for the head of the page: step, network, speed
    metrics_csv   content of the run's metrics.csv: a column `step`, the other columns numbers or empty
    config_yaml   the effective configuration
    attribution   licences and credits of the images
    """

    title: str
    summary: str
    facts: Sequence[tuple[str, str]] = ()
    metrics_csv: str = ""
    config_yaml: str = ""
    attribution: str = ""


@dataclass(frozen=True)
class ReportImage:
    """An image with a caption and an alternative text for readers who cannot see the image."""

    pixels: Image.Image
    caption: str = ""
    alt: str = ""


def render_page(template: str, run: RunDetails, **content: Any) -> str:
    """The HTML of a template that extends report.html. Raises InvalidReport."""
    return _environment().get_template(template).render(run=run, curves=_curves(run.metrics_csv), **content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("yolo9000", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    filters: dict[str, Callable[..., str]] = {
        "bar_length": _bar_length,
        "data_uri": _data_uri,
        "percentage": percentage,
        "thousands": "{:,}".format,
    }
    environment.filters |= filters
    return environment


def _bar_length(percent: float) -> str:
    """The length of a bar in percent of its track."""
    return f"{max(0.0, min(100.0, percent)):.1f}"


def read_series(metrics_csv: str) -> list[Series]:
    """The curve of each column of a metrics file over its column `step`, without empty cells.

    Raises InvalidReport, with line and column, for a cell that is not a number.
    """
    lines = csv.DictReader(io.StringIO(metrics_csv))
    points: dict[str, tuple[list[float], list[float]]] = {}
    try:
        for line in lines:
            step = _number(line.get("step"), "step", lines.line_num)
            for column, cell in line.items():
                if column is not None and column != "step" and cell:
                    steps, values = points.setdefault(column, ([], []))
                    steps.append(step)
                    values.append(_number(cell, column, lines.line_num))
    except csv.Error as reason:
        raise InvalidReport(f"metrics.csv, line {lines.line_num}: not CSV ({reason}).") from None
    return [Series(column, steps, values) for column, (steps, values) in points.items()]


def _number(cell: str | None, column: str, line: int) -> float:
    try:
        return float(cell or "")
    except ValueError:
        raise InvalidReport(
            f"metrics.csv, line {line}: expected a number in column '{column}', found {quoted(cell or '')}. "
            "Remove the line, or the file to report without curves."
        ) from None


def _curves(metrics_csv: str) -> list[Markup]:
    """Charts of the losses, the metrics and the learning rate, without empty charts."""
    series = [curve for curve in read_series(metrics_csv) if curve.name not in NO_CURVES]
    metrics = [curve for curve in series if curve.name.startswith(("ap50", "ap_", "recall50", "accuracy"))]
    rates = [curve for curve in series if curve.name.startswith("learning_rate")]
    losses = [curve for curve in series if curve not in (*metrics, *rates) and any(curve.values)]
    charts = (
        line_chart(_readable(losses), title="Loss and its terms, logarithmic", height=540, logarithmic=True),
        line_chart(_readable(metrics), title="Metrics on the test split, %", height=225),
        line_chart(_readable(rates), title="Learning rate", height=170),
    )
    return [Markup(chart) for chart in charts if chart]  # line_chart escapes its texts


def _readable(series: Sequence[Series]) -> list[Series]:
    """The curves with names for readers: `AP50 boxed` for `ap50_boxed`."""
    return [
        Series(re.sub(r"^ap50", "AP50", curve.name).replace("_", " "), curve.steps, curve.values)
        for curve in series
    ]


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    # Full colour resolution (subsampling 0), or the coloured edges of the labels blur.
    image.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
