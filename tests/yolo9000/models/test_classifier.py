"""The classifier: its two softmaxes against slow twins, its size against the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.yolo9000.made import random_tree
from wordtree import WordTree
from wordtree.tree.probability import absolute_probabilities, conditional_probabilities
from yolo9000.config import ClassifierConfig
from yolo9000.models.backbone import ConvUnit
from yolo9000.models.classifier import FlatSoftmax, TreeSoftmax, build_classifier, label_loss


def all_nodes(tree: WordTree) -> Tensor:
    return torch.arange(len(tree))


def loss_by_hand(logits: Tensor, labels: list[list[int]], tree: WordTree) -> Tensor:
    """−log P(label), node by node up the path; the mean over each image's labels, then over images."""
    of_images = []
    for row, nodes in zip(logits, labels, strict=True):
        of_labels = []
        for label in nodes:
            log_probability, node = row.new_zeros(()), label
            while node >= 0:
                siblings = [k for k in range(len(tree)) if tree.parent[k] == tree.parent[node]]
                log_probability = log_probability + row[node] - torch.logsumexp(row[siblings], 0)
                node = int(tree.parent[node])
            of_labels.append(-log_probability)
        of_images.append(torch.stack(of_labels).mean())
    return torch.stack(of_images).mean()


def columns(labels: list[list[int]]) -> tuple[Tensor, Tensor]:
    image = [number for number, nodes in enumerate(labels) for _ in nodes]
    return torch.tensor(image), torch.tensor([node for nodes in labels for node in nodes])


def loss_of(softmax: TreeSoftmax | FlatSoftmax, logits: Tensor, labels: list[list[int]]) -> Tensor:
    image, node = columns(labels)
    return label_loss(softmax.log_probability(logits, image, node), image, images=len(labels))


# --- the loss


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6), nodes=st.integers(5, 40), images=st.integers(1, 5), spread=st.floats(0, 50)
)
def test_the_tree_loss_and_its_gradient_equal_a_climb_node_by_node(
    seed: int, nodes: int, images: int, spread: float
) -> None:
    rng, tree = np.random.default_rng(seed), random_tree(nodes, seed=seed)
    labels = [rng.integers(0, nodes, rng.integers(1, 4)).tolist() for _ in range(images)]
    logits = torch.from_numpy(spread * rng.standard_normal((images, nodes))).requires_grad_()
    found = loss_of(TreeSoftmax(tree, all_nodes(tree)), logits, labels)
    (gradient,) = torch.autograd.grad(found, logits)
    expected = loss_by_hand(logits, labels, tree)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_equal_logits_cost_the_logarithm_of_each_group_on_the_path(toy_tree: WordTree) -> None:
    softmax, logits = TreeSoftmax(toy_tree, all_nodes(toy_tree)), torch.zeros(1, 7)
    expected = {"animal": 2, "dog": 2 * 2, "terrier": 2 * 2 * 1, "boat": 2 * 2}  # siblings at each step
    for name, ways in expected.items():
        label = toy_tree.names.index(name)
        assert loss_of(softmax, logits, [[label]]).item() == pytest.approx(math.log(ways))


def test_a_label_at_an_inner_node_trains_only_the_groups_on_its_path(toy_tree: WordTree) -> None:
    softmax, logits = TreeSoftmax(toy_tree, all_nodes(toy_tree)), torch.randn(1, 7, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(softmax, logits, [[2]]), logits)  # dog
    assert gradient[0].nonzero().flatten().tolist() == [0, 1, 2, 3]  # animal, vehicle, dog, cat


def test_several_labels_of_an_image_have_equal_weight(toy_tree: WordTree) -> None:
    softmax, logits = TreeSoftmax(toy_tree, all_nodes(toy_tree)), torch.randn(3, 7, dtype=torch.float64)
    alone = [loss_of(softmax, logits[:1], [[node]]) for node in (6, 4)]
    together = loss_of(softmax, logits[:1], [[6, 4]])
    torch.testing.assert_close(together, (alone[0] + alone[1]) / 2)
    others = loss_of(softmax, logits[1:], [[3], [5]])
    torch.testing.assert_close(loss_of(softmax, logits, [[6, 4], [3], [5]]), (together + 2 * others) / 3)


def test_the_flat_loss_is_the_ordinary_cross_entropy() -> None:
    tree, classes = random_tree(30), torch.tensor([3, 29, 7, 12])
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 3, 1, 2])
    found = loss_of(FlatSoftmax(tree, classes), logits, [[int(classes[k])] for k in target])
    torch.testing.assert_close(found, F.cross_entropy(logits, target))


def test_a_flat_softmax_equals_the_softmax_of_a_tree_of_roots() -> None:
    tree = WordTree([f"class{k}" for k in range(6)], [-1] * 6)
    logits, labels = torch.randn(4, 6, dtype=torch.float64), [[0], [5, 2], [1], [1]]
    flat, by_tree = FlatSoftmax(tree, all_nodes(tree)), TreeSoftmax(tree, all_nodes(tree))
    torch.testing.assert_close(loss_of(flat, logits, labels), loss_of(by_tree, logits, labels))
    torch.testing.assert_close(flat.absolute(logits), by_tree.absolute(logits))


