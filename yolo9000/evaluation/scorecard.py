"""`Scorecard`: every metric of one evaluation of a detector, for JSON and as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from data_prep.dataset.label_counts import Supervision
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.average_precision import AveragePrecision, average_precision
from yolo9000.evaluation.breakdown import BreakdownRow, breakdown
from yolo9000.evaluation.outcomes import (
    NO_OUTCOMES,
    ClassCounts,
    Confusion,
    DistanceCount,
    ObjectOutcomes,
    confusions,
    count_by_distance,
    counts_by_class,
    object_outcomes,
)
from yolo9000.evaluation.prediction_metrics import PredictionMetrics
from yolo9000.evaluation.supervision import CLASS_GROUPS, GROUP_OF, ClassGroup, mean_by_group
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

if TYPE_CHECKING:
    from rich.table import Table

METRICS = {  # field of ClassMetrics and GroupMetrics: heading in tables
    "ap50": "AP50",
    "ap": "AP",
    "recall50": "recall",
    "accuracy": "accuracy",
}
GROUP_NAMES: dict[ClassGroup, str] = {
    "all": "all classes",
    "boxed": "with boxes",
    "label_only": "image labels only",
    "none": "no labels",
}


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class that has boxes in the test set, as percentages 0..100.

    boxes       number of boxes
    detected    number of boxes with a matching detection of any class (IoU of at least 0.5)
    correct     number of detected boxes that are correctly classified
    ap50        average precision at IoU 0.5
    ap          COCO's average precision, the mean over IoU 0.5, 0.55 … 0.95; None if a protocol has only AP50
    recall50    detected / boxes; None for a class that has only boxes of classes below it (OpenImages' protocol)
    accuracy    correct / detected; None if no box is detected
    """

    id: str
    name: str
    supervision: Supervision
    boxes: int
    detected: int
    correct: int
    ap50: float
    ap: float | None
    recall50: float | None
    accuracy: float | None


@dataclass(frozen=True)
class GroupMetrics:
    """Sums and means over the classes of one group, means as percentages 0..100; None if no class has a value."""

    classes: int
    boxes: int
    detected: int
    correct: int
    ap50: float | None
    ap: float | None
    recall50: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Scorecard:
    """One evaluation of a detector: metrics of all classes, of each group of classes, and of each class.

    boxed, label_only, none   classes that had boxes, image labels only, or no label in training
    confusions   wrongly classified objects by pair of classes, the most frequent first
    breakdown    detected and correctly classified objects by size, truncation and occlusion
    confusions_by_distance   wrongly classified objects by the tree distance of the two classes, ascending
    min_score    the score that a detection must exceed to count in any of these
    predictions  the metrics of the predictions of `yolo9000 predict`; None if they were not evaluated
    outcomes     the outcome of each object, to show examples; not part of `to_dict`
    """

    images: int
    all: GroupMetrics
    boxed: GroupMetrics
    label_only: GroupMetrics
    none: GroupMetrics
    classes: tuple[ClassMetrics, ...]
    confusions: tuple[Confusion, ...] = ()
    confusions_by_distance: tuple[DistanceCount, ...] = ()
    breakdown: tuple[BreakdownRow, ...] = ()
    min_score: float = 0
    predictions: PredictionMetrics | None = None
    outcomes: ObjectOutcomes = field(default=NO_OUTCOMES, compare=False, repr=False)

    def group(self, group: ClassGroup) -> GroupMetrics:
        """The metrics of one group of classes."""
        metrics: GroupMetrics = getattr(self, group)
        return metrics

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        plain = asdict(replace(self, outcomes=NO_OUTCOMES))
        del plain["outcomes"]
        plain["breakdown"] = [
            {"part" if name == "group" else name: value for name, value in row.items()}  # its former name
            for row in plain["breakdown"]
        ]
        return plain

    def table(self, title: str | None = None) -> Table:
        """A table for the terminal, with a row for each group that has classes."""
        from rich.table import Table

        table = Table(title=title or f"{self.images} images, percentages")
        table.add_column("group")
        for heading in ("classes", "boxes", *METRICS.values()):
            table.add_column(heading, justify="right")
        for group in CLASS_GROUPS:
            metrics = self.group(group)
            if metrics.classes:
                values = [percentage(getattr(metrics, metric)) for metric in METRICS]
                table.add_row(GROUP_NAMES[group], str(metrics.classes), str(metrics.boxes), *values)
        table.caption = (
            f"Recall: objects with a detection of any class and a score above {self.min_score:g}; accuracy: share of "
            "these that are correctly classified."
        )
        return table


def scorecard_of(
    truths: Sequence[GroundTruth],
    detections: Sequence[ScoredBoxes],
    *,
    tree: WordTree,
    supervision: Callable[[int], Supervision],
    sizes_px: Sequence[tuple[int, int]] | None = None,
    precision: Mapping[int, AveragePrecision] | None = None,
) -> Scorecard:
    """The scorecard of a detector. Both sequences have one entry for each image, in the same order.

    supervision: a function from a node to its supervision in training (`LabelCounts.supervision`).
    sizes_px: (width, height) of each image; None: no breakdown.
    precision: the average precision of each class; None: by COCO's protocol, of at most 100 detections per image.
    """
    if precision is None:
        precision = average_precision(truths, detections, max_detections=100)
    objects = object_outcomes(truths, detections, tree=tree)
    counts = dict.fromkeys(precision, ClassCounts(0, 0, 0)) | counts_by_class(objects)
    classes = {
        node: ClassMetrics(
            id=tree.ids[node],
            name=tree.names[node],
            supervision=supervision(node),
            boxes=counts[node].objects,
            detected=counts[node].detected,
            correct=counts[node].correct,
            ap50=precision[node].ap50,
            ap=precision[node].ap,
            recall50=counts[node].recall,
            accuracy=counts[node].accuracy,
        )
        for node in precision
    }
    pairs = confusions(objects, tree)
    rows = () if sizes_px is None else breakdown(objects, sizes_px, lambda node: GROUP_OF[supervision(node)])
    return Scorecard(
        images=len(truths),
        classes=tuple(classes.values()),
        confusions=pairs,
        confusions_by_distance=count_by_distance(pairs),
        breakdown=rows,
        outcomes=objects,
        **_group_metrics(classes, supervision),
    )


def percentage(value: float | None) -> str:
    """The value with one decimal, or a dash for None."""
    return "–" if value is None else f"{value:.1f}"


def _group_metrics(
    classes: dict[int, ClassMetrics], supervision: Callable[[int], Supervision]
) -> dict[str, Any]:
    means = {
        metric: mean_by_group({node: getattr(row, metric) for node, row in classes.items()}, supervision)
        for metric in METRICS
    }
    groups = {}
    for group in CLASS_GROUPS:
        rows = [row for row in classes.values() if group in ("all", GROUP_OF[row.supervision])]
        groups[str(group)] = GroupMetrics(
            classes=len(rows),
            boxes=sum(row.boxes for row in rows),
            detected=sum(row.detected for row in rows),
            correct=sum(row.correct for row in rows),
            **{metric: means[metric][group] for metric in METRICS},
        )
    return groups
