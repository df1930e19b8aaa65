"""The metrics of an evaluation as tables for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo9000.evaluation.classification import ClassificationMetrics
from yolo9000.evaluation.prediction_metrics import CurvePoint, PredictionMetrics
from yolo9000.evaluation.scorecard import GROUP_NAMES, METRICS, Scorecard, percentage

if TYPE_CHECKING:
    from rich.table import Table


def metric_tables(result: Scorecard | ClassificationMetrics, *, per_class: bool = False) -> list[Table]:
    """Metrics by group; for a detector also of its predictions and, on request, of each class."""
    tables = [result.table()]
    if isinstance(result, Scorecard):
        if result.predictions is not None:
            tables += prediction_tables(result.predictions)
        if per_class:
            tables += [class_table(result), distance_table(result)]
    return tables


def prediction_tables(metrics: PredictionMetrics) -> list[Table]:
    """Precision, recall and F1 at a few scores; accuracy and specificity by group; calibration by depth."""
    from rich.table import Table

    points = Table(title="Predictions as `yolo9000 predict` makes them, percentages")
    points.add_column("min_score")
    for heading in ("detections", "precision", "recall", "F1"):
        points.add_column(heading, justify="right")
    for name, point in named_points(metrics).items():
        points.add_row(
            name, str(point.detections), *map(percentage, (point.precision, point.recall, point.f1))
        )
    points.caption = (
        "A detection is correct if its class is the object's or above it; recall counts correct ones."
    )
    levels = Table(title=f"Classes predicted at min_absolute {metrics.min_absolute:g}, percentages")
    levels.add_column("objects of", no_wrap=True)
    for heading in ("number", "accuracy", "exact", "coverage", "hP", "hR", "hF1"):
        levels.add_column(heading, justify="right")
    for level in metrics.levels:
        values = (level.accuracy, level.exact, level.coverage, level.precision, level.recall, level.f1)
        levels.add_row(GROUP_NAMES[level.group], str(level.objects), *map(percentage, values))
    haurc = (
        "" if metrics.haurc is None else f"Area under risk against coverage (hAURC): {metrics.haurc:.2f}. "
    )
    levels.caption = f"{haurc}docs/calibration.md explains each number."
    depths = Table(title="Calibration by depth, percentages")
    depths.add_column("depth")
    for heading in ("nodes", "mean P", "correct", "calibration error"):
        depths.add_column(heading, justify="right")
    for row in metrics.depths:
        shares = (row.mean_probability, row.accuracy, row.error)
        depths.add_row(str(row.depth), str(row.nodes), *map(percentage, shares))
    return [points, levels, depths]


def named_points(metrics: PredictionMetrics) -> dict[str, CurvePoint]:
    """The points of the curve that the tables show, by their name."""
    points = {f"{metrics.min_score:g} (the settings)": metrics.at}
    if metrics.suggested.min_score != metrics.min_score:
        points[f"{metrics.suggested.min_score:g} (largest F1)"] = metrics.suggested
    if metrics.curve:
        points["any"] = metrics.curve[0]
    return points


def class_table(card: Scorecard) -> Table:
    """A row for each class, by descending AP50."""
    from rich.table import Table

    table = Table(title="Classes, percentages")
    table.add_column("class")
    table.add_column("group")
    for heading in ("boxes", *METRICS.values()):
        table.add_column(heading, justify="right")
    for row in sorted(card.classes, key=lambda row: (-row.ap50, row.name)):
        values = [percentage(getattr(row, metric)) for metric in METRICS]
        table.add_row(row.name, row.supervision, str(row.boxes), *values)
    return table


def distance_table(card: Scorecard) -> Table:
    """Wrongly classified objects by the distance between class and prediction in the tree."""
    from rich.table import Table

    table = Table(title="Wrongly classified objects by tree distance")
    table.add_column("edges between the classes")
    table.add_column("objects", justify="right")
    for row in card.confusions_by_distance:
        table.add_row("no common root" if row.distance is None else str(row.distance), str(row.count))
    return table