# --- the probability of every node


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), nodes=st.integers(5, 200))
def test_absolute_probabilities_equal_those_of_wordtree(seed: int, nodes: int) -> None:
    tree = random_tree(nodes, seed=seed)
    logits = 5 * torch.randn(3, nodes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    expected = absolute_probabilities(conditional_probabilities(logits.numpy(), tree), tree)
    found = TreeSoftmax(tree, all_nodes(tree)).absolute(logits).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), nodes=st.integers(5, 100))
def test_with_flat_classes_a_node_has_the_sum_of_the_classes_at_and_under_it(seed: int, nodes: int) -> None:
    rng, tree = np.random.default_rng(seed), random_tree(nodes, seed=seed)
    classes = rng.permutation(nodes)[: rng.integers(1, nodes)]
    logits = torch.from_numpy(5 * rng.standard_normal((2, len(classes))))
    found = FlatSoftmax(tree, torch.from_numpy(classes)).absolute(logits)
    of_class = logits.softmax(1)
    for node in range(nodes):
        under = [k for k, c in enumerate(classes) if tree.is_at_or_under(int(c), node)]
        torch.testing.assert_close(found[:, node], of_class[:, under].sum(1))
    assert found.min() >= 0


def test_the_probabilities_of_siblings_add_up_to_their_parents() -> None:
    tree = random_tree(80)
    absolute = TreeSoftmax(tree, all_nodes(tree)).absolute(torch.randn(4, 80, dtype=torch.float64))
    for group in range(len(tree.group_start)):
        members = slice(tree.group_start[group], tree.group_start[group] + tree.group_size[group])
        parent = tree.parent[tree.group_start[group]]
        whole = absolute[:, parent] if parent >= 0 else torch.ones(4, dtype=torch.float64)
        torch.testing.assert_close(absolute[:, members].sum(1), whole)


# --- the network


def imagenet_classifier() -> torch.nn.Module:
    tree = WordTree([f"class{k}" for k in range(1000)], [-1] * 1000)
    return build_classifier(ClassifierConfig(), tree, all_nodes(tree))


def test_darknet19_has_the_operations_of_the_paper() -> None:
    """5.58 billion for an image of 224 px (section 3), its last layer as a convolution on the 7 × 7 features."""
    operations = []
    with torch.device("meta"):
        model = imagenet_classifier()
        for unit in [module for module in model.modules() if isinstance(module, ConvUnit)]:
            unit[0].register_forward_hook(
                lambda layer, _, out: operations.append(2 * layer.weight.numel() * out[0, 0].numel())
            )
        model.backbone(torch.zeros(1, 3, 224, 224))
    assert len(operations) == 18
    last = 2 * 1024 * 1000 * 7 * 7
    assert (sum(operations) + last) / 1e9 == pytest.approx(5.58, abs=0.005)


def test_darknet19_is_as_large_as_its_published_weights() -> None:
    """darknet19_448.conv.23 is 79,327,120 bytes: a header of 16 and the float32 numbers of the 18 convolutions."""
    with torch.device("meta"):
        backbone = imagenet_classifier().backbone
    numbers = sum(value.numel() for name, value in backbone.state_dict().items() if "num_batches" not in name)
    assert 4 * numbers + 16 == 79_327_120


@pytest.mark.parametrize("architecture", ["darknet19", "tiny"])
@pytest.mark.parametrize("softmax", ["tree", "flat"])
def test_images_of_any_size_on_the_grid_give_a_logit_for_each_output(architecture: str, softmax: str) -> None:
    cfg = ClassifierConfig.model_validate({"architecture": architecture, "width": 0.125, "softmax": softmax})
    model = build_classifier(cfg, random_tree(30), torch.tensor([4, 17, 29])).eval()
    for height, width in ((64, 64), (96, 32)):
        assert model(torch.rand(2, 3, height, width)).shape == (2, {"tree": 30, "flat": 3}[softmax])


def test_averaging_before_the_last_layer_equals_darknets_averaging_after_it() -> None:
    cfg = ClassifierConfig(architecture="tiny", width=0.5)
    model = build_classifier(cfg, random_tree(30), torch.arange(30)).eval()
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        weight = model.head.weight[:, :, None, None]
        after = F.conv2d(model.backbone(images), weight, model.head.bias).mean((2, 3))
        torch.testing.assert_close(model(images), after)


def test_equal_seeds_give_equal_weights() -> None:
    def built() -> dict[str, Tensor]:
        torch.manual_seed(5)
        cfg = ClassifierConfig(architecture="tiny", width=0.25)
        return build_classifier(cfg, random_tree(30), torch.arange(30)).state_dict()

    one, other = built(), built()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
