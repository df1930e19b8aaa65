"""What may stand in an image without a box, and what it surely is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.yolo9000.losses.test_joint import targets
from tests.yolo9000.made import grid_output, random_tree
from wordtree import WordTree
from yolo9000.config import LossConfig
from yolo9000.data.batch import Targets
from yolo9000.losses.joint import JointLoss
from yolo9000.losses.unannotated import exclusion_errors, object_locations, topmost
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors

ANIMAL, VEHICLE, DOG, CAR, BOAT = 0, 1, 2, 4, 5
EXCLUDING = LossConfig(warm_up_images=0, unannotated_objectness=0.3, exclusion_weight=2.0)


def seeing(tree: WordTree, *, at: list[tuple[int, int, int]]) -> GridOutput:
    """Two images on a 4 × 4 grid with one anchor of a cell; only the given (image, row, column) see anything."""
    boxes = torch.zeros(2, 1, 4, 4, 5, dtype=torch.float64)
    boxes[..., 4] = -4
    for image, row, column in at:
        boxes[image, 0, row, column, 4] = 1
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(2, 1, 4, 4, len(tree), dtype=torch.float64, generator=generator)
    return grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes.requires_grad_())


def probability(output: GridOutput, tree: WordTree, location: tuple[int, int, int], node: int) -> Tensor:
    """P(node) at a place, slowly: the product of the softmax of each sibling group on the way up."""
    image, row, column = location
    logits, product = output.dense_class_logits()[image, 0, row, column], torch.ones(())
    while node >= 0:
        siblings = [k for k in range(len(tree)) if tree.parent[k] == tree.parent[node]]
        product = product * torch.softmax(logits[siblings], 0)[siblings.index(node)]
        node = int(tree.parent[node])
    return product


def unannotated_objectness(tree: WordTree, *nodes: int) -> Tensor:
    """(1, N) bool: one source that vouches for these nodes and all below them."""
    tree_tensors = TreeTensors(tree)
    return tree_tensors.is_under(torch.arange(len(tree)), torch.tensor(nodes)[:, None]).any(dim=0)[None]


def exclusion(
    output: GridOutput,
    tree: WordTree,
    what: Targets,
    exhaustive: Tensor | None,
    cfg: LossConfig,
    siblings: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    what = what if exhaustive is None else replace(what, exhaustive=exhaustive.expand(2, -1))
    return JointLoss(cfg, TreeTensors(tree, siblings=siblings))(output, what, images_seen=1).exclusion


# --- who vouches for what


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_the_topmost_of_whole_subtrees_have_none_above_and_all_others_below(nodes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tree = random_tree(nodes + 4, seed=seed)
    asked = (torch.rand(2, len(tree), generator=generator) < 0.2).tolist()
    whole = [
        [
            any(message and tree.is_under(k, above) for above, message in enumerate(row))
            for k in range(len(tree))
        ]
        for row in asked
    ]
    found = topmost(TreeTensors(tree).parent, torch.tensor(whole))
    for row, tops in zip(whole, found.tolist(), strict=True):
        above = [
            [one for one in range(len(tree)) if one != k and tree.is_under(k, one)] for k in range(len(tree))
        ]
        assert tops == [message and not any(row[one] for one in above[k]) for k, message in enumerate(row)]


# --- what is seen


def test_places_are_seen_above_a_threshold_the_most_objective_first(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2), (1, 0, 0), (1, 3, 3)])
    output.box_logits[1, 0, 3, 3, 4] = 3
    everywhere = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    seen = object_locations(output, everywhere, min_objectness=0.3, max_locations=5)
    rows = list(
        zip(seen.image.tolist(), seen.location.row.tolist(), seen.location.column.tolist(), strict=True)
    )
    assert rows == [(0, 1, 2), (1, 3, 3), (1, 0, 0)]
    assert seen.index.tolist() == [6, 15, 0]
    assert object_locations(output, everywhere, min_objectness=0.3, max_locations=1).index.tolist() == [6, 15]
    assert len(object_locations(output, ~everywhere, min_objectness=0.3, max_locations=5).image) == 0


# --- what it surely is not


@pytest.mark.parametrize(
    ("exhaustive", "nodes"),
    [
        pytest.param([CAR], [CAR], id="a leaf"),
        pytest.param([VEHICLE], [VEHICLE], id="an inner node, once for all below it"),
        pytest.param([CAR, BOAT], [CAR, BOAT], id="all children of a node that nobody vouches for"),
        pytest.param([DOG, BOAT], [DOG, BOAT], id="in two branches"),
    ],
)
def test_a_thing_without_a_box_is_none_of_what_its_image_vouches_for(
    toy_tree: WordTree, exhaustive: list[int], nodes: list[int]
) -> None:
    location = (0, 1, 2)
    output = seeing(toy_tree, at=[location])
    term = exclusion(output, toy_tree, targets(), unannotated_objectness(toy_tree, *exhaustive), EXCLUDING)
    of_any = torch.stack([probability(output, toy_tree, location, node) for node in nodes]).sum()
    objectness = output.objectness[0, 0, 1, 2]
    expected = EXCLUDING.exclusion_weight * objectness * -torch.log1p(-of_any) / 2  # of two images
    torch.testing.assert_close(term, expected, rtol=1e-5, atol=0)  # less DOUBT


def test_each_image_excludes_what_it_vouches_for_itself(toy_tree: WordTree) -> None:
    tree_tensors = TreeTensors(toy_tree)
    output = seeing(toy_tree, at=[(0, 1, 2), (1, 0, 0)])
    seen = object_locations(
        output, torch.ones(2, 1, 4, 4, dtype=torch.bool), min_objectness=0.3, max_locations=5
    )
    both = torch.cat([unannotated_objectness(toy_tree, CAR), unannotated_objectness(toy_tree, DOG)])
    errors = exclusion_errors(output, tree_tensors, seen, both)
    for error, location, node in zip(errors, [(0, 1, 2), (1, 0, 0)], [CAR, DOG], strict=True):
        expected = torch.sigmoid(torch.tensor(1.0)) * -torch.log1p(
            -probability(output, toy_tree, location, node)
        )
        torch.testing.assert_close(error, expected.to(error.dtype), rtol=1e-5, atol=0)


def test_excluding_teaches_classes_and_never_objectness_or_boxes(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2)])
    output.box_logits.requires_grad_()
    term = exclusion(output, toy_tree, targets(), unannotated_objectness(toy_tree, VEHICLE), EXCLUDING)
    boxes, classes = torch.autograd.grad(term, [output.box_logits, output.features], allow_unused=True)
    assert boxes is None or not boxes.any()
    moved = classes.unflatten(1, (1, len(toy_tree))).permute(0, 1, 3, 4, 2)[0, 0, 1, 2]
    assert moved[VEHICLE] > 0 > moved[ANIMAL]  # downhill: less vehicle, more animal
    assert not moved[2:].any()


def test_independent_siblings_are_excluded_each_by_itself(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2)])
    exhaustive = unannotated_objectness(toy_tree, ANIMAL, CAR)
    term = exclusion(output, toy_tree, targets(), exhaustive, EXCLUDING, siblings="sigmoid")
    logistic = output.dense_class_logits()[0, 0, 1, 2].detach().sigmoid()
    none = (1 - logistic[ANIMAL]).log() + (1 - logistic[VEHICLE] * logistic[CAR]).log()
    expected = EXCLUDING.exclusion_weight * output.objectness[0, 0, 1, 2] * -none / 2  # of two images
    torch.testing.assert_close(term, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("logit", [9.0, 12.0, 30.0])
def test_what_is_nearly_surely_wrong_is_still_taught(toy_tree: WordTree, logit: float) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2)])
    features = output.features.detach().float()
    features.unflatten(1, (1, len(toy_tree)))[0, 0, [ANIMAL, VEHICLE], 1, 2] = torch.tensor([logit, 0.0])
    surely = replace(output, box_logits=output.box_logits.float(), features=features.requires_grad_())
    term = exclusion(surely, toy_tree, targets(), unannotated_objectness(toy_tree, ANIMAL), EXCLUDING)
    assert bool(torch.isfinite(term))
    (gradient,) = torch.autograd.grad(term, features)
    assert bool(torch.isfinite(gradient).all())
    if logit < 20:  # beyond, float32 knows no doubt
        assert gradient.abs().max() > 0.1


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(targets(boxes=[(0, CAR, [0.5, 0.25, 0.75, 0.5])]), id="it answers for a box"),
        pytest.param(targets(boxes=[(0, CAR, [0.6, 0.3, 0.99, 0.6])]), id="it overlaps one"),
        pytest.param(targets(ignore=[(0, [0.4, 0.2, 0.9, 0.6])]), id="nobody looked there"),
    ],
)
def test_a_place_that_may_belong_to_a_known_thing_is_left_alone(toy_tree: WordTree, what: Targets) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2)])
    assert exclusion(output, toy_tree, what, unannotated_objectness(toy_tree, VEHICLE), EXCLUDING) == 0
    assert exclusion(output, toy_tree, targets(), unannotated_objectness(toy_tree, VEHICLE), EXCLUDING) > 0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exclusion_weight": 0.0}, id="no weight"),
        pytest.param({"unannotated_objectness": 0.9}, id="nothing seen"),
    ],
)
def test_nothing_is_excluded_unless_asked_and_seen(toy_tree: WordTree, changes: dict[str, float]) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2)])
    cfg = LossConfig.model_validate({**EXCLUDING.model_dump(), **changes})
    assert exclusion(output, toy_tree, targets(), unannotated_objectness(toy_tree, VEHICLE), cfg) == 0


def test_where_nobody_or_everybody_vouches_nothing_is_excluded(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[(0, 1, 2)])
    nobody = torch.zeros(1, len(toy_tree), dtype=torch.bool)
    assert exclusion(output, toy_tree, targets(), nobody, EXCLUDING) == 0
    assert exclusion(output, toy_tree, targets(), None, EXCLUDING) == 0
    whole = exclusion(output, toy_tree, targets(), ~nobody, EXCLUDING)
    assert bool(torch.isfinite(whole))


# --- what boxes say about siblings that could not have one


def box_class(
    output: GridOutput,
    tree: WordTree,
    node: int,
    exhaustive: Tensor | None,
    *,
    siblings_count: float,
    siblings: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """The class term of one box, at row 1 and column 2 of the first image."""
    cfg = LossConfig(warm_up_images=0, unannotated_objectness=None, unannotated_siblings=siblings_count)
    what = targets(boxes=[(0, node, [0.5, 0.25, 0.75, 0.5])])
    tree_tensors = TreeTensors(tree, siblings=siblings)
    return JointLoss(cfg, tree_tensors, exhaustive=exhaustive)(output, what, images_seen=1).box_class


def weighted_softmax_error(
    output: GridOutput, tree: WordTree, node: int, exhaustive: list[bool], *, siblings_count: float
) -> float:
    """The same, slowly: −log of each softmax on the way up, whose terms count less where nothing below has boxes."""
    logits = output.dense_class_logits()[0, 0, 1, 2].detach()
    known, error = exhaustive[node], 0.0
    while node >= 0:
        siblings = [k for k in range(len(tree)) if tree.parent[k] == tree.parent[node]]
        possible = [
            any(exhaustive[k] and tree.is_under(k, one) for k in range(len(tree))) for one in siblings
        ]
        weights = torch.tensor([1.0 if ok or not known else siblings_count for ok in possible])
        error -= float(logits[node] - (weights * logits[siblings].exp()).sum().log())
        node = int(tree.parent[node])
    return error / 2  # of two images


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 1.0]))
def test_a_box_counts_siblings_less_that_its_source_does_not_vouch_for(seed: int, count: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    tree = random_tree(30, seed=seed)
    tops = (torch.rand(len(tree), generator=generator) < 0.2).nonzero()[:, 0].tolist()
    exhaustive = unannotated_objectness(tree, *tops) if tops else torch.zeros(1, len(tree), dtype=torch.bool)
    node = int(torch.randint(0, len(tree), (), generator=generator))
    output = seeing(tree, at=[])
    expected = weighted_softmax_error(output, tree, node, exhaustive[0].tolist(), siblings_count=count)
    found = box_class(output, tree, node, exhaustive, siblings_count=count)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_a_box_says_nothing_about_siblings_left_out_and_all_about_the_others(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[])
    term = box_class(output, toy_tree, CAR, unannotated_objectness(toy_tree, CAR, DOG), siblings_count=0)
    (classes,) = torch.autograd.grad(term, [output.features])
    moved = classes.unflatten(1, (1, len(toy_tree))).permute(0, 1, 3, 4, 2)[0, 0, 1, 2]
    assert bool(torch.isfinite(classes).all())
    assert moved[ANIMAL] > 0 > moved[VEHICLE]  # downhill: less animal, of which dogs have boxes, more vehicle
    assert not moved[[DOG, CAR, BOAT]].any()  # the only vehicle with boxes


def test_where_no_source_says_what_it_boxes_all_siblings_count(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[])
    alone = box_class(output, toy_tree, CAR, None, siblings_count=0)
    assert alone == box_class(output, toy_tree, CAR, None, siblings_count=1)


def test_independent_siblings_left_out_are_not_told_that_they_are_not_there(toy_tree: WordTree) -> None:
    output = seeing(toy_tree, at=[])
    exhaustive = unannotated_objectness(toy_tree, CAR, DOG)
    term = box_class(output, toy_tree, CAR, exhaustive, siblings_count=0, siblings="sigmoid")
    (classes,) = torch.autograd.grad(term, [output.features])
    moved = classes.unflatten(1, (1, len(toy_tree))).permute(0, 1, 3, 4, 2)[0, 0, 1, 2]
    assert moved[ANIMAL] > 0 > moved[CAR]
    assert moved[BOAT] == 0
