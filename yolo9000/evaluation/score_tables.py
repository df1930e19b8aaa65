"""The tables of a score for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo9000.evaluation.classification import ClassificationScore
from yolo9000.evaluation.prediction_score import PredictionScore, ScorePoint
from yolo9000.evaluation.scorecard import GROUP_NAMES, METRICS, Scorecard, percentage

if TYPE_CHECKING:
    from rich.table import Table


def score_tables(score: Scorecard | ClassificationScore, *, per_class: bool = False) -> list[Table]:
    """The tables of a score: metrics by group; of a detector also its predictions, and on request each class."""
    tables = [score.table()]
    if isinstance(score, Scorecard):
        if score.predictions is not None:
            tables += prediction_tables(score.predictions)
        if per_class:
            tables += [class_table(score), distance_table(score)]
    return tables


def prediction_tables(score: PredictionScore) -> list[Table]:
    """Precision, recall and F1 at a few scores; accuracy and specificity by group; calibration by depth."""
    from rich.table import Table

    points = Table(title="Predictions as `yolo9000 predict` makes them, percentages")
    points.add_column("min_score")
    for heading in ("detections", "precision", "recall", "F1"):
        points.add_column(heading, justify="right")
    for name, point in named_points(score).items():
        points.add_row(
            name, str(point.detections), *map(percentage, (point.precision, point.recall, point.f1))
        )
    points.caption = (
        "A detection is correct if its class is the object's or above it; recall counts correct ones."
    )
    levels = Table(title=f"Classes predicted at min_absolute {score.min_absolute:g}, percentages")
    levels.add_column("objects of", no_wrap=True)
    for heading in ("number", "accuracy", "exact", "coverage", "hP", "hR", "hF1"):
        levels.add_column(heading, justify="right")
    for level in score.levels:
        values = (level.accuracy, level.exact, level.coverage, level.precision, level.recall, level.f1)
        levels.add_row(GROUP_NAMES[level.group], str(level.objects), *map(percentage, values))
    haurc = "" if score.haurc is None else f"Area under risk against coverage (hAURC): {score.haurc:.2f}. "
    levels.caption = f"{haurc}docs/calibration.md explains each number."
    depths = Table(title="Calibration by depth, percentages")
    depths.add_column("depth")
    for heading in ("nodes", "mean P", "correct", "calibration error"):
        depths.add_column(heading, justify="right")
    for row in score.depths:
        shares = (row.mean_probability, row.accuracy, row.error)
        depths.add_row(str(row.depth), str(row.nodes), *map(percentage, shares))
    return [points, levels, depths]


def named_points(score: PredictionScore) -> dict[str, ScorePoint]:
    """The points of the curve that the tables show, by their name."""
    points = {f"{score.min_score:g} (the settings)": score.at}
    if score.suggested.min_score != score.min_score:
        points[f"{score.suggested.min_score:g} (largest F1)"] = score.suggested
    if score.curve:
        points["any"] = score.curve[0]
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
