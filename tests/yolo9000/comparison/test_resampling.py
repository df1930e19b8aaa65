"""The paired bootstrap: equal to scoring the drawn images from scratch, and its intervals cover the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.yolo9000.evaluation.made_boxes import crowded_world
from tests.yolo9000.evaluation.test_protocols import with_labels
from yolo9000.comparison.resampling import (
    ResampledPrecision,
    drawn_copies,
    false_discoveries_limited,
    interval,
    p_values,
)
from yolo9000.evaluation.average_precision import DetectionOutcomes, coco_outcomes, precision_of
from yolo9000.evaluation.other_protocols import ilsvrc_outcomes, lvis_outcomes, openimages_outcomes
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


def outcomes_of(protocol: str, world: tuple, rows: list[int] | None = None) -> DetectionOutcomes:
    """The outcomes of the chosen images, each an image of its own."""
    truths, detections, labels = world
    chosen = range(len(truths)) if rows is None else rows
    truths, detections, labels = ([column[row] for row in chosen] for column in (truths, detections, labels))
    match protocol:
        case "coco":
            return coco_outcomes(truths, detections, max_detections=5)
        case "lvis":
            return lvis_outcomes(truths, detections, labels)
        case "openimages":
            return openimages_outcomes(truths, detections, labels)
    return ilsvrc_outcomes(truths, detections)


@pytest.mark.parametrize("protocol", ["coco", "lvis", "openimages", "ilsvrc"])
@pytest.mark.parametrize("seed", range(2))
def test_precision_of_drawn_images_equals_scoring_them_from_scratch(protocol: str, seed: int) -> None:
    world = with_labels(seed, crowds=protocol != "lvis")
    outcomes = outcomes_of(protocol, world)
    resampled = ResampledPrecision(outcomes)
    compared = 0
    for copies in drawn_copies(len(world[0]), 6, seed):
        rows = np.repeat(np.arange(len(copies)), copies).tolist()
        expected = precision_of(outcomes_of(protocol, world, rows))
        found = resampled.at(copies)
        for position, node in enumerate(outcomes.nodes.tolist()):
            if node in expected:
                mean = expected[node].ap50 if expected[node].ap is None else expected[node].ap
                assert found[:, position] == pytest.approx([expected[node].ap50, mean], abs=1e-8)
                compared += 1
            else:
                assert np.isnan(found[:, position]).all()
    assert compared >= 40


def test_one_copy_of_each_image_gives_the_average_precision() -> None:
    outcomes = coco_outcomes(*crowded_world(3, images=40, nodes=5))
    expected = precision_of(outcomes)
    found = ResampledPrecision(outcomes).at(np.ones(40, np.int64))
    assert found[0] == pytest.approx([row.ap50 for row in expected.values()], abs=1e-9)
    assert found[1] == pytest.approx([row.ap for row in expected.values()], abs=1e-9)


def test_without_detections_or_objects_there_is_no_precision() -> None:
    truths, detections = crowded_world(0, images=5, nodes=2)
    nothing = [ScoredBoxes(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0)) for _ in truths]
    ones = np.ones(5, np.int64)
    assert np.all(ResampledPrecision(coco_outcomes(truths, nothing)).at(ones) == 0)
    ignored = [replace(truth, ignored=np.ones(len(truth.node), bool)) for truth in truths]
    assert ResampledPrecision(coco_outcomes(ignored, detections)).at(ones).shape == (2, 0)


def test_the_drawn_images_are_those_of_the_seed() -> None:
    first, again, other = (list(drawn_copies(50, 3, seed)) for seed in (1, 1, 2))
    assert all(copies.sum() == 50 for copies in first)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_interval_leaves_undefined_values_out() -> None:
    values = np.stack([np.arange(101.0), np.arange(101.0), np.full(101, np.nan)], axis=1)
    values[:51, 1] = np.nan
    low, high = interval(values, 0.9)
    assert low.tolist() == pytest.approx([5, 53.45, np.nan], nan_ok=True)
    assert high.tolist() == pytest.approx([95, 97.55, np.nan], nan_ok=True)
    assert interval(values[:, 0], 0.9).tolist() == pytest.approx([5, 95])


def test_p_is_one_without_a_difference_and_small_where_all_have_one_sign() -> None:
    rows = np.stack([np.zeros(99), np.full(99, 2.0), np.r_[np.full(90, -1.0), np.full(9, 1.0)]], axis=1)
    assert p_values(rows).tolist() == pytest.approx([1, 0.02, 0.2])


def test_few_discoveries_are_false() -> None:
    p = np.array([0.001, 0.5, 0.02, 0.026, 0.9])  # limits: .01, .02, .03, .04, .05
    assert false_discoveries_limited(p, 0.05).tolist() == [True, False, True, True, False]
    assert not false_discoveries_limited(np.full(5, 0.04)[:1] * 2, 0.05).any()
    assert false_discoveries_limited(np.zeros(0), 0.05).tolist() == []
    uniform = np.random.default_rng(0).random(1000)
    assert false_discoveries_limited(uniform, 0.05).sum() <= 1


def simulated(
    rng: np.random.Generator, images: int, hit: float
) -> tuple[list[GroundTruth], list[ScoredBoxes]]:
    """Images with one to three objects of a class; a model detects each with this probability, beside false ones.

    How easy an image is varies, so outcomes within an image depend on each other.
    """
    truths, detections = [], []
    for _ in range(images):
        count, ease = int(rng.integers(1, 4)), rng.normal(0, 0.2)
        boxes = np.array([[30.0 * k, 0, 30 * k + 20, 20] for k in range(count)])
        is_hit = rng.random(count) < hit + ease
        false = rng.poisson(0.7)
        found = np.concatenate([boxes[is_hit], np.tile([200.0, 200, 220, 220], (false, 1))])
        score = np.concatenate([rng.beta(3, 2, is_hit.sum()), rng.beta(2, 3, false)])
        truths.append(GroundTruth(boxes, np.zeros(count, int), np.zeros(count, bool)))
        detections.append(ScoredBoxes(found, np.zeros(len(found), int), score))
    return truths, detections


def test_intervals_of_simulated_models_cover_the_true_difference() -> None:
    """At 90 %, over 60 test sets of 80 images, whose true difference is that of 4000 images."""
    rng = np.random.default_rng(0)
    hits = (0.55, 0.7)

    def precision(images: int) -> list[ResampledPrecision]:
        return [ResampledPrecision(coco_outcomes(*simulated(rng, images, hit))) for hit in hits]

    ones = np.ones(4000, np.int64)
    a, b = (model.at(ones)[0, 0] for model in precision(4000))
    covered = 0
    for trial in range(60):
        models = precision(80)
        pairs = [[model.at(copies)[0, 0] for model in models] for copies in drawn_copies(80, 150, trial)]
        low, high = interval(np.diff(pairs, axis=1)[:, 0], 0.9)
        covered += low <= b - a <= high
    assert b - a > 5
    assert 47 <= covered <= 59
