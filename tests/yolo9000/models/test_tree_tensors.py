"""Softmax over sibling groups, path probabilities and descent, against slow obvious twins and Darknet's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.yolo9000.darknet_golden import golden_folders
from tests.yolo9000.made import random_tree
from wordtree import WordTree
from wordtree.tree.probability import darknet_node
from yolo9000.models.tree_tensors import PathMembers, TreeTensors, segment_log_softmax, segment_max


def conditional_twin(tree: WordTree, logits: np.ndarray) -> np.ndarray:
    """Softmax of each sibling group of dense logits (P, N), group by group."""
    conditional = np.empty_like(logits)
    for start, size in zip(tree.group_start, tree.group_size, strict=True):
        group = logits[:, start : start + size]
        exponent = np.exp(group - group.max(1, keepdims=True))
        conditional[:, start : start + size] = exponent / exponent.sum(1, keepdims=True)
    return conditional


def absolute_twin(tree: WordTree, conditional: np.ndarray) -> np.ndarray:
    absolute = conditional.copy()
    for node, parent in enumerate(tree.parent):
        if parent >= 0:
            absolute[:, node] *= absolute[:, parent]
    return absolute


def descent_twin(tree: WordTree, conditional: np.ndarray, threshold: float) -> tuple[int, float, list[float]]:
    """The paper's rule, one node after the other."""
    deepest, absolute, path, siblings = -1, 1.0, [], np.flatnonzero(tree.parent < 0)
    while len(siblings):
        best = siblings[conditional[siblings].argmax()]
        if deepest >= 0 and not absolute * conditional[best] > threshold:
            break
        deepest, absolute = int(best), absolute * conditional[best]
        path.append(conditional[best])
        siblings = np.array(tree.children(deepest))
    return deepest, absolute, path


def table_logits(logits: Tensor):
    """The logits of a table (P, N) as the function that a descent calls."""

    def logits_of(locations: Tensor, members: PathMembers) -> Tensor:
        return logits[locations[members.path], members.node]

    return logits_of


@given(nodes=st.integers(1, 60), seed=st.integers(0, 10_000), spread=st.sampled_from([1.0, 300.0]))
@settings(max_examples=60)
def test_probabilities_of_paths_and_of_all_nodes_agree_with_the_dense_twin(
    nodes: int, seed: int, spread: float
) -> None:
    tree = random_tree(nodes, roots=min(3, nodes), seed=seed)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(5, nodes)) + spread * rng.normal(size=len(tree.group_start))[tree.group]
    expected = absolute_twin(tree, conditional_twin(tree, logits))
    tree_tensors, table = TreeTensors(tree), torch.from_numpy(logits)

    ends = torch.from_numpy(rng.integers(0, nodes, 5))
    members = tree_tensors.path_members(ends)
    absolute = tree_tensors.log_absolute(members, table[members.path, members.node], 5).exp()
    np.testing.assert_allclose(absolute, expected[np.arange(5), ends], rtol=1e-9)

    at_all_locations = tree_tensors.log_absolute(members, table.T[members.node], 5).exp()  # of each path
    np.testing.assert_allclose(at_all_locations, expected[:, ends].T, rtol=1e-9)

    everywhere = tree_tensors.log_absolute_of_nodes(lambda nodes: table[:, nodes], torch.arange(nodes)).exp()
    np.testing.assert_allclose(everywhere, expected, rtol=1e-9)


@given(nodes=st.integers(1, 60), seed=st.integers(0, 10_000), threshold=st.sampled_from([0.0, 0.1, 0.5, 0.9]))
@settings(max_examples=60)
def test_a_descent_agrees_with_a_loop_over_nodes(nodes: int, seed: int, threshold: float) -> None:
    tree = random_tree(nodes, roots=min(3, nodes), seed=seed)
    logits = np.random.default_rng(seed).normal(size=(4, nodes)) * 3
    descent = TreeTensors(tree).descend(table_logits(torch.from_numpy(logits)), 4, threshold=threshold)
    for location, conditional in enumerate(conditional_twin(tree, logits)):
        node, absolute, path = descent_twin(tree, conditional, threshold)
        assert descent.node[location] == node
        assert descent.absolute[location].item() == pytest.approx(absolute, rel=1e-5)
        np.testing.assert_allclose(descent.conditional[location], path, rtol=1e-6)


def test_a_descent_at_no_location_is_empty(toy_tree: WordTree) -> None:
    descent = TreeTensors(toy_tree).descend(table_logits(torch.zeros(0, 7)), 0, threshold=0.5)
    assert descent.node.shape == (0,)
    assert descent.conditional == ()


def test_members_of_a_path_are_all_siblings_of_the_nodes_on_it(toy_tree: WordTree) -> None:
    members = TreeTensors(toy_tree).path_members(torch.tensor([6, 4]))  # terrier, car
    assert members.node.tolist() == [0, 1, 2, 3, 6, 0, 1, 4, 5]
    assert members.path.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert members.segment.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4]
    assert members.node[members.on_path].tolist() == [0, 2, 6, 1, 4]


