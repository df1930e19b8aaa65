"""Images of single objects and what became of them: found and named, misnamed, or missed."""

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
from yolo9000.inference.draw import MISSED, Mark, branch_colours, draw_marks, to_pillow
from yolo9000.reports.class_lists import KINDS, best_and_worst
from yolo9000.reports.page import Scene

SHOWN = 3  # objects of each class
MARGIN = 0.35  # around an object and its answer, of the longer side of both
SIDE_PX = 280
LINE_PX = 4  # the page shows them at about half that size


def class_images(
    card: Scorecard, reader: ShardReader, images: Sequence[int] | Int64Array
) -> dict[str, list[Scene]]:
    """For the best classes objects that are named, where any is, for the worst what went wrong; by class id.

    images: the images of the reader that were scored, in their order.
    """
    found: dict[str, list[Scene]] = {}
    for supervision in KINDS:
        best, worst = best_and_worst(card.classes, supervision)
        for classes, chosen in ((best, successes), (worst, failures)):
            for one in classes:
                rows = chosen(card.outcomes, reader.tree.node(one.id))[:SHOWN]
                found[one.id] = [object_scene(card.outcomes, int(row), reader, images) for row in rows]
    return found


def successes(objects: ObjectOutcomes, node: int) -> Int64Array:
    """Rows of the objects that are named, the surest first, different images before the same again.

    If there are none, answers of other classes are surer each time: then the failures.
    """
    rows = _named(objects, node)
    return rows if len(rows) else _wrong(objects, node)


def failures(objects: ObjectOutcomes, node: int) -> Int64Array:
    """Rows of the objects that are misnamed, the surest first, in turn with those not found, the largest first.

    If there are none, the class is called where it is not: then those that are named, the least sure first.
    """
    rows = _wrong(objects, node)
    return rows if len(rows) else _named(objects, node)[::-1]


def object_scene(
    objects: ObjectOutcomes, row: int, reader: ShardReader, images: Sequence[int] | Int64Array
) -> Scene:
    """An object and the answer that speaks for it, cut out of their image with something around them."""
    image = int(images[objects.image[row]])
    name = reader.source_id(image)
    picture = to_pillow(decode_image(reader.encoded(image), name=name))
    boxes = _boxes(objects, row)
    left, top, right, bottom = window(boxes, picture.size)
    cut = picture.crop((left, top, right, bottom))
    scale = SIDE_PX / max(cut.size)
    cut = cut.resize((max(1, round(cut.width * scale)), max(1, round(cut.height * scale))))
    moved = (boxes - np.array([left, top, left, top])) * scale
    colour_of = branch_colours(reader.tree)
    answers = [Mark(box, "", colour_of(int(objects.predicted[row])), dashed=False) for box in moved[1:]]
    caption = _caption(objects, row, reader.tree)
    label = reader.tree.names[objects.node[row]]
    return Scene(
        draw_marks(cut, [*answers, Mark(moved[0], "", MISSED, dashed=True)], line_px=LINE_PX),
        caption,
        f"{label}, {caption}, in {name}",
    )


def window(boxes: Float64Array, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A square around the boxes with a margin, moved into the image, and cut where that is too narrow."""
    left, top = boxes[:, :2].min(axis=0)
    right, bottom = boxes[:, 2:].max(axis=0)
    side = (1 + 2 * MARGIN) * max(right - left, bottom - top, 8)
    edges = [
        _placed((low + high) / 2, side, length)
        for low, high, length in ((left, right, size[0]), (top, bottom, size[1]))
    ]
    (left_px, right_px), (top_px, bottom_px) = edges
    return left_px, top_px, right_px, bottom_px


def _named(objects: ObjectOutcomes, node: int) -> Int64Array:
    rows = np.flatnonzero((objects.node == node) & objects.is_correct)
    return _varied(rows[np.argsort(-objects.score[rows], kind="stable")], objects)


def _wrong(objects: ObjectOutcomes, node: int) -> Int64Array:
    of_class = objects.node == node
    misnamed = np.flatnonzero(of_class & objects.is_detected & ~objects.is_correct)
    missed = np.flatnonzero(of_class & ~objects.is_detected)
    misnamed = misnamed[np.argsort(-objects.score[misnamed], kind="stable")]
    missed = missed[np.argsort(-_area(objects.xyxy_px[missed]), kind="stable")]
    in_turn = chain.from_iterable(zip_longest(misnamed.tolist(), missed.tolist()))
    return np.array([row for row in in_turn if row is not None], np.int64)


def _placed(centre: float, side: float, length: int) -> tuple[int, int]:
    start = min(max(0.0, centre - side / 2), max(0.0, length - side))
    return int(start), min(length, max(int(start) + 1, round(start + side)))


def _boxes(objects: ObjectOutcomes, row: int) -> Float64Array:
    """The labelled box, and the answer's where there is one."""
    answers = objects.detection_xyxy_px[row : row + 1] if objects.is_detected[row] else np.zeros((0, 4))
    return np.concatenate([objects.xyxy_px[row : row + 1], answers])


def _caption(objects: ObjectOutcomes, row: int, tree: WordTree) -> str:
    if not objects.is_detected[row]:
        return "not found"
    score = f"{objects.score[row]:.2f}".removeprefix("0")
    return (
        f"named, {score}" if objects.is_correct[row] else f"called {tree.names[objects.predicted[row]]}, {score}"
    )


def _varied(rows: Int64Array, objects: ObjectOutcomes) -> Int64Array:
    """The same rows, the first of each image before the second of any."""
    seen: dict[int, int] = {}
    turn = []
    for row in rows:
        image = int(objects.image[row])
        turn.append(seen.get(image, 0))
        seen[image] = turn[-1] + 1
    return rows[np.argsort(np.array(turn, np.int64), kind="stable")]


def _area(xyxy_px: Float64Array) -> Float64Array:
    area: Float64Array = (xyxy_px[:, 2] - xyxy_px[:, 0]) * (xyxy_px[:, 3] - xyxy_px[:, 1])
    return area
