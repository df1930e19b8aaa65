"""Pseudo-boxes as labels: in samples and batches, and in another index of the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_prep import ShardReader
from data_prep.dataset.index_file import read_index
from data_prep.maintenance.check import check_shards
from data_prep.maintenance.repair import repair
from tests.yolo9000.data.test_damage import spoilt
from tests.yolo9000.made import made_config
from wordtree.errors import ConfigError
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.pseudo_boxes import PseudoBoxes
from yolo9000.data.sample import read_sample
from yolo9000.data.sampler import images_of_split


def test_a_label_with_a_pseudo_box_becomes_a_box_and_the_rest_of_its_image_is_ignored(shards: Path) -> None:
    reader = ShardReader(shards)
    image = labelled(reader)[1]
    row = int(reader.label_offsets[image])
    box = np.array([[0.25, 0.25, 0.5, 0.75]], np.float32)
    plain = read_sample(reader, image)
    for other in (row - 1, row + 1):
        same = read_sample(reader, image, PseudoBoxes.for_labels(reader, np.array([other]), box))
        assert (same.label_nodes.tolist(), len(same.boxes_xyxy_unit)) == (plain.label_nodes.tolist(), 0)
    sample = read_sample(reader, image, PseudoBoxes.for_labels(reader, np.array([row]), box))
    assert sample.boxes_xyxy_unit.tolist() == box.tolist()
    assert sample.box_nodes.tolist() == plain.label_nodes.tolist()
    assert len(sample.label_nodes) == len(sample.label_regions_xyxy_unit) == 0
    assert sample.ignored_xyxy_unit.tolist() == [[0, 0, 1, 1]]


def test_boxes_stay_with_their_labels_when_a_repair_takes_images_out(shards: Path, tmp_path: Path) -> None:
    """Of each labelled image a box as large as its name tells; the first of them is damaged and taken out."""
    reader = ShardReader(shards)
    rows = np.arange(len(reader.label_nodes))
    images = np.searchsorted(reader.label_offsets, rows, side="right") - 1
    edges = {reader.source_id(image): 0.1 + 0.01 * row for row, image in enumerate(images.tolist())}

    def drawn(image: int) -> list[float]:
        return [0, 0, edges[reader.source_id(image)], 1]

    boxes = np.array([drawn(image) for image in images.tolist()], np.float32)
    state = PseudoBoxes.for_labels(reader, rows, boxes).state_dict()
    damaged = spoilt(shards, tmp_path, [int(images[0])])
    repair(check_shards(damaged, read_index(damaged)))
    reader = ShardReader(damaged)
    assert len(reader.label_nodes) == len(rows) - 1
    found = PseudoBoxes.from_state_dict(state).transferred_to(reader)
    assert found.label.tolist() == list(range(len(rows) - 1))
    images = np.searchsorted(reader.label_offsets, found.label, side="right") - 1
    expected = np.array([drawn(image) for image in images.tolist()], np.float32)
    np.testing.assert_array_equal(found.xyxy_unit, expected)
    again = PseudoBoxes.from_state_dict(found.state_dict()).transferred_to(reader)
    np.testing.assert_array_equal(again.xyxy_unit, found.xyxy_unit)
    assert len(PseudoBoxes.none().transferred_to(reader).label) == 0


def test_boxes_of_a_step_are_in_the_batches_after_it_and_in_no_earlier_one(shards: Path) -> None:
    cfg = made_config(shards, pseudo_boxes__at_steps=[2], data__ratio={"labels": 1}, data__loader_threads=2)
    reader = ShardReader(shards)
    data = DetectorData(reader, cfg)
    row = np.arange(len(reader.label_nodes))
    boxes = np.tile(np.array([[0.2, 0.2, 0.8, 0.8]], np.float32), (len(row), 1))
    for step, (batch,) in enumerate(data.micro_batches(1, 4), start=1):
        targets = batch.targets
        assert (len(targets.boxes.image) > 0, len(targets.image_labels.image) > 0) == (step > 2, step <= 2)
        if step == 2:
            data.pseudo_boxes = PseudoBoxes.for_labels(reader, row, boxes)


def test_sizes_that_are_no_whole_grid_cells_are_refused(shards: Path) -> None:
    with pytest.raises(ConfigError, match=r"pseudo_boxes\.sizes_px must be multiples of 16"):
        made_config(shards, pseudo_boxes__sizes_px=[100])


def labelled(reader: ShardReader) -> list[int]:
    """Images of the training split with image labels."""
    images = images_of_split(reader, "train")
    found: list[int] = images[reader.label_offsets[images + 1] > reader.label_offsets[images]].tolist()
    return found
