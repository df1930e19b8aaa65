"""The metrics of predictions agree with other implementations: HiClass, MAPIE and scikit-learn."""

from __future__ import annotations

from types import ModuleType
from typing import cast

import numpy as np
import pytest

from tests.yolo9000.made import random_tree
from wordtree.support.arrays import Int64Array
from wordtree.tree.tree import WordTree
from yolo9000.config import PredictConfig
from yolo9000.evaluation.predicted_paths import MatchedPaths
from yolo9000.evaluation.prediction_metrics import (
    CALIBRATION_BINS,
    expected_calibration_error,
    prediction_metrics,
)
from yolo9000.evaluation.supervision import ClassGroup

COUNT = 150  # detections of one object each


def group_of(node: int) -> ClassGroup:
    return "boxed"


def random_paths(tree: WordTree, seed: int) -> MatchedPaths:
    """Matched detections with random leaves, classes and descending probabilities, a third of them correct leaves."""
    rng = np.random.default_rng(seed)
    leaf = rng.choice(np.flatnonzero(tree.is_leaf), COUNT)
    node = np.where(rng.random(COUNT) < 1 / 3, leaf, rng.integers(0, len(tree), COUNT))
    on_path = np.arange(int(tree.depth.max()) + 1) <= tree.depth[leaf][:, None]
    absolute = np.cumprod(rng.uniform(0.5, 1, on_path.shape), axis=1) * on_path
    common = [len(set(tree.path(int(a))) & set(tree.path(int(b)))) for a, b in zip(leaf, node, strict=True)]
    return MatchedPaths(
        image=np.arange(COUNT),
        score=rng.uniform(0.1, 1, COUNT),
        absolute=absolute,
        leaf=leaf,
        object=np.arange(COUNT),
        is_ignored=np.zeros(COUNT, bool),
        correct_nodes=np.array(common),
        node=node,
        object_image=np.arange(COUNT),
        tree=tree,
    )


def tree_with_one_root() -> WordTree:
    """All nodes below one root, which the hierarchical metrics do not count."""
    tree = random_tree(60)
    parents = np.where(tree.parent < 0, 0, tree.parent + 1).tolist()
    return WordTree(["root", *tree.ids], [-1, *parents])


def slow_prediction(paths: MatchedPaths, row: int, threshold: float) -> int:
    """The deepest node of a path with P > threshold, or its root."""
    path = list(paths.tree.path(int(paths.leaf[row])))
    above = [node for node, p in zip(path, paths.absolute[row], strict=False) if p > threshold]
    return int((above or path[:1])[-1])


def slow_predictions(paths: MatchedPaths, threshold: float) -> Int64Array:
    return np.array([slow_prediction(paths, row, threshold) for row in range(len(paths))])


def slow_coverage(tree: WordTree, node: int) -> float:
    leaves = [leaf for leaf in np.flatnonzero(tree.is_leaf).tolist() if node in tree.path(leaf)]
    return float(1 - np.log(len(leaves)) / np.log(tree.is_leaf.sum()))


def slow_is_correct(paths: MatchedPaths, predicted: Int64Array) -> list[bool]:
    return [node in paths.tree.path(int(truth)) for node, truth in zip(predicted, paths.node, strict=True)]


@pytest.fixture(scope="module")
def hiclass() -> ModuleType:
    pytest.importorskip("hiclass", reason="pip install hiclass")
    import hiclass.metrics

    return cast(ModuleType, hiclass.metrics)


@pytest.mark.parametrize("min_absolute", [0.3, 0.55, 0.9])
@pytest.mark.parametrize("roots", ["several", "one"])
def test_hierarchical_precision_recall_and_f1_are_those_of_hiclass(
    hiclass: ModuleType, roots: str, min_absolute: float
) -> None:
    paths = random_paths(random_tree(60) if roots == "several" else tree_with_one_root(), seed=1)
    predicted = slow_predictions(paths, min_absolute)
    skipped = 1 if roots == "one" else 0

    def names(nodes: Int64Array) -> list[list[str]]:
        return [[*map(str, paths.tree.path(int(node))[skipped:])] for node in nodes]

    (metrics, *_) = prediction_metrics(
        paths, PredictConfig(min_score=0, min_absolute=min_absolute), group_of
    ).levels
    truth, found = names(paths.node), names(predicted)
    expected = [getattr(hiclass, metric)(truth, found) for metric in ("precision", "recall", "f1")]
    assert [metrics.precision, metrics.recall, metrics.f1] == pytest.approx(
        [100 * value for value in expected]
    )


def test_calibration_error_is_that_of_mapie() -> None:
    pytest.importorskip("mapie", reason="pip install mapie")
    from mapie.metrics.calibration import expected_calibration_error as of_mapie

    rng = np.random.default_rng(0)
    for count in (1, 7, 400):
        probability = rng.random(count)
        is_correct = rng.random(count) < probability**2
        expected = of_mapie(is_correct.astype(int), probability, CALIBRATION_BINS, "uniform")
        assert expected_calibration_error(probability, is_correct) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("min_absolute", [0.3, 0.7])
def test_accuracy_and_coverage_are_those_of_slow_predictions(min_absolute: float) -> None:
    paths = random_paths(random_tree(80), seed=2)
    predicted = slow_predictions(paths, min_absolute)
    (metrics, *_) = prediction_metrics(
        paths, PredictConfig(min_score=0, min_absolute=min_absolute), group_of
    ).levels
    assert metrics.accuracy == pytest.approx(100 * np.mean(slow_is_correct(paths, predicted)))
    assert metrics.exact == pytest.approx(100 * np.mean(predicted == paths.node))
    coverage = [slow_coverage(paths.tree, int(node)) for node in predicted]
    assert metrics.coverage == pytest.approx(100 * np.mean(coverage))


def test_haurc_is_the_area_that_scikit_learn_finds_under_slow_points() -> None:
    auc = pytest.importorskip("sklearn.metrics", reason="pip install scikit-learn").auc
    paths = random_paths(random_tree(40), seed=3)
    metrics = prediction_metrics(paths, PredictConfig(min_score=0), group_of)
    coverage, risk = [0.0], [0.0]
    for threshold in [point.min_absolute for point in metrics.risk_coverage[1:]]:
        predicted = slow_predictions(paths, threshold)
        coverage.append(float(np.mean([slow_coverage(paths.tree, int(node)) for node in predicted])))
        risk.append(100 * (1 - float(np.mean(slow_is_correct(paths, predicted)))))
    assert len(coverage) > 50
    assert metrics.haurc == pytest.approx(auc(coverage, risk))


def test_precision_recall_and_f1_are_those_of_scikit_learn() -> None:
    """Without missed objects, a detection that is not correct is a false positive and a false negative."""
    of_sklearn = pytest.importorskip("sklearn.metrics", reason="pip install scikit-learn")
    cfg = PredictConfig(min_score=0.4, min_absolute=0.5)
    paths = random_paths(random_tree(80), seed=4)
    is_correct = slow_is_correct(paths, slow_predictions(paths, cfg.min_absolute))
    reported = paths.score > cfg.min_score
    # two rows for each object and detection: whether there is one, and whether it is reported as correct
    truth = np.concatenate([np.ones(COUNT), np.zeros(COUNT)])
    found = np.concatenate([reported & is_correct, reported & ~np.array(is_correct)])
    expected = of_sklearn.precision_recall_fscore_support(truth, found, average="binary")[:3]
    at = prediction_metrics(paths, cfg, group_of).at
    assert [at.precision, at.recall, at.f1] == pytest.approx([100 * value for value in expected])
