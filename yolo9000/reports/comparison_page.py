"""`yolo9000 compare --html`: the page about the comparison of two models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from data_prep import ShardReader
from wordtree.support.files import write_atomically
from yolo9000.comparison.comparison import Comparison
from yolo9000.comparison.disagreement import ImageDisagreement
from yolo9000.comparison.resampling import Difference
from yolo9000.comparison.tables import (
    classes_sentences,
    difference_cells,
    images_sentences,
    most_different,
    p_value_cell,
    supervision_pair_name,
)
from yolo9000.data.image import decode_image
from yolo9000.distributed import on_first_process
from yolo9000.evaluation.evaluation_set import ground_truth
from yolo9000.inference.draw import MISSED, PALETTE, Mark, draw_marks, to_pillow, without_leading_zero
from yolo9000.reports.page import ReportImage, RunDetails, render_page

SIDE_PX = 560  # the page shows the two images of a pair side by side
AGREED = (150, 154, 160)
COLOURS = (PALETTE[1], PALETTE[5])  # blue A, orange B


@on_first_process
def write_comparison_page(path: Path, comparison: Comparison, reader: ShardReader) -> None:
    """Write the page of a comparison of images of the reader."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, render_comparison(comparison, reader))


def render_comparison(comparison: Comparison, reader: ShardReader) -> str:
    """The page as HTML."""
    run = RunDetails(
        title="Comparison of two detectors",
        summary=" ".join(images_sentences(comparison)),
        facts=[("A", comparison.a), ("B", comparison.b)],
    )
    return render_page(
        "comparison.html",
        run,
        comparison=comparison,
        difference_cells=difference_cells,
        supervision_pair_name=supervision_pair_name,
        p_value_cell=p_value_cell,
        scales=interval_scales(comparison),
        most_different=most_different(comparison.classes),
        classes_text=" ".join(classes_sentences(comparison)),
        pairs=[(row, image_pair(comparison, row, reader)) for row in comparison.disagreements],
    )


def image_pair(comparison: Comparison, row: ImageDisagreement, reader: ShardReader) -> Sequence[ReportImage]:
    """The image with A's and with B's detections: in colour those that the other model does not share."""
    image = int(comparison.images[row.position])
    pixels = to_pillow(decode_image(reader.encoded(image), name=row.image))
    scale = SIDE_PX / max(pixels.size)
    size = max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))
    resized = pixels.resize(size)
    truth = ground_truth(reader, image)
    objects = zip(truth.xyxy_px[~truth.ignored], truth.node[~truth.ignored], strict=True)
    labelled = [Mark(box * scale, reader.tree.names[node], MISSED, dashed=True) for box, node in objects]
    counts = ((row.correct_a, row.wrong_a), (row.correct_b, row.wrong_b))
    return [
        ReportImage(
            draw_marks(resized, [*_marks(comparison, model, row.position, scale), *labelled]),
            f"{name}: {correct} correct, {wrong} wrong",
            alt=f"{row.image} with the detections of {name}",
        )
        for model, (name, (correct, wrong)) in enumerate(zip("AB", counts, strict=True))
    ]


def _marks(comparison: Comparison, model: int, position: int, scale: float) -> list[Mark]:
    """The reported detections of a model in one image: those that the other model does not share on top, with names."""
    found, agreed = comparison.found[model], comparison.agreed[model]
    rows = np.flatnonzero((found.paths.image == position) & found.is_reported)
    rows = rows[np.lexsort((-found.score[rows], agreed[rows]))]
    names = found.paths.tree.names
    return [
        Mark(
            found.xyxy_px[row] * scale,
            "" if agreed[row] else f"{names[found.predicted[row]]} {without_leading_zero(found.score[row])}",
            AGREED if agreed[row] else COLOURS[model],
            dashed=False,
        )
        for row in rows.tolist()
    ]


class IntervalScale:
    """The scale of the intervals that a table draws: 0 in the middle, the largest bound of any at the ends."""

    def __init__(self, rows: Iterable[Difference]) -> None:
        values = (value for row in rows for value in (row.difference, row.low, row.high))
        self._largest = max((abs(value) for value in values if value), default=1.0)

    def position(self, value: float) -> str:
        """The position of a value between the ends, 0..100."""
        return f"{50 + 50 * value / self._largest:.2f}"


def interval_scales(comparison: Comparison) -> dict[str, IntervalScale]:
    """The scale of each table."""
    return {
        "groups": IntervalScale(row for group in comparison.groups for row in (group.ap50, group.ap)),
        "predictions": IntervalScale(comparison.predictions.values()),
        "levels": IntervalScale(level.correct for level in comparison.levels),
        "classes": IntervalScale(row.ap50 for row in most_different(comparison.classes)),
    }
