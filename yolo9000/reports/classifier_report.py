"""The page about a classifier's run: top-1 and top-5, accuracy by depth in the tree, classes, curves, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from wordtree.support.files import write_atomically
from yolo9000.evaluation.classification import ClassAccuracy, ClassificationScore
from yolo9000.reports.charts import bar
from yolo9000.reports.page import attribution, curves, head, page, row, settings, table, tile

LISTED = 10  # classes in each list of best and worst


@dataclass(frozen=True)
class ClassifierReport:
    """Everything that a page says; as `ReportContent` of detectors."""

    title: str
    summary: str
    score: ClassificationScore
    facts: Sequence[tuple[str, str]] = ()
    metrics_csv: str = ""
    config_yaml: str = ""
    attribution: str = ""


def write_classifier_report(path: Path, content: ClassifierReport) -> None:
    """Write the page, whole or not at all. Raises InvalidReport."""
    write_atomically(path, render_classifier_report(content))


def render_classifier_report(content: ClassifierReport) -> str:
    """The page as HTML. Raises InvalidReport."""
    score = content.score
    return page(
        content.title,
        (
            head(content.title, content.summary, content.facts, _tiles(score)),
            _in_the_tree(score),
            curves(content.metrics_csv),
            _extremes(score.classes),
            _all_classes(score.classes),
            settings(content.config_yaml),
            attribution(content.attribution),
        ),
    )


def _tiles(score: ClassificationScore) -> str:
    unknown = f"; {score.unknown:,} more are of classes it does not know" if score.unknown else ""
    message = {
        "top-1": (score.top1, f"of {score.images - score.unknown:,} images named rightly{unknown}"),
        "top-5": (score.top5, "have a right name among the five most probable"),
        "label’s path": (score.path, "of the way from the root to the label is right, on average"),
    }
    return "".join(tile(value, name, words) for name, (value, words) in message.items() if value is not None)


def _in_the_tree(score: ClassificationScore) -> str:
    depths = table(
        '<th>depth</th><th>images</th><th class="text">right down to there</th>',
        (
            row((f"<td>{d.depth}</td>", f"<td>{d.images:,}</td>", f'<td class="text">{bar(d.correct)}</td>'))
            for d in score.depths
        ),
    )
    answers = table(
        '<th>threshold</th><th class="text">right</th><th>of the path</th>',
        (
            row(
                (
                    f"<td>{a.threshold:g}</td>",
                    f'<td class="text">{bar(a.correct)}</td>',
                    f"<td>{a.path:.1f}</td>",
                )
            )
            for a in score.thresholds
        ),
    )
    return (
        '<h2>How near in the tree</h2>\n<div class="pair"><div><p class="soft">The most probable class, as far as it '
        "goes the way to the label; of the images labelled at a depth or below it, percentages. The roots have "
        f'depth 0.</p>{depths}</div><div><p class="soft">The deepest node whose probability exceeds a threshold: '
        f"how often it lies at, above or under the label, and how much of the label’s path it tells.</p>{answers}"
        "</div></div>"
    )


def _extremes(classes: Sequence[ClassAccuracy]) -> str:
    ranked = sorted(classes, key=lambda one: (-one.top1, -one.top5, -one.images, one.name))
    count = min(LISTED, len(ranked) // 2)
    if not count:
        return ""
    best, worst = _class_table(ranked[:count]), _class_table(ranked[-count:][::-1])
    return (
        '<h2>Best and worst classes</h2>\n<div class="pair">'
        f"<div><h3>Best</h3>{best}</div><div><h3>Worst</h3>{worst}</div></div>"
    )


def _all_classes(classes: Sequence[ClassAccuracy]) -> str:
    if not classes:
        return ""
    ranked = sorted(classes, key=lambda one: (-one.top1, -one.top5, one.name))
    return f"<details><summary>All {len(ranked)} classes</summary>\n{_class_table(ranked)}</details>"


def _class_table(classes: Sequence[ClassAccuracy]) -> str:
    names = ("class", "top-1", "top-5", "pictures", "else taken for")
    heads = "".join(
        f"<th{' class=text' if name in ('top-1', 'else taken for') else ''}>{name}</th>" for name in names
    )
    return table(heads, map(_class, classes))


def _class(one: ClassAccuracy) -> str:
    taken_for = f"{one.confused_with} ({one.count:,})" if one.confused_with else "–"
    cells = (
        f"<td>{escape(one.name)}</td>", f'<td class="text">{bar(one.top1)}</td>', f"<td>{one.top5:.1f}</td>",
        f"<td>{one.images:,}</td>", f'<td class="text soft">{escape(taken_for)}</td>',
    )  # fmt: skip
    return row(cells)
