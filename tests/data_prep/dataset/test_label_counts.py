import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import LabelCounts
from wordtree import WordTree
from wordtree.views.page import read_numbers

# animal(0): dog(2): terrier(5) poodle(6); cat(3) · vehicle(1): car(4)
TREE = WordTree(["animal", "vehicle", "dog", "cat", "car", "terrier", "poodle"], [-1, -1, 0, 0, 1, 2, 2])


def test_counts_are_rolled_up_the_tree():
    label_counts = LabelCounts(TREE, [0, 0, 1, 2, 0, 4, 0], [0, 0, 0, 0, 5, 0, 3])
    assert label_counts.boxes_rolled_up.tolist() == [7, 0, 5, 2, 0, 4, 0]
    assert label_counts.image_labels_rolled_up.tolist() == [3, 5, 3, 0, 5, 0, 3]


@pytest.mark.parametrize(
    ("node", "supervision", "ancestor"),
    [
        pytest.param(5, "boxes", 2, id="own boxes"),
        pytest.param(6, "image labels", 2, id="image labels below a boxed node"),
        pytest.param(3, "none", 0, id="only a relative's boxes"),
        pytest.param(0, "boxes", None, id="a root with boxes below"),
        pytest.param(4, "image labels", None, id="no box in its branch"),
        pytest.param(1, "image labels", None, id="image labels below"),
    ],
)
def test_supervision_and_nearest_boxed_ancestor(node, supervision, ancestor):
    label_counts = LabelCounts(TREE, [0, 0, 0, 0, 0, 4, 0], [0, 0, 0, 0, 5, 0, 3])
    assert label_counts.supervision(node) == supervision
    assert label_counts.nearest_boxed_ancestor(node) == ancestor


def test_rows_stand_in_tree_order_and_leave_out_nodes_without_labels():
    label_counts = LabelCounts(TREE, [0, 0, 0, 0, 0, 4, 0], [0, 0, 0, 0, 5, 0, 3])
    assert [row["id"] for row in label_counts.rows()] == [
        "animal",
        "dog",
        "terrier",
        "poodle",
        "vehicle",
        "car",
    ]
    assert label_counts.rows()[3] == {
        "id": "poodle",
        "name": "poodle",
        "depth": 2,
        "boxes": 0,
        "image_labels": 3,
        "boxes_rolled_up": 0,
        "image_labels_rolled_up": 3,
        "supervision": "image labels",
        "nearest_boxed_ancestor": "dog",
    }


def test_the_table_of_all_nodes_is_what_a_page_of_the_tree_shows(tmp_path):
    label_counts = LabelCounts(TREE, [0, 0, 1, 2, 0, 4, 0], [0, 0, 0, 0, 5, 0, 3])
    (tmp_path / "ledger.csv").write_text(label_counts.csv_text())
    with (tmp_path / "ledger.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["animal", "dog", "terrier", "poodle", "cat", "vehicle", "car"]
    assert rows[3] == {
        "id": "poodle",
        "name": "poodle",
        "boxes": "0",
        "image_labels": "3",
        "boxes_rolled_up": "0",
        "image_labels_rolled_up": "3",
        "supervision": "image labels",
        "nearest_boxed_ancestor": "dog",
    }
    # The page adds up what is below each node itself.
    assert read_numbers(tmp_path / "ledger.csv", TREE) == {
        "boxes": label_counts.boxes.tolist(),
        "image_labels": label_counts.image_labels.tolist(),
    }


@given(counts=st.lists(st.integers(0, 9), min_size=7, max_size=7))
@settings(max_examples=30)
def test_a_rolled_up_count_is_the_sum_over_the_subtree(counts):
    label_counts = LabelCounts(TREE, counts, np.zeros(7))
    for node in range(7):
        below = [node, *TREE.descendants(node).tolist()]
        assert label_counts.boxes_rolled_up[node] == sum(counts[one] for one in below)
