"""Images of single objects: which are shown, what is cut out, what is said of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data_prep import ShardReader
from tests.yolo9000.made import COLOURS
from yolo9000.evaluation.outcomes import Outcomes
from yolo9000.reports.object_images import SIDE_PX, failures, object_scene, successes, window


def objects(*rows: tuple[int, int, int, float], side: int = 10) -> Outcomes:
    """Rows of (image, node, called, score); boxes of growing size."""
    columns = list(zip(*rows, strict=True))
    sides = side + np.arange(len(rows), dtype=float)
    boxes = np.stack([np.zeros_like(sides), np.zeros_like(sides), sides, sides], axis=1)
    called = np.array(columns[2], np.int64)
    answers = np.where((called >= 0)[:, None], boxes, math.nan)
    return Outcomes(
        np.array(columns[0]), np.array(columns[1]), boxes, called, answers, np.array(columns[3], float)
    )


NONE = (-1, math.nan)


def test_successes_are_the_surest_named_objects_from_different_images_first() -> None:
    found = objects(
        (0, 2, 2, 0.9), (0, 2, 2, 0.8), (1, 2, 2, 0.3), (2, 2, 3, 0.99), (3, 3, 3, 1.0), (4, 2, *NONE)
    )
    assert successes(found, 2).tolist() == [0, 2, 1]


def test_failures_are_misnamed_and_missed_objects_in_turn() -> None:
    found = objects(
        (0, 2, 3, 0.1), (0, 2, 2, 0.8), (1, 2, *NONE), (2, 2, 4, 0.7), (3, 2, *NONE), (3, 3, 2, 1.0)
    )  # fmt: skip
    assert failures(found, 2).tolist() == [3, 4, 0, 2]  # the surest wrong name, the largest missed, …


def test_where_all_or_none_are_named_the_others_are_shown() -> None:
    named = objects((0, 2, 2, 0.9), (1, 2, 2, 0.2))
    assert failures(named, 2).tolist() == [1, 0]
    missed = objects((0, 2, *NONE), (1, 2, 3, 0.2))
    assert successes(missed, 2).tolist() == [1, 0]


@given(
    st.lists(st.tuples(*[st.floats(-20, 90)] * 4), min_size=1, max_size=2),
    st.tuples(st.integers(1, 80), st.integers(1, 80)),
)
def test_a_window_lies_in_the_image_and_holds_what_of_the_boxes_does(
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


def test_a_scene_shows_the_object_and_says_what_it_is_called(shards: Path) -> None:
    reader = ShardReader(shards)
    images = reader.split("test")
    dog, cat = (reader.tree.node(wnid) for wnid in list(COLOURS)[:2])
    box = reader.boxes_xyxy_unit[reader.box_offsets[images[0]]][None] * 64.0
    for called, answers, score, message in (
        (dog, box, 0.5, "named, .50"),
        (cat, box, 0.25, f"called {reader.tree.names[cat]}, .25"),
        (-1, box * math.nan, math.nan, "not found"),
    ):
        found = Outcomes(np.array([0]), np.array([dog]), box, np.array([called]), answers, np.array([score]))
        scene = object_scene(found, 0, reader, images)
        assert scene.caption == message
        assert scene.alt == f"{reader.tree.names[dog]}, {message}, in {reader.source_id(int(images[0]))}"
        assert max(scene.picture.size) == SIDE_PX
        red, _, blue = np.asarray(scene.picture).reshape(-1, 3)[:, [0, 1, 2]].T.astype(int)
        assert (red > blue + 100).mean() > 0.15  # the dog is a red square, and most of the window
