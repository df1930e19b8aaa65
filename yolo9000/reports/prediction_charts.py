"""Charts of the metrics of predictions for the report about a detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from markupsafe import Markup

from data_prep.tables.charts import SMOOTHED_FROM, Series, line_chart
from yolo9000.evaluation.prediction_metrics import PredictionMetrics

Point = TypeVar("Point")


def prediction_charts(metrics: PredictionMetrics) -> list[Markup]:
    """Precision, recall and F1 against `min_score`; risk against coverage; calibration by depth."""
    points, risks = thinned(metrics.curve), thinned(metrics.risk_coverage)
    min_scores = [100 * point.min_score for point in points]
    depths = [float(row.depth) for row in metrics.depths]
    charts = (
        line_chart(
            [
                Series("precision", min_scores, [point.precision for point in points]),
                Series("recall", min_scores, [point.recall for point in points]),
                Series("F1", min_scores, [point.f1 for point in points]),
            ],
            title="Precision, recall and F1 (%) against 100 × min_score",
            last_values=False,
        ),
        line_chart(
            [Series("wrong predictions", [p.coverage for p in risks], [p.risk for p in risks])],
            title="Wrong predictions (%) against coverage (%): from the root to the leaves",
            last_values=False,
        ),
        line_chart(
            [
                Series("mean P(node)", depths, [row.mean_probability for row in metrics.depths]),
                Series("correct nodes", depths, [row.accuracy for row in metrics.depths]),
            ],
            title="Mean probability and share of correct nodes (%) by depth in the tree",
            last_values=False,
        ),
    )
    return [Markup(chart) for chart in charts if chart]  # line_chart escapes its texts


def thinned(points: Sequence[Point]) -> list[Point]:
    """Points from all over a curve, so few that a chart does not smooth them."""
    step = -(-len(points) // (SMOOTHED_FROM - 1)) or 1
    return list(points[::step])
