"""Post-processing agrees with slow reference implementations that visit every location and every node."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import yolo9000.inference.top_locations as top_locations_module
from tests.yolo9000.made import grid_output, random_tree
from wordtree import WordTree
from wordtree.tree.query import parse
from yolo9000.config import EvaluateConfig, PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.inference.detections import Detections
from yolo9000.inference.node_scores import boxes_of_highest_objectness, score_nodes
from yolo9000.inference.postprocess import NodeSet, detect
from yolo9000.inference.top_locations import BatchOutput, boxes_to_image, nms_by_node, top_locations
from yolo9000.inference.vocabulary import VocabularyChoice
from yolo9000.models.grid import GridOutput, Locations, decode_boxes
from yolo9000.models.tree_tensors import PathMembers, TreeTensors

ANCHORS = [[0.8, 1.1], [2.5, 1.7]]
Row = tuple[float, int, tuple[float, ...]]  # score, node, xyxy in pixels of the image


def random_output(
    tree: WordTree, *, images: int = 2, rows: int = 3, columns: int = 4, seed: int = 0
) -> GridOutput:
    generator = torch.Generator().manual_seed(seed)
    shape = (images, len(ANCHORS), rows, columns)
    box_logits = torch.randn(*shape, 5, generator=generator, dtype=torch.float64)
    class_logits = 3 * torch.randn(*shape, len(tree), generator=generator, dtype=torch.float64)
    return grid_output(anchors=ANCHORS, box_logits=box_logits, class_logits=class_logits)


def letterboxes_of(output: GridOutput) -> list[Letterbox]:
    """Images of up to three shapes, on a canvas of 32 px per cell."""
    rows, columns = output.box_logits.shape[2:4]
    sizes = [(640, 480), (100, 333), (31, 17)]
    return [
        Letterbox.fit(image_size_px=sizes[image % 3], network_size_px=(32 * columns, 32 * rows))
        for image in range(len(output.box_logits))
    ]


class FixedRoi:
    """An RoI head with the same objectness for each location of an anchor, and the same class logits everywhere."""

    def __init__(self, objectness_of_anchor: list[float], logits: list[float]) -> None:
        self.of_anchor = torch.tensor(objectness_of_anchor, dtype=torch.float64)
        self.logits = torch.tensor(logits, dtype=torch.float64)

    def objectness(self, location: Locations) -> Tensor:
        return self.of_anchor[location.anchor]

    def class_logits(self, location: Locations, nodes: Tensor) -> Tensor:
        return self.logits[nodes].expand(len(location), -1)

    def member_logits(self, location: Locations, members: PathMembers) -> Tensor:
        return self.logits[members.node]


def batch_of(output: GridOutput, tree: WordTree) -> BatchOutput:
    return BatchOutput(output, TreeTensors(tree), letterboxes_of(output))


def test_with_an_roi_head_the_best_locations_are_those_of_the_mean_objectness_of_both_heads(
    toy_tree: WordTree,
) -> None:
    output = random_output(toy_tree)
    roi = FixedRoi([0.1, 0.9], [0.0] * len(toy_tree))
    batch = batch_of(replace(output, roi=cast(Any, roi)), toy_tree)
    of_grid = output.objectness[1].flatten()
    expected = of_grid**0.25 * roi.of_anchor.repeat_interleave(12) ** 0.75
    best, index = expected.sort(descending=True)
    top = top_locations(batch, min_objectness=0.2, max_locations=7).by_image(2)[1]
    assert 0 < len(top) <= 7
    assert (top.objectness > 0.2).all()
    torch.testing.assert_close(top.objectness, best[: len(top)])
    assert (top.location.flat_index(output) - 24).tolist() == index[: len(top)].tolist()
    every = top_locations(batch, min_objectness=-1, max_locations=1).by_image(2)[1]
    torch.testing.assert_close(every.objectness, best[:1])


def test_with_an_roi_head_class_logits_are_the_weighted_mean_of_both_heads(toy_tree: WordTree) -> None:
    output, logits = random_output(toy_tree), torch.randn(len(toy_tree), dtype=torch.float64)
    batch = batch_of(replace(output, roi=cast(Any, FixedRoi([1, 1], logits.tolist()))), toy_tree)
    mean = 0.3 * output.dense_class_logits() + 0.7 * logits
    expected = batch_of(
        grid_output(anchors=ANCHORS, box_logits=output.box_logits, class_logits=mean), toy_tree
    )
    locations, nodes = Locations.from_flat_index(output, torch.arange(20)), torch.arange(len(toy_tree))
    torch.testing.assert_close(batch.absolute(locations, nodes), expected.absolute(locations, nodes))
    members = batch.tree_tensors.path_members(torch.arange(20) % len(toy_tree))
    torch.testing.assert_close(
        batch.member_logits(locations, members), expected.member_logits(locations, members)
    )


# --- reference implementations


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def box_reference(output: GridOutput, location: tuple[int, ...], letterbox: Letterbox) -> tuple[float, ...]:
    """The predicted box in pixels of the image, by the formulas of the paper's figure 3."""
    _, anchor, row, column = location
    x, y, w, h = output.box_logits[location][:4].tolist()
    rows, columns = output.box_logits.shape[2:4]
    centre = (sigmoid(x) + column) / columns, (sigmoid(y) + row) / rows
    size = ANCHORS[anchor][0] * math.exp(w) / columns, ANCHORS[anchor][1] * math.exp(h) / rows
    canvas = letterbox.network_width_px, letterbox.network_height_px
    margin = letterbox.left_px, letterbox.top_px
    scale = (
        letterbox.resized_width_px / letterbox.image_width_px,
        letterbox.resized_height_px / letterbox.image_height_px,
    )
    limit = letterbox.image_width_px, letterbox.image_height_px
    corners = [
        ((centre[axis] + sign * size[axis] / 2) * canvas[axis] - margin[axis]) / scale[axis]
        for sign in (-1, 1)
        for axis in (0, 1)
    ]
    return tuple(min(max(0.0, value), limit[k % 2]) for k, value in enumerate(corners))


