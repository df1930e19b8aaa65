"""Objects without a box: where they may be, and which classes they cannot have."""

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
EXCLUDING = LossConfig(anchor_warm_up_images=0, unannotated_objectness=0.3, exclusion_weight=2.0)


def output_with_objects(tree: WordTree, *, at: list[tuple[int, int, int]]) -> GridOutput:
    """Two images on a 4 × 4 grid with one anchor of a cell; only the given (image, row, column) see an object."""
    boxes = torch.zeros(2, 1, 4, 4, 5, dtype=torch.float64)
    boxes[..., 4] = -4
    for image, row, column in at:
        boxes[image, 0, row, column, 4] = 1
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(2, 1, 4, 4, len(tree), dtype=torch.float64, generator=generator)
    return grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes.requires_grad_())


def probability(output: GridOutput, tree: WordTree, location: tuple[int, int, int], node: int) -> Tensor:
    """P(node) at a location, slowly: the product of the softmax of each sibling group on the way up."""
    image, row, column = location
    logits, product = output.dense_class_logits()[image, 0, row, column], torch.ones(())
    while node >= 0:
        siblings = [k for k in range(len(tree)) if tree.parent[k] == tree.parent[node]]
        product = product * torch.softmax(logits[siblings], 0)[siblings.index(node)]
        node = int(tree.parent[node])
    return product


def exhaustive_for(tree: WordTree, *nodes: int) -> Tensor:
    """(1, N) bool: one source that is exhaustively annotated for these nodes and their descendants."""
    tree_tensors = TreeTensors(tree)
    return tree_tensors.is_at_or_under(torch.arange(len(tree)), torch.tensor(nodes)[:, None]).any(dim=0)[None]


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


# --- exhaustively annotated nodes


@given(st.integers(1, 30), st.integers(0, 10**6))
def test_topmost_nodes_of_subtrees_have_no_ancestor_in_them(nodes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tree = random_tree(nodes + 4, seed=seed)
    chosen = (torch.rand(2, len(tree), generator=generator) < 0.2).tolist()
    whole = [
        [
            any(is_chosen and tree.is_at_or_under(k, above) for above, is_chosen in enumerate(row))
            for k in range(len(tree))
        ]
        for row in chosen
    ]
    found = topmost(TreeTensors(tree).parent, torch.tensor(whole))
    for row, tops in zip(whole, found.tolist(), strict=True):
        above = [
            [one for one in range(len(tree)) if one != k and tree.is_at_or_under(k, one)]
            for k in range(len(tree))
        ]
        assert tops == [inside and not any(row[one] for one in above[k]) for k, inside in enumerate(row)]


# --- locations with objects


def test_object_locations_exceed_the_threshold_best_first(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2), (1, 0, 0), (1, 3, 3)])
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


# --- exclusion


@pytest.mark.parametrize(
    ("exhaustive", "nodes"),
    [
        pytest.param([CAR], [CAR], id="a leaf"),
        pytest.param([VEHICLE], [VEHICLE], id="an inner node, once for all below it"),
        pytest.param(
            [CAR, BOAT], [CAR, BOAT], id="all children of a node that is not exhaustively annotated"
        ),
        pytest.param([DOG, BOAT], [DOG, BOAT], id="in two branches"),
    ],
)
def test_an_object_without_a_box_is_of_no_exhaustively_annotated_node(
    toy_tree: WordTree, exhaustive: list[int], nodes: list[int]
) -> None:
    location = (0, 1, 2)
    output = output_with_objects(toy_tree, at=[location])
    term = exclusion(output, toy_tree, targets(), exhaustive_for(toy_tree, *exhaustive), EXCLUDING)
    of_any = torch.stack([probability(output, toy_tree, location, node) for node in nodes]).sum()
    objectness = output.objectness[0, 0, 1, 2]
    expected = EXCLUDING.exclusion_weight * objectness * -torch.log1p(-of_any) / 2  # of two images
    torch.testing.assert_close(term, expected, rtol=1e-5, atol=0)  # COMPLEMENT_MARGIN


