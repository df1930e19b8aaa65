"""The RoI head: pooled features of boxes, and its output at grid locations."""

import torch
from torch import Tensor

from tests.yolo9000.made import grid_output
from wordtree import WordTree
from yolo9000.config import ModelConfig
from yolo9000.models.detector import build_detector
from yolo9000.models.grid import Locations
from yolo9000.models.roi_head import RoiHead, RoiOutput, pooled
from yolo9000.models.tree_tensors import TreeTensors

IMAGE = torch.tensor([0])


def striped(rows: int, columns: int) -> Tensor:
    """A feature map (1, 1, rows, columns) with 1 in its right half and 0 in its left half."""
    stripes = torch.zeros(1, 1, rows, columns)
    stripes[..., columns // 2 :] = 1
    return stripes


def test_pooled_features_are_the_means_inside_the_box_around_it_and_in_its_centre() -> None:
    maps = [striped(20, 20), 10 * striped(10, 10)]
    left = pooled(maps, IMAGE, torch.tensor([[0.05, 0.2, 0.35, 0.8]]))
    right = pooled(maps, IMAGE, torch.tensor([[0.65, 0.2, 0.95, 0.8]]))
    assert left[0, :2].tolist() == [0, 0]
    assert right[0, :2].tolist() == [1, 10]
    half = pooled([striped(40, 40)], IMAGE, torch.tensor([[0.2, 0.2, 0.5, 0.8]]))[0]
    assert half[0] < 0.1
    assert half[1] > half[0]
    assert half[2] == 0


def test_pooled_features_end_with_the_size_of_the_box() -> None:
    sizes = pooled([striped(8, 8)], IMAGE, torch.tensor([[0.25, 0.0, 0.75, 0.25]]))[0, -2:]
    torch.testing.assert_close(sizes.exp(), torch.tensor([0.5, 0.25]))


def test_a_location_has_the_output_of_its_predicted_box_however_often_it_is_asked() -> None:
    torch.manual_seed(0)
    grid = grid_output(anchors=[[1.0, 1.0]], rows=4, columns=4, box_logits=torch.randn(2, 1, 4, 4, 5))
    features, head = torch.randn(2, 3, 8, 8), RoiHead(3, nodes=6)
    torch.nn.init.normal_(head.classes.weight)
    roi = RoiOutput(head, [features], grid)
    index = torch.tensor([5, 20, 5, 31])
    location = Locations.from_flat_index(grid, index)
    once = RoiOutput(head, [features], grid).objectness(location)
    first, again = roi.objectness(location[torch.tensor([1, 0])]), roi.objectness(location)
    torch.testing.assert_close(again, once)
    torch.testing.assert_close(first, once[[1, 0]])
    assert again[0] == again[2] != again[1]


def test_member_logits_are_those_of_the_class_logits(toy_tree: WordTree) -> None:
    torch.manual_seed(0)
    head, vectors = RoiHead(3, nodes=len(toy_tree)), torch.randn(2, 3 * 3 + 2)
    torch.nn.init.normal_(head.classes.weight)
    members = TreeTensors(toy_tree).path_members(torch.tensor([len(toy_tree) - 1, 1]))
    every = head.class_logits(vectors, torch.arange(len(toy_tree)))
    torch.testing.assert_close(head.member_logits(vectors, members), every[members.path, members.node])


def test_a_detector_has_an_roi_head_only_on_demand(toy_tree: WordTree) -> None:
    cfg = ModelConfig(architecture="yolov2", width=0.02, anchors=((1, 1),), input_size_px=64)
    images = torch.rand(1, 3, 64, 64)
    torch.manual_seed(0)
    plain = build_detector(cfg, toy_tree).eval()
    torch.manual_seed(0)
    detector = build_detector(cfg.model_copy(update={"roi_head": True}), toy_tree).eval()
    with torch.no_grad():
        without, output = plain(images), detector(images)
    assert without.roi is None
    assert output.roi is not None
    torch.testing.assert_close(output.box_logits, without.box_logits)
    every = Locations.from_flat_index(output, torch.arange(output.objectness.numel()))
    assert output.roi.class_logits(every, torch.arange(len(toy_tree))).shape == (4, len(toy_tree))
