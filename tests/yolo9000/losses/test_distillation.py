"""The tree's conditional probabilities beside a flat softmax: coverage, targets, divergence."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.yolo9000.made import random_tree
from wordtree import WordTree
from yolo9000.losses.distillation import FlatTargets

Siblings = Literal["softmax", "sigmoid"]
FRUIT, APPLE, LEMON, PEAR = "n07705931", "n07739125", "n07749582", "n07767847"
GRANNY_SMITH, PINEAPPLE, DOG = "n07742313", "n07753275", "n02084071"


@pytest.fixture
def fruits() -> WordTree:
    return WordTree([FRUIT, APPLE, LEMON, PEAR], [-1, 0, 0, 0])


def random_targets(siblings: Siblings) -> tuple[WordTree, list[int], FlatTargets, Tensor]:
    """A random tree, the node of each of 40 classes, the targets, and P(class) of five images."""
    tree = random_tree(60, seed=3)
    nodes = np.random.default_rng(0).choice(60, 40, replace=False).tolist()
    targets = FlatTargets(tree, [tree.ids[node] for node in nodes], siblings=siblings)
    torch.manual_seed(0)
    return tree, nodes, targets, (2 * torch.randn(5, 40)).softmax(1)


def matching_logits(targets: FlatTargets, absolute: Tensor) -> Tensor:
    """The logits for which the tree has exactly the probabilities of the flat softmax."""
    above = torch.where(targets.parent >= 0, absolute[:, targets.parent.clamp(min=0)], 1)
    conditional = absolute / above
    return conditional.log() if targets.siblings == "softmax" else torch.logit(conditional, eps=1e-6)


def test_a_class_below_the_tree_counts_for_the_nearest_node_and_all_above_it(fruits: WordTree) -> None:
    targets = FlatTargets(fruits, [GRANNY_SMITH, LEMON, PINEAPPLE, DOG])
    assert [fruits.ids[node] for node in targets.nodes] == [FRUIT, APPLE, LEMON]  # not the pear
    assert targets.class_rows.tolist() == [0, 1, 2]  # not the dog
    absolute = targets.absolute(torch.tensor([[0.5, 0.2, 0.2, 0.1]]))
    assert absolute[0].tolist() == pytest.approx([0.9, 0.5, 0.2])
    assert targets.is_leaf.tolist() == [False, True, True]


def test_absolute_probabilities_are_sums_over_the_classes_at_or_below() -> None:
    tree, nodes, targets, probabilities = random_targets("softmax")
    absolute = targets.absolute(probabilities)
    covered = [node for node in range(60) if any(tree.is_at_or_under(nodes, node))]
    assert targets.nodes.tolist() == covered
    assert len(covered) < 60
    for column, node in enumerate(covered):
        below = torch.from_numpy(tree.is_at_or_under(nodes, node))
        torch.testing.assert_close(absolute[:, column], probabilities[:, below].sum(1))


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
def test_log_absolute_is_the_sum_along_the_path(siblings: Siblings) -> None:
    tree, _, targets, _ = random_targets(siblings)
    log_conditional = torch.randn(2, len(targets))
    log_absolute = targets.log_absolute(log_conditional)
    row = {node: k for k, node in enumerate(targets.nodes.tolist())}
    for node, column in row.items():
        path = [row[above] for above in tree.path(node)]
        torch.testing.assert_close(log_absolute[:, column], log_conditional[:, path].sum(1))


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
def test_the_divergence_is_zero_where_the_tree_has_the_flat_probabilities_and_positive_elsewhere(
    siblings: Siblings,
) -> None:
    tree = WordTree([f"own{k}" for k in range(7)], [-1, -1, 0, 0, 1, 1, 2])
    targets = FlatTargets(tree, ["own3", "own4", "own5", "own6"], siblings=siblings)
    torch.manual_seed(0)
    absolute = targets.absolute(torch.randn(6, 4).softmax(1))
    logits = matching_logits(targets, absolute)
    assert targets.divergence(logits, absolute).abs().max() < 1e-5
    noise = torch.randn_like(logits)
    noise[:, targets.nodes.tolist().index(6)] = 0  # an only child has nothing to be compared with
    assert (targets.divergence(logits + noise, absolute) > 1e-3).all()


def test_the_divergence_is_that_of_the_leaves() -> None:
    tree = WordTree([f"own{k}" for k in range(7)], [-1, -1, 0, 0, 1, 1, 2])
    targets = FlatTargets(tree, ["own3", "own4", "own5", "own6"])
    torch.manual_seed(0)
    absolute, logits = targets.absolute(torch.randn(6, 4).softmax(1)), torch.randn(6, 7)
    log_q = targets.log_absolute(targets.log_conditional(logits))[:, targets.is_leaf]
    p = absolute[:, targets.is_leaf]
    torch.testing.assert_close(targets.divergence(logits, absolute), (p * (p.log() - log_q)).sum(1))


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
def test_gradient_descent_on_the_cross_entropy_reaches_the_flat_probabilities(siblings: Siblings) -> None:
    _, _, targets, probabilities = random_targets(siblings)
    absolute = targets.absolute(probabilities)
    logits = torch.zeros(5, len(targets), requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    before = targets.divergence(logits, absolute).mean()
    for _ in range(150):
        optimizer.zero_grad()
        targets.cross_entropy(logits, absolute).sum().backward()
        optimizer.step()
    assert targets.divergence(logits, absolute).mean() < 0.01 * before


def test_rows_are_centred_in_each_sibling_group(fruits: WordTree) -> None:
    targets = FlatTargets(fruits, [GRANNY_SMITH, LEMON])
    centred = targets.centred(torch.tensor([[5.0, 1.0], [1.0, 2.0], [3.0, 4.0]]))
    assert centred.tolist() == [[0.0, 0.0], [-1.0, -1.0], [1.0, 1.0]]


def test_no_class_in_the_tree_covers_no_node(fruits: WordTree) -> None:
    assert len(FlatTargets(fruits, [DOG])) == 0
