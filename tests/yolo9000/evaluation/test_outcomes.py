"""The outcome of each object: which detection is matched, counts by class, confusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given

from tests.yolo9000.evaluation.made_boxes import FLAT, LEFT, MIDDLE, RIGHT, detected, truth, worlds
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.outcomes import (
    ClassCounts,
    ObjectOutcomes,
    confusions,
    counts_by_class,
    object_outcomes,
)
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


def counts(
    truths: Sequence[GroundTruth], detections: Sequence[ScoredBoxes], *, tree: WordTree
) -> dict[int, ClassCounts]:
    return counts_by_class(object_outcomes(truths, detections, tree=tree))


def test_an_object_is_detected_as_any_class_and_has_the_class_of_its_best_detection() -> None:
    images = [truth((LEFT, 2), (MIDDLE, 2), (RIGHT, 3))]
    detections = [detected((LEFT, 3, 0.4), (LEFT, 2, 0.6), (MIDDLE, 2, 0.3), (MIDDLE, 3, 0.5))]
    found = counts(images, detections, tree=FLAT)
    assert (found[2].objects, found[2].detected, found[2].correct) == (2, 2, 1)
    assert (found[3].recall, found[3].accuracy) == (0, None)
    assert (found[2].recall, found[2].accuracy) == (100, 50)


def test_a_detection_of_an_ancestor_counts_only_without_any_other_detection(toy_tree: WordTree) -> None:
    animal, dog, cat, terrier = 0, 2, 3, 6
    images = [truth((LEFT, terrier), (MIDDLE, terrier), (RIGHT, dog))]
    detections = [
        detected(
            (LEFT, animal, 0.9), (LEFT, dog, 0.8), (LEFT, terrier, 0.7),
            (MIDDLE, dog, 0.9), (MIDDLE, cat, 0.2),
            (RIGHT, animal, 0.9), (RIGHT, dog, 0.8), (RIGHT, terrier, 0.7),
        )
    ]  # fmt: skip
    found = counts(images, detections, tree=toy_tree)
    assert (found[terrier].detected, found[terrier].correct) == (2, 1)
    assert found[dog].correct == 1


def test_an_outcome_has_the_object_and_its_matched_detection() -> None:
    moved = [22, 0, 32, 10]
    images = [truth(), truth((LEFT, 2), (MIDDLE, 2), (RIGHT, 3), ignored=[0])]
    found = object_outcomes(images, [detected(), detected((MIDDLE, 4, 0.2), (moved, 5, 0.6))], tree=FLAT)
    assert found.image.tolist() == [1, 1]
    assert found.node.tolist() == [2, 3]
    assert found.xyxy_px.tolist() == [MIDDLE, RIGHT]
    assert found.predicted.tolist() == [5, -1]
    assert found.detection_xyxy_px[0].tolist() == moved
    assert found.score[0] == 0.6
    assert np.isnan(found.score[1])
    assert np.isnan(found.detection_xyxy_px[1]).all()
    assert (found.is_detected.tolist(), found.is_correct.tolist()) == ([True, False], [False, False])


def test_confusions_are_counted_by_pair_with_common_ancestor_and_distance(toy_tree: WordTree) -> None:
    vehicle, dog, cat, car, terrier = 1, 2, 3, 4, 6
    pairs = [
        (terrier, cat),
        (dog, dog),
        (terrier, cat),
        (car, cat),
        (dog, terrier),
        (car, vehicle),
        (cat, -1),
    ]
    columns = np.array(pairs)
    boxes = np.zeros((len(pairs), 4))
    found = ObjectOutcomes(
        np.arange(len(pairs)), columns[:, 0], boxes, columns[:, 1], boxes, np.zeros(len(pairs))
    )
    rows = confusions(found, toy_tree)
    assert [(row.name, row.predicted, row.count, row.common_ancestor, row.distance) for row in rows] == [
        ("terrier", "cat", 2, "animal", 3),
        ("dog", "terrier", 1, "dog", 1),
        ("car", "vehicle", 1, "vehicle", 1),
        ("car", "cat", 1, None, None),
    ]
    assert rows[0].id == toy_tree.ids[terrier]
    assert rows[0].predicted_id == toy_tree.ids[cat]


def test_a_detection_is_assigned_only_to_the_object_that_it_overlaps_most() -> None:
    neighbours = truth(([0, 0, 10, 10], 2), ([2, 0, 12, 10], 3))
    found = counts([neighbours], [detected(([0, 0, 10, 10], 2, 0.9))], tree=FLAT)
    assert (found[2].correct, found[3].detected) == (1, 0)


def test_ignored_objects_have_no_outcome() -> None:
    assert counts([truth((LEFT, 2), ignored=[0])], [detected((LEFT, 2, 0.9))], tree=FLAT) == {}


@given(worlds())
def test_correct_objects_are_at_most_the_detected_and_these_at_most_all(
    world: tuple[list[GroundTruth], list[ScoredBoxes]],
) -> None:
    for row in counts(*world, tree=FLAT).values():
        assert 0 <= row.correct <= row.detected <= row.objects
