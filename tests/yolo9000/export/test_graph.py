"""The exported graph against the detector's own lazy descent and suppression."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.yolo9000.made import random_tree
from wordtree import WordTree
from yolo9000.config import ModelConfig, PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.export.graph import ExportedDetector, WithSuppression
from yolo9000.export.tree_softmax import OFF_PATH, TreeSoftmaxGraph
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput, top_locations
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.grid import Locations
from yolo9000.models.tree_tensors import Descent, PathMembers, TreeTensors

LOCATIONS = 20


def logits_of(table: Tensor):  # type: ignore[no-untyped-def]
    def member_logits_of(active: Tensor, members: PathMembers) -> Tensor:
        return table[active[members.path], members.node]

    return member_logits_of


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    nodes=st.integers(5, 150),
    siblings=st.sampled_from(["softmax", "sigmoid"]),
)
def test_the_most_probable_path_equals_the_greedy_descent_to_a_leaf(
    seed: int, nodes: int, siblings: Literal["softmax", "sigmoid"]
) -> None:
    tree_tensors = TreeTensors(random_tree(nodes, seed=seed), siblings=siblings)
    table = 4 * torch.randn(6, nodes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    softmax = TreeSoftmaxGraph(tree_tensors).double()
    path = torch.empty_like(table).index_copy(1, softmax.order, softmax(table[:, softmax.order]))
    descent = tree_tensors.descend(logits_of(table), len(table), threshold=-1)
    for row, (leaf, conditional) in enumerate(zip(descent.node.tolist(), descent.conditional, strict=True)):
        on_path = tree_tensors.tree.path(leaf)
        torch.testing.assert_close(path[row, on_path].exp(), conditional.cumprod(0))
        off_path = torch.ones(nodes, dtype=torch.bool)
        off_path[on_path] = False
        assert (path[row, off_path] < OFF_PATH / 2).all()


def test_of_equal_siblings_the_first_is_on_the_path(toy_tree: WordTree) -> None:
    tree_tensors = TreeTensors(toy_tree)
    softmax = TreeSoftmaxGraph(tree_tensors)
    path = softmax(torch.zeros(1, len(toy_tree)))[0]
    found = sorted(softmax.order[path > OFF_PATH / 2].tolist())
    descent = tree_tensors.descend(logits_of(torch.zeros(1, len(toy_tree))), 1, threshold=-1)
    assert found == sorted(toy_tree.path(int(descent.node)))


def small_detector(seed: int, **model: object) -> Detector:
    """A detector whose random head is confident about some classes."""
    torch.manual_seed(seed)
    cfg = ModelConfig.model_validate(
        {"architecture": "tiny", "width": 0.25, "anchors": [[1, 1], [2, 2], [3, 1], [1, 3]], **model}
    )
    detector = build_detector(cfg, random_tree(80, seed=seed)).eval()
    with torch.no_grad():
        for parameter in detector.head.parameters():
            parameter.mul_(30)
        if detector.roi_head is not None:
            torch.nn.init.normal_(detector.roi_head.objectness.weight)
            torch.nn.init.normal_(detector.roi_head.classes.weight)
    return detector


NETWORKS = {
    "grid alone": {},
    "RoI head": {"roi_head": True},
    "RoI head that reads two scales": {
        "architecture": "yolov2_paper",
        "width": 0.05,
        "grid_stride": 16,
        "roi_head": True,
    },
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("by", ["absolute", "product"])
@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
@torch.no_grad()
def test_every_output_equals_the_lazy_descent_at_the_best_locations(
    siblings: str, by: Literal["absolute", "product"], model: dict[str, object]
) -> None:
    detector = small_detector(1, siblings=siblings, **model)
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))
    found = ExportedDetector(detector, locations=LOCATIONS, min_absolute=0.3, by=by)(images)
    batch = whole_images(detector, images)
    every = top_locations(batch, min_objectness=-1, max_locations=LOCATIONS)
    for image, top in enumerate(every.by_image(len(images))):
        torch.testing.assert_close(found.objectness[image], top.objectness)
        torch.testing.assert_close(found.boxes[image], top.location.gather(batch.xyxy_unit))
        node = descended(batch, top.location, threshold=0.3, by=by)
        leaf = descended(batch, top.location, threshold=-1, by=by)
        assert found.node[image].tolist() == node.node.tolist()
        assert found.leaf[image].tolist() == leaf.node.tolist()
        torch.testing.assert_close(found.absolute[image], node.absolute)
        torch.testing.assert_close(found.leaf_absolute[image], leaf.absolute)
        of_root = torch.stack([path[0] for path in node.conditional])
        torch.testing.assert_close(found.root_absolute[image], of_root)
    assert len(found.node.unique()) > 3


@pytest.mark.parametrize("model", [{}, {"roi_head": True}], ids=["grid alone", "RoI head"])
@torch.no_grad()
def test_an_image_with_fewer_locations_has_further_rows_of_objectness_0(model: dict[str, object]) -> None:
    detector = small_detector(1, **model)
    images = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(2))
    found = ExportedDetector(detector, locations=200, min_absolute=0.3)(images)
    count = 4 * 2 * 4
    top = top_locations(whole_images(detector, images), min_objectness=-1, max_locations=200)
    torch.testing.assert_close(found.objectness[:, :count].flatten(), top.objectness)
    assert found.boxes.shape == (2, 200, 4)
    assert (found.objectness[:, count:] == 0).all()
    assert all(column.isfinite().all() for column in found)


@torch.no_grad()
def test_an_roi_head_reads_more_locations_than_are_classified() -> None:
    detector = small_detector(1, roi_head=True)
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    batch = whole_images(detector, images)
    (every,) = top_locations(batch, min_objectness=-1, max_locations=256).by_image(1)
    assert len(every) == 256
    few = ExportedDetector(detector, locations=5, min_absolute=0.3)(images)
    all_read = ExportedDetector(detector, locations=5, min_absolute=0.3, roi_locations=256)(images)
    torch.testing.assert_close(all_read.objectness[0], every.objectness[:5])
    (of_100,) = top_locations(batch, min_objectness=-1, max_locations=5).by_image(1)
    torch.testing.assert_close(few.objectness[0], of_100.objectness)


@torch.no_grad()
def test_an_roi_head_reads_as_many_boxes_as_it_is_told() -> None:
    detector = small_detector(1, roi_head=True)
    assert detector.roi_head is not None
    detector.head.box.weight.mul_(0.002)  # the grid hardly prefers any location, so the RoI head decides
    detector.roi_head.objectness.weight.mul_(0.2)
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    batch = whole_images(detector, images)
    order = batch.grid_objectness.flatten().argsort(descending=True)
    seen = []
    for read in (5, 40, 256):
        graph = ExportedDetector(detector, locations=5, min_absolute=0.3, roi_locations=read)
        best = batch.objectness(Locations.from_flat_index(batch.grid, order[:read])).topk(5).values
        torch.testing.assert_close(graph(images).objectness[0], best)
        seen.append(best)
    assert seen[0].sum() < seen[1].sum() < seen[2].sum()


def whole_images(detector: Detector, images: Tensor) -> BatchOutput:
    """The output for images that fill the canvas."""
    size_px = images.shape[3], images.shape[2]
    letterboxes = [Letterbox.fit(image_size_px=size_px, network_size_px=size_px)] * len(images)
    return BatchOutput(detector(images), detector.tree_tensors, letterboxes)


def descended(
    batch: BatchOutput, location: Locations, *, threshold: float, by: Literal["absolute", "product"]
) -> Descent:
    return batch.tree_tensors.descend(
        lambda active, members: batch.member_logits(location[active], members),
        len(location),
        threshold=threshold,
        by=by,
    )


@pytest.mark.parametrize("model", [{}, {"roi_head": True}], ids=["grid alone", "RoI head"])
@torch.no_grad()
def test_kept_locations_are_the_detections_of_predict(model: dict[str, object]) -> None:
    detector = small_detector(3, **model)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    graph = ExportedDetector(detector, locations=LOCATIONS, min_absolute=0.3)
    *columns, kept = WithSuppression(graph, nms_iou=0.1)(images)
    boxes, objectness, node, absolute, root_absolute, *_ = columns
    cfg = PredictConfig(
        min_score=0.05, min_absolute=0.3, max_locations=LOCATIONS, nms_iou=0.1, max_detections=LOCATIONS
    )
    found = detect(whole_images(detector, images), ["a", "b", "c"], cfg)
    for image, detections in enumerate(found):
        compared = objectness[image] * root_absolute[image]
        rows = (kept[image] & (compared > cfg.min_score) & (objectness[image] > cfg.min_score)).nonzero()[
            :, 0
        ]
        score = objectness[image] * absolute[image]
        rows = rows[score[rows].argsort(descending=True, stable=True)]
        assert node[image, rows].tolist() == detections.node.tolist()
        assert 0 < len(rows) < LOCATIONS
        expected_px = torch.from_numpy(detections.xyxy_px.copy())
        torch.testing.assert_close(boxes[image, rows].clamp(0, 1) * 64, expected_px, atol=1e-3, rtol=0)
