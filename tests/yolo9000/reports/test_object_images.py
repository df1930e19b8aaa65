"""Images of single objects: the choice of objects, the crop, and the caption."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep import ShardReader
from tests.yolo9000.made import COLOURS
from yolo9000.evaluation.outcomes import ObjectOutcomes
from yolo9000.reports.object_images import SIDE_PX, failures, object_image, successes, window


def objects(*rows: tuple[int, int, int, float], side: int = 10) -> ObjectOutcomes:
    """Rows of (image, node, predicted node, score); boxes of growing size."""
    columns = list(zip(*rows, strict=True))
    sides = side + np.arange(len(rows), dtype=float)
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=1)
    predicted = np.array(columns[2], np.int64)
    detections = np.where((predicted >= 0)[:, None], boxes, math.nan)
    return ObjectOutcomes(
        np.array(columns[0]), np.array(columns[1]), boxes, predicted, detections, np.array(columns[3], float)
    )


NONE = (-1, math.nan)


def test_successes_are_correct_objects_by_score_from_different_images_first() -> None:
    found = objects(
        (0, 2, 2, 0.9), (0, 2, 2, 0.8), (1, 2, 2, 0.3), (2, 2, 3, 0.99), (3, 3, 3, 1.0), (4, 2, *NONE)
    )
    assert successes(found, 2).tolist() == [0, 2, 1]


def test_failures_are_wrong_and_missed_objects_alternating() -> None:
    found = objects(
        (0, 2, 3, 0.1), (0, 2, 2, 0.8), (1, 2, *NONE), (2, 2, 4, 0.7), (3, 2, *NONE), (3, 3, 2, 1.0)
    )  # fmt: skip
    assert failures(found, 2).tolist() == [
        3,
        4,
        0,
        2,
    ]  # the wrong one of highest score, the largest missed one, …


def test_a_class_without_successes_shows_failures_and_the_other_way_round() -> None:
    correct = objects((0, 2, 2, 0.9), (1, 2, 2, 0.2))
    assert failures(correct, 2).tolist() == [1, 0]
    missed = objects((0, 2, *NONE), (1, 2, 3, 0.2))
    assert successes(missed, 2).tolist() == [1, 0]


@given(
    st.lists(st.tuples(*[st.floats(-20, 90)] * 4), min_size=1, max_size=2),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
def test_a_window_lies_in_the_image_and_contains_the_part_of_the_boxes_in_the_image(
    corners: list[tuple[float, float, float, float]], size: tuple[int, int]
) -> None:
    boxes = np.array([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners])
    left, top, right, bottom = window(boxes, size)
    assert 0 <= left < right <= size[0]
    assert 0 <= top < bottom <= size[1]
    inside = np.clip(boxes, 0, [size[0], size[1]] * 2)
    for low, high, start, end in ((0, 2, left, right), (1, 3, top, bottom)):
        assert start - 1 <= inside[:, low].min()
        assert inside[:, high].max() <= end + 1


def test_an_object_image_shows_the_object_and_its_caption_the_predicted_class(shards: Path) -> None:
    reader = ShardReader(shards)
    images = reader.split("test")
    dog, cat = (reader.tree.node(wnid) for wnid in list(COLOURS)[:2])
    box = reader.boxes_xyxy_unit[reader.box_offsets[images[0]]][None] * 64.0
    for predicted, detection, score, caption in (
        (dog, box, 0.5, "correct, .50"),
        (cat, box, 0.25, f"classified as {reader.tree.names[cat]}, .25"),
        (-1, box * math.nan, math.nan, "not detected"),
    ):
        outcomes = ObjectOutcomes(
            np.array([0]), np.array([dog]), box, np.array([predicted]), detection, np.array([score])
        )
        shown = object_image(outcomes, 0, reader, images)
        assert shown.caption == caption
        assert shown.alt == f"{reader.tree.names[dog]}, {caption}, in {reader.source_id(int(images[0]))}"
        assert max(shown.pixels.size) == SIDE_PX
        red, _, blue = np.asarray(shown.pixels).reshape(-1, 3)[:, [0, 1, 2]].T.astype(int)
        assert (red > blue + 100).mean() > 0.15  # the dog is a red square, and most of the window
