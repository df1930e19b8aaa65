"""Top-k accuracy and accuracy in the tree agree with hand calculation and a slow reference."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.yolo9000.made import random_tree
from wordtree import WordTree
from wordtree.tree.probability import (
    absolute_probabilities,
    conditional_probabilities,
    deepest_confident_node,
)
from yolo9000.evaluation.classification import (
    THRESHOLDS,
    ClassificationMetrics,
    ImageOutcomes,
    classification_metrics,
    image_outcomes,
    lowest_classes,
)

ABSOLUTE = [0.7, 0.3, 0.5, 0.2, 0.2, 0.1, 0.5]  # animal, vehicle, dog, cat, car, boat, terrier
LABELS = ["terrier", "cat", "car", "dog", "animal", "car dog", "vehicle"]


def outcomes_of(
    tree: WordTree, absolute: list[list[float]], labels: list[list[int]], candidates: list[int]
) -> ImageOutcomes:
    image = [row for row, nodes in enumerate(labels) for _ in nodes]
    node = [one for nodes in labels for one in nodes]
    return image_outcomes(
        np.array(absolute), np.array(image), np.array(node), tree=tree, candidates=np.array(candidates)
    )


def toy_score(tree: WordTree, labels: list[str], candidates: str) -> ClassificationMetrics:
    """The score where every image has the probabilities ABSOLUTE."""
    nodes = [[tree.names.index(name) for name in names.split()] for names in labels]
    chosen = [tree.names.index(name) for name in candidates.split()]
    return classification_metrics(outcomes_of(tree, [ABSOLUTE] * len(labels), nodes, sorted(chosen)), tree)


def test_candidates_are_the_classes_without_a_class_below(toy_tree: WordTree) -> None:
    assert lowest_classes(toy_tree, np.array([6, 2, 3, 4])).tolist() == [3, 4, 6]  # terrier is a dog
    assert lowest_classes(toy_tree, np.array([0, 4, 2])).tolist() == [2, 4]
    assert lowest_classes(toy_tree, np.array([5])).tolist() == [5]


def test_the_score_agrees_with_hand_calculation(toy_tree: WordTree) -> None:
    """Candidates in order of probability: terrier .5, cat .2, car .2 (a tie: the first counts first), boat .1."""
    nodes = [[toy_tree.names.index(name) for name in names.split()] for names in LABELS]
    outcomes = outcomes_of(toy_tree, [ABSOLUTE] * 7, nodes, [3, 4, 5, 6])
    assert outcomes.rank.tolist() == [0, 1, 2, 0, 0, 0, 2]
    assert outcomes.label_depth.tolist() == [
        2,
        1,
        1,
        1,
        0,
        1,
        0,
    ]  # of "car dog", dog has most in common with terrier
    assert outcomes.common.tolist() == [3, 1, 0, 2, 1, 2, 0]
    score = classification_metrics(outcomes, toy_tree)
    assert (score.images, score.unknown) == (7, 0)
    assert score.top1 == pytest.approx(100 * 4 / 7)
    assert score.top5 == 100
    assert score.path == pytest.approx(100 * (1 + 1 / 2 + 0 + 1 + 1 + 1 + 0) / 7)
    assert [(d.depth, d.images, d.correct) for d in score.depths] == [
        (0, 7, pytest.approx(100 * 5 / 7)), (1, 5, pytest.approx(60)), (2, 1, 100),
    ]  # fmt: skip
    for row in score.thresholds:  # dog's .5 does not exceed .5, so every prediction is animal
        assert row.correct == pytest.approx(100 * 5 / 7)
        assert row.path == pytest.approx(100 * (1 / 3 + 1 / 2 + 0 + 1 / 2 + 1 + 1 / 2 + 0) / 7)


def test_each_label_has_its_accuracy_and_the_class_that_it_is_confused_with(toy_tree: WordTree) -> None:
    score = toy_score(toy_tree, ["terrier", "cat", "car", "cat", "boat", "dog boat"], "cat car terrier")
    assert [
        (row.name, row.images, row.top1, row.top5, row.confused_with, row.count) for row in score.classes
    ] == [
        ("dog", 1, 100, 100, None, 0),  # of "dog boat", dog has most in common with terrier
        ("cat", 2, 0, 100, "terrier", 2),
        ("car", 1, 0, 100, "terrier", 1),
        ("terrier", 1, 100, 100, None, 0),
    ]  # no candidate is a boat
    assert sum(row.images for row in score.classes) == score.images - score.unknown
    assert toy_score(toy_tree, ["boat"], "cat car terrier").classes == ()


def test_top_5_counts_five_candidates(toy_tree: WordTree) -> None:
    tree = WordTree([f"class{k}" for k in range(8)], [-1] * 8)
    absolute = [0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.04, 0.01]
    labels = [[0], [3], [4], [5], [7]]
    score = classification_metrics(outcomes_of(tree, [absolute] * 5, labels, list(range(8))), tree)
    assert (score.top1, score.top5) == (20, 60)


def test_an_image_that_no_candidate_is_correct_for_is_counted_as_unknown(toy_tree: WordTree) -> None:
    score = toy_score(toy_tree, ["boat", "terrier", "boat terrier"], "cat car terrier")
    assert (score.images, score.unknown) == (3, 1)
    assert (score.top1, score.top5) == (100, 100)
    assert score.path == pytest.approx(100 * (0 + 1 + 1) / 3)  # the path of an unknown label still counts
    score = toy_score(toy_tree, ["boat"], "cat car terrier")
    assert (score.unknown, score.top1, score.top5) == (1, None, None)


def test_the_table_has_every_measure(toy_tree: WordTree) -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(toy_score(toy_tree, [*LABELS, "boat"], "cat car terrier").table())
    text = console.file.getvalue()
    for message in ("8 images, 1 of them of unknown classes", "top-1", "down to depth 2", "above 0.9"):
        assert message in text


# --- slow reference


def path_of(node: int, tree: WordTree) -> list[int]:
    return [*reversed(tree.ancestors(node)), node]


def slow_row(
    absolute: np.ndarray, labels: list[int], tree: WordTree, candidates: list[int]
) -> tuple[int, int, float, list[float]]:
    """Rank, common nodes, part of the label's path; and this part for the prediction at each threshold (0: wrong)."""
    order = sorted(candidates, key=lambda node: (-absolute[node], node))
    correct = [any(label in path_of(node, tree) for label in labels) for node in order]

    def common(predicted: int, label: int) -> int:
        return len(set(path_of(predicted, tree)) & set(path_of(label, tree)))

    def compared(predicted: int) -> tuple[int, float]:
        label = max(labels, key=lambda one: common(predicted, one))  # the first of equals
        return common(predicted, label), common(predicted, label) / len(path_of(label, tree))

    parts = []
    for threshold in THRESHOLDS:
        predicted = int(deepest_confident_node(absolute, tree, threshold=threshold))
        fits = any(predicted in path_of(one, tree) or one in path_of(predicted, tree) for one in labels)
        parts.append(compared(predicted)[1] if fits else 0.0)
    return correct.index(True) if any(correct) else -1, *compared(order[0]), parts


