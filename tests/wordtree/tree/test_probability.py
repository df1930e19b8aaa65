"""Conditional and absolute probabilities and the prediction rules: by hand, by law, and against Darknet."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtree.tree.probability import (
    ProbabilityError,
    absolute_probabilities,
    conditional_probabilities,
    darknet_node,
    deepest_confident_node,
    most_confident_leaf,
    node_at_cut,
)
from wordtree.tree.tree import WordTree

CONDITIONAL = [0.75, 0.25, 0.5, 0.5, 0.125, 0.875, 1.0]  # of the toy tree: exact in binary
ABSOLUTE = [0.75, 0.25, 0.375, 0.375, 0.03125, 0.21875, 0.375]


def golden_cases() -> list[str]:
    folder = Path(os.environ.get("DARKNET_GOLDEN", "absent"), "trees")
    return sorted(path.stem.removeprefix("hier_") for path in folder.glob("hier_*.npz"))


def bare_tree(parents: list[int] | np.ndarray) -> WordTree:
    return WordTree([f"own{node}" for node in range(len(parents))], parents)


# --- by hand


def test_absolute_is_the_product_from_the_root_down(toy_tree: WordTree) -> None:
    assert absolute_probabilities(CONDITIONAL, toy_tree).tolist() == ABSOLUTE


def test_equal_logits_give_equal_probabilities_in_a_group(toy_tree: WordTree) -> None:
    assert conditional_probabilities(np.full(7, 3.0), toy_tree).tolist() == [0.5] * 6 + [1.0]


@pytest.mark.parametrize(
    ("threshold", "node"),
    [
        pytest.param(0.0, 6, id="everything is above zero: the leaf"),
        pytest.param(0.3, 6, id="a leaf above the threshold"),
        pytest.param(0.375, 0, id="equal to the threshold does not exceed it"),
        pytest.param(0.9, 0, id="no root exceeds it: the best root all the same"),
    ],
)
def test_the_papers_rule_descends_while_the_absolute_probability_exceeds_the_threshold(
    toy_tree: WordTree, threshold: float, node: int
) -> None:
    assert deepest_confident_node(ABSOLUTE, toy_tree, threshold=threshold) == node


def test_darknet_multiplies_twice_and_so_stops_earlier(toy_tree: WordTree) -> None:
    assert deepest_confident_node(ABSOLUTE, toy_tree, threshold=0.3) == 6
    assert darknet_node(ABSOLUTE, toy_tree, threshold=0.3) == 0  # .75 × .375 = .28
    assert darknet_node(ABSOLUTE, toy_tree, threshold=0.25) == 2  # and × .375 = .105


def test_the_best_path_ends_in_a_leaf_and_ties_go_to_the_first(toy_tree: WordTree) -> None:
    assert most_confident_leaf(ABSOLUTE, toy_tree) == 6
    assert most_confident_leaf([[0.4, 0.6, 0.1, 0.3, 0.2, 0.4, 0.1], ABSOLUTE], toy_tree).tolist() == [5, 6]


def test_a_cut_stops_the_descent(toy_tree: WordTree) -> None:
    rows = [ABSOLUTE, [0.4, 0.6, 0.1, 0.3, 0.2, 0.4, 0.1]]
    assert node_at_cut(rows, toy_tree, cut=toy_tree.select("depth = 1")).tolist() == [2, 5]
    assert node_at_cut(rows, toy_tree, cut=[2]).tolist() == [2, 5]
    assert node_at_cut(rows, toy_tree, cut=[0, 1]).tolist() == [0, 1]
    assert node_at_cut(rows, toy_tree, cut=[]).tolist() == [6, 5]


@pytest.mark.parametrize("shape", [(7,), (0, 7), (1, 7), (2, 3, 7)], ids=str)
def test_any_number_of_predictions_at_once(toy_tree: WordTree, shape: tuple[int, ...]) -> None:
    absolute = np.broadcast_to(np.float32(ABSOLUTE), shape)
    predicted = deepest_confident_node(absolute, toy_tree, threshold=0.3)
    assert predicted.shape == shape[:-1]
    assert (predicted == 6).all()
    assert absolute_probabilities(absolute, toy_tree).dtype == np.float32


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param([0.5] * 6, r"shape \(…, 7\), one for each node, found \(6,\)", id="one too few"),
        pytest.param(0.5, r"found \(\)", id="a number"),
        pytest.param([0.5] * 5 + [float("nan"), 1], "found NaN at node 5", id="NaN"),
    ],
)
def test_numbers_that_do_not_fit_the_tree_are_refused(toy_tree: WordTree, values: Any, message: str) -> None:
    for ask in (conditional_probabilities, absolute_probabilities, most_confident_leaf):
        with pytest.raises(ProbabilityError, match=message):
            ask(values, toy_tree)


@pytest.mark.parametrize("cut", [[7], [-1], [True] * 7, [0.5]], ids=str)
def test_a_cut_that_is_not_a_list_of_nodes_is_refused(toy_tree: WordTree, cut: Any) -> None:
    with pytest.raises(ProbabilityError, match="nodes 0 to 6 as the cut"):
        node_at_cut(ABSOLUTE, toy_tree, cut=cut)


# --- laws


@st.composite
def trees_with_logits(draw: st.DrawFn) -> tuple[WordTree, np.ndarray]:
    parents = [-1] * draw(st.integers(1, 4))
    for node in range(draw(st.integers(0, 8))):
        parents += [node] * draw(st.integers(0, 3)) if node < len(parents) else []
    logits = draw(st.lists(st.integers(-5, 5), min_size=2 * len(parents), max_size=2 * len(parents)))
    return bare_tree(parents), np.reshape(np.float64(logits), (2, len(parents)))


def climbed(tree: WordTree, conditional: np.ndarray, threshold: float, *, node: int | None = None) -> int:
    """The paper's rule for one prediction, in its simplest form."""
    children = range(tree.group_size[0]) if node is None else tree.children(node)
    if not children:
        assert node is not None
        return node
    best = max(children, key=lambda child: (conditional[child], -child))
    absolute = float(np.prod([conditional[step] for step in tree.path(best)]))
    if absolute > threshold:
        return climbed(tree, conditional, threshold, node=best)
    return best if node is None else node


