"""The page about a detector's run: scores, images, classes, curves, settings, licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from wordtree.support.files import write_atomically
from yolo9000.evaluation.scorecard import METRICS, PART_NAMES, Scorecard, percentage
from yolo9000.evaluation.supervision import PARTS, Part
from yolo9000.reports.charts import bar
from yolo9000.reports.class_lists import all_classes, extremes, misses
from yolo9000.reports.page import Scene, attribution, curves, figure, head, page, row, settings, table, tile

TRAINED_ON: dict[Part, str] = {
    "boxed": "classes that had boxes in training",
    "label_only": "classes that had image labels only: training never saw a box of them",
    "none": "classes that had no label in training, only relatives",
}


@dataclass(frozen=True)
class Baseline:
    """AP50 of something to compare with, as percentages 0..100; None where it has no value."""

    name: str
    boxed: float | None
    label_only: float | None


@dataclass(frozen=True)
class ReportContent:
    """Everything that a page says.

    title            the heading
    summary          what was done, in one paragraph
    scorecard        of the run
    baselines       rows beside the run's own AP50
    facts            (name, value) pairs for the head of the page: hardware, time, numbers of images
    scenes           images of the test set with detections
    class_pictures   by class id: objects of the best and the worst classes, and what became of them
    training_labels  by class id: the boxes and the image labels that training had at or below it
    metrics_csv      text of the run's metrics.csv: a column `step`, the others numbers or empty
    config_yaml      the effective configuration
    attribution      licences and credits for what the images show
    """

    title: str
    summary: str
    scorecard: Scorecard
    baselines: Sequence[Baseline] = ()
    facts: Sequence[tuple[str, str]] = ()
    scenes: Sequence[Scene] = ()
    class_images: Mapping[str, Sequence[Scene]] = field(default_factory=dict)
    training_labels: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    metrics_csv: str = ""
    config_yaml: str = ""
    attribution: str = ""


def write_report(path: Path, content: ReportContent) -> None:
    """Write the page, whole or not at all. Raises InvalidReport."""
    write_atomically(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The page as HTML."""
    card = content.scorecard
    tiles = "".join(_tile(card, part) for part in PARTS)
    return page(
        content.title,
        (
            head(content.title, content.summary, content.facts, tiles),
            _comparison(content),
            _scores(card),
            curves(content.metrics_csv),
            _scenes(content.scenes),
            misses(card),
            extremes(card.classes, content.class_images),
            all_classes(card.classes, content.training_labels),
            settings(content.config_yaml),
            attribution(content.attribution),
        ),
    )


def _tile(scorecard: Scorecard, part: Part) -> str:
    score = scorecard.part(part)
    if part not in TRAINED_ON or score.ap50 is None:
        return ""
    return tile(score.ap50, "AP50", f"mean over {score.classes} {TRAINED_ON[part]}", kind=part)


def _comparison(content: ReportContent) -> str:
    if not content.baselines:
        return ""
    card = content.scorecard
    ours = Baseline("this detector", card.boxed.ap50, card.label_only.ap50)
    rows = [
        f"<tr{' class=ours' if one is ours else ''}><td>{escape(one.name)}</td>"
        f'<td class="text image-labels">{bar(one.label_only)}</td>'
        f'<td class="text boxes">{bar(one.boxed)}</td></tr>'
        for one in (ours, *content.baselines)
    ]
    heading = '<th></th><th class="text">image labels only</th><th class="text">with boxes</th>'
    return (
        '<h2>Beside the baselines</h2>\n<p class="soft">AP50, mean over the classes of each kind.</p>\n'
        + table(heading, rows)
    )


def _scores(scorecard: Scorecard) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("", "classes", "boxes", *METRICS.values()))
    rows = []
    for part in PARTS:
        score = scorecard.part(part)
        if score.classes:
            cells = [PART_NAMES[part], str(score.classes), f"{score.boxes:,}"]
            cells += [percentage(getattr(score, measure)) for measure in METRICS]
            rows.append(row(f"<td>{cell}</td>" for cell in cells))
    return (
        f'<h2>Scorecard</h2>\n<p class="soft">{scorecard.images:,} test images; percentages, means over '
        "classes. <b>AP</b> is COCO’s mean over overlaps .5–.95, <b>recall</b> the objects found under any "
        f"name, <b>named</b> the found ones called by their own name.</p>\n{table(heads, rows)}"
    )


def _scenes(scenes: Sequence[Scene]) -> str:
    if not scenes:
        return ""
    return (
        '<h2>Test images</h2>\n<p class="soft">Each box with its answer and score (objectness × its '
        "probability), coloured by branch of the tree; an answer is as deep in the tree as its probability "
        "allows. Dashed: missed. In brackets: what it really is.</p>\n"
        f'<div class="gallery">{"".join(map(figure, scenes))}</div>'
    )
