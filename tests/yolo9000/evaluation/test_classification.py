"""Top-k and accuracy in the tree: a table by hand, and a slow twin."""

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
    ClassificationScore,
    RankedLabels,
    judge,
    lowest,
    summary,
)

ABSOLUTE = [0.7, 0.3, 0.5, 0.2, 0.2, 0.1, 0.5]  # animal, vehicle, dog, cat, car, boat, terrier
LABELS = ["terrier", "cat", "car", "dog", "animal", "car dog", "vehicle"]


def judged_by(
    tree: WordTree, absolute: list[list[float]], labels: list[list[int]], candidates: list[int]
) -> RankedLabels:
    image = [picture for picture, nodes in enumerate(labels) for _ in nodes]
    node = [one for nodes in labels for one in nodes]
    return judge(
        np.array(absolute), np.array(image), np.array(node), tree=tree, candidates=np.array(candidates)
    )


def toy_score(tree: WordTree, labels: list[str], candidates: str) -> ClassificationScore:
    """The same probabilities for every image, scored for its labels."""
    nodes = [[tree.names.index(name) for name in names.split()] for names in labels]
    chosen = [tree.names.index(name) for name in candidates.split()]
    return summary(judged_by(tree, [ABSOLUTE] * len(labels), nodes, sorted(chosen)), tree)


def test_candidates_are_the_classes_with_no_class_below_them(toy_tree: WordTree) -> None:
    assert lowest(toy_tree, np.array([6, 2, 3, 4])).tolist() == [3, 4, 6]  # terrier is a dog
    assert lowest(toy_tree, np.array([0, 4, 2])).tolist() == [2, 4]
    assert lowest(toy_tree, np.array([5])).tolist() == [5]


def test_a_table_by_hand(toy_tree: WordTree) -> None:
    """Candidates in order of probability: terrier .5, cat .2, car .2 (a tie: the first counts first), boat .1."""
    nodes = [[toy_tree.names.index(name) for name in names.split()] for names in LABELS]
    judged = judged_by(toy_tree, [ABSOLUTE] * 7, nodes, [3, 4, 5, 6])
    assert judged.rank.tolist() == [0, 1, 2, 0, 0, 0, 2]
    assert judged.label_depth.tolist() == [
        2,
        1,
        1,
        1,
        0,
        1,
        0,
    ]  # of "car dog", dog is what terrier shares most with
    assert judged.shared.tolist() == [3, 1, 0, 2, 1, 2, 0]
    score = summary(judged, toy_tree)
    assert (score.pictures, score.unknown) == (7, 0)
    assert score.top1 == pytest.approx(100 * 4 / 7)
    assert score.top5 == 100
    assert score.path == pytest.approx(100 * (1 + 1 / 2 + 0 + 1 + 1 + 1 + 0) / 7)
    assert [(d.depth, d.pictures, d.right) for d in score.depths] == [
        (0, 7, pytest.approx(100 * 5 / 7)), (1, 5, pytest.approx(60)), (2, 1, 100),
    ]  # fmt: skip
    for answer in score.answers:  # dog's .5 does not exceed .5, so every answer is animal
        assert answer.right == pytest.approx(100 * 5 / 7)
        assert answer.precise == pytest.approx(100 * (1 / 3 + 1 / 2 + 0 + 1 / 2 + 1 + 1 / 2 + 0) / 7)


def test_each_label_has_its_accuracy_and_what_it_is_taken_for(toy_tree: WordTree) -> None:
    score = toy_score(toy_tree, ["terrier", "cat", "car", "cat", "boat", "dog boat"], "cat car terrier")
    assert [
        (row.name, row.pictures, row.top1, row.top5, row.taken_for, row.times) for row in score.classes
    ] == [
        ("dog", 1, 100, 100, None, 0),  # of "dog boat", dog is what terrier shares most with
        ("cat", 2, 0, 100, "terrier", 2),
        ("car", 1, 0, 100, "terrier", 1),
        ("terrier", 1, 100, 100, None, 0),
    ]  # no candidate is a boat
    assert sum(row.pictures for row in score.classes) == score.pictures - score.unknown
    assert toy_score(toy_tree, ["boat"], "cat car terrier").classes == ()


