import numpy as np
import pytest

from data_prep import DataPrepError, ShardReader, kmeans_anchors, merge
from data_prep.anchors import box_sizes_px, iou_of_sizes


def slow_iou(a, b):
    """IoU of two sizes that share their centre, by the definition."""
    shared = min(a[0], b[0]) * min(a[1], b[1])
    return shared / (a[0] * a[1] + b[0] * b[1] - shared)


def slow_kmeans(boxes, anchors, rounds=300):
    """k-means from given seeds, one box at a time; the anchors of the best round and their average IoU."""
    best, best_iou, before = anchors, 0.0, None
    for _ in range(rounds):
        members = [[] for _ in anchors]
        total, nearest = 0.0, []
        for box in boxes:
            ious = [slow_iou(box, anchor) for anchor in anchors]
            place = ious.index(max(ious))
            total += ious[place]
            nearest.append(place)
            members[place].append(box)
        if total / len(boxes) > best_iou:
            best, best_iou = anchors, total / len(boxes)
        if nearest == before:
            break
        before = nearest
        anchors = [
            (sum(box[0] for box in group) / len(group), sum(box[1] for box in group) / len(group))
            if group
            else anchor
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


def test_every_run_is_one_that_the_slow_version_makes_from_the_same_seeds(boxes):
    from data_prep.anchors import _one_run, _spread_seeds

    for seed in range(5):
        seeds = _spread_seeds(boxes, 4, np.random.default_rng(seed))
        run = _one_run(boxes, seeds)
        slow, average = slow_kmeans(boxes.tolist(), [tuple(size) for size in seeds.tolist()])
        assert run.anchors == pytest.approx(np.array(slow))
        assert run.average_iou == pytest.approx(average)


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
        pytest.param(np.empty((0, 2)), 1, "Cannot find 1 anchors among 0", id="no boxes"),
        pytest.param([[1, 1], [1, 1]], 2, "Cannot find 2 anchors among 1", id="too few sizes"),
        pytest.param([[1, 1]], 0, "Cannot find 0 anchors", id="no anchors"),
        pytest.param([[1, 0], [1, 1]], 1, "positive width and height", id="zero height"),
        pytest.param([[1, np.nan], [1, 1]], 1, "positive width and height", id="NaN"),
    ],
)
def test_what_cannot_be_clustered_is_told(sizes, k, expected):
    with pytest.raises(DataPrepError, match=expected):
        kmeans_anchors(sizes, k)


def test_box_sizes_are_those_after_the_letterbox_without_crowds(world, tmp_path, config_of):
    merge(config_of(world), tmp_path / "out")
    sizes = box_sizes_px(ShardReader(tmp_path / "out"), "train", 400)
    assert sizes == pytest.approx(
        np.array([[200, 150]] * 3), rel=1e-5
    )  # 20 × 15 of 40 × 30 px, ten times larger
