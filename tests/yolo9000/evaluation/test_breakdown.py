"""The breakdown by size, truncation and occlusion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.yolo9000.evaluation.made_boxes import detected, supervision, truth
from tests.yolo9000.made import random_tree
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.scorecard import scorecard_of


def test_objects_are_counted_by_size_truncation_and_occlusion(toy_tree: WordTree) -> None:
    """Two images of 100 × 50 px: a truncated dog and a cat that covers part of it; and four boats of 5 to 15 px, far
    apart, of which the two small ones are not detected."""
    edge, over = [0, 10, 40, 30], [30, 10, 50, 30]
    boats = [([20 * k + 4, 20, 20 * k + 4 + side, 24], 5) for k, side in enumerate((5, 6, 12, 15))]
    images = [truth((edge, 2), (over, 3)), truth(*boats)]
    detections = [
        detected((edge, 2, 0.9), (over, 2, 0.8)),
        detected(*((box, 5, 0.9) for box, _ in boats[2:])),
    ]
    card = scorecard_of(images, detections, tree=toy_tree, supervision=supervision, sizes_px=[(100, 50)] * 2)
    counts = {(one.condition, one.group): (one.objects, one.detected, one.correct) for one in card.breakdown}
    assert counts == {
        ("size: 5–8 % of the image side", "none"): (2, 0, 0),
        ("size: 8–14 % of the image side", "none"): (1, 1, 1),
        ("size: 14–19 % of the image side", "none"): (1, 1, 1),
        ("size: 19–40 % of the image side", "boxed"): (1, 1, 1),
        ("size: 19–40 % of the image side", "label_only"): (1, 1, 0),
        ("truncated: at the image edge", "boxed"): (1, 1, 1),
        ("occluded: another box covers 20 % or more", "boxed"): (1, 1, 1),
        ("occluded: another box covers 20 % or more", "label_only"): (1, 1, 0),
        ("neither truncated nor occluded", "none"): (4, 2, 2),
    }  # fmt: skip
    assert scorecard_of(images, detections, tree=toy_tree, supervision=supervision).breakdown == ()
    empty = scorecard_of([truth()], [detected()], tree=toy_tree, supervision=supervision, sizes_px=[(9, 9)])
    assert empty.breakdown == ()


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_the_size_groups_contain_each_object_once_and_occlusion_agrees_with_a_slow_reference(
    seed: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    tree = random_tree(12, seed=seed)
    corners = [rng.uniform(0, 30, (int(rng.integers(0, 5)), 4)) for _ in range(count)]
    corners = [np.concatenate([b[:, :2], b[:, :2] + 1 + b[:, 2:]], axis=1) for b in corners]
    images = [truth(*((b.tolist(), int(rng.integers(12))) for b in these)) for these in corners]
    detections = [
        detected(*((b.tolist(), int(rng.integers(12)), 0.5) for b in these[::2])) for these in corners
    ]
    card = scorecard_of(
        images,
        detections,
        tree=tree,
        supervision=lambda k: ("boxes", "image labels")[k % 2],
        sizes_px=[(64, 64)] * count,
    )
    sizes = [one for one in card.breakdown if one.condition.startswith("size")]
    for field in ("objects", "detected", "correct"):
        total = {"objects": "boxes"}.get(field, field)
        assert sum(getattr(one, field) for one in sizes) == getattr(card.all, total)
    covered = sum(
        any(i != j and shared_area(b, other) >= 0.2 * shared_area(b, b) for j, other in enumerate(these))
        for these in corners
        for i, b in enumerate(these)
    )
    assert covered == sum(one.objects for one in card.breakdown if one.condition.startswith("occluded"))


def shared_area(a: np.ndarray, b: np.ndarray) -> float:
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    return float(max(0, width) * max(0, height))
