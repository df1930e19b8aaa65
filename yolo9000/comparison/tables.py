"""The tables of a comparison for the terminal, and the sentences that the terminal and the page share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from data_prep.dataset.label_counts import Supervision
from yolo9000.comparison.comparison import MIN_IMAGES, ClassDifference, Comparison, GroupDifference
from yolo9000.comparison.resampling import Difference
from yolo9000.evaluation.scorecard import GROUP_NAMES, percentage
from yolo9000.evaluation.supervision import GROUP_OF

if TYPE_CHECKING:
    from rich.table import Table

LISTED_CLASSES = 10  # with the largest differences, of each sign


def comparison_tables(comparison: Comparison, *, per_class: bool = False) -> list[Table]:
    """Average precision, predictions, levels of the tree, classes and images; percentages."""
    numbers = ("A", "B", "B − A", f"{100 * comparison.choice.confidence:g} % interval")
    precision = _table(f"A: {comparison.a}\nB: {comparison.b}", "average precision", "classes", *numbers)
    for row in comparison.groups:
        for metric, difference in (("AP50", row.ap50), ("AP", row.ap)):
            if comparison.has_ap or metric == "AP50":
                name = f"{metric}, {supervision_pair_name(row)}"
                precision.add_row(name, str(row.classes), *difference_cells(difference))
    precision.caption = "\n".join(images_sentences(comparison))
    predictions = _table("Predictions of `yolo9000 predict`", "metric", *numbers)
    for name, difference in comparison.predictions.items():
        predictions.add_row(name, *difference_cells(difference))
    levels = _table("Objects detected and correct down to a level", "level", "nodes", "objects", *numbers)
    for depth in comparison.levels:
        levels.add_row(
            str(depth.depth), str(depth.nodes), str(depth.objects), *difference_cells(depth.correct)
        )
    classes = _table("AP50 of classes", "class", "images", *numbers, "p")
    for one in comparison.classes if per_class else most_different(comparison.classes):
        classes.add_row(one.name, str(one.images), *difference_cells(one.ap50), p_value_cell(one))
    classes.caption = " ".join(classes_sentences(comparison))
    return [precision, predictions, levels, classes, _image_table(comparison)]


def difference_cells(row: Difference) -> tuple[str, str, str, str]:
    """The values of both models, the difference and its interval as text."""
    bounds = "–" if row.low is None or row.high is None else f"{_signed(row.low)} … {_signed(row.high)}"
    return percentage(row.a), percentage(row.b), _signed(row.difference), bounds


def p_value_cell(row: ClassDifference) -> str:
    """The p-value; with a star if the class differs."""
    return "–" if row.ap50.p is None else f"{row.ap50.p:.3f}{' *' if row.differs else '  '}"


def supervision_pair_name(row: GroupDifference) -> str:
    """The name of a group of classes by their supervision in both models."""
    if row.supervision_a is None or row.supervision_b is None:
        return GROUP_NAMES["all"]
    a, b = _supervision(row.supervision_a), _supervision(row.supervision_b)
    return a if a == b else f"{a} in A, {b} in B"


def most_different(classes: Sequence[ClassDifference]) -> list[ClassDifference]:
    """The tested classes with the largest differences in AP50: the best for A first, the best for B last."""
    tested = [row for row in classes if row.ap50.low is not None and row.ap50.difference]
    ranked = sorted(tested, key=lambda row: (row.ap50.difference or 0, row.name))
    if len(ranked) <= 2 * LISTED_CLASSES:
        return ranked
    return ranked[:LISTED_CLASSES] + ranked[-LISTED_CLASSES:]


def images_sentences(comparison: Comparison) -> list[str]:
    """The images and classes that are compared, and how the intervals were found."""
    choice, others, classes = comparison.choice, comparison.unshared, len(comparison.classes)
    images = f"{comparison.evaluated_images:,} images of the split '{comparison.split}'"
    sentences = [f"{images}, protocol {comparison.protocol}, {classes:,} classes that both models know."]
    if others:
        some = ", ".join(others[:3]) + (", …" if len(others) > 3 else "")
        sentences.append(f"Not compared: {len(others):,} classes that are not in both trees ({some}).")
    sentences.append(
        f"Intervals: the images are drawn {choice.resamples:,} times with replacement, the same ones for both models "
        f"(seed {choice.seed})."
    )
    return sentences


def classes_sentences(comparison: Comparison) -> list[str]:
    """How many classes differ, and how sure that is."""
    choice, tested = comparison.choice, comparison.tested
    better_a, better_b = comparison.better
    rate = f"{100 * choice.false_discovery_rate:g} %"
    by_chance = (1 - choice.confidence) * tested
    differ = f"{better_a + better_b:,} of {tested:,} tested classes differ (*)"
    rare = len(comparison.classes) - tested
    if not tested:
        return [f"No class is tested: all {rare:,} have objects in fewer than {MIN_IMAGES} images."]
    sentences = [
        f"{differ}: {better_a:,} are better in A, {better_b:,} in B.",
        f"At most about {rate} of these are expected by chance (false discovery rate, Benjamini and Hochberg).",
        f"Without any difference, the intervals of about {by_chance:.2g} classes would exclude 0.",
    ]
    needed = math.ceil(2 * tested / choice.false_discovery_rate)
    if choice.resamples + 1 < needed:
        sentences.append(f"If only one class differs, it is detected only with --resamples {needed} or more.")
    if rare:
        sentences.append(f"Not tested: {rare:,} with objects in fewer than {MIN_IMAGES} images.")
    return sentences


def _image_table(comparison: Comparison) -> Table:
    headings = ("objects", "A correct", "A wrong", "B correct", "B wrong", "disagreement")
    table = _table("Images on which the models disagree most", "image", *headings)
    for row in comparison.disagreements:
        counts = (row.objects, row.correct_a, row.wrong_a, row.correct_b, row.wrong_b)
        table.add_row(row.image, *map(str, counts), f"{row.disagreement:.2f}")
    table.caption = (
        "Disagreement: sum of the scores of detections that the other model does not share "
        "(IoU 0.5, a class that is the same, above or below)."
    )
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    from rich.table import Table

    table = Table(title=title)
    table.add_column(first)
    for heading in numbers:
        table.add_column(heading, justify="right")
    return table


def _supervision(supervision: Supervision) -> str:
    return GROUP_NAMES[GROUP_OF[supervision]]


def _signed(value: float | None) -> str:
    """With one decimal and its sign; no sign of a value that is shown as 0."""
    if value is None:
        return "–"
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
