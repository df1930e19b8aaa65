"""One self-contained HTML page about a run: scores, pictures, classes, curves, settings, licences.

The page embeds its pictures, runs no script, loads nothing and follows the reader's light or dark setting.
"""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path

from PIL import Image

from wordtree.files import write_atomically
from yolo9000 import Yolo9000Error
from yolo9000.charts import Series, bar, line_chart
from yolo9000.scorecard import ClassScore, Evidence, Scorecard
from yolo9000.scorecard.card import MEASURES, PART_NAMES, percentage
from yolo9000.scorecard.split import PARTS, Part

LISTED = 10  # classes in each list of best and worst
EVIDENCE_CLASS: dict[Evidence, str] = {
    "boxes": "boxes",
    "image labels": "image-labels",
    "neither": "neither",
}


class InvalidReport(Yolo9000Error):
    """What a page should show cannot be shown: a metrics file that holds no numbers."""


@dataclass(frozen=True)
class Yardstick:
    """AP50 of something to compare with, as percentages 0..100; None where it has no value."""

    name: str
    boxed: float | None
    label_only: float | None


@dataclass(frozen=True)
class Scene:
    """An annotated picture, and what to say below it."""

    picture: Image.Image
    caption: str = ""


@dataclass(frozen=True)
class ReportContent:
    """Everything that a page says.

    title            the heading
    summary          what was done, in one paragraph
    scorecard        of the run
    yardsticks       rows beside the run's own AP50
    facts            (name, value) pairs for the head of the page: hardware, time, numbers of pictures
    scenes           pictures of the test set with detections
    training_labels  by class id: the boxes and the image labels that training had at or below it
    metrics_csv      text of the run's metrics.csv: a column `step`, the others numbers or empty
    config_yaml      the effective configuration
    attribution      licences and credits for what the pictures show
    """

    title: str
    summary: str
    scorecard: Scorecard
    yardsticks: Sequence[Yardstick] = ()
    facts: Sequence[tuple[str, str]] = ()
    scenes: Sequence[Scene] = ()
    training_labels: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    metrics_csv: str = ""
    config_yaml: str = ""
    attribution: str = ""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page, whole or not at all. Raises InvalidReport."""
    write_atomically(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The page as HTML."""
    sections = (
        _head(content),
        _comparison(content),
        _scores(content.scorecard),
        _scenes(content.scenes),
        _best_and_worst(content.scorecard.classes),
        _all_classes(content),
        _curves(content.metrics_csv),
        _settings(content.config_yaml),
        _attribution(content.attribution),
    )
    style = (files("yolo9000") / "data" / "report.css").read_text("utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{escape(content.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + "\n</body>\n</html>\n"
    )


def _head(content: ReportContent) -> str:
    facts = "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in content.facts)
    tiles = "".join(_tile(content.scorecard, part) for part in PARTS)
    return (
        f'<h1>{escape(content.title)}</h1>\n<p class="lead">{escape(content.summary)}</p>\n'
        + (f'<ul class="facts">{facts}</ul>\n' if facts else "")
        + f'<div class="tiles">{tiles}</div>'
    )


def _tile(scorecard: Scorecard, part: Part) -> str:
    score = scorecard.part(part)
    trained_on: dict[Part, str] = {
        "boxed": "classes that had boxes in training",
        "label_only": "classes that had image labels only: training never saw a box of them",
        "neither": "classes that had no label in training, only relatives",
    }
    if part not in trained_on or score.ap50 is None:
        return ""
    return (
        f'<div class="tile {part}"><b>{score.ap50:.1f}</b>AP50'
        f"<small>mean over {score.classes} {trained_on[part]}</small></div>"
    )


def _comparison(content: ReportContent) -> str:
    if not content.yardsticks:
        return ""
    card = content.scorecard
    ours = Yardstick("this detector", card.boxed.ap50, card.label_only.ap50)
    rows = [
        f"<tr{' class=ours' if row is ours else ''}><td>{escape(row.name)}</td>"
        f'<td class="text image-labels">{bar(row.label_only)}</td>'
        f'<td class="text boxes">{bar(row.boxed)}</td></tr>'
        for row in (ours, *content.yardsticks)
    ]
    heading = '<th></th><th class="text">image labels only</th><th class="text">with boxes</th>'
    return (
        '<h2>Beside the yardsticks</h2>\n<p class="soft">AP50, mean over the classes of each kind.</p>\n'
        f'<div class="card scroll"><table><tr>{heading}</tr>{"".join(rows)}</table></div>'
    )


def _scores(scorecard: Scorecard) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("classes", "boxes", *MEASURES.values()))
    rows = []
    for part in PARTS:
        score = scorecard.part(part)
        if score.classes:
            cells = [str(score.classes), f"{score.boxes:,}"]
            cells += [percentage(getattr(score, measure)) for measure in MEASURES]
            rows.append(_row([f"<td>{PART_NAMES[part]}</td>", *(f"<td>{cell}</td>" for cell in cells)]))
    return (
        f'<h2>Scorecard</h2>\n<p class="soft">{scorecard.images:,} test pictures; percentages, means over '
        "classes. <b>AP</b> is COCO’s mean over overlaps .5–.95, <b>recall</b> the objects found under any "
        "name, <b>named</b> the found ones called by their own name.</p>\n"
        f'<div class="card scroll"><table><tr><th></th>{heads}</tr>{"".join(rows)}</table></div>'
    )