@settings(max_examples=50)
@given(seed=st.integers(0, 10**6), nodes=st.integers(5, 60), spread=st.sampled_from([0.0, 1.0, 8.0]))
def test_outcomes_agree_with_a_slow_reference(seed: int, nodes: int, spread: float) -> None:
    rng, tree, images = np.random.default_rng(seed), random_tree(nodes, seed=seed), 6
    logits = spread * rng.standard_normal((images, nodes))
    absolute = absolute_probabilities(conditional_probabilities(logits, tree), tree)
    labels = [rng.integers(0, nodes, rng.integers(1, 4)).tolist() for _ in range(images)]
    candidates = lowest_classes(tree, rng.permutation(nodes)[: rng.integers(1, nodes)])
    outcomes = outcomes_of(tree, absolute.tolist(), labels, candidates.tolist())
    rows = [
        slow_row(row, nodes, tree, candidates.tolist()) for row, nodes in zip(absolute, labels, strict=True)
    ]
    assert outcomes.rank.tolist() == [rank for rank, *_ in rows]
    assert outcomes.common.tolist() == [common for _, common, *_ in rows]
    assert (outcomes.common / (outcomes.label_depth + 1)).tolist() == [part for *_, part, _ in rows]
    threshold_parts = outcomes.threshold_common / (outcomes.threshold_label_depth + 1)
    assert threshold_parts.tolist() == [parts for *_, parts in rows]
    halves = [outcomes_of(tree, absolute[part].tolist(), labels[part], candidates.tolist()) for part in (
        slice(0, 2), slice(2, 6),
    )]  # fmt: skip
    assert classification_metrics(ImageOutcomes.concatenated(halves), tree) == classification_metrics(
        outcomes, tree
    )
