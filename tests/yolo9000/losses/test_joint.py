"""The gradients that each label causes, and those that it must not cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.yolo9000.made import TableHead, grid_output
from wordtree import WordTree
from wordtree.tree.node_sets import at_or_under
from yolo9000.config import LossConfig
from yolo9000.data.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.models.tree_tensors import TreeTensors

DOG, CAR, BOAT, TERRIER = 2, 4, 5, 6
PAPER = LossConfig(anchor_warm_up_images=0, label_assignment="max_score")  # the paper's rule


def targets(
    *,
    boxes: list[tuple[int, int, list[float]]] = (),  # type: ignore[assignment]
    labels: list[tuple[int, int]] = (),  # type: ignore[assignment]
    ignore: list[tuple[int, list[float]]] = (),  # type: ignore[assignment]
    images: int = 2,
) -> Targets:
    def ints(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64)

    def rows(values: list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).view(-1, 4)

    return Targets(
        BoxColumns(ints([b[0] for b in boxes]), rows([b[2] for b in boxes]), ints([b[1] for b in boxes])),
        ImageLabelColumns(
            ints([x[0] for x in labels]), ints([x[1] for x in labels]), rows([[0, 0, 1, 1]] * len(labels))
        ),
        IgnoreColumns(ints([i[0] for i in ignore]), rows([i[1] for i in ignore])),
        ints([0] * images),
    )


class Case:
    """A random output of two images on a 3 × 3 grid with two anchors, and the gradients of a loss on it."""

    def __init__(
        self,
        tree: WordTree,
        cfg: LossConfig,
        what: Targets,
        *,
        exhaustive: Tensor | None = None,
        siblings: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        torch.manual_seed(0)
        self.boxes = torch.randn(2, 2, 3, 3, 5, dtype=torch.float64, requires_grad=True)
        self.classes = torch.randn(2, 2, 3, 3, len(tree), dtype=torch.float64, requires_grad=True)
        self.output = grid_output(
            anchors=[[1.0, 1.0], [2.0, 1.5]], box_logits=self.boxes, class_logits=self.classes
        )
        what = what if exhaustive is None else replace(what, exhaustive=exhaustive.expand(2, -1))
        self.terms: LossTerms = JointLoss(cfg, TreeTensors(tree, siblings=siblings))(
            self.output, what, images_seen=1
        )
        self.box_gradient, self.class_gradient = torch.autograd.grad(
            self.terms.total, [self.boxes, self.classes]
        )


ONE_BOX = [(0, CAR, [0.4, 0.4, 0.6, 0.6])]


def test_a_box_trains_its_own_location_and_only_objectness_elsewhere(toy_tree: WordTree) -> None:
    case = Case(toy_tree, PAPER, targets(boxes=ONE_BOX))
    assert (case.box_gradient[0, 0, 1, 1] != 0).all()
    elsewhere = case.box_gradient.clone()
    elsewhere[0, 0, 1, 1] = 0
    assert (elsewhere[..., :4] == 0).all()
    assert (case.class_gradient.flatten(0, 3).abs().sum(1) > 0).sum() == 1


def test_a_box_trains_only_the_groups_on_its_path(toy_tree: WordTree) -> None:
    case = Case(toy_tree, PAPER, targets(boxes=ONE_BOX))
    touched = case.class_gradient[0, 0, 1, 1].nonzero()[:, 0].tolist()
    assert touched == [0, 1, 4, 5]  # animal | vehicle, car | boat; not dog | cat, not terrier


def test_a_label_at_an_inner_node_leaves_the_levels_below_alone(toy_tree: WordTree) -> None:
    case = Case(toy_tree, PAPER, targets(boxes=[(0, 1, [0.4, 0.4, 0.6, 0.6])]))
    assert case.class_gradient[0, 0, 1, 1].nonzero()[:, 0].tolist() == [0, 1]


def test_of_two_boxes_at_one_location_the_last_decides_with_softmax_siblings(toy_tree: WordTree) -> None:
    car_then_boat = targets(boxes=[*ONE_BOX, (0, BOAT, ONE_BOX[0][2])])
    boat_alone = targets(boxes=[(0, BOAT, ONE_BOX[0][2])])
    both, last = (Case(toy_tree, PAPER, what).class_gradient for what in (car_then_boat, boat_alone))
    torch.testing.assert_close(both, last)


@pytest.mark.parametrize("label_type", ["boxes", "labels"])
def test_sigmoid_siblings_of_one_location_add_up(toy_tree: WordTree, label_type: str) -> None:
    """Binary cross-entropy: output − target in the groups on the paths. The target is 1 on the path of any label."""
    whole = [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0, 1.0])]
    if label_type == "boxes":
        what = targets(boxes=[*ONE_BOX, (0, BOAT, ONE_BOX[0][2])])
    else:
        what = targets(labels=[(0, CAR), (0, BOAT)], ignore=whole)
    cfg = replace_cfg(label_assignment="max_objectness", label_objectness="ignore")
    case = Case(toy_tree, cfg, what, siblings="sigmoid")
    location = case.class_gradient.abs().sum(-1).nonzero()
    assert len(location) == 1
    image, anchor, row, column = location[0].tolist()
    expected = case.classes[image, anchor, row, column].sigmoid()
    expected = expected - torch.tensor([0, 1, 0, 0, 1, 1, 0])  # animal no, vehicle, car and boat yes
    expected[[2, 3, 6]] = 0  # not on a path
    torch.testing.assert_close(case.class_gradient[image, anchor, row, column] * 2, expected)  # of two images


def test_with_objectness_ignored_an_image_label_gives_the_box_head_no_gradient(toy_tree: WordTree) -> None:
    cfg = replace_cfg(label_objectness="ignore", label_assignment="max_objectness")
    whole = [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0, 1.0])]
    case = Case(toy_tree, cfg, targets(labels=[(0, TERRIER), (1, CAR)], ignore=whole))
    assert (case.box_gradient == 0).all()
    assert (case.class_gradient.flatten(0, 3).abs().sum(1) > 0).sum() == 2


def test_the_papers_rule_raises_the_assigned_location_up_to_the_assumed_iou(toy_tree: WordTree) -> None:
    whole = [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0, 1.0])]
    low = Case(toy_tree, replace_cfg(assumed_iou=1.0), targets(labels=[(0, TERRIER)], ignore=whole))
    assert (low.box_gradient[..., 4] < 0).sum() == 1  # the loss falls as objectness rises
    assert (low.box_gradient[..., 4] > 0).sum() == 0
    high = Case(toy_tree, replace_cfg(assumed_iou=0.0), targets(labels=[(0, TERRIER)], ignore=whole))
    assert (high.box_gradient == 0).all()


def test_darknets_rule_lowers_all_other_locations_of_the_image(toy_tree: WordTree) -> None:
    whole = [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0, 1.0])]
    case = Case(
        toy_tree, replace_cfg(label_objectness="darknet"), targets(labels=[(0, TERRIER)], ignore=whole)
    )
    assert (case.box_gradient[0, ..., 4] > 0).sum() == 2 * 3 * 3 - 1
    assert (case.box_gradient[1] == 0).all()


@pytest.mark.parametrize("assign", ["max_score", "max_objectness", "max_size", "top_k"])
@pytest.mark.parametrize("objectness", ["paper", "darknet", "ignore"])
def test_an_image_label_leaves_the_location_of_a_box_alone(
    toy_tree: WordTree, assign: str, objectness: str
) -> None:
    """An image of a car with its box and the image label dog."""
    cfg = replace_cfg(label_assignment=assign, label_objectness=objectness, top_k=2)
    alone = Case(toy_tree, cfg, targets(boxes=ONE_BOX))
    both = Case(toy_tree, cfg, targets(boxes=ONE_BOX, labels=[(0, DOG)]))
    (location,) = (alone.class_gradient[0].abs().sum(-1) > 0).nonzero().tolist()
    assert torch.equal(both.class_gradient[0, *location], alone.class_gradient[0, *location])
    assert torch.equal(both.box_gradient[0, *location], alone.box_gradient[0, *location])
    assert (both.class_gradient[0].abs().sum(-1) > 0).sum() == (3 if assign == "top_k" else 2)


def test_the_location_of_an_image_label_is_not_background(toy_tree: WordTree) -> None:
    cfg = replace_cfg(label_assignment="max_objectness", assumed_iou=1.0)
    case = Case(toy_tree, cfg, targets(boxes=ONE_BOX, labels=[(0, DOG)]))
    alone = Case(toy_tree, cfg, targets(boxes=ONE_BOX))
    (moved,) = (case.box_gradient[0, ..., 4] != alone.box_gradient[0, ..., 4]).nonzero().tolist()
    assert alone.box_gradient[0, *moved, 4] > 0
    logit = case.boxes[0, *moved, 4].detach().sigmoid()
    expected = 5 * (logit - 1) * logit * (1 - logit) / 2  # of two images
    torch.testing.assert_close(case.box_gradient[0, *moved, 4], expected)


def test_an_ignored_region_is_not_background(toy_tree: WordTree) -> None:
    case = Case(toy_tree, PAPER, targets(ignore=[(0, [0.0, 0.0, 0.4, 1.0])]))
    assert (case.box_gradient[0, :, :, 0] == 0).all()
    assert (case.box_gradient[0, :, :, 1:, 4] != 0).all()


def test_an_image_without_any_label_is_background(toy_tree: WordTree) -> None:
    case = Case(toy_tree, PAPER, targets())
    assert (case.box_gradient[..., 4] > 0).all()


def test_a_location_that_sees_an_unannotated_node_is_left_alone(toy_tree: WordTree) -> None:
    nothing = torch.zeros(1, len(toy_tree), dtype=torch.bool)
    case = Case(toy_tree, PAPER, targets(), exhaustive=nothing)
    objective = case.output.objectness > 0.3
    assert objective.any()
    assert (case.box_gradient[..., 4][objective] == 0).all()
    assert (case.box_gradient[..., 4][~objective] > 0).all()
    everything = Case(toy_tree, PAPER, targets(), exhaustive=~nothing)
    assert (everything.box_gradient[..., 4] > 0).all()


def test_an_object_without_a_box_is_background_only_in_images_exhaustively_annotated_for_it(
    toy_tree: WordTree,
) -> None:
    """Every place certainly sees a terrier; only the first image is exhaustively annotated for some nodes."""
    classes = torch.full((2, 1, 2, 2, len(toy_tree)), -20, dtype=torch.float64)
    classes[..., [0, 2, 6]] = 20
    boxes = torch.zeros(2, 1, 2, 2, 5, dtype=torch.float64, requires_grad=True)
    output = grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=classes)

    def background_errors(*nodes: int) -> list[bool]:
        exhaustive = torch.zeros(2, len(toy_tree), dtype=torch.bool)
        exhaustive[0] = torch.from_numpy(at_or_under(toy_tree, np.array(nodes, np.int64)))
        what = replace(targets(), exhaustive=exhaustive)
        terms = JointLoss(PAPER, TreeTensors(toy_tree))(output, what, images_seen=1)
        (gradient,) = torch.autograd.grad(terms.total, boxes)
        return [bool((image[..., 4] > 0).all()) for image in gradient]

    assert background_errors(DOG) == [True, False]  # a terrier is a dog
    assert background_errors(CAR, TERRIER) == [True, False]
    assert background_errors(CAR) == [False, False]
    assert background_errors() == [False, False]


def test_the_pull_to_the_anchors_ends_after_the_warm_up(toy_tree: WordTree) -> None:
    first = Case(toy_tree, replace_cfg(anchor_warm_up_images=2), targets())
    later = Case(toy_tree, replace_cfg(anchor_warm_up_images=1), targets())
    assert first.terms.anchor_warm_up > 0
    assert later.terms.anchor_warm_up == 0


@pytest.mark.parametrize("loss", ["squared", "cross_entropy"])
def test_a_perfect_output_has_no_coordinate_and_little_objectness_loss(toy_tree: WordTree, loss: str) -> None:
    logits = torch.zeros(1, 1, 3, 3, 5, dtype=torch.float64)
    logits[..., 4] = -20
    logits[0, 0, 1, 1, 4] = 20
    output = grid_output(
        anchors=[[1.0, 1.0]], box_logits=logits, class_logits=torch.zeros(1, 1, 3, 3, 7).double()
    )
    what = targets(boxes=[(0, CAR, [1 / 3, 1 / 3, 2 / 3, 2 / 3])], images=1)
    terms = JointLoss(replace_cfg(objectness_loss=loss), TreeTensors(toy_tree))(output, what, images_seen=1)
    assert terms.coordinates.item() == pytest.approx(0, abs=1e-12)
    assert terms.objectness.item() == pytest.approx(0, abs=1e-6)
    assert terms.box_class.item() == pytest.approx(2 * torch.tensor(2.0).log().item())


def test_terms_add_up(toy_tree: WordTree) -> None:
    terms = Case(toy_tree, LossConfig(), targets(boxes=ONE_BOX, labels=[(1, TERRIER)])).terms
    named = terms.by_name()
    assert named.pop("total").item() == pytest.approx(sum(value.item() for value in named.values()))
    assert replace(terms, objectness=terms.objectness + 1).total.item() == pytest.approx(
        terms.total.item() + 1
    )


def replace_cfg(**changes: object) -> LossConfig:
    return PAPER.model_copy(update=changes)


def test_negative_labels_have_a_term_and_a_weight_of_their_own(toy_tree: WordTree) -> None:
    negative = ImageLabelColumns(torch.tensor([1]), torch.tensor([DOG]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    what = replace(targets(), negative_labels=negative)
    once, twice = (Case(toy_tree, replace_cfg(negative_weight=weight), what) for weight in (1.0, 2.0))
    assert once.terms.negative_label > 0
    assert twice.terms.negative_label == 2 * once.terms.negative_label
    assert (once.class_gradient[0] == 0).all()
    assert Case(toy_tree, PAPER, targets()).terms.negative_label == 0


def test_a_step_reads_the_class_head_once_for_all_labels(
    toy_tree: WordTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of each read is as large as the class head."""
    read: list[int] = []
    once = TableHead.pair_logits

    def counted(self: TableHead, features: Tensor, anchor: Tensor, index: Tensor, nodes: Tensor) -> Tensor:
        read.append(len(nodes))
        return once(self, features, anchor, index, nodes)

    monkeypatch.setattr(TableHead, "pair_logits", counted)
    negative = ImageLabelColumns(torch.tensor([1]), torch.tensor([DOG]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    what = replace(targets(boxes=ONE_BOX, labels=[(1, TERRIER)]), negative_labels=negative)
    terms = Case(toy_tree, replace_cfg(unannotated_objectness=None), what).terms
    assert min(terms.box_class, terms.label_class, terms.negative_label) > 0
    assert read == [4 + 5 + 4]  # car: 2 + 2 members; terrier: 2 + 2 + 1; dog: 2 + 2


def test_top_k_locations_share_the_weight_of_a_label(toy_tree: WordTree) -> None:
    """With k = 1 the rule is max_objectness; with all 18 locations each has a weight of 1/18."""
    whole = [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0, 1.0])]
    what = targets(labels=[(0, TERRIER), (0, CAR)], ignore=whole)
    one = Case(toy_tree, replace_cfg(label_assignment="top_k", top_k=1), what)
    best = Case(toy_tree, replace_cfg(label_assignment="max_objectness"), what)
    torch.testing.assert_close(one.class_gradient, best.class_gradient)
    torch.testing.assert_close(one.box_gradient, best.box_gradient)
    everywhere = Case(toy_tree, replace_cfg(label_assignment="top_k", top_k=99, assumed_iou=1.0), what)
    logits = everywhere.classes.detach()[0, ..., [0, 1]].softmax(-1)
    expected = (
        (2 * logits[..., 0] - 1) / 18 / 2
    )  # the targets are animal for the terrier, vehicle for the car; of two images
    torch.testing.assert_close(everywhere.class_gradient[0, ..., 0], expected)
    assert (everywhere.box_gradient[0, ..., 4] < 0).all()
    assert (everywhere.class_gradient[1] == 0).all()


def test_an_image_label_at_an_inner_node_leaves_the_levels_below_alone(toy_tree: WordTree) -> None:
    whole = [(0, [0.0, 0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0, 1.0])]
    for assign in ("max_score", "max_objectness", "max_size", "top_k"):
        case = Case(toy_tree, replace_cfg(label_assignment=assign), targets(labels=[(0, DOG)], ignore=whole))
        assert case.class_gradient.abs().sum((0, 1, 2, 3)).nonzero()[:, 0].tolist() == [0, 1, 2, 3]