def test_the_segment_maximum_is_the_first_of_equal_values() -> None:
    values = torch.tensor([1.0, 3.0, 3.0, 2.0, 2.0])
    highest, row = segment_max(values, torch.tensor([0, 0, 0, 1, 1]), 2)
    assert highest.tolist() == [3, 2]
    assert row.tolist() == [1, 3]


def test_segment_softmax_has_the_gradient_of_an_ordinary_softmax() -> None:
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    segment = torch.tensor([0, 0, 0, 1, 1, 1])
    weight = torch.randn(6, dtype=torch.float64)
    (flat,) = torch.autograd.grad((segment_log_softmax(logits, segment, 2) * weight).sum(), logits)
    (rows,) = torch.autograd.grad((logits.view(2, 3).log_softmax(1).flatten() * weight).sum(), logits)
    torch.testing.assert_close(flat, rows)


def golden_descents() -> list[Any]:
    """(tree, arrays) of every trees/hier_NAME.npz that has a NAME.tree or, of bare parents, a tree_NAME.npz."""
    found = []
    for whose, folder in golden_folders():
        for path in sorted((folder / "trees").glob("hier_*.npz")):
            name = path.stem.removeprefix("hier_")
            if (folder / "trees" / f"{name}.tree").exists():
                tree = WordTree.load(folder / "trees" / f"{name}.tree")
            else:
                parents = np.load(folder / "trees" / f"tree_{name}.npz")["parent"]
                tree = WordTree([f"own{node}" for node in range(len(parents))], parents)
            found.append(pytest.param(tree, path, id=f"{whose}-{name}"))
    return found


@pytest.mark.parametrize(("tree", "path"), golden_descents())
def test_descents_and_probabilities_agree_with_darknet(tree: WordTree, path: Path) -> None:
    golden, tree_tensors = np.load(path), TreeTensors(tree)
    logits = torch.from_numpy(golden["logits"]).double()
    if "node_prob" in golden:
        absolute = tree_tensors.log_absolute_of_nodes(
            lambda nodes: logits[:, nodes], torch.arange(len(tree))
        ).exp()
        np.testing.assert_allclose(absolute, golden["node_prob"], rtol=2e-5, atol=1e-12)
    for column, threshold in enumerate(golden["thresholds"].tolist()):
        paper = tree_tensors.descend(table_logits(logits), len(logits), threshold=threshold)
        np.testing.assert_array_equal(paper.node, golden["top_conditional"][:, column])
        darknet = tree_tensors.descend(table_logits(logits), len(logits), threshold=threshold, by="product")
        np.testing.assert_array_equal(darknet.node, golden["top_after_predictions"][:, column])
        if "prob_of_top_conditional" in golden:
            expected = golden["prob_of_top_conditional"][:, column]
            np.testing.assert_allclose(paper.absolute, expected, rtol=1e-4, atol=1e-7)


@given(
    nodes=st.integers(1, 60), seed=st.integers(0, 10_000), threshold=st.sampled_from([0.0, 0.02, 0.2, 0.5])
)
@settings(max_examples=60)
def test_darknets_descent_agrees_with_the_twin_and_never_goes_deeper_than_the_papers(
    nodes: int, seed: int, threshold: float
) -> None:
    tree = random_tree(nodes, roots=min(3, nodes), seed=seed)
    logits = 2 * np.random.default_rng(seed).normal(size=(5, nodes))
    absolute = absolute_twin(tree, conditional_twin(tree, logits))
    tree_tensors, logits_of = TreeTensors(tree), table_logits(torch.from_numpy(logits))
    found = tree_tensors.descend(logits_of, 5, threshold=threshold, by="product")
    np.testing.assert_array_equal(found.node, darknet_node(absolute, tree, threshold=threshold))
    np.testing.assert_allclose(found.absolute, absolute[np.arange(5), found.node], rtol=1e-5)
    paper = tree_tensors.descend(logits_of, 5, threshold=threshold)
    assert all(
        node in {deep, *tree.ancestors(deep)}
        for node, deep in zip(found.node.tolist(), paper.node.tolist(), strict=True)
    )


def test_with_sigmoid_siblings_each_node_has_its_own_probability(toy_tree: WordTree) -> None:
    tree_tensors = TreeTensors(toy_tree, siblings="sigmoid")
    logits = torch.tensor([[1.0, 2.0, 0.5, -1.0, 3.0, 4.0, 0.0]], dtype=torch.float64)
    absolute = tree_tensors.log_absolute_of_nodes(lambda nodes: logits[:, nodes], torch.arange(7)).exp()
    own = logits.sigmoid()
    torch.testing.assert_close(absolute[0, 6], own[0, [0, 2, 6]].prod())
    torch.testing.assert_close(absolute[0, 5], own[0, [1, 5]].prod())
    descent = tree_tensors.descend(table_logits(logits), 1, threshold=0.5)
    assert descent.node.tolist() == [5]
    assert descent.conditional[0].tolist() == pytest.approx(own[0, [1, 5]].tolist())
