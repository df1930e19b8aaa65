"""Means by supervision, and classes mapped to the nearest ancestor with boxes."""

from __future__ import annotations

import pytest

from data_prep import LabelCounts
from tests.yolo9000.evaluation.made_boxes import LEFT, MIDDLE, RIGHT, supervision, truth
from wordtree.tree.tree import WordTree
from yolo9000.evaluation.supervision import map_to_boxed, mean_by_group, nearest_boxed


def test_means_by_part_leave_out_undefined_values() -> None:
    assert mean_by_group({2: 10.0, 4: 30.0, 3: 50.0}, supervision) == {
        "all": 30,
        "boxed": 20,
        "label_only": 50,
        "none": None,
    }
    assert mean_by_group({2: 10.0, 4: None}, supervision)["boxed"] == 10
    assert set(mean_by_group({}, supervision).values()) == {None}


# Boxes and image labels of the nodes of the toy tree (animal: dog: terrier, cat · vehicle: car, boat).
ONLY_TERRIERS_BOXED = ([0, 0, 0, 0, 0, 0, 5], [0, 0, 0, 3, 3, 0, 0])
ONLY_DOGS_BOXED = ([0, 0, 5, 0, 0, 0, 0], [0, 0, 0, 3, 0, 0, 3])


@pytest.mark.parametrize(
    ("labels", "node", "mapped"),
    [
        pytest.param(ONLY_TERRIERS_BOXED, 6, 6, id="own boxes"),
        pytest.param(ONLY_TERRIERS_BOXED, 2, 2, id="boxes below"),
        pytest.param(ONLY_TERRIERS_BOXED, 3, 0, id="boxes of a relative: the common ancestor"),
        pytest.param(ONLY_TERRIERS_BOXED, 4, 4, id="no box in the branch: the node itself"),
        pytest.param(ONLY_DOGS_BOXED, 6, 2, id="boxes of the parent"),
    ],
)
def test_a_class_is_mapped_to_the_deepest_node_at_or_above_it_with_boxes_at_or_below(
    toy_tree: WordTree, labels: tuple[list[int], list[int]], node: int, mapped: int
) -> None:
    assert nearest_boxed(node, LabelCounts(toy_tree, *labels)) == mapped


def test_mapping_changes_the_labels_of_boxes_and_nothing_else(toy_tree: WordTree) -> None:
    before = truth((LEFT, 6), (MIDDLE, 3), (RIGHT, 4), ignored=[1])
    after = map_to_boxed(before, LabelCounts(toy_tree, *ONLY_TERRIERS_BOXED))
    assert after.node.tolist() == [6, 0, 4]
    assert after.xyxy_px.tolist() == before.xyxy_px.tolist()
    assert after.ignored.tolist() == [False, True, False]
