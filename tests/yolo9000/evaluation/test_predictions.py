"""The predictions of `predict`: matching, correctness, precision and recall, coverage, calibration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.yolo9000.evaluation.made_boxes import LEFT, MIDDLE, RIGHT, supervision, truth
from tests.yolo9000.inference.test_postprocess import batch_of, random_output
from tests.yolo9000.made import random_tree
from wordtree.tree.tree import WordTree
from yolo9000.config import PredictConfig
from yolo9000.evaluation.metric_tables import prediction_tables
from yolo9000.evaluation.predicted_paths import MatchedPaths, PredictedPaths, match_paths, predicted_paths
from yolo9000.evaluation.prediction_metrics import (
    area_under_risk,
    calibration_by_depth,
    coverage_of,
    expected_calibration_error,
    prediction_metrics,
    risk_coverage_curve,
)
from yolo9000.evaluation.supervision import GROUP_OF, ClassGroup
from yolo9000.inference.postprocess import detect
from yolo9000.inference.scored_boxes import GroundTruth

ANIMAL, VEHICLE, DOG, CAT, CAR, TERRIER = 0, 1, 2, 3, 4, 6


def paths(*rows: tuple[list[int], int, float, list[float]], levels: int = 3) -> PredictedPaths:
    """Detections: box, leaf, objectness, P of the nodes on the path."""
    absolute = np.zeros((len(rows), levels))
    for row, (_, _, _, probabilities) in enumerate(rows):
        absolute[row, : len(probabilities)] = probabilities
    return PredictedPaths(
        np.array([box for box, *_ in rows], float).reshape(-1, 4),
        np.array([objectness for _, _, objectness, _ in rows], float),
        absolute,
        np.array([leaf for _, leaf, _, _ in rows], int),
    )


def group_of(node: int) -> ClassGroup:
    return GROUP_OF[supervision(node)]


def scene(tree: WordTree) -> MatchedPaths:
    """A terrier found as one, a cat found as a terrier, a dog found twice, a detection of nothing."""
    truths = [truth((LEFT, TERRIER), (MIDDLE, CAT)), truth((RIGHT, DOG))]
    found = [
        paths((LEFT, TERRIER, 0.9, [0.9, 0.8, 0.6]), (MIDDLE, TERRIER, 0.8, [0.9, 0.5, 0.4])),
        paths(
            (RIGHT, TERRIER, 0.7, [1, 0.8, 0.7]), (RIGHT, DOG, 0.6, [1, 0.9, 0]), (LEFT, CAR, 0.5, [0.6, 0.5])
        ),
    ]
    return match_paths(truths, found, tree)


def test_detections_are_matched_one_to_one_by_objectness_whatever_their_class(toy_tree: WordTree) -> None:
    found = scene(toy_tree)
    assert found.object.tolist() == [0, 1, 2, -1, -1]
    assert found.correct_nodes.tolist() == [3, 1, 2, 0, 0]
    assert found.score.tolist() == pytest.approx([0.81, 0.72, 0.7, 0.6, 0.3])
    # the shallowest wrong node: none; dog, which is no cat; terrier, below the labelled dog
    assert found.rows(found.is_matched).required_threshold().tolist() == pytest.approx([0, 0.5, 0.7])


def test_a_wrong_root_is_correct_at_no_threshold(toy_tree: WordTree) -> None:
    found = match_paths([truth((LEFT, CAR))], [paths((LEFT, CAT, 0.9, [0.6, 0.5, 0]))], toy_tree)
    assert found.required_threshold().tolist() == [math.inf]


def test_a_detection_of_an_ignored_box_is_of_no_object(toy_tree: WordTree) -> None:
    truths = [truth((LEFT, CAR), (RIGHT, DOG), ignored=[0])]
    found = match_paths(truths, [paths((LEFT, CAR, 0.9, [1, 1]), (RIGHT, DOG, 0.8, [1, 1]))], toy_tree)
    assert found.is_ignored.tolist() == [True, False]
    assert found.object.tolist() == [-1, 0]
    assert found.node.tolist() == [DOG]
    point = prediction_metrics(found, PredictConfig(), group_of).at
    assert (point.detections, point.precision, point.recall) == (1, 100, 100)


def test_a_prediction_is_the_deepest_node_above_the_threshold_and_at_least_the_root(
    toy_tree: WordTree,
) -> None:
    found = scene(toy_tree)
    for threshold, names in (
        (0.0, ["terrier", "terrier", "terrier", "dog", "car"]),
        (0.65, ["dog", "animal", "terrier", "dog", "vehicle"]),
        (1.0, ["animal", "animal", "animal", "animal", "vehicle"]),
    ):
        predicted = found.predicted(found.nodes_at(threshold))
        assert [toy_tree.names[node] for node in predicted] == names


def test_precision_recall_and_f1_at_a_score(toy_tree: WordTree) -> None:
    score = prediction_metrics(scene(toy_tree), PredictConfig(min_score=0.65, min_absolute=0.75), group_of)
    # reported: dog (right), animal (right), dog (right)
    assert (score.at.detections, score.at.precision, score.at.recall, score.at.f1) == (3, 100, 100, 100)
    everything = prediction_metrics(scene(toy_tree), PredictConfig(min_score=0, min_absolute=0), group_of)
    # one right (the terrier) of five, three objects: F1 = 2 / (5 + 3)
    assert (everything.at.precision, everything.at.recall) == (pytest.approx(20), pytest.approx(100 / 3))
    assert everything.at.f1 == pytest.approx(25)
    assert everything.curve[0] == everything.at
    # above .8: one detection, one right
    assert everything.suggested.f1 == pytest.approx(100 * 2 / (1 + 3))
    assert everything.suggested.min_score < 0.81


def test_levels_by_hand(toy_tree: WordTree) -> None:
    score = prediction_metrics(scene(toy_tree), PredictConfig(min_score=0.65, min_absolute=0.45), group_of)
    everything = score.levels[0]
    # predicted: terrier (terrier), dog (cat), terrier (dog)
    assert (everything.objects, everything.accuracy, everything.exact) == pytest.approx((3, 100 / 3, 100 / 3))
    # common nodes 3 + 1 + 2, predicted 3 + 2 + 3, labelled 3 + 2 + 2
    assert (everything.precision, everything.recall) == pytest.approx((100 * 6 / 8, 100 * 6 / 7))
    assert everything.f1 == pytest.approx(2 * 6 / (8 + 7) * 100)
    assert sum(level.objects for level in score.levels[1:]) == 3


def test_coverage_is_zero_above_all_leaves_and_one_at_a_leaf() -> None:
    tree = WordTree(["all", "left", "right", "a", "b", "c"], [-1, 0, 0, 1, 1, 1])
    expected = [0, 1 - math.log2(3) / 2, 1, 1, 1, 1]
    assert coverage_of(np.arange(6), tree).tolist() == pytest.approx(expected)


def test_risk_grows_from_the_root_to_the_leaves_and_its_area_is_by_hand() -> None:
    tree = WordTree(["all", "a", "b"], [-1, 0, 0])
    truths = [truth((LEFT, 1), (MIDDLE, 1))]
    found = match_paths(truths, [paths((LEFT, 1, 0.9, [1, 0.8]), (MIDDLE, 2, 0.8, [1, 0.6]), levels=2)], tree)
    points = risk_coverage_curve(found)
    assert (points[0].coverage, points[0].risk) == (0, 0)
    assert {(point.coverage, point.risk) for point in points} == {(0, 0), (50, 0), (100, 50)}
    # risk 0 up to coverage .5, then linearly up to 50 %
    assert area_under_risk(points) == pytest.approx(0.5 * 50 / 2)


def test_calibration_by_depth_compares_probabilities_with_correct_nodes(toy_tree: WordTree) -> None:
    found = scene(toy_tree)
    rows = calibration_by_depth(found.rows(found.is_matched))
    assert [(row.depth, row.nodes) for row in rows] == [(0, 3), (1, 3), (2, 3)]
    assert [row.mean_probability for row in rows] == pytest.approx([100 * 2.8 / 3, 70, 100 * 1.7 / 3])
    assert [row.accuracy for row in rows] == pytest.approx([100, 200 / 3, 100 / 3])


def test_the_calibration_error_agrees_with_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    probability, is_correct = rng.random(500), rng.random(500) < 0.4
    probability[:2] = 0, 1
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, right in zip(probability.tolist(), is_correct.tolist(), strict=True):
        bins.setdefault(min(14, math.floor(15 * p)), []).append((p, right))
    expected = sum(abs(sum(p - right for p, right in members)) for members in bins.values()) / 500
    assert expected_calibration_error(probability, is_correct) == pytest.approx(expected)
    assert expected_calibration_error(np.full(10, 0.3), np.arange(10) < 3) == pytest.approx(0)


@pytest.mark.parametrize("min_absolute", [0.0, 0.2, 0.5, 1.0])
def test_predictions_are_those_of_predict(min_absolute: float) -> None:
    tree = random_tree(40)
    batch = batch_of(random_output(tree), tree)
    cfg = PredictConfig(min_score=0.2, min_absolute=min_absolute, max_detections=1000)
    found = predicted_paths(batch, cfg, min_score=0.2)
    empty = [GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))] * 2
    together = match_paths(empty, found, tree)
    expected = detect(batch, ["a", "b"], cfg)
    assert sum(map(len, expected)) == len(together) > 8
    nodes = together.predicted(together.nodes_at(min_absolute))
    for image, detections in enumerate(expected):
        by_objectness = np.argsort(-detections.objectness, kind="stable")
        assert nodes[together.image == image].tolist() == detections.node[by_objectness].tolist()
        assert np.allclose(found[image].xyxy_px, detections.xyxy_px[by_objectness])


def test_darknet_without_a_tree_gives_several_classes_for_one_box() -> None:
    tree = WordTree(["a", "b"], [-1, -1])
    output = random_output(tree, images=1)
    output.features[:] = torch.zeros_like(output.features)
    found = predicted_paths(batch_of(output, tree), PredictConfig(descent="darknet"), min_score=0.01)
    assert len(found[0]) % 2 == 0
    assert set(found[0].leaf.tolist()) == {0, 1}


def test_an_evaluation_without_detections_or_objects_has_a_score_and_tables(toy_tree: WordTree) -> None:
    for truths in ([truth()], [truth((LEFT, DOG))]):
        score = prediction_metrics(match_paths(truths, [paths()], toy_tree), PredictConfig(), group_of)
        assert (score.at.detections, score.at.f1, score.levels, score.haurc) == (0, 0, (), None)
        assert len(prediction_tables(score)) == 3