def test_top_5_counts_five(toy_tree: WordTree) -> None:
    tree = WordTree([f"class{k}" for k in range(8)], [-1] * 8)
    absolute = [0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.04, 0.01]
    labels = [[0], [3], [4], [5], [7]]
    score = summary(judged_by(tree, [absolute] * 5, labels, list(range(8))), tree)
    assert (score.top1, score.top5) == (20, 60)


def test_a_label_that_no_candidate_can_be_is_counted_as_unknown(toy_tree: WordTree) -> None:
    score = toy_score(toy_tree, ["boat", "terrier", "boat terrier"], "cat car terrier")
    assert (score.pictures, score.unknown) == (3, 1)
    assert (score.top1, score.top5) == (100, 100)
    assert score.path == pytest.approx(
        100 * (0 + 1 + 1) / 3
    )  # what a boat shares with a terrier is still judged
    score = toy_score(toy_tree, ["boat"], "cat car terrier")
    assert (score.unknown, score.top1, score.top5) == (1, None, None)


def test_what_is_reported_can_be_read(toy_tree: WordTree) -> None:
    console = Console(width=200, file=io.StringIO())
    console.print(toy_score(toy_tree, [*LABELS, "boat"], "cat car terrier").table())
    text = console.file.getvalue()
    for message in ("8 images, 1 of them of unknown classes", "top-1", "right down to depth 2", "above 0.9"):
        assert message in text


# --- twin


def path_of(node: int, tree: WordTree) -> list[int]:
    return [*reversed(tree.ancestors(node)), node]


def slow_row(
    absolute: np.ndarray, labels: list[int], tree: WordTree, candidates: list[int]
) -> tuple[int, int, float, list[float]]:
    """rank, shared nodes, share of the label's path, and that of each threshold's answer (0: wrong)."""
    order = sorted(candidates, key=lambda node: (-absolute[node], node))
    right = [any(label in path_of(node, tree) for label in labels) for node in order]

    def shared(answer: int, label: int) -> int:
        return len(set(path_of(answer, tree)) & set(path_of(label, tree)))

    def compared(answer: int) -> tuple[int, float]:
        label = max(labels, key=lambda one: shared(answer, one))  # the first of equals
        return shared(answer, label), shared(answer, label) / len(path_of(label, tree))

    named = []
    for threshold in THRESHOLDS:
        answer = int(deepest_confident_node(absolute, tree, threshold=threshold))
        fits = any(answer in path_of(one, tree) or one in path_of(answer, tree) for one in labels)
        named.append(compared(answer)[1] if fits else 0.0)
    return right.index(True) if any(right) else -1, *compared(order[0]), named


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), nodes=st.integers(5, 60), spread=st.sampled_from([0.0, 1.0, 8.0]))
def test_the_judgement_equals_a_slow_twin(seed: int, nodes: int, spread: float) -> None:
    rng, tree, images = np.random.default_rng(seed), random_tree(nodes, seed=seed), 6
    logits = spread * rng.standard_normal((images, nodes))
    absolute = absolute_probabilities(conditional_probabilities(logits, tree), tree)
    labels = [rng.integers(0, nodes, rng.integers(1, 4)).tolist() for _ in range(images)]
    candidates = lowest(tree, rng.permutation(nodes)[: rng.integers(1, nodes)])
    judged = judged_by(tree, absolute.tolist(), labels, candidates.tolist())
    rows = [
        slow_row(row, nodes, tree, candidates.tolist()) for row, nodes in zip(absolute, labels, strict=True)
    ]
    assert judged.rank.tolist() == [rank for rank, *_ in rows]
    assert judged.shared.tolist() == [shared for _, shared, *_ in rows]
    assert (judged.shared / (judged.label_depth + 1)).tolist() == [share for *_, share, _ in rows]
    assert (judged.named / (judged.named_depth + 1)).tolist() == [named for *_, named in rows]
    halves = [judged_by(tree, absolute[part].tolist(), labels[part], candidates.tolist()) for part in (
        slice(0, 2), slice(2, 6),
    )]  # fmt: skip
    assert summary(RankedLabels.joined(halves), tree) == summary(judged, tree)
