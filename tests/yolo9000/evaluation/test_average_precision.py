"""AP50 and AP agree with hand calculation and with a slow reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from tests.yolo9000.evaluation.made_boxes import LEFT, MIDDLE, RIGHT, detected, truth, worlds
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


@pytest.mark.parametrize(
    ("detections", "expected"),
    [
        pytest.param([], 0, id="no detections"),
        pytest.param([(LEFT, 2, 0.9), (RIGHT, 2, 0.8)], 100, id="all detected"),
        # Precision 1 up to recall .5, which holds 51 of the 101 recalls 0, .01 … 1.
        pytest.param([(LEFT, 2, 0.9)], 100 * 51 / 101, id="half detected"),
        # The wrong detection comes first: precision 1/2 at recall .5, 2/3 at recall 1, so 2/3 everywhere.
        pytest.param(
            [(MIDDLE, 2, 0.9), (LEFT, 2, 0.8), (RIGHT, 2, 0.7)], 100 * 2 / 3, id="a false positive first"
        ),
        pytest.param([(LEFT, 2, 0.9), (LEFT, 2, 0.8)], 100 * 51 / 101, id="a duplicate"),
        pytest.param([(LEFT, 3, 0.9), (RIGHT, 3, 0.8)], 0, id="another class"),
        # IoU 10/20: exactly .5 is a match.
        pytest.param([([0, 0, 10, 5], 2, 0.9), (RIGHT, 2, 0.8)], 100, id="IoU of exactly 0.5"),
        # A false positive, then a true positive: precision 1/2 up to recall .5.
        pytest.param([([0, 0, 10, 4], 2, 0.9), (RIGHT, 2, 0.8)], 50 * 51 / 101, id="IoU below 0.5"),
    ],
)
def test_ap50_by_hand(detections: list[tuple[list[int], int, float]], expected: float) -> None:
    result = average_precision([truth((LEFT, 2), (RIGHT, 2))], [detected(*detections)])
    assert result.keys() == {2}
    assert result[2].ap50 == pytest.approx(expected)


def test_ap_is_the_mean_over_ten_iou_thresholds() -> None:
    # IoU .72 is enough at .5, .55, .6, .65 and .7.
    result = average_precision([truth(([0, 0, 100, 100], 2))], [detected(([0, 0, 100, 72], 2, 0.9))])
    assert result[2].ap50 == pytest.approx(100)
    assert result[2].ap == pytest.approx(50)


def test_a_detection_of_an_ignored_box_is_neither_right_nor_wrong() -> None:
    images = [truth((LEFT, 2), (RIGHT, 2), ignored=[1])]
    assert average_precision(images, [detected((RIGHT, 2, 0.9), (LEFT, 2, 0.8))])[2].ap50 == pytest.approx(
        100
    )
    assert average_precision(images, [detected((LEFT, 2, 0.8))])[2].ap50 == pytest.approx(100)
    assert average_precision([truth((LEFT, 2), ignored=[0])], [detected((LEFT, 2, 0.8))]) == {}


def test_detections_inside_an_ignored_box_are_wrong_unless_the_box_is_a_crowd() -> None:
    large, spots = [0, 0, 200, 200], [([x, 0, x + 10, 10], 2, 0.9) for x in range(0, 100, 10)]
    images = [truth((large, 2), ignored=[0]), truth((RIGHT, 2))]
    single = [replace(images[0], crowd=[False]), images[1]]
    inside = [detected(*spots), detected((RIGHT, 2, 0.5))]
    assert average_precision(images, inside)[2].ap50 == pytest.approx(100)
    assert average_precision(single, inside)[2].ap50 == pytest.approx(100 / 11)
    whole = [detected((large, 2, 0.9), (large, 2, 0.8)), detected((RIGHT, 2, 0.5))]
    assert average_precision(single, whole)[2].ap50 == pytest.approx(100)


def test_an_ignored_box_is_matched_only_where_no_other_box_is_free() -> None:
    near = [1, 0, 11, 10]
    images = [truth((LEFT, 2), (near, 2), ignored=[1])]
    for crowd in ([False, False], [False, True]):
        found = average_precision(
            [replace(images[0], crowd=crowd)], [detected((near, 2, 0.9), (LEFT, 2, 0.8))]
        )
        assert found[2].ap50 == pytest.approx(100)


def test_only_the_best_detections_of_a_class_in_an_image_count() -> None:
    detections = [detected((MIDDLE, 2, 0.9), (MIDDLE, 2, 0.8), (LEFT, 2, 0.7))]
    assert average_precision([truth((LEFT, 2))], detections, max_detections=2)[2].ap50 == 0
    assert average_precision([truth((LEFT, 2))], detections, max_detections=3)[2].ap50 == pytest.approx(
        100 / 3
    )


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return shared / (area - shared)


def slow_ap50(truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], node: int) -> float:
    """AP50 of one node without ignored boxes, by the definition, one detection at a time."""
    ranked = sorted(
        (
            (-value, image, box)
            for image, rows in enumerate(detections)
            for box, predicted, value in zip(rows.xyxy_px, rows.node, rows.score, strict=True)
            if predicted == node
        ),
        key=lambda row: row[:2],
    )
    free = {
        image: [box for box, labelled in zip(t.xyxy_px, t.node, strict=True) if labelled == node]
        for image, t in enumerate(truths)
    }
    objects = sum(map(len, free.values()))
    right, curve = 0, []
    for seen, (_, image, box) in enumerate(ranked, start=1):
        best = max(range(len(free[image])), key=lambda i: overlap(box, free[image][i]), default=None)
        if best is not None and overlap(box, free[image][best]) >= 0.5:
            free[image].pop(best)
            right += 1
        curve.append((right / objects, right / seen))
    recalls = np.linspace(0, 1, 101)  # as COCO counts them: the one of .7 is a little more than 7/10
    return 100 * sum(max((p for r, p in curve if r >= recall), default=0) for recall in recalls) / 101


@settings(max_examples=60)
@given(worlds())
def test_ap50_agrees_with_a_slow_reference(world: tuple[list[GroundTruth], list[ScoredBoxes]]) -> None:
    truths, detections = world
    result = average_precision(truths, detections)
    assert set(result) == {int(node) for image in truths for node in image.node}
    for node, found in result.items():
        assert found.ap50 == pytest.approx(slow_ap50(truths, detections, node))
        assert 0 <= found.ap <= found.ap50 + 1e-9