def conditional_reference(tree: WordTree, logits: list[float], node: int) -> float:
    start, size = int(tree.group_start[tree.group[node]]), int(tree.group_size[tree.group[node]])
    siblings = range(start, start + size)
    highest = max(logits[s] for s in siblings)
    return math.exp(logits[node] - highest) / sum(math.exp(logits[s] - highest) for s in siblings)


def absolute_reference(tree: WordTree, logits: list[float], node: int) -> float:
    return math.prod(conditional_reference(tree, logits, step) for step in tree.path(node))


def descent_reference(tree: WordTree, logits: list[float], threshold: float) -> int:
    siblings = [node for node in range(len(tree)) if tree.parent[node] < 0]
    node = max(siblings, key=lambda node: conditional_reference(tree, logits, node))
    while len(tree.children(node)):
        child = max(tree.children(node), key=lambda node: conditional_reference(tree, logits, node))
        if not absolute_reference(tree, logits, child) > threshold:
            break
        node = child
    return node


def iou_reference(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def nms_reference(found: list[Row], iou: float, limit: int, *, by_node: bool) -> list[Row]:
    """Rows that overlap no better row (with by_node: no better row of their node), best first."""
    kept: list[Row] = []
    for row in sorted(found, key=lambda row: -row[0]):
        rivals = [other for other in kept if not by_node or row[1] == other[1]]
        if all(iou_reference(row[2], other[2]) <= iou for other in rivals):
            kept.append(row)
    return kept[:limit]


def locations_of(output: GridOutput, image: int) -> list[tuple[int, ...]]:
    return [(image, *location) for location in np.ndindex(*output.box_logits.shape[1:4])]


def detect_reference(
    output: GridOutput, tree: WordTree, letterbox: Letterbox, image: int, cfg: PredictConfig
) -> list[Row]:
    """NMS compares objectness, whatever the class; the remaining detections are sorted by score."""
    dense, found = output.dense_class_logits(), []
    for location in locations_of(output, image):
        logits, objectness = dense[location].tolist(), sigmoid(float(output.box_logits[location][4]))
        if objectness > cfg.min_score:
            node = descent_reference(tree, logits, cfg.min_absolute)
            score = objectness * absolute_reference(tree, logits, node)
            of_root = absolute_reference(tree, logits, tree.path(node)[0])
            box = box_reference(output, location, letterbox)
            found.append((objectness, (score, node, of_root), box))
    kept = nms_reference(found, cfg.nms_iou, len(found), by_node=False)
    rows = [
        (score, node, box)
        for objectness, (score, node, of_root), box in kept
        if objectness * of_root > cfg.min_score
    ]
    return sorted(rows, key=lambda row: -row[0])[: cfg.max_detections]


def score_nodes_reference(
    output: GridOutput,
    tree: WordTree,
    letterbox: Letterbox,
    image: int,
    nodes: list[int],
    cfg: EvaluateConfig,
) -> list[Row]:
    dense, found = output.dense_class_logits(), []
    locations = sorted(
        locations_of(output, image), key=lambda location: -float(output.box_logits[location][4])
    )
    for location in locations[: cfg.max_locations]:
        objectness = sigmoid(float(output.box_logits[location][4]))
        for node in nodes:
            score = objectness * absolute_reference(tree, dense[location].tolist(), node)
            if score > cfg.min_objectness:
                found.append((score, node, box_reference(output, location, letterbox)))
    return nms_reference(found, cfg.nms_iou, cfg.max_detections, by_node=True)


def assert_rows(found: list[Row], expected: list[Row]) -> None:
    assert [row[1] for row in found] == [row[1] for row in expected]
    assert [row[0] for row in found] == pytest.approx([row[0] for row in expected], rel=1e-5)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[2] == pytest.approx(theirs[2], rel=1e-5, abs=1e-3)


def rows_of(found: Detections) -> list[Row]:
    return [
        (float(s), int(n), tuple(b.tolist()))
        for s, n, b in zip(found.score, found.node, found.xyxy_px, strict=True)
    ]


# --- detections


@pytest.mark.parametrize(
    "settings_of",
    [
        pytest.param({"min_score": 0.1, "min_absolute": 0.3}, id="usual"),
        pytest.param({"min_score": 0.0, "min_absolute": 0.0}, id="everything, to the leaves"),
        pytest.param({"min_score": 0.0, "min_absolute": 1.0}, id="roots only"),
        pytest.param({"min_score": 0.05, "nms_iou": 0.0}, id="no overlap allowed"),
        pytest.param({"min_score": 0.05, "nms_iou": 1.0}, id="every overlap allowed"),
        pytest.param({"min_score": 0.01, "max_detections": 3}, id="the best three"),
        pytest.param({"min_score": 1.0}, id="nothing"),
    ],
)
def test_detections_agree_with_the_slow_reference(settings_of: dict[str, float]) -> None:
    tree, cfg = random_tree(40), PredictConfig.model_validate(settings_of)
    for seed in range(3):
        output = random_output(tree, images=3, seed=seed)
        boxes = letterboxes_of(output)
        found = detect(BatchOutput(output, TreeTensors(tree), boxes), ["a", "b", "c"], cfg)
        assert [d.image for d in found] == ["a", "b", "c"]
        assert [d.image_size_px for d in found] == [(640, 480), (100, 333), (31, 17)]
        for image, detections in enumerate(found):
            assert_rows(rows_of(detections), detect_reference(output, tree, boxes[image], image, cfg))


def test_absolute_is_the_product_of_the_path_and_score_its_product_with_objectness() -> None:
    tree = random_tree(40)
    output = random_output(tree)
    cfg = PredictConfig(min_score=0.05, min_absolute=0.1)
    seen = 0
    for detections in detect(batch_of(output, tree), ["a", "b"], cfg):
        for row, node in enumerate(detections.node):
            path = detections.conditional[row]
            assert len(path) == len(tree.path(int(node)))
            assert detections.absolute[row] == pytest.approx(np.prod(path), rel=1e-5)
            assert detections.score[row] == pytest.approx(
                detections.objectness[row] * detections.absolute[row]
            )
            assert detections.absolute[row] > cfg.min_absolute or tree.parent[node] < 0
            seen += 1
    assert seen > 10


def test_surer_classes_are_more_general_and_not_more_numerous() -> None:
    tree = random_tree(40)
    batch = batch_of(random_output(tree), tree)
    found = [
        detect(batch, ["a", "b"], PredictConfig(min_score=0.3, min_absolute=min_absolute))
        for min_absolute in (0.0, 0.1, 0.5, 0.9)
    ]
    counts = [[len(image) for image in images] for images in found]
    assert counts == [counts[0]] * 4
    assert min(counts[0]) > 2
    depths = [sum(int(tree.depth[image.node].sum()) for image in images) for images in found]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] > depths[-1]