def test_each_image_excludes_its_own_exhaustively_annotated_nodes(toy_tree: WordTree) -> None:
    tree_tensors = TreeTensors(toy_tree)
    output = output_with_objects(toy_tree, at=[(0, 1, 2), (1, 0, 0)])
    seen = object_locations(
        output, torch.ones(2, 1, 4, 4, dtype=torch.bool), min_objectness=0.3, max_locations=5
    )
    both = torch.cat([exhaustive_for(toy_tree, CAR), exhaustive_for(toy_tree, DOG)])
    errors = exclusion_errors(output, tree_tensors, seen, both)
    for error, location, node in zip(errors, [(0, 1, 2), (1, 0, 0)], [CAR, DOG], strict=True):
        expected = torch.sigmoid(torch.tensor(1.0)) * -torch.log1p(
            -probability(output, toy_tree, location, node)
        )
        torch.testing.assert_close(error, expected.to(error.dtype), rtol=1e-5, atol=0)


def test_exclusion_trains_classes_and_never_objectness_or_boxes(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2)])
    output.box_logits.requires_grad_()
    term = exclusion(output, toy_tree, targets(), exhaustive_for(toy_tree, VEHICLE), EXCLUDING)
    boxes, classes = torch.autograd.grad(term, [output.box_logits, output.features], allow_unused=True)
    assert boxes is None or not boxes.any()
    moved = classes.unflatten(1, (1, len(toy_tree))).permute(0, 1, 3, 4, 2)[0, 0, 1, 2]
    assert moved[VEHICLE] > 0 > moved[ANIMAL]  # downhill: less vehicle, more animal
    assert not moved[2:].any()


def test_sigmoid_siblings_are_excluded_independently(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2)])
    exhaustive = exhaustive_for(toy_tree, ANIMAL, CAR)
    term = exclusion(output, toy_tree, targets(), exhaustive, EXCLUDING, siblings="sigmoid")
    logistic = output.dense_class_logits()[0, 0, 1, 2].detach().sigmoid()
    none = (1 - logistic[ANIMAL]).log() + (1 - logistic[VEHICLE] * logistic[CAR]).log()
    expected = EXCLUDING.exclusion_weight * output.objectness[0, 0, 1, 2] * -none / 2  # of two images
    torch.testing.assert_close(term, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("logit", [9.0, 12.0, 30.0])
def test_an_almost_certain_mistake_still_has_a_gradient(toy_tree: WordTree, logit: float) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2)])
    features = output.features.detach().float()
    features.unflatten(1, (1, len(toy_tree)))[0, 0, [ANIMAL, VEHICLE], 1, 2] = torch.tensor([logit, 0.0])
    surely = replace(output, box_logits=output.box_logits.float(), features=features.requires_grad_())
    term = exclusion(surely, toy_tree, targets(), exhaustive_for(toy_tree, ANIMAL), EXCLUDING)
    assert bool(torch.isfinite(term))
    (gradient,) = torch.autograd.grad(term, features)
    assert bool(torch.isfinite(gradient).all())
    if logit < 20:  # float32 has no larger uncertainty
        assert gradient.abs().max() > 0.1


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(targets(boxes=[(0, CAR, [0.5, 0.25, 0.75, 0.5])]), id="a box is assigned to it"),
        pytest.param(targets(boxes=[(0, CAR, [0.6, 0.3, 0.99, 0.6])]), id="it overlaps one"),
        pytest.param(targets(ignore=[(0, [0.4, 0.2, 0.9, 0.6])]), id="ignore region"),
    ],
)
def test_a_location_near_a_box_or_ignored_region_is_not_excluded(toy_tree: WordTree, what: Targets) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2)])
    assert exclusion(output, toy_tree, what, exhaustive_for(toy_tree, VEHICLE), EXCLUDING) == 0
    assert exclusion(output, toy_tree, targets(), exhaustive_for(toy_tree, VEHICLE), EXCLUDING) > 0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"exclusion_weight": 0.0}, id="no weight"),
        pytest.param({"unannotated_objectness": 0.9}, id="no object"),
    ],
)
def test_nothing_is_excluded_without_a_weight_or_an_object(
    toy_tree: WordTree, changes: dict[str, float]
) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2)])
    cfg = LossConfig.model_validate({**EXCLUDING.model_dump(), **changes})
    assert exclusion(output, toy_tree, targets(), exhaustive_for(toy_tree, VEHICLE), cfg) == 0


