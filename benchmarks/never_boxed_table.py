"""Scores and table of never_boxed.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from data_prep import ShardReader
from yolo9000.checkpoints.checkpoint import load_detector, refuse_other_tree
from yolo9000.config import EvaluateConfig
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.evaluation.baselines import label_on_best_box, label_on_whole_image
from yolo9000.evaluation.evaluate import highest_objectness_boxes, predict_boxes
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.scorecard import scorecard_of
from yolo9000.evaluation.supervision import nearest_boxed
from yolo9000.inference.scored_boxes import ScoredBoxes

BOXES_ONLY, ORACLE = "boxes only", "oracle"
ON_IMAGE, ON_BEST_BOX = "label on image", "label on best box"
HEADINGS = "AP50: boxed|label-only|of oracle|mapped|recall: boxed|label-only|accuracy: boxed|label-only|seeds"


@dataclass(frozen=True)
class Scores:
    """Scores of one row and seed in percent; None if the row detects none of these classes."""

    boxed: float | None
    never_boxed: float | None
    never_boxed_mapped: float | None  # to the nearest ancestor with boxes
    boxed_recall: float | None
    never_boxed_recall: float | None
    boxed_accuracy: float | None
    never_boxed_accuracy: float | None


Results = dict[str, dict[int, Scores]]
"""Scores by row and seed."""
RowResults = dict[str, dict[int, dict[str, Any]]]
"""Results as plain values, by row and seed: scores, classes, breakdown."""


def score_row(name: str, path: Path, shards: Path) -> dict[str, dict[str, Any]]:
    """Results of the row, and for the boxes-only row also of the label baselines, by name, as plain values.

    path: the row's checkpoint. shards: of *joint* training, whose label counts define the label-only classes.
    """
    checkpoint, reader = load_detector(path), ShardReader(shards)
    refuse_other_tree(checkpoint, path, reader)
    counts, cfg = reader.label_counts, checkpoint.config.evaluate
    model, size_px = checkpoint.build_model(), checkpoint.config.model.input_size_px
    images = EvaluationSet.of(reader, cfg)
    mapped = images.mapped_to_boxed(counts)
    detections = [predict_boxes(model, image_set, size_px, cfg) for image_set in (images, mapped)]
    results = {name: _result(images, mapped, detections, cfg)}
    if name == BOXES_ONLY:
        boxes = highest_objectness_boxes(model, images, size_px, cfg)
        label_only = {n for n in images.nodes().tolist() if counts.supervision(n) == "image labels"}
        named = [(images, label_only), (mapped, {nearest_boxed(node, counts) for node in label_only})]
        on_image = [
            label_on_whole_image(image_set.truths, image_set.sizes_px, nodes) for image_set, nodes in named
        ]
        on_best_box = [label_on_best_box(image_set.truths, boxes, nodes) for image_set, nodes in named]
        for baseline, labels in ((ON_IMAGE, on_image), (ON_BEST_BOX, on_best_box)):
            result = _result(images, mapped, labels, cfg)
            scores = replace(Scores(**result["scores"]), boxed=None, boxed_recall=None, boxed_accuracy=None)
            results[baseline] = {**result, "scores": asdict(scores)}
    return results


def _result(
    images: EvaluationSet, mapped: EvaluationSet, detections: Sequence[list[ScoredBoxes]], cfg: EvaluateConfig
) -> dict[str, Any]:
    """Scores of a row and of each class.

    mapped: the same images, labels mapped to the nearest boxed ancestors. detections: on both, in this order.
    """
    counts = images.reader.label_counts
    card = scorecard_of(
        images.truths,
        detections[0],
        tree=counts.tree,
        supervision=counts.supervision,
        sizes_px=images.sizes_px,
        precision=average_precision(images.truths, detections[0], max_detections=cfg.max_detections),
    )
    precision = average_precision(mapped.truths, detections[1], max_detections=cfg.max_detections)
    label_only = [
        counts.tree.node(class_score.id)
        for class_score in card.classes
        if class_score.supervision == "image labels"
    ]
    scores = Scores(
        boxed=card.boxed.ap50,
        never_boxed=card.label_only.ap50,
        never_boxed_mapped=mean(precision[nearest_boxed(node, counts)].ap50 for node in label_only),
        boxed_recall=card.boxed.recall50,
        never_boxed_recall=card.label_only.recall50,
        boxed_accuracy=card.boxed.accuracy,
        never_boxed_accuracy=card.label_only.accuracy,
    )
    plain = card.to_dict()
    return {"scores": asdict(scores), "classes": plain["classes"], "breakdown": plain["breakdown"]}


def table_of(results: Results) -> list[list[str]]:
    """Headings, then a row of cells for each row of the benchmark."""
    table = [["", *HEADINGS.split("|")]]
    for name, scores in results.items():
        cells = [_mean_and_deviation(getattr(one, f.name) for one in scores.values()) for f in fields(Scores)]
        share = _share_of_oracle(scores, results.get(ORACLE, {}))
        table.append([name, *cells[:2], share, *cells[2:], str(len(scores))])
    return table


def breakdown_table(results: RowResults) -> list[list[str]]:
    """Headings, then a row for each row of the benchmark: detected / correct label-only objects by condition.

    Objects of several seeds are added up; a size range that only some seeds have stands alone.
    """
    counts: dict[str, dict[str, list[int]]] = {}
    for name, seeds in results.items():
        for row in (row for result in seeds.values() for row in result.get("breakdown", ())):
            if row["part"] == "label_only":
                numbers = counts.setdefault(row["condition"], {}).setdefault(name, [0, 0, 0])
                for position, key in enumerate(("objects", "detected", "correct")):
                    numbers[position] += row[key]
    table = [["", *counts]]
    for name in results:
        cells = [by_row.get(name) for by_row in counts.values()]
        table.append([name, *("–" if n is None else f"{n[1] / n[0]:.0%} / {n[2] / n[0]:.0%}" for n in cells)])
    return table


def markdown(table: Sequence[Sequence[str]]) -> str:
    """The table in Markdown, with columns of equal width."""
    widths = [max(3, *map(len, column)) for column in zip(*table, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        for row in (table[0], rule, *table[1:])
    )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(scores: Scores) -> str:
    known = {name: value for name, value in asdict(scores).items() if value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in known.items())


def mean_never_boxed(scores: Iterable[Scores]) -> float:
    return mean(one.never_boxed or 0.0 for one in scores)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def _mean_and_deviation(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.1f} ± {pstdev(known):.1f}" if known else "–"


def _share_of_oracle(scores: dict[int, Scores], oracle: dict[int, Scores]) -> str:
    """Label-only AP50 as a share of the oracle's, over the seeds that both have."""
    seeds = scores.keys() & oracle.keys()
    of_oracle = mean_never_boxed(oracle[seed] for seed in seeds) if seeds else 0.0
    return f"{mean_never_boxed(scores[seed] for seed in seeds) / of_oracle:.0%}" if of_oracle else "–"
