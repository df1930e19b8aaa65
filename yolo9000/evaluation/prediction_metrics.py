"""The metrics of hierarchical predictions, `PredictionMetrics`: how often they are correct, and how specific they are.

The metrics are about detections as `yolo9000 predict` gives them: one for each location, as deep in the tree as its
probability allows. A prediction is correct if it is the object's class or an ancestor of it. Coverage and the area
under the risk–coverage curve are those of hierarchical selective classification (arXiv 2405.11533).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from data_prep.dataset.label_counts import rolled_up
from wordtree import WordTree
from wordtree.support.arrays import BoolArray, Float64Array, Int64Array
from yolo9000.config import PredictConfig
from yolo9000.evaluation.predicted_paths import MatchedPaths
from yolo9000.evaluation.supervision import CLASS_GROUPS, ClassGroup

CURVE_POINTS = 100
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class CurvePoint:
    """Precision, recall and F1 of the detections above one `min_score`, 0..100.

    precision   share of the detections that are matched and correct; detections of ignored boxes do not count
    recall      share of the objects with a matched and correct detection
    """

    min_score: float
    detections: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class HierarchicalMetrics:
    """The predictions of one group of objects at the settings' `min_absolute`; shares as 0..100.

    objects     number of objects of the group with a matched detection above `min_score`
    accuracy    share of these predictions that are the object's class or above it
    exact       share that are the object's class itself
    coverage    mean of 1 − log2(leaves at or below the prediction) / log2(leaves of the tree): 100 for a leaf, 0 for
                a root above all leaves
    precision, recall, f1   hierarchical: the nodes on the path to the prediction against those on the path to the
                class; a root above all leaves does not count
    """

    group: ClassGroup
    objects: int
    accuracy: float
    exact: float
    coverage: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class RiskPoint:
    """Coverage and risk (share of wrong predictions) of the predictions at one `min_absolute`, 0..100."""

    min_absolute: float
    coverage: float
    risk: float


@dataclass(frozen=True)
class DepthCalibration:
    """The probabilities of the nodes at one depth of the predicted paths (roots: 0) against how often they are correct.

    mean_probability, accuracy, error: 0..100; error: expected calibration error over 15 bins of equal width
    """

    depth: int
    nodes: int
    mean_probability: float
    accuracy: float
    error: float


@dataclass(frozen=True)
class PredictionMetrics:
    """The metrics of all predictions; percentages are 0..100.

    at              precision, recall and F1 at the settings' `min_score`
    curve           the same against `min_score`, ascending
    suggested       the point of the curve with the largest F1
    levels          accuracy and specificity by group of objects, `all` first; groups without objects are left out
    risk_coverage   risk against coverage, from the root to the leaves; haurc: the area under it, 0..100
    depths          calibration of P(node) by depth
    """

    min_score: float
    min_absolute: float
    at: CurvePoint
    suggested: CurvePoint
    curve: tuple[CurvePoint, ...]
    levels: tuple[HierarchicalMetrics, ...]
    risk_coverage: tuple[RiskPoint, ...]
    haurc: float | None
    depths: tuple[DepthCalibration, ...]


def prediction_metrics(
    paths: MatchedPaths, cfg: PredictConfig, group_of: Callable[[int], ClassGroup]
) -> PredictionMetrics:
    """The metrics of the predictions at the thresholds of the settings; group_of: from a node to its class group."""
    nodes = paths.nodes_at(cfg.min_absolute)
    curve = curve_over_min_score(paths, nodes)
    matched = paths.rows(paths.is_matched & (paths.score > cfg.min_score))
    risk_coverage = risk_coverage_curve(matched)
    return PredictionMetrics(
        min_score=cfg.min_score,
        min_absolute=cfg.min_absolute,
        at=point_at(paths, nodes, cfg.min_score),
        suggested=max(curve, key=lambda point: point.f1, default=point_at(paths, nodes, cfg.min_score)),
        curve=curve,
        levels=_groups(matched, cfg.min_absolute, group_of),
        risk_coverage=risk_coverage,
        haurc=area_under_risk(risk_coverage) if risk_coverage else None,
        depths=calibration_by_depth(matched),
    )


def point_at(paths: MatchedPaths, nodes: Int64Array, min_score: float) -> CurvePoint:
    """The point of the curve at one `min_score`; nodes: (K,) number of nodes down to each prediction."""
    reported = (paths.score > min_score) & ~paths.is_ignored
    correct = reported & paths.is_matched & (nodes <= paths.correct_nodes)
    return _point(min_score, int(reported.sum()), int(correct.sum()), len(paths.node))


def curve_over_min_score(paths: MatchedPaths, nodes: Int64Array) -> tuple[CurvePoint, ...]:
    """Points at up to 100 different scores: from all detections to few; ascending by `min_score`."""
    scores = np.unique(paths.score[~paths.is_ignored])
    if not len(scores):
        return ()
    positions: Int64Array = np.linspace(0, len(scores) - 1, CURVE_POINTS).round().astype(np.int64)
    thresholds = [0.0, *(_rounded_down(float(score)) for score in scores[positions])]
    return tuple(point_at(paths, nodes, threshold) for threshold in sorted(set(thresholds)))


def coverage_of(nodes: Int64Array, tree: WordTree) -> Float64Array:
    """1 − log2(leaves at or below a node) / log2(leaves of the tree) of each node, 0..1."""
    leaves = rolled_up(tree, tree.is_leaf.astype(np.int64))[nodes]
    total = int(tree.is_leaf.sum())
    return np.ones(len(nodes)) if total == 1 else 1 - np.log2(leaves) / np.log2(total)


def risk_coverage_curve(matched: MatchedPaths) -> tuple[RiskPoint, ...]:
    """Coverage and risk at thresholds from 1 to 0; the first point has no class at all: coverage 0 and risk 0."""
    if not len(matched):
        return ()
    quantiles = np.quantile(matched.absolute[matched.absolute > 0], np.linspace(1, 0, CURVE_POINTS))
    points = [RiskPoint(1.0, 0.0, 0.0)]
    for threshold in np.unique(np.concatenate([[1.0], quantiles, [0.0]]))[::-1]:
        nodes = matched.nodes_at(float(threshold))
        coverage = coverage_of(matched.predicted(nodes), matched.tree)
        wrong = nodes > matched.correct_nodes
        points.append(RiskPoint(float(threshold), 100 * float(coverage.mean()), 100 * float(wrong.mean())))
    return tuple(points)


def area_under_risk(points: tuple[RiskPoint, ...]) -> float:
    """The area under risk against coverage (hAURC), 0..100; lower is better."""
    coverage = np.array([point.coverage for point in points]) / 100
    return float(np.trapezoid([point.risk for point in points], coverage))


def calibration_by_depth(matched: MatchedPaths) -> tuple[DepthCalibration, ...]:
    """The calibration at each depth that a path reaches."""
    rows = []
    for depth in range(matched.absolute.shape[1]):
        reaches = matched.tree.depth[matched.leaf] >= depth
        if reaches.any():
            probability = matched.absolute[reaches, depth]
            is_correct = matched.correct_nodes[reaches] > depth
            rows.append(
                DepthCalibration(
                    depth=depth,
                    nodes=int(reaches.sum()),
                    mean_probability=100 * float(probability.mean()),
                    accuracy=100 * float(is_correct.mean()),
                    error=100 * expected_calibration_error(probability, is_correct),
                )
            )
    return tuple(rows)


def expected_calibration_error(probability: Float64Array, is_correct: BoolArray) -> float:
    """Mean over bins of |mean probability − share of correct nodes|, weighted by the sizes of the bins, 0..1."""
    number = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gap = np.bincount(number, probability - is_correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(probability))


def _groups(
    matched: MatchedPaths, min_absolute: float, group_of: Callable[[int], ClassGroup]
) -> tuple[HierarchicalMetrics, ...]:
    group_of_node = {int(node): group_of(int(node)) for node in np.unique(matched.node)}
    group = np.array([group_of_node[int(node)] for node in matched.node[matched.object]])
    groups = []
    for name in CLASS_GROUPS:
        rows = matched.rows(np.ones(len(matched), bool) if name == "all" else group == name)
        if len(rows):
            groups.append(_of_group(name, rows, min_absolute))
    return tuple(groups)


def _of_group(group: ClassGroup, rows: MatchedPaths, min_absolute: float) -> HierarchicalMetrics:
    """The metrics of matched predictions, at least one."""
    nodes, truth = rows.nodes_at(min_absolute), rows.node[rows.object]
    predicted = rows.predicted(nodes)
    uncounted = 1 if len(rows.tree.children(0)) and int((rows.tree.parent < 0).sum()) == 1 else 0
    common = (np.minimum(nodes, rows.correct_nodes) - uncounted).clip(min=0)
    precision = _share(common.sum(), (nodes - uncounted).sum())
    recall = _share(common.sum(), (rows.tree.depth[truth] + 1 - uncounted).sum())
    return HierarchicalMetrics(
        group=group,
        objects=len(rows),
        accuracy=100 * float((nodes <= rows.correct_nodes).mean()),
        exact=100 * float((predicted == truth).mean()),
        coverage=100 * float(coverage_of(predicted, rows.tree).mean()),
        precision=precision,
        recall=recall,
        f1=_f1(precision, recall),
    )


def _point(min_score: float, detections: int, correct: int, objects: int) -> CurvePoint:
    precision, recall = _share(correct, detections), _share(correct, objects)
    return CurvePoint(min_score, detections, precision, recall, _f1(precision, recall))


def _share(part: float, whole: float) -> float:
    return 100 * float(part) / float(whole) if whole else 0.0


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _rounded_down(score: float) -> float:
    """The largest number with three decimals below the score, so that people can type it; at least 0."""
    return max(0.0, float(np.ceil(score * 1000 - 1)) / 1000)