def test_nothing_is_excluded_without_exhaustively_annotated_nodes(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[(0, 1, 2)])
    no_node = torch.zeros(1, len(toy_tree), dtype=torch.bool)
    assert exclusion(output, toy_tree, targets(), no_node, EXCLUDING) == 0
    assert exclusion(output, toy_tree, targets(), None, EXCLUDING) == 0
    whole = exclusion(output, toy_tree, targets(), ~no_node, EXCLUDING)
    assert bool(torch.isfinite(whole))


# --- siblings that can have no box


def box_class(
    output: GridOutput,
    tree: WordTree,
    node: int,
    exhaustive: Tensor | None,
    *,
    sibling_weight: float,
    siblings: Literal["softmax", "sigmoid"] = "softmax",
) -> Tensor:
    """The class term of one box, at row 1 and column 2 of the first image."""
    cfg = LossConfig(
        anchor_warm_up_images=0, unannotated_objectness=None, unannotated_sibling_weight=sibling_weight
    )
    what = targets(boxes=[(0, node, [0.5, 0.25, 0.75, 0.5])])
    tree_tensors = TreeTensors(tree, siblings=siblings)
    return JointLoss(cfg, tree_tensors, exhaustive=exhaustive)(output, what, images_seen=1).box_class


def weighted_softmax_error(
    output: GridOutput, tree: WordTree, node: int, exhaustive: list[bool], *, sibling_weight: float
) -> float:
    """The class term, slowly: −log of each softmax on the way up, in which unannotated siblings have less weight."""
    logits = output.dense_class_logits()[0, 0, 1, 2].detach()
    known, error = exhaustive[node], 0.0
    while node >= 0:
        siblings = [k for k in range(len(tree)) if tree.parent[k] == tree.parent[node]]
        possible = [
            any(exhaustive[k] and tree.is_at_or_under(k, one) for k in range(len(tree))) for one in siblings
        ]
        weights = torch.tensor([1.0 if ok or not known else sibling_weight for ok in possible])
        error -= float(logits[node] - (weights * logits[siblings].exp()).sum().log())
        node = int(tree.parent[node])
    return error / 2  # of two images


@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 1.0]))
def test_unannotated_siblings_have_less_weight_in_the_softmax_of_a_box(seed: int, count: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    tree = random_tree(30, seed=seed)
    tops = (torch.rand(len(tree), generator=generator) < 0.2).nonzero()[:, 0].tolist()
    exhaustive = exhaustive_for(tree, *tops) if tops else torch.zeros(1, len(tree), dtype=torch.bool)
    node = int(torch.randint(0, len(tree), (), generator=generator))
    output = output_with_objects(tree, at=[])
    expected = weighted_softmax_error(output, tree, node, exhaustive[0].tolist(), sibling_weight=count)
    found = box_class(output, tree, node, exhaustive, sibling_weight=count)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_siblings_of_weight_0_get_no_gradient_and_the_others_the_full_one(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[])
    term = box_class(output, toy_tree, CAR, exhaustive_for(toy_tree, CAR, DOG), sibling_weight=0)
    (classes,) = torch.autograd.grad(term, [output.features])
    moved = classes.unflatten(1, (1, len(toy_tree))).permute(0, 1, 3, 4, 2)[0, 0, 1, 2]
    assert bool(torch.isfinite(classes).all())
    assert moved[ANIMAL] > 0 > moved[VEHICLE]  # downhill: less animal, of which dogs have boxes, more vehicle
    assert not moved[[DOG, CAR, BOAT]].any()  # the only vehicle with boxes


def test_without_exhaustive_annotations_all_siblings_have_full_weight(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[])
    alone = box_class(output, toy_tree, CAR, None, sibling_weight=0)
    assert alone == box_class(output, toy_tree, CAR, None, sibling_weight=1)


def test_sigmoid_siblings_of_weight_0_get_no_gradient(toy_tree: WordTree) -> None:
    output = output_with_objects(toy_tree, at=[])
    exhaustive = exhaustive_for(toy_tree, CAR, DOG)
    term = box_class(output, toy_tree, CAR, exhaustive, sibling_weight=0, siblings="sigmoid")
    (classes,) = torch.autograd.grad(term, [output.features])
    moved = classes.unflatten(1, (1, len(toy_tree))).permute(0, 1, 3, 4, 2)[0, 0, 1, 2]
    assert moved[ANIMAL] > 0 > moved[CAR]
    assert moved[BOAT] == 0
