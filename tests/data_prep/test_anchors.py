import json
from statistics import median_low
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data_prep import DataPrepError, ShardReader, kmeans_anchors, merge
from data_prep.anchors import (
    AnchorClusters,
    _kmeans_plus_plus,
    _kmeans_run,
    _Sizes,
    average_iou,
    box_sizes_px,
    elbow,
    iou_of_sizes,
    sweep_anchors,
)
from tests.data_prep.conftest import encoded_image, write_coco


def slow_iou(a, b):
    """IoU of two sizes that share their centre, by the definition."""
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / (a[0] * a[1] + b[0] * b[1] - shared)


def slow_kmeans(boxes, anchors, rounds=300):
    """Clusters from given seeds, one box at a time; the anchors of the best round and their average IoU."""
    best, best_iou, before = anchors, 0.0, None
    for _ in range(rounds):
        members = [[] for _ in anchors]
        total, nearest = 0.0, []
        for box in boxes:
            ious = [slow_iou(box, anchor) for anchor in anchors]
            position = ious.index(max(ious))
            total += ious[position]
            nearest.append(position)
            members[position].append(box)
        if total / len(boxes) > best_iou:
            best, best_iou = anchors, total / len(boxes)
        if nearest == before:
            break
        before = nearest
        anchors = [
            (median_low(box[0] for box in group), median_low(box[1] for box in group)) if group else anchor
            for group, anchor in zip(members, anchors, strict=True)
        ]
    return best, best_iou


@pytest.fixture
def boxes():
    generator = np.random.default_rng(3)
    centres = np.array([[1, 1], [2, 6], [9, 4]], dtype=float)
    return np.concatenate([centre * generator.uniform(0.8, 1.25, (40, 2)) for centre in centres])


def test_iou_of_sizes_agrees_with_the_definition(boxes):
    found = iou_of_sizes(boxes[:20], boxes[20:30])
    expected = [[slow_iou(a, b) for b in boxes[20:30]] for a in boxes[:20]]
    assert found == pytest.approx(np.array(expected))


def test_clusters_agree_with_a_slow_obvious_version(boxes):
    found = kmeans_anchors(boxes, 3, seed=1)
    slow, slow_average = slow_kmeans(boxes.tolist(), [tuple(boxes[0]), tuple(boxes[50]), tuple(boxes[100])])
    assert found.anchors == pytest.approx(np.array(sorted(slow, key=lambda wh: wh[0] * wh[1])))
    assert found.average_iou == pytest.approx(slow_average)


@settings(max_examples=60)
@example(boxes=[(1, 8), (2, 1), (5, 1), (6, 4), (1, 3), (5, 2)], k=2, seed=0)
@given(
    boxes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=4, max_size=40),
    k=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_every_run_agrees_with_the_slow_version_from_the_same_start(boxes, k, seed):
    if len(set(boxes)) < k:
        return
    # Tenths keep IoUs of different boxes apart, so that both versions see the same nearest anchor.
    boxes = [(width + 0.1 * height, height + 0.07 * width) for width, height in boxes]
    sizes = _Sizes.of(np.array(boxes))
    seeds = _kmeans_plus_plus(sizes, k, np.random.default_rng(seed))
    run = _kmeans_run(sizes, seeds)
    slow, average = slow_kmeans(boxes, [tuple(size) for size in seeds.tolist()])
    assert run.average_iou == pytest.approx(average)
    # Of two equally good rounds, rounding decides which one counts.
    by_hand = np.mean([max(slow_iou(box, anchor) for anchor in run.anchors) for box in boxes])
    assert run.anchors == pytest.approx(np.array(slow)) or by_hand == pytest.approx(average, rel=1e-9)


def test_boxes_of_equal_size_count_as_often_as_they_occur():
    sizes = _Sizes.of(np.array([[2, 3], [1, 1], [2, 3], [2, 3]], dtype=float))
    assert (sizes.wh.tolist(), sizes.weight.tolist()) == ([[1, 1], [2, 3]], [1, 3])
    assert kmeans_anchors([[1, 1], [2, 3], [2, 3], [2, 3]], 1).anchors.tolist() == [[2, 3]]


def test_near_sizes_of_a_million_boxes_count_as_one_and_cost_nothing(monkeypatch):
    generator = np.random.default_rng(5)
    boxes = np.exp(generator.normal(3, 1, (12_000, 1)) + generator.normal(0, 0.5, (12_000, 2)))
    assert len(_Sizes.of(boxes)) <= 8000
    assert _Sizes.of(boxes).weight.sum() == 12_000
    monkeypatch.setattr("data_prep.anchors.RESTARTS", 2)
    merged = kmeans_anchors(boxes, 5)
    monkeypatch.setattr("data_prep.anchors.MAX_SIZES", 12_000)
    exact = kmeans_anchors(boxes, 5)
    assert merged.average_iou == pytest.approx(exact.average_iou, abs=0.002)


@settings(max_examples=30)
@given(boxes=st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=30))
def test_the_average_iou_is_over_all_boxes(boxes):
    anchors = np.array([[1.0, 2.0], [30.0, 10.0]])
    expected = [max(slow_iou(box, anchor) for anchor in anchors.tolist()) for box in boxes]
    assert average_iou(np.array(boxes), anchors) == pytest.approx(sum(expected) / len(boxes))


def test_boxes_are_averaged_a_part_at_a_time(boxes, monkeypatch):
    whole = average_iou(boxes, boxes[:3])
    monkeypatch.setattr("data_prep.anchors._BOXES_AT_ONCE", 7)
    assert average_iou(boxes, boxes[:3]) == pytest.approx(whole)


