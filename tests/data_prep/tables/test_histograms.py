"""Histograms of a merged data set: their numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import LabelCounts, ShardReader
from data_prep.tables.histograms import histograms_of
from wordtree import WordTree


@pytest.fixture
def histograms(shards):
    return {histogram.file: histogram for histogram in histograms_of(ShardReader(shards), "train")}


def as_table(histogram):
    return {name: column.tolist() for name, column in zip(histogram.bins, histogram.counts.T, strict=True)}


# --- the numbers. The world has 6 images with 0, 1, 2, 0, 1 and 0 boxes, the first of them a crowd, and 6 with labels


def test_every_kind_of_histogram_is_there(histograms):
    assert sorted(histograms) == [
        "box_shapes.svg",
        "box_sizes.svg",
        "boxes_per_class.svg",
        "boxes_per_image.svg",
        "classes_per_image.svg",
        "image_labels_per_class.svg",
        "image_sizes.svg",
        "supervision_by_depth.svg",
    ]


def test_boxes_are_counted_by_image_and_class_without_crowds(histograms):
    assert as_table(histograms["boxes_per_image.svg"]) == {"0": [4], "1": [1], "2": [1]}
    assert as_table(histograms["classes_per_image.svg"]) == {"0": [4], "1": [1], "2": [1]}
    assert as_table(histograms["boxes_per_class.svg"]) == {"1": [1], "2–3": [1]}  # a dog, two cats
    assert as_table(histograms["image_labels_per_class.svg"]) == {"2–3": [2]}
    assert "3 boxes of 2 classes" in histograms["boxes_per_class.svg"].fact


def test_sizes_and_shapes_are_those_of_the_pixels(histograms):
    sizes = as_table(histograms["box_sizes.svg"])  # 20 × 15 of 40 × 30 px: √300 = 17.3 of 40 px, 43 %
    assert {name: count for name, count in sizes.items() if count[0]} == {"35–50": [3]}
    shapes = as_table(histograms["box_shapes.svg"])
    assert {name: count for name, count in shapes.items() if count[0]} == {
        "1.4:1": [3]
    }  # 1.33 is nearer than 1
    assert as_table(histograms["image_sizes.svg"]) == {"23–32": [0, 6], "32–45": [6, 0]}


def test_supervision_agrees_with_the_label_counts(shards, histograms):
    label_counts = ShardReader(shards).label_counts
    expected = {}
    for node in range(len(label_counts.tree)):
        row = expected.setdefault(str(label_counts.tree.depth[node]), [0, 0, 0])
        row[("boxes", "image labels", "none").index(label_counts.supervision(node))] += 1
    assert as_table(histograms["supervision_by_depth.svg"]) == expected


def test_a_split_of_label_images_alone_has_no_charts_of_boxes(shards):
    from data_prep.dataset.index_file import read_index
    from data_prep.maintenance.relabel import relabel, write_relabelled
    from data_prep.maintenance.relabel_settings import change_of

    index = read_index(shards)
    change = change_of(index, ["sources.coco.split=val", "sources.labels.split=train"])
    write_relabelled(shards, relabel(shards, index, change))
    found = {histogram.file for histogram in histograms_of(ShardReader(shards), "train")}
    assert found == {"image_labels_per_class.svg", "supervision_by_depth.svg", "image_sizes.svg"}


@settings(max_examples=50)
@given(counts=st.lists(st.integers(0, 3000), min_size=7, max_size=7))
def test_each_labelled_class_stands_in_the_bin_of_its_count(counts):
    from data_prep.tables.histograms import _of_labels

    histogram = _of_labels(np.array(counts), "boxes")
    assert histogram.counts.sum() == sum(count > 0 for count in counts)
    for name, number in as_table(histogram).items():
        if "k" not in name:
            low, _, high = name.partition("–")
            assert number == [sum(int(low) <= count <= int(high or low) for count in counts)]


def test_nodes_without_labels_are_counted_by_depth():
    from data_prep.tables.histograms import _supervision_by_depth

    histogram = _supervision_by_depth(LabelCounts(WordTree(["a", "b"], [-1, 0]), [0, 0], [0, 0]))
    assert as_table(histogram) == {"0": [0, 0, 1], "1": [0, 0, 1]}