@given(trees_with_logits(), st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.99]))
def test_siblings_sum_to_their_parent_and_the_descent_agrees_with_the_slow_rule(
    case: tuple[WordTree, np.ndarray], threshold: float
) -> None:
    tree, logits = case
    conditional = conditional_probabilities(logits, tree)
    absolute = absolute_probabilities(conditional, tree)
    for node in range(len(tree)):
        if children := tree.children(node):
            assert absolute[:, list(children)].sum(axis=1) == pytest.approx(absolute[:, node])
    assert absolute[:, tree.depth == 0].sum(axis=1) == pytest.approx(1)
    assert absolute[:, tree.leaves].sum(axis=1) == pytest.approx(1)
    predicted = deepest_confident_node(absolute, tree, threshold=threshold)
    for row, node in enumerate(predicted):
        expected = climbed(tree, conditional[row], threshold)
        near_threshold = np.isclose(absolute[row], threshold, rtol=1e-12).any()
        tied = len({*np.round(absolute[row], 12)}) < len(tree)
        assert node == expected or near_threshold or tied


# --- Darknet's numbers


@pytest.mark.skipif(not golden_cases(), reason="DARKNET_GOLDEN is not set: Darknet's numbers are not at hand")
@pytest.mark.parametrize("case", golden_cases())
def test_probabilities_and_predicted_nodes_agree_with_darknet(case: str, golden_trees: Path) -> None:
    structure, golden = np.load(golden_trees / f"tree_{case}.npz"), np.load(golden_trees / f"hier_{case}.npz")
    tree = bare_tree(structure["parent"])
    conditional = conditional_probabilities(golden["logits"], tree)
    absolute = absolute_probabilities(conditional, tree)
    compared = 0
    for name, ours in {
        "softmax": conditional,
        "softmax_first2": conditional[:2],
        "softmax_temp2p5": conditional_probabilities(golden["logits"], tree, temperature=2.5),
        "node_prob": absolute,
        "predictions": absolute,
        "predictions_first2": absolute[:2],
        "predictions_leaves": np.where(tree.is_leaf, absolute, 0),
    }.items():
        if name in golden:
            np.testing.assert_allclose(ours, golden[name], atol=1e-6, err_msg=name)
            compared += 1
    assert compared >= 2
    for column, threshold in enumerate(golden["thresholds"]):
        paper = deepest_confident_node(absolute, tree, threshold=threshold)
        np.testing.assert_array_equal(paper, golden["top_conditional"][:, column])
        darknet = darknet_node(absolute, tree, threshold=threshold)
        np.testing.assert_array_equal(darknet, golden["top_after_predictions"][:, column])
        if "prob_of_top_conditional" in golden:
            probability = absolute[np.arange(len(paper)), paper]
            np.testing.assert_allclose(probability, golden["prob_of_top_conditional"][:, column], atol=1e-6)


def test_darknets_list_of_leaves_acts_as_a_cut(golden_trees: Path) -> None:
    """Darknet's list of leaves (the 1000 classes inside the 9000) is a set of nodes to stop at."""
    changed = sorted(golden_trees.glob("change_leaves_*.npz"))
    assert changed
    for path in changed:
        name = path.stem.removeprefix("change_leaves_")
        tree = WordTree.load(golden_trees / f"{name}.tree")
        cut = [tree.node(id_) for id_ in (golden_trees / f"{name}_leaves.list").read_text().split()]
        np.testing.assert_array_equal(np.isin(np.arange(len(tree)), cut), np.load(path)["leaf"])
        logits = np.random.default_rng(0).normal(size=(24, len(tree)))
        absolute = absolute_probabilities(conditional_probabilities(logits, tree), tree)
        predicted = node_at_cut(absolute, tree, cut=cut)
        for node, leaf in zip(predicted, most_confident_leaf(absolute, tree), strict=True):
            assert node == next((step for step in tree.path(leaf) if step in cut), leaf)
