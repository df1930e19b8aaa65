"""Crops around labelled objects: which objects, and what the crops show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep import ShardReader
from tests.yolo9000.made import COLOURS, made_config
from yolo9000.data.object_crops import (
    CLASSIFIER_PX,
    DETECTOR_PX,
    VIEWS,
    _rare_first,
    batch_count,
    labelled_objects,
    object_crops,
)
from yolo9000.data.sampler import DataMismatch


def test_objects_are_all_boxes_and_image_labels_of_the_training_split(shards: Path) -> None:
    reader, cfg = ShardReader(shards), made_config(shards)
    objects = labelled_objects(reader, cfg, bounds=(16, 16), per_node=1)
    assert len(objects) == 16
    assert set(objects.image.tolist()) == set(reader.split("train").tolist())
    assert objects.is_boxed.sum() == 8
    assert (objects.xyxy_unit[~objects.is_boxed] == [0, 0, 1, 1]).all()
    assert (
        len(labelled_objects(reader, cfg, bounds=(1000, 1000), per_node=1)) == 16 * VIEWS
    )  # each several times, but not for ever


def test_more_nodes_give_more_objects_within_the_bounds(shards: Path) -> None:
    reader, cfg = ShardReader(shards), made_config(shards)

    def count(low: int, high: int) -> int:
        return len(labelled_objects(reader, cfg, bounds=(low, high), per_node=5))

    assert (count(1, 100), count(30, 100), count(1, 10)) == (20, 30, 10)  # four nodes have labels


def test_the_first_objects_have_every_node() -> None:
    node = np.repeat([3, 1, 7], [50, 5, 1])
    order = _rare_first(node, np.random.default_rng(0))
    assert sorted(order.tolist()) == list(range(56))
    assert node[order[:3]].tolist() == [7, 1, 3]
    assert sorted(node[order[3:11]].tolist()) == [1, 1, 1, 1, 3, 3, 3, 3]
    assert set(node[order[11:]].tolist()) == {3}


def test_every_tenth_image_is_held_out_with_all_its_objects(shards: Path) -> None:
    objects = labelled_objects(ShardReader(shards), made_config(shards), bounds=(1000, 1000), per_node=1)
    held_out = set(objects.image[objects.is_held_out].tolist())
    assert len(held_out) == 2  # of 16
    assert held_out.isdisjoint(objects.image[~objects.is_held_out].tolist())


def test_both_crops_show_the_object_where_the_box_says(shards: Path) -> None:
    reader, cfg = ShardReader(shards), made_config(shards)
    objects = labelled_objects(reader, cfg, bounds=(64, 64), per_node=1)
    seen = 0
    for batch in object_crops(reader, cfg, objects):
        side = batch.for_detector.shape[-1]
        assert side in DETECTOR_PX
        assert batch.for_classifier.shape[1:] == (3, CLASSIFIER_PX, CLASSIFIER_PX)
        for k, row in enumerate(batch.rows.tolist()):
            seen += 1
            if not objects.is_boxed[row]:
                assert batch.xyxy_unit[k].tolist() == [0, 0, 1, 1]
                continue
            colour = torch.tensor(COLOURS[reader.tree.ids[objects.node[row]]]).float()
            left, top, right, bottom = (batch.xyxy_unit[k] * side).round().int().tolist()
            inner = batch.for_detector[k, :, top + 3 : bottom - 3, left + 3 : right - 3].float()
            assert (inner - colour[:, None, None]).abs().max() <= 3
            middle = batch.for_classifier[k, :, CLASSIFIER_PX // 2, CLASSIFIER_PX // 2].float()
            assert (middle - colour).abs().max() <= 3
    assert seen == len(objects)


def test_crops_follow_the_seed(shards: Path) -> None:
    reader = ShardReader(shards)

    def first(seed: int) -> torch.Tensor:
        cfg = made_config(shards, seed=seed)
        objects = labelled_objects(reader, cfg, bounds=(32, 32), per_node=1)
        assert batch_count(objects) == 1
        return next(iter(object_crops(reader, cfg, objects))).for_detector

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_a_split_without_labels_is_refused(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = ShardReader(shards)
    monkeypatch.setattr("yolo9000.data.object_crops.all_image_labels", lambda _: (np.zeros(0, np.int64),) * 2)
    monkeypatch.setattr(reader, "box_ignored", np.ones(len(reader.box_nodes), bool))
    with pytest.raises(
        DataMismatch, match=r"neither boxes nor image labels, which model\.classes_from needs"
    ):
        labelled_objects(reader, made_config(shards), bounds=(10, 10), per_node=1)