@pytest.mark.parametrize(
    ("min_score", "expected"),
    [
        pytest.param(0.5, [], id="no class exceeds the threshold"),
        pytest.param(0.36, [(0, 0.396)], id="one class"),
        pytest.param(0.3, [(0, 0.396), (1, 0.3465)], id="two classes of one box"),
    ],
)
@pytest.mark.parametrize("nms", ["by_node", "by_objectness"])
def test_darknet_without_a_tree_has_a_detection_for_each_class_above_the_threshold(
    min_score: float, expected: list[tuple[int, float]], nms: str
) -> None:
    tree = WordTree(["a", "b", "c"], [-1, -1, -1])
    class_logits = torch.tensor([0.40, 0.35, 0.25], dtype=torch.float64).log().expand(1, 1, 1, 1, 3)
    box_logits = torch.tensor([0, 0, 0, 0, math.log(0.99 / 0.01)]).expand(1, 1, 1, 1, 5)
    output = grid_output(anchors=[[1.0, 1.0]], box_logits=box_logits, class_logits=class_logits)
    cfg = PredictConfig.model_validate({"descent": "darknet", "min_score": min_score, "nms": nms})
    (found,) = detect(batch_of(output, tree), ["p"], cfg)
    assert found.node.tolist() == [node for node, _ in expected]
    assert found.score.tolist() == pytest.approx([score for _, score in expected], rel=1e-6)
    assert found.absolute.tolist() == pytest.approx([score / 0.99 for _, score in expected], rel=1e-6)


