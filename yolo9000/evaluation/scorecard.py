"""`Scorecard`: every measure of one evaluation, as data for JSON and as a table for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from data_prep.dataset.label_counts import Supervision
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.evaluation.breakdown import BreakdownRow, breakdown
from yolo9000.evaluation.outcomes import NOTHING, Confusion, Outcomes, confusions, localisation, outcomes
from yolo9000.evaluation.supervision import PART_OF, PARTS, Part, split_mean
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

if TYPE_CHECKING:
    from rich.table import Table

MEASURES = {  # field of ClassScore and PartScore: how people read it
    "ap50": "AP50",
    "ap": "AP",
    "recall50": "recall",
    "accuracy": "named",
}
PART_NAMES: dict[Part, str] = {
    "all": "all classes",
    "boxed": "with boxes",
    "label_only": "image labels only",
    "neither": "neither",
}


@dataclass(frozen=True)
class ClassScore:
    """The measures of one class that has boxes in the test set, as percentages 0..100.

    boxes       how many                                found, named        how many of these
    ap50        average precision at IoU .5             ap      COCO's, the mean over IoU .5 … .95
    recall50    objects found at IoU .5 under any name  accuracy    found objects called by their name;
                                                                    None if none is found
    """

    id: str
    name: str
    supervision: Supervision
    boxes: int
    found: int
    named: int
    ap50: float
    ap: float
    recall50: float
    accuracy: float | None


@dataclass(frozen=True)
class PartScore:
    """Means over the classes of one part, as percentages 0..100; None where no class has a value."""

    classes: int
    boxes: int
    found: int
    named: int
    ap50: float | None
    ap: float | None
    recall50: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Scorecard:
    """One evaluation: the means over all classes of the test set and over each part, and every class.

    The parts are what training knew of a class: `boxed`, boxes; `label_only`, image labels alone; `neither`.

    confusions     what found objects are called wrongly, the most frequent first
    circumstances  what becomes of large and small objects, those at the image's edge, those behind others
    outcomes       what became of each object, for images of them; not part of `to_dict`
    """

    images: int
    all: PartScore
    boxed: PartScore
    label_only: PartScore
    neither: PartScore
    classes: tuple[ClassScore, ...]
    confusions: tuple[Confusion, ...] = ()
    breakdown: tuple[BreakdownRow, ...] = ()
    outcomes: Outcomes = field(default=NOTHING, compare=False, repr=False)

    def part(self, part: Part) -> PartScore:
        """The means over one part of the classes."""
        score: PartScore = getattr(self, part)
        return score

    def to_dict(self) -> dict[str, Any]:
        """Everything but single objects as plain values, ready for JSON."""
        plain = asdict(replace(self, outcomes=NOTHING))
        del plain["outcomes"]
        return plain

    def table(self, title: str | None = None) -> Table:
        """The means of each part that has classes, as a table for the terminal."""
        from rich.table import Table

        table = Table(title=title or f"{self.images} images, percentages")
        table.add_column("classes")
        for heading in ("number", "boxes", *MEASURES.values()):
            table.add_column(heading, justify="right")
        for part in PARTS:
            score = self.part(part)
            if score.classes:
                measures = [percentage(getattr(score, measure)) for measure in MEASURES]
                table.add_row(PART_NAMES[part], str(score.classes), str(score.boxes), *measures)
        return table


def score(
    truths: Sequence[GroundTruth],
    answers: Sequence[ScoredBoxes],
    *,
    tree: WordTree,
    supervision: Callable[[int], Supervision],
    sizes_px: Sequence[tuple[int, int]] | None = None,
    max_detections: int = 100,
) -> Scorecard:
    """The scorecard of a detector's answers; one entry of both sequences for each image, in the same order.

    evidence: what training knew of a node (the ledger's); sizes_px: (width, height) of each image, without which it
    tells no circumstances.
    """
    precision = average_precision(truths, answers, max_detections=max_detections)
    objects = outcomes(truths, answers, tree=tree)
    located = localisation(objects)
    classes = {
        node: ClassScore(
            id=tree.ids[node],
            name=tree.names[node],
            supervision=supervision(node),
            boxes=located[node].objects,
            found=located[node].found,
            named=located[node].named,
            ap50=precision[node].ap50,
            ap=precision[node].ap,
            recall50=located[node].recall,
            accuracy=located[node].accuracy,
        )
        for node in precision
    }
    return Scorecard(
        images=len(truths),
        classes=tuple(classes.values()),
        confusions=confusions(objects, tree),
        breakdown=()
        if sizes_px is None
        else breakdown(objects, sizes_px, lambda node: PART_OF[supervision(node)]),
        outcomes=objects,
        **_parts(classes, supervision),
    )


def percentage(value: float | None) -> str:
    """One decimal, or a dash where there is no value."""
    return "–" if value is None else f"{value:.1f}"


def _parts(classes: dict[int, ClassScore], supervision: Callable[[int], Supervision]) -> dict[str, PartScore]:
    means = {
        measure: split_mean({node: getattr(row, measure) for node, row in classes.items()}, supervision)
        for measure in MEASURES
    }
    parts = {}
    for part in PARTS:
        rows = [row for row in classes.values() if part in ("all", PART_OF[row.supervision])]
        parts[str(part)] = PartScore(
            classes=len(rows),
            boxes=sum(row.boxes for row in rows),
            found=sum(row.found for row in rows),
            named=sum(row.named for row in rows),
            **{measure: means[measure][part] for measure in MEASURES},
        )
    return parts
