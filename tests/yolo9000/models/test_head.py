"""The split head: gathered logits equal dense ones, in values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from yolo9000.models.grid import Locations
from yolo9000.models.head import BLOCK, SplitHead

ANCHORS = torch.tensor([[1.0, 1.0], [2.0, 3.0], [4.0, 2.0]])


def test_gathered_logits_and_their_gradients_equal_the_dense_ones() -> None:
    torch.manual_seed(0)
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=20).double()
    features = torch.randn(2, 8, 4, 5, dtype=torch.float64, requires_grad=True)
    location = Locations(*(torch.randint(0, size, (30,)) for size in (2, 3, 4, 5)))
    nodes = torch.tensor([3, 7, 19, 4])
    weight = torch.randn(30, 4, dtype=torch.float64)
    parameters = [features, head.classes.weight, head.classes.bias]

    gathered = head.classes.logits(
        features.permute(0, 2, 3, 1)[location.image, location.row, location.column], location.anchor, nodes
    )
    dense = location.gather(head.classes.dense_logits(features))[:, nodes]
    torch.testing.assert_close(gathered, dense)
    for a, b in zip(
        torch.autograd.grad((gathered * weight).sum(), parameters),
        torch.autograd.grad((dense * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@given(locations=st.integers(0, 12), pairs=st.integers(0, 40), seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_pair_logits_and_their_gradients_equal_the_dense_ones(locations: int, pairs: int, seed: int) -> None:
    torch.manual_seed(seed)
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=20).double()
    features = torch.randn(2, 8, 4, 5, dtype=torch.float64, requires_grad=True)
    location = Locations(*(torch.randint(0, size, (locations,)) for size in (2, 3, 4, 5)))
    index, nodes = (torch.randint(0, size, (pairs if locations else 0,)) for size in (max(1, locations), 20))
    weight = torch.randn(len(nodes), dtype=torch.float64)
    parameters = [features, head.classes.weight, head.classes.bias]
    found = head(features).pair_logits(location, index, nodes)
    dense = head.classes.dense_logits(features)[
        location.image[index], location.anchor[index], location.row[index], location.column[index], nodes
    ]
    torch.testing.assert_close(found, dense)
    for a, b in zip(
        torch.autograd.grad((found * weight).sum(), parameters),
        torch.autograd.grad((dense * weight).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("pairs", [0, 1, BLOCK, 3 * BLOCK + 1])
def test_image_logits_equal_the_dense_ones(pairs: int) -> None:
    torch.manual_seed(0)
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=20).double()
    output = head(torch.randn(4, 8, 3, 5, dtype=torch.float64))
    # The last image is in no pair.
    image, nodes = torch.randint(0, 3, (pairs,)), torch.randint(0, 20, (pairs,))
    expected = output.dense_class_logits().permute(0, 4, 1, 2, 3)[image, nodes].flatten(1)
    torch.testing.assert_close(output.image_logits(image, nodes), expected)


def test_the_grid_output_gathers_at_the_right_locations() -> None:
    torch.manual_seed(0)
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=20)
    output = head(torch.randn(2, 8, 4, 5))
    location = Locations(*(torch.randint(0, size, (30,)) for size in (2, 3, 4, 5)))
    nodes = torch.tensor([3, 7, 19])
    dense = location.gather(output.dense_class_logits())[:, nodes]
    torch.testing.assert_close(output.class_logits(location, nodes), dense)


def test_only_the_nodes_used_get_a_gradient() -> None:
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=20)
    output = head(torch.randn(1, 8, 2, 2))
    one = torch.zeros(1, dtype=torch.int64)
    output.class_logits(Locations(one, one + 1, one, one), torch.tensor([5, 6])).sum().backward()
    touched = head.classes.weight.grad.abs().sum(2).nonzero().tolist()
    assert touched == [[1, 5], [1, 6]]


def test_box_and_class_parts_together_are_one_convolution_of_darknet() -> None:
    torch.manual_seed(0)
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=4)
    features = torch.randn(2, 8, 3, 3)
    weight = torch.cat([head.box.weight.view(3, 5, 8), head.classes.weight], dim=1).view(27, 8, 1, 1)
    bias = torch.cat([head.box.bias.view(3, 5), head.classes.bias], dim=1).view(27)
    entries = F.conv2d(features, weight, bias).unflatten(1, (3, 9)).permute(0, 1, 3, 4, 2)
    output = head(features)
    torch.testing.assert_close(output.box_logits, entries[..., :5])
    torch.testing.assert_close(output.dense_class_logits(), entries[..., 5:])


# --- which rows have a gradient


@pytest.mark.parametrize("method", ["logits", "pair_logits", "image_logits", "dense_logits"])
def test_used_nodes_are_the_rows_with_a_gradient(method: str) -> None:
    torch.manual_seed(0)
    head = SplitHead(8, anchors_cell=ANCHORS, nodes=20).classes
    vectors, maps, nodes = torch.randn(6, 8), torch.randn(2, 8, 3, 5), torch.tensor([7, 3, 7, 19])
    anchor, image = torch.tensor([0, 1, 1, 2, 0, 0]), torch.tensor([0, 1, 1, 1])
    call = {
        "logits": lambda: head.logits(vectors, anchor, nodes),
        "pair_logits": lambda: head.pair_logits(vectors, anchor, torch.tensor([5, 1, 1, 2]), nodes),
        "image_logits": lambda: head.image_logits(maps, image, nodes),
        "dense_logits": lambda: head.dense_logits(maps),
    }[method]
    with torch.no_grad():
        call()
    assert not head.used_nodes.any()
    call().square().sum().backward()
    for gradient in (head.weight.grad, head.bias.grad):
        assert gradient is not None
        assert torch.equal(
            gradient.flatten(2).any(2).any(0) if gradient.ndim > 2 else gradient.any(0), head.used_nodes
        )
    assert head.take_used_nodes().nonzero()[:, 0].tolist() == (
        list(range(20)) if method == "dense_logits" else [3, 7, 19]
    )
    assert not head.used_nodes.any()
