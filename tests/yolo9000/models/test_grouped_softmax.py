"""The softmax over all sibling groups at once equals a loop over the groups, and a product along each path."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

import yolo9000.models.tree_tensors as tree_tensors_module
from tests.yolo9000.made import random_tree
from wordtree import WordTree
from yolo9000.models.grouped_softmax import GroupedSoftmax
from yolo9000.models.tree_tensors import TreeTensors


def log_softmax_of_each_group(logits: Tensor, tree: WordTree) -> Tensor:
    """The obvious loop; logits: (N, P) in the order of the nodes."""
    parts = zip(tree.group_start.tolist(), tree.group_size.tolist(), strict=True)
    return torch.cat([logits[start : start + size].log_softmax(0) for start, size in parts])


def sums_along_paths(log_conditional: Tensor, tree: WordTree) -> Tensor:
    result = log_conditional.clone()
    for node, parent in enumerate(tree.parent.tolist()):
        if parent >= 0:
            result[node] += result[parent]
    return result


@pytest.mark.parametrize("nodes", [4, 7, 60, 400])
@pytest.mark.parametrize("offset", [0.0, 200.0], ids=["plain", "groups 200 nats apart"])
def test_float32_probabilities_equal_a_loop_in_float64(nodes: int, offset: float) -> None:
    torch.manual_seed(nodes)
    tree = random_tree(nodes)
    softmax = GroupedSoftmax(tree)
    exact = 3 * torch.randn(nodes, 13, dtype=torch.float64)
    exact += offset * torch.randn(len(tree.group_start), 1)[torch.tensor(tree.group.tolist())].sign()
    logits = exact.float()
    found = softmax.log_conditional(logits[softmax.order])
    expected = log_softmax_of_each_group(logits.double(), tree)
    torch.testing.assert_close(found[softmax.row].double(), expected, rtol=1e-5, atol=1e-5)
    absolute = softmax.log_absolute(found)
    torch.testing.assert_close(absolute.double(), sums_along_paths(expected, tree), rtol=1e-5, atol=1e-4)
    assert torch.equal(softmax.order[softmax.row], torch.arange(nodes))


def test_gradients_equal_those_of_the_loop_in_float64() -> None:
    torch.manual_seed(0)
    tree = random_tree(200)
    softmax = GroupedSoftmax(tree)
    logits = (3 * torch.randn(200, 5, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(200, 5, dtype=torch.float64)
    found = softmax.log_conditional(logits[softmax.order])[softmax.row]
    expected = log_softmax_of_each_group(logits, tree)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad((values * weight).sum(), logits)[0] for values in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_groups_of_one_size_are_one_block() -> None:
    tree = WordTree([f"own{node}" for node in range(9)], [-1, -1, 0, 0, 1, 1, 2, 2, 2])
    assert list(GroupedSoftmax(tree).blocks) == [(0, 3, 2), (6, 1, 3)]


def test_no_locations_give_no_probabilities() -> None:
    softmax = GroupedSoftmax(random_tree(20))
    found = softmax.log_absolute(softmax.log_conditional(torch.zeros(20, 0)))
    assert found.shape == (20, 0)


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
def test_probabilities_of_many_nodes_equal_those_along_their_paths(
    siblings: Literal["softmax", "sigmoid"], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    tree = random_tree(80)
    tree_tensors = TreeTensors(tree, siblings=siblings)
    tree_tensors.set_temperatures([1.0 + depth / 5 for depth in range(int(tree.depth.max()) + 1)])
    logits, nodes = 3 * torch.randn(6, 80), torch.tensor([79, 3, 3, *range(40, 60)])
    with torch.no_grad():
        found = tree_tensors.log_absolute_of_nodes(lambda members: logits[:, members], nodes)
        monkeypatch.setattr(tree_tensors_module, "MANY_NODES", 2)
        expected = tree_tensors.log_absolute_of_nodes(lambda members: logits[:, members], nodes)
    torch.testing.assert_close(found, expected)
    assert found.shape == (6, 23)
