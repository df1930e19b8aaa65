"""The report about a detector: scores, test images, errors, classes, curves, settings, licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from yolo9000.evaluation.metric_tables import named_points
from yolo9000.evaluation.scorecard import GROUP_NAMES, METRICS, ClassMetrics, Scorecard
from yolo9000.evaluation.supervision import CLASS_GROUPS, ClassGroup
from yolo9000.reports.class_lists import (
    COLOUR_OF,
    LISTED_SUPERVISION,
    best_and_worst,
    breakdown_table,
    confusions_by_group,
    outcome_counts,
)
from yolo9000.reports.page import ReportImage, RunDetails, render_page
from yolo9000.reports.prediction_charts import prediction_charts

GROUP_TEXTS: dict[ClassGroup, str] = {
    "boxed": "classes that had boxes in training",
    "label_only": "classes that had image labels only: training never saw a box of them",
    "none": "classes that had no label in training",
}


@dataclass(frozen=True)
class Baseline:
    """AP50 of another detector to compare with, as percentages 0..100; None if it has no value."""

    name: str
    boxed: float | None
    label_only: float | None


@dataclass(frozen=True)
class DetectorReport:
    """The content of a report.

    baselines         rows to compare the run's own AP50 with
    test_images       images of the test set with detections
    class_images      by class id: objects of the best and the worst classes, with their outcomes
    training_labels   by class id: numbers of boxes and of image labels at or below the class in training
    """

    run: RunDetails
    scorecard: Scorecard
    baselines: Sequence[Baseline] = ()
    test_images: Sequence[ReportImage] = ()
    class_images: Mapping[str, Sequence[ReportImage]] = field(default_factory=dict)
    training_labels: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def render_detector_report(report: DetectorReport) -> str:
    """The report as HTML. Raises InvalidReport."""
    card = report.scorecard
    own = Baseline("this detector", card.boxed.ap50, card.label_only.ap50)
    lists: dict[str, list[ClassMetrics]] = {}
    for supervision, name in LISTED_SUPERVISION.items():
        best, worst = best_and_worst(card.classes, supervision)
        if best:
            lists |= {f"Best {name}": best, f"Worst {name}": worst}
    return render_page(
        "detector_report.html",
        report.run,
        card=card,
        metrics=METRICS,
        groups=[group for group in CLASS_GROUPS if card.group(group).classes],
        group_names=GROUP_NAMES,
        group_texts=GROUP_TEXTS,
        colour_of=COLOUR_OF,
        baselines=(own, *report.baselines) if report.baselines else (),
        prediction_points=named_points(card.predictions) if card.predictions else {},
        prediction_charts=prediction_charts(card.predictions) if card.predictions else (),
        test_images=report.test_images,
        outcome_counts=outcome_counts,
        breakdown=breakdown_table(card),
        breakdown_groups=[
            group for group in CLASS_GROUPS if any(row.group == group for row in card.breakdown)
        ],
        confusions=confusions_by_group(card),
        best_and_worst=lists,
        class_images=report.class_images,
        ranked=sorted(card.classes, key=lambda row: (-row.ap50, row.name)),
        training_labels=report.training_labels,
    )
