"""Images of single objects and their outcomes: correctly classified, wrongly classified, or not detected."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import numpy as np

from data_prep import ShardReader
from wordtree import WordTree
from wordtree.support.arrays import Float64Array, Int64Array
from yolo9000.data.image import decode_image
from yolo9000.evaluation.outcomes import ObjectOutcomes
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.inference.draw import MISSED, Mark, branch_colours, draw_marks, to_pillow, without_leading_zero
from yolo9000.reports.class_lists import LISTED_SUPERVISION, best_and_worst
from yolo9000.reports.page import ReportImage

IMAGES_PER_CLASS = 3
MARGIN = 0.35  # around an object and its detection, as a share of the longer side of both
SIDE_PX = 280
LINE_PX = 4  # the page shows the images at about half their size


def class_images(
    card: Scorecard, reader: ShardReader, images: Sequence[int] | Int64Array
) -> dict[str, list[ReportImage]]:
    """Examples for the lists of best and worst classes, by class id: successes of the best, failures of the worst.

    images: the evaluated images, as rows of the reader, in the order of the evaluation.
    """
    examples: dict[str, list[ReportImage]] = {}
    for supervision in LISTED_SUPERVISION:
        best, worst = best_and_worst(card.classes, supervision)
        for classes, choose in ((best, successes), (worst, failures)):
            for row in classes:
                rows = choose(card.outcomes, reader.tree.node(row.id))[:IMAGES_PER_CLASS]
                examples[row.id] = [object_image(card.outcomes, int(index), reader, images) for index in rows]
    return examples


def successes(objects: ObjectOutcomes, node: int) -> Int64Array:
    """Rows of the correctly classified objects of a class, by descending score, spread over different images.

    If there are none, the rows of `failures`.
    """
    rows = _correct(objects, node)
    return rows if len(rows) else _incorrect(objects, node)


def failures(objects: ObjectOutcomes, node: int) -> Int64Array:
    """Rows of the objects of a class that are wrongly classified and not detected, alternating.

    The wrongly classified objects come by descending score, those not detected by descending area. If there are
    none, the correctly classified objects by ascending score: the class then has a low AP because of false positives.
    """
    rows = _incorrect(objects, node)
    return rows if len(rows) else _correct(objects, node)[::-1]


def object_image(
    objects: ObjectOutcomes, row: int, reader: ShardReader, images: Sequence[int] | Int64Array
) -> ReportImage:
    """An object and its matched detection, cropped from their image with a margin."""
    image = int(images[objects.image[row]])
    name = reader.source_id(image)
    pixels = to_pillow(decode_image(reader.encoded(image), name=name))
    boxes_px = _boxes(objects, row)
    left, top, right, bottom = window(boxes_px, pixels.size)
    crop = pixels.crop((left, top, right, bottom))
    scale = SIDE_PX / max(crop.size)
    crop = crop.resize((max(1, round(crop.width * scale)), max(1, round(crop.height * scale))))
    labelled, *detected = (boxes_px - np.array([left, top, left, top])) * scale
    colour_of = branch_colours(reader.tree)
    marks = [Mark(box, "", colour_of(int(objects.predicted[row])), dashed=False) for box in detected]
    marks.append(Mark(labelled, "", MISSED, dashed=True))
    caption, label = _caption(objects, row, reader.tree), reader.tree.names[objects.node[row]]
    return ReportImage(
        draw_marks(crop, marks, line_px=LINE_PX), caption, alt=f"{label}, {caption}, in {name}"
    )


def window(boxes_px: Float64Array, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square around the boxes with a margin, moved into the image; clipped if the image is narrower."""
    left, top = boxes_px[:, :2].min(axis=0)
    right, bottom = boxes_px[:, 2:].max(axis=0)
    side = (1 + 2 * MARGIN) * max(right - left, bottom - top, 8)
    left_px, right_px = _interval((left + right) / 2, side, size[0])
    top_px, bottom_px = _interval((top + bottom) / 2, side, size[1])
    return left_px, top_px, right_px, bottom_px


def _interval(centre: float, side: float, length: int) -> tuple[int, int]:
    """Start and end of an interval of about `side` around `centre`, inside 0 … length."""
    start = min(max(0.0, centre - side / 2), max(0.0, length - side))
    return int(start), min(length, max(int(start) + 1, round(start + side)))


def _boxes(objects: ObjectOutcomes, row: int) -> Float64Array:
    """The labelled box and, if the object is detected, the box of the detection; (1, 4) or (2, 4)."""
    detected = objects.detection_xyxy_px[row : row + 1] if objects.is_detected[row] else np.zeros((0, 4))
    return np.concatenate([objects.xyxy_px[row : row + 1], detected])


def _caption(objects: ObjectOutcomes, row: int, tree: WordTree) -> str:
    if not objects.is_detected[row]:
        return "not detected"
    score = without_leading_zero(objects.score[row])
    predicted = tree.names[objects.predicted[row]]
    return f"correct, {score}" if objects.is_correct[row] else f"classified as {predicted}, {score}"


def _correct(objects: ObjectOutcomes, node: int) -> Int64Array:
    """Rows of the correctly classified objects by descending score, the first of each image before any second."""
    rows = np.flatnonzero((objects.node == node) & objects.is_correct)
    rows = rows[np.argsort(-objects.score[rows], kind="stable")]
    seen: dict[int, int] = {}
    turn = []
    for image in objects.image[rows].tolist():
        turn.append(seen.get(image, 0))
        seen[image] = turn[-1] + 1
    return rows[np.argsort(np.array(turn, np.int64), kind="stable")]


def _incorrect(objects: ObjectOutcomes, node: int) -> Int64Array:
    of_class = objects.node == node
    wrong = np.flatnonzero(of_class & objects.is_detected & ~objects.is_correct)
    missed = np.flatnonzero(of_class & ~objects.is_detected)
    wrong = wrong[np.argsort(-objects.score[wrong], kind="stable")]
    area = (objects.xyxy_px[missed, 2:] - objects.xyxy_px[missed, :2]).prod(axis=1)
    missed = missed[np.argsort(-area, kind="stable")]
    alternating = chain.from_iterable(zip_longest(wrong.tolist(), missed.tolist()))
    return np.array([row for row in alternating if row is not None], np.int64)