def test_no_location_above_the_threshold_gives_empty_detections() -> None:
    tree = random_tree(10)
    output = random_output(tree)
    output.box_logits[..., 4] = -50
    found = detect(batch_of(output, tree), ["a", "b"], PredictConfig())
    assert [len(d) for d in found] == [0, 0]
    assert found[0].xyxy_px.shape == (0, 4)


def test_the_boxes_of_a_batch_are_decoded_once(toy_tree: WordTree, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[GridOutput] = []

    def counted(output: GridOutput) -> torch.Tensor:
        decoded.append(output)
        return decode_boxes(output)

    monkeypatch.setattr(top_locations_module, "decode_boxes", counted)
    output = random_output(toy_tree, images=3)
    assert len(detect(batch_of(output, toy_tree), ["a", "b", "c"], PredictConfig())) == 3
    assert len(decoded) == 1


def test_a_flat_tree_gives_the_most_probable_class() -> None:
    tree = WordTree(["a", "b", "c"], [-1, -1, -1])
    class_logits = torch.tensor([0.0, 2.0, 1.0], dtype=torch.float64).expand(1, 2, 1, 1, 3)
    output = grid_output(anchors=ANCHORS, class_logits=class_logits.clone())
    (found,) = detect(batch_of(output, tree), ["a"], PredictConfig(min_score=0))
    assert set(found.node.tolist()) == {1}
    assert found.absolute[0] == pytest.approx(math.exp(2) / (1 + math.exp(2) + math.exp(1)))


# --- batches


@pytest.mark.parametrize(
    ("settings_of", "query", "classes"),
    [
        pytest.param({}, None, None, id="threshold"),
        pytest.param({"nms": "by_node", "max_detections": 4}, None, None, id="suppression by node"),
        pytest.param({"descent": "darknet", "geometry": "darknet"}, None, None, id="darknet"),
        pytest.param({}, "own3 | own5", None, id="query"),
        pytest.param({"min_absolute": 0.1}, None, "depth <= 2", id="chosen classes"),
        pytest.param({"min_score": 0.99}, None, None, id="no detections"),
    ],
)
def test_an_image_has_the_same_detections_in_a_batch_as_alone(
    settings_of: dict[str, object], query: str | None, classes: str | None
) -> None:
    tree = random_tree(40)
    cfg = PredictConfig.model_validate({"min_score": 0.1, "nms_iou": 0.2, **settings_of})
    nodes = None if query is None else NodeSet.of(tree, parse(query, tree).nodes())
    vocabulary = None if classes is None else VocabularyChoice(classes).of(tree)
    output = random_output(tree, images=5)
    output.box_logits[2, ..., 4] = -50  # nothing in the image in the middle
    boxes = letterboxes_of(output)
    names = [f"image {number}" for number in range(5)]
    found = detect(BatchOutput(output, TreeTensors(tree), boxes), names, cfg, nodes, vocabulary)
    for image, detections in enumerate(found):
        only = replace(
            output,
            box_logits=output.box_logits[image : image + 1],
            features=output.features[image : image + 1],
        )
        batch = BatchOutput(only, TreeTensors(tree), boxes[image : image + 1])
        (alone,) = detect(batch, names[image : image + 1], cfg, nodes, vocabulary)
        assert detections.to_dict() == alone.to_dict()
    counts = [len(detections) for detections in found]
    assert counts[2] == 0
    assert (sum(counts) > 0) == (cfg.min_score < 0.5)


# --- queries


@settings(max_examples=30)
@given(st.sets(st.integers(0, 39)), st.integers(0, 3))
def test_the_probability_of_a_node_set_is_the_sum_over_its_leaves(members: set[int], seed: int) -> None:
    """Reference: an object belongs to exactly one leaf, so P(set) is the sum over the leaves in the set."""
    tree = random_tree(40)
    output = random_output(tree, images=1, rows=1, columns=2, seed=seed)
    batch = batch_of(output, tree)
    location = top_locations(batch, min_objectness=-1, max_locations=100).location
    found = NodeSet.of(tree, sorted(members)).probability(batch, location)
    dense = output.dense_class_logits()
    locations = zip(
        location.image.tolist(),
        location.anchor.tolist(),
        location.row.tolist(),
        location.column.tolist(),
        strict=True,
    )
    for row, at in enumerate(locations):
        logits = dense[at].tolist()
        expected = sum(
            absolute_reference(tree, logits, int(leaf)) for leaf in tree.leaves if int(leaf) in members
        )
        assert float(found[row]) == pytest.approx(expected, abs=1e-6)


def test_a_query_changes_the_score_of_a_detection_and_not_its_class() -> None:
    tree = WordTree(["animal", "car", "dog", "cat"], [-1, -1, 0, 0])
    class_logits = torch.tensor([2.0, 0.0, 0.1, 0.0], dtype=torch.float64).expand(1, 2, 1, 1, 4)
    output = grid_output(anchors=ANCHORS, class_logits=class_logits.clone())
    cfg = PredictConfig(min_score=0.01, min_absolute=0.5)
    batch = batch_of(output, tree)
    query = NodeSet.of(tree, parse("animal & !cat", tree).nodes())
    (found,) = detect(batch, ["a"], cfg, query)
    animal = math.exp(2) / (math.exp(2) + 1)
    dog = animal * math.exp(0.1) / (math.exp(0.1) + 1)
    assert set(found.names) == {"animal"}  # neither child is more probable than .5
    assert found.score[0] == pytest.approx(found.objectness[0] * dog, rel=1e-6)
    nothing = NodeSet.of(tree, [])
    assert [len(d) for d in detect(batch, ["a"], cfg, nothing)] == [0]


# --- NMS


def two_boxes(gap_px: float, *, nodes: int) -> GridOutput:
    """Two squares of 10 px, `gap_px` apart (5 to 25), in neighbouring cells of 20 px, both surely of the last node."""
    box_logits = torch.full((1, 1, 32, 32, 5), -50.0)
    for column, x_px, objectness in ((30, 15.0, 4.0), (31, gap_px - 5, 3.0)):
        x_logit = math.log(x_px / (20 - x_px))
        box_logits[0, 0, 31, column] = torch.tensor([x_logit, 0, 0, 0, objectness])
    class_logits = torch.zeros(1, 1, 32, 32, nodes)
    class_logits[..., -1] = 100
    return grid_output(anchors=[[0.5, 0.5]], box_logits=box_logits, class_logits=class_logits)


@pytest.mark.parametrize("nodes", [1, 9418, 20000])
@pytest.mark.parametrize(("nms_iou", "kept"), [(0.299, 1), (0.301, 2)])
def test_nms_is_as_precise_for_the_last_node_of_a_large_tree(nodes: int, nms_iou: float, kept: int) -> None:
    tree_tensors = TreeTensors(WordTree([f"own{node}" for node in range(nodes)], [-1] * nodes))
    letterbox = Letterbox.fit(image_size_px=(640, 640), network_size_px=(640, 640))
    gap_px = 10 * (1 - 0.3) / (1 + 0.3)  # squares of side s that lie d apart: IoU = (s − d) / (s + d)
    output = two_boxes(gap_px, nodes=nodes)
    batch = BatchOutput(output, tree_tensors, [letterbox])
    (found,) = detect(batch, ["a"], PredictConfig(nms_iou=nms_iou))
    (scored,) = score_nodes(batch, torch.tensor([nodes - 1]), EvaluateConfig(nms_iou=nms_iou))
    assert (len(found), len(scored.node)) == (kept, kept)


def test_an_object_gets_one_detection_but_may_have_scores_for_several_nodes() -> None:
    tree_tensors = TreeTensors(WordTree(["dog", "cat", "car"], [-1, -1, -1]))
    letterbox = Letterbox.fit(image_size_px=(640, 640), network_size_px=(640, 640))
    output = two_boxes(5.3, nodes=3)
    output.features[0, 1, 31, 31] = 200  # the second is a cat
    batch = BatchOutput(output, tree_tensors, [letterbox])
    (found,) = detect(batch, ["a"], PredictConfig(nms_iou=0.1))
    assert found.names == ["car"]
    (scored,) = score_nodes(batch, torch.tensor([1, 2]), EvaluateConfig(nms_iou=0.1))
    assert scored.node.tolist() == [2, 1]


# --- scores of given nodes


@pytest.mark.parametrize(
    "settings_of",
    [
        pytest.param({}, id="usual"),
        pytest.param({"min_objectness": 0.3}, id="high threshold"),
        pytest.param({"max_locations": 5}, id="five locations"),
        pytest.param({"max_detections": 20, "min_objectness": 0.01}, id="the best twenty"),
        pytest.param({"nms_iou": 0.1}, id="little overlap allowed"),
    ],
)
def test_scores_of_nodes_agree_with_the_slow_reference(settings_of: dict[str, float]) -> None:
    tree, cfg = random_tree(40), EvaluateConfig.model_validate(settings_of)
    nodes = [0, 3, 5, 11, 17, 38, 39]  # roots, inner nodes and leaves, some under others
    for seed in range(3):
        output = random_output(tree, images=3, seed=seed)
        boxes = letterboxes_of(output)
        found = score_nodes(BatchOutput(output, TreeTensors(tree), boxes), torch.tensor(nodes), cfg)
        assert len(found) == 3
        for image, scored in enumerate(found):
            rows = [
                (float(s), int(n), tuple(b.tolist()))
                for s, n, b in zip(scored.score, scored.node, scored.xyxy_px, strict=True)
            ]
            assert_rows(rows, score_nodes_reference(output, tree, boxes[image], image, nodes, cfg))


@pytest.mark.parametrize(("protocol", "most"), [("coco", 100), ("lvis", 300), ("lvis_fixed", 1000)])
def test_an_image_has_as_many_scores_as_the_protocol_allows(protocol: str, most: int) -> None:
    tree = random_tree(40)
    output = random_output(tree, images=1, rows=13, columns=13)
    cfg = EvaluateConfig.model_validate({"protocol": protocol, "nms_iou": 1.0, "min_objectness": 0})
    (found,) = score_nodes(batch_of(output, tree), torch.arange(40), cfg)
    assert len(found.node) == most


def test_one_location_may_have_scores_for_several_nodes(toy_tree: WordTree) -> None:
    output = random_output(toy_tree, images=1, rows=1, columns=1)
    cfg = EvaluateConfig(min_objectness=0, max_locations=1)
    nodes = [0, 2, 6]
    (found,) = score_nodes(batch_of(output, toy_tree), torch.tensor(nodes), cfg)
    score = dict(zip(found.node.tolist(), found.score.tolist(), strict=True))
    assert set(score) == set(nodes)
    assert score[0] >= score[2] >= score[6]


def test_no_nodes_and_no_location_above_the_threshold_give_no_scores(toy_tree: WordTree) -> None:
    output = random_output(toy_tree)
    no_nodes = score_nodes(batch_of(output, toy_tree), torch.tensor([], dtype=torch.int64), EvaluateConfig())
    output.box_logits[..., 4] = -50
    no_locations = score_nodes(batch_of(output, toy_tree), torch.tensor([1, 2]), EvaluateConfig())
    assert [found.xyxy_px.shape for found in no_nodes + no_locations] == [(0, 4)] * 4


def test_the_box_of_highest_objectness_agrees_with_the_slow_reference(toy_tree: WordTree) -> None:
    output = random_output(toy_tree, images=3)
    batch = batch_of(output, toy_tree)
    for image, letterbox in enumerate(batch.letterboxes):
        location = max(
            locations_of(output, image), key=lambda location: float(output.box_logits[location][4])
        )
        xyxy_px, objectness = boxes_of_highest_objectness(batch)[image]
        assert xyxy_px.tolist() == pytest.approx(box_reference(output, location, letterbox), rel=1e-6)
        assert objectness == pytest.approx(sigmoid(float(output.box_logits[location][4])))


# --- NMS by node


@st.composite
def scored_boxes(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Up to twelve boxes, also left of and above the image, with different scores and one of three nodes."""
    corner = st.integers(-40, 40)
    rows = draw(st.lists(st.tuples(corner, corner, st.integers(1, 40), st.integers(1, 40)), max_size=12))
    xyxy = torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=torch.float32).view(-1, 4)
    scores = draw(st.permutations(range(1, len(rows) + 1)))
    nodes = draw(st.lists(st.integers(0, 2), min_size=len(rows), max_size=len(rows)))
    return xyxy, torch.tensor(scores, dtype=torch.float32) / 20, torch.tensor(nodes, dtype=torch.int64)


@given(scored_boxes(), st.sampled_from([0.0, 0.3, 0.45, 1.0]))
@settings(max_examples=80)
def test_nms_by_node_agrees_with_the_slow_reference_and_is_idempotent(
    boxes: tuple[torch.Tensor, torch.Tensor, torch.Tensor], iou: float
) -> None:
    xyxy, score, node = boxes
    kept = nms_by_node(xyxy, score, node, iou)
    found = [(float(score[k]), int(node[k]), tuple(xyxy[k].tolist())) for k in kept]
    everything = [(float(s), int(n), tuple(b.tolist())) for s, n, b in zip(score, node, xyxy, strict=True)]
    assert found == nms_reference(everything, iou, len(everything), by_node=True)
    assert nms_by_node(xyxy[kept], score[kept], node[kept], iou).tolist() == list(range(len(kept)))
    assert set(node.tolist()) == set(node[kept].tolist())  # the best of each node stays
    if iou == 1:
        assert len(kept) == len(xyxy)


# --- back to the image


@settings(max_examples=50)
@given(
    st.integers(8, 2000),
    st.integers(8, 2000),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_boxes_to_image_inverts_the_letterbox(width: int, height: int, unit: list[float]) -> None:
    letterbox = Letterbox.fit(image_size_px=(width, height), network_size_px=(416, 416))
    left, right = sorted(unit[:2])
    top, bottom = sorted(unit[2:])
    xyxy_px = torch.tensor(
        [[left * width, top * height, right * width, bottom * height]], dtype=torch.float64
    )
    back = boxes_to_image(letterbox.to_network(xyxy_px) / 416, letterbox)
    assert torch.allclose(back, xyxy_px, atol=1e-6 * max(width, height))


def test_boxes_are_clipped_to_the_image_not_to_the_canvas() -> None:
    letterbox = Letterbox.fit(image_size_px=(200, 100), network_size_px=(416, 416))
    whole_canvas = torch.tensor([[0.0, 0.0, 1.0, 1.0], [-1.0, -1.0, 2.0, 2.0]])
    assert boxes_to_image(whole_canvas, letterbox).tolist() == [[0, 0, 200, 100]] * 2