# --- how many


def test_a_sweep_finds_the_anchors_of_each_number_alone(boxes):
    found = sweep_anchors(boxes, range(1, 5), seed=3)
    assert list(found) == [1, 2, 3, 4]
    for k, clusters in found.items():
        assert np.array_equal(clusters.anchors, kmeans_anchors(boxes, k, seed=3).anchors)


def test_a_sweep_ends_at_the_number_of_different_sizes():
    assert list(sweep_anchors([[1, 1], [2, 2], [1, 1]])) == [1, 2]
    with pytest.raises(DataPrepError, match="Cannot cluster 0 different box sizes into 1 anchors"):
        sweep_anchors(np.empty((0, 2)))


@pytest.mark.parametrize(
    ("ious", "expected"),
    [
        pytest.param([0.3, 0.6, 0.8, 0.81, 0.82, 0.83], 3, id="a sharp bend"),
        pytest.param([0.1, 0.2, 0.3], 1, id="a straight line"),
        pytest.param([0.5], 1, id="a single point"),
    ],
)
def test_the_elbow_is_where_further_anchors_gain_little(ious, expected):
    found = {k: AnchorClusters(np.ones((k, 2)), iou) for k, iou in enumerate(ious, start=1)}
    assert elbow(found) == expected


def test_three_kinds_of_boxes_have_their_elbow_at_three(boxes):
    assert elbow(sweep_anchors(boxes, range(1, 10))) == 3


def test_equal_seeds_give_equal_anchors_sorted_by_area(boxes):
    first, second = kmeans_anchors(boxes, 5, seed=7), kmeans_anchors(boxes, 5, seed=7)
    assert np.array_equal(first.anchors, second.anchors)
    assert (np.diff(first.anchors.prod(axis=1)) >= 0).all()


def test_more_anchors_fit_better(boxes):
    fits = [kmeans_anchors(boxes, k).average_iou for k in (1, 2, 3, 6)]
    assert fits == sorted(fits)
    assert fits[2] > 0.8


def test_as_many_anchors_as_sizes_fit_perfectly():
    sizes = [[1, 1], [2, 3], [5, 1], [1, 1]]
    found = kmeans_anchors(sizes, 3)
    assert found.average_iou == 1
    assert sorted(found.anchors.tolist()) == [[1, 1], [2, 3], [5, 1]]


@pytest.mark.parametrize(
    ("sizes", "k", "expected"),
    [
        pytest.param(
            np.empty((0, 2)), 1, "Cannot cluster 0 different box sizes into 1 anchors", id="no boxes"
        ),
        pytest.param(
            [[1, 1], [1, 1]], 2, "Cannot cluster 1 different box sizes into 2 anchors", id="too few sizes"
        ),
        pytest.param([[1, 1]], 0, "into 0 anchors", id="no anchors"),
        pytest.param([[1, 0], [1, 1]], 1, "positive widths and heights", id="zero height"),
        pytest.param([[1, np.nan], [1, 1]], 1, "positive widths and heights", id="NaN"),
    ],
)
def test_boxes_that_cannot_be_clustered_are_refused(sizes, k, expected):
    with pytest.raises(DataPrepError, match=expected):
        kmeans_anchors(sizes, k)


def test_box_sizes_are_those_after_the_letterbox_without_crowds(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    sizes = box_sizes_px(ShardReader(tmp_path / "out"), "train", 400)
    assert sizes == pytest.approx(
        np.array([[200, 150]] * 3), rel=1e-5
    )  # 20 × 15 of 40 × 30 px, ten times larger


# --- the command


@pytest.fixture
def varied(tmp_path, config_of):
    """Shards with boxes of many sizes."""
    generator = np.random.default_rng(1)
    (tmp_path / "photos").mkdir()
    images, boxes = [], []
    for index in range(4):
        (tmp_path / "photos" / f"{index}.jpg").write_bytes(encoded_image(index, (100, 80)))
        images.append({"id": index, "file_name": f"{index}.jpg", "width": 100, "height": 80})
        for width, height in generator.uniform(4, 70, (8, 2)).tolist():
            boxes.append(
                {"id": len(boxes), "image_id": index, "category_id": 10, "bbox": [1, 1, width, height]}
            )
    write_coco(tmp_path, images, boxes, ["cat"])
    source = {"name": "c", "format": "coco", "annotations": "instances.json", "images": "photos"}
    (tmp_path / "merge.yaml").write_text(json.dumps({"sources": [source]}))
    merge(config_of(tmp_path), tmp_path / "shards")
    return tmp_path / "shards"


def test_a_sweep_is_reported_and_drawn(varied, tmp_path, command):
    code, text, _ = command("anchors", varied, "--sweep", "--chart", tmp_path / "anchors.svg")
    assert code == 0
    assert text.count("anchors: average IoU") == 15
    assert text.count("<- elbow") == 1
    root = ElementTree.parse(tmp_path / "anchors.svg").getroot()
    assert len(list(root.iter("{http://www.w3.org/2000/svg}circle"))) == 15 + 1
    message = json.loads(command("anchors", varied, "--sweep", "--json")[1])
    assert len(message["anchors_cell"]) == message["elbow"]
    assert message["sweep"][str(message["elbow"])] == message["average_iou"]
    assert len(json.loads(command("anchors", varied, "--sweep", "-k", "2", "--json")[1])["anchors_cell"]) == 2