def _scenes(scenes: Sequence[Scene]) -> str:
    if not scenes:
        return ""
    figures = "".join(
        f'<figure><img src="{_data_uri(scene.picture)}" width="{scene.picture.width}" '
        f'height="{scene.picture.height}" alt="{escape(scene.caption or "test picture with detections")}" '
        f'loading="lazy"><figcaption>{escape(scene.caption)}</figcaption></figure>'
        for scene in scenes
    )
    return (
        '<h2>Test pictures</h2>\n<p class="soft">Each box with its answer and score (objectness × its '
        "probability), coloured by branch of the tree; an answer is as deep in the tree as its probability "
        f'allows. Dashed: missed. In brackets: what it really is.</p>\n<div class="gallery">{figures}</div>'
    )


def _best_and_worst(classes: Sequence[ClassScore]) -> str:
    lists = []
    for evidence, kind in (("boxes", "with boxes"), ("image labels", "with image labels only")):
        ranked = sorted((row for row in classes if row.evidence == evidence), key=lambda row: -row.ap50)
        count = min(LISTED, len(ranked) // 2)
        if count:
            lists.append(_class_list(f"Best {kind}", ranked[:count]))
            lists.append(_class_list(f"Worst {kind}", ranked[-count:][::-1]))
    return f'<h2>Best and worst classes</h2>\n<div class="pair">{"".join(lists)}</div>' if lists else ""


def _class_list(title: str, rows: Sequence[ClassScore]) -> str:
    body = "".join(_row([f"<td>{escape(row.name)}</td>", _bar_cell(row)]) for row in rows)
    return f'<div class="card"><h3>{escape(title)}</h3><table>{body}</table></div>'


def _all_classes(content: ReportContent) -> str:
    """One row a class, best AP50 first."""
    columns: list[tuple[str, Callable[[ClassScore], str]]] = [
        ("class", lambda row: f"<td>{escape(row.name)}</td>"),
        ("id", lambda row: f'<td class="text soft">{escape(row.id)}</td>'),
        ("evidence", lambda row: _coloured_cell(row, f'<span class="badge">{row.evidence}</span>')),
        ("AP50", _bar_cell),
        ("AP", lambda row: f"<td>{percentage(row.ap)}</td>"),
        ("recall", lambda row: f"<td>{percentage(row.recall50)}</td>"),
        ("named", lambda row: f"<td>{percentage(row.accuracy)}</td>"),
        ("test boxes", lambda row: f"<td>{row.boxes:,}</td>"),
    ]
    if content.training_labels:
        columns += [
            ("training boxes", lambda row: f"<td>{content.training_labels.get(row.id, (0, 0))[0]:,}</td>"),
            ("image labels", lambda row: f"<td>{content.training_labels.get(row.id, (0, 0))[1]:,}</td>"),
        ]
    ranked = sorted(content.scorecard.classes, key=lambda row: (-row.ap50, row.name))
    if not ranked:
        return ""
    left_aligned = ("id", "evidence", "AP50")
    heads = "".join(f"<th{' class=text' if name in left_aligned else ''}>{name}</th>" for name, _ in columns)
    rows = "".join(_row([cell(row) for _, cell in columns]) for row in ranked)
    return (
        f"<details><summary>All {len(ranked)} classes</summary>\n"
        f'<div class="card scroll"><table><tr>{heads}</tr>{rows}</table></div></details>'
    )


def _bar_cell(row: ClassScore) -> str:
    return _coloured_cell(row, bar(row.ap50))


def _coloured_cell(row: ClassScore, inside: str) -> str:
    return f'<td class="text {EVIDENCE_CLASS[row.evidence]}">{inside}</td>'


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _curves(metrics_csv: str) -> str:
    series = read_series(metrics_csv)
    scores = [curve for curve in series if curve.name.startswith(("ap50", "ap_", "recall50", "accuracy"))]
    rates = [curve for curve in series if curve.name.startswith("learning_rate")]
    losses = [curve for curve in series if curve not in (*scores, *rates) and any(curve.values)]
    figures = [
        line_chart(_spoken(losses), title="Loss and its terms, logarithmic", height=540, logarithmic=True),
        line_chart(_spoken(scores), title="Scores on the test split, %", height=225),
        line_chart(_spoken(rates), title="Learning rate", height=170),
    ]
    cards = "".join(f'<div class="card">{figure}</div>' for figure in figures if figure)
    return f'<h2>Training</h2>\n<div class="curves">{cards}</div>' if cards else ""


def read_series(metrics_csv: str) -> list[Series]:
    """The curve of each column of a metrics file over its column `step`; empty cells are left out.

    Raises InvalidReport, naming line and column, for a cell that is no number.
    """
    table = csv.DictReader(io.StringIO(metrics_csv))
    points: dict[str, tuple[list[float], list[float]]] = {}
    for row in table:
        step = _number(row.get("step"), "step", table.line_num)
        for column, cell in row.items():
            if column is not None and column != "step" and cell:
                steps, values = points.setdefault(column, ([], []))
                steps.append(step)
                values.append(_number(cell, column, table.line_num))
    return [Series(column, steps, values) for column, (steps, values) in points.items()]


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


def _settings(config_yaml: str) -> str:
    if not config_yaml:
        return ""
    return (
        "<h2>Settings</h2>\n<details><summary>The effective configuration</summary>\n"
        f"<pre>{escape(config_yaml)}</pre></details>"
    )


def _attribution(attribution: str) -> str:
    if not attribution:
        return ""
    linked = re.sub(
        r"https?://[^\s<>()]*[^\s<>().,;:]",
        lambda url: f'<a href="{url[0]}">{url[0]}</a>',
        escape(attribution),
    )
    return f'<h2>Licences and credits</h2>\n<pre class="notice">{linked}</pre>'


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    # Full colour resolution (subsampling 0), or the labels' coloured edges blur.
    picture.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
