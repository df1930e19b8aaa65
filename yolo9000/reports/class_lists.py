"""Lists of classes and of pairs of classes for the report about a detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.dataset.label_counts import Supervision
from yolo9000.evaluation.breakdown import BreakdownRow
from yolo9000.evaluation.outcomes import Confusion
from yolo9000.evaluation.scorecard import ClassMetrics, Scorecard
from yolo9000.evaluation.supervision import GROUP_OF, ClassGroup

LISTED_CLASSES = 6  # classes in each list of best and worst
LISTED_CONFUSIONS = 10  # in each list
LISTED_SUPERVISION: dict[Supervision, str] = {
    "boxes": "with boxes",
    "image labels": "with image labels only",
}
COLOUR_OF: dict[Supervision, str] = {  # CSS classes
    "boxes": "boxes",
    "image labels": "image-labels",
    "none": "no-labels",
}


@dataclass(frozen=True)
class GroupConfusions:
    """The most frequent confusions of one group of classes.

    as_boxed   number of wrongly classified objects whose predicted class had boxes
    total      number of wrongly classified objects
    """

    group: ClassGroup
    rows: Sequence[Confusion]
    as_boxed: int
    total: int


def confusions_by_group(card: Scorecard) -> list[GroupConfusions]:
    """The confusions of each group of classes that has any."""
    supervision_of = {row.id: row.supervision for row in card.classes}
    groups = []
    for supervision in COLOUR_OF:
        rows = [row for row in card.confusions if supervision_of.get(row.id) == supervision]
        as_boxed = sum(row.count for row in rows if supervision_of.get(row.predicted_id) == "boxes")
        if rows:
            total = sum(row.count for row in rows)
            groups.append(GroupConfusions(GROUP_OF[supervision], rows[:LISTED_CONFUSIONS], as_boxed, total))
    return groups


def breakdown_table(card: Scorecard) -> dict[str, dict[ClassGroup, BreakdownRow]]:
    """The rows of the breakdown by condition and group of classes."""
    table: dict[str, dict[ClassGroup, BreakdownRow]] = {}
    for row in card.breakdown:
        table.setdefault(row.condition, {})[row.group] = row
    return table


def best_and_worst(
    classes: Sequence[ClassMetrics], supervision: Supervision
) -> tuple[list[ClassMetrics], list[ClassMetrics]]:
    """The classes with the highest and with the lowest AP50, equally many; no class is in both lists."""
    ranked = sorted((row for row in classes if row.supervision == supervision), key=lambda row: -row.ap50)
    count = min(LISTED_CLASSES, len(ranked) // 2)
    return ranked[:count], ranked[len(ranked) - count :][::-1]


def outcome_counts(objects: int, detected: int, correct: int) -> dict[str, int]:
    """Numbers of objects by outcome; the sum is `objects`."""
    return {
        "correct": correct,
        "wrongly classified": detected - correct,
        "not detected": objects - detected,
    }
