"""The report about a classifier: top-1 and top-5, accuracy along the tree, classes, curves, settings."""

from __future__ import annotations

from yolo9000.evaluation.classification import ClassificationMetrics
from yolo9000.reports.page import RunDetails, render_page

LISTED_CLASSES = 10  # classes in each list of best and worst


def render_classifier_report(run: RunDetails, metrics: ClassificationMetrics) -> str:
    """The report as HTML. Raises InvalidReport."""
    ranked = sorted(metrics.classes, key=lambda row: (-row.top1, -row.top5, -row.images, row.name))
    listed = min(LISTED_CLASSES, len(ranked) // 2)
    return render_page(
        "classifier_report.html",
        run,
        metrics=metrics,
        best=ranked[:listed],
        worst=ranked[len(ranked) - listed :][::-1],
        ranked=ranked,
    )
