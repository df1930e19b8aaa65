"""Evaluation of a detector on a split: the images, their ground truth, and the scorecard."""

from __future__ import annotations

import json
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import yolo9000.evaluation.evaluate as evaluation
from data_prep import LabelCounts, MergeConfig, ShardReader, merge
from tests.yolo9000.evaluation.made_boxes import LEFT, detected, truth
from tests.yolo9000.made import BOXED, COLOURS, LABEL_ONLY, made_config, made_shards
from wordtree import WordTree
from yolo9000.config import EvaluateConfig
from yolo9000.data.sampler import DataMismatch
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.evaluation.evaluate import evaluate_detector, highest_objectness_boxes, predict_boxes
from yolo9000.evaluation.evaluation_set import EvaluationSet, ground_truth, ignored_for_ancestors
from yolo9000.evaluation.predicted_paths import PredictedPaths
from yolo9000.inference.scored_boxes import ScoredBoxes
from yolo9000.models.detector import Detector, build_detector


@pytest.fixture(scope="module")
def reader(shards: Path) -> ShardReader:
    return ShardReader(shards)


@pytest.fixture(scope="module")
def model(shards: Path, reader: ShardReader) -> Detector:
    """A network of random weights."""
    torch.manual_seed(0)
    cfg = made_config(shards, model__anchors=[[1.0, 1.0], [2.0, 2.0]])
    return build_detector(cfg.model, reader.tree).eval()


def test_ground_truth_is_in_image_pixels(reader: ShardReader) -> None:
    image = int(reader.split("test")[0])
    truth = ground_truth(reader, image)
    left, top, right, bottom = truth.xyxy_px[0]
    assert (right - left) == (bottom - top)
    assert 16 <= right - left <= 32
    assert reader.tree.ids[truth.node[0]] == next(iter(COLOURS))


def test_perfect_detections_score_100_in_every_part(
    reader: ShardReader, model: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perfect(
        _: Detector, images: EvaluationSet, *__: Any
    ) -> tuple[list[ScoredBoxes], list[PredictedPaths]]:
        detections, paths = [], []
        for labelled in images.truths:
            counts = ~labelled.ignored
            ones = np.ones(int(counts.sum()))
            detections.append(ScoredBoxes(labelled.xyxy_px[counts], labelled.node[counts], ones))
            boxes, leaves = images.annotated[len(paths)].xyxy_px, images.annotated[len(paths)].node
            certain = np.ones((len(leaves), int(reader.tree.depth.max()) + 1))
            paths.append(PredictedPaths(boxes, np.ones(len(leaves)), certain, leaves))
        return detections, paths

    monkeypatch.setattr(evaluation, "predict_boxes_and_paths", perfect)
    card = evaluate_detector(model, reader, reader.label_counts, 64, EvaluateConfig())
    assert (card.boxed.ap50, card.boxed.ap) == pytest.approx((100, 100))
    assert (card.label_only.ap50, card.label_only.ap) == pytest.approx((100, 100))
    assert card.none.classes == 0
    assert card.predictions is not None
    found = [
        (level.group, level.objects, level.accuracy, level.exact, level.f1)
        for level in card.predictions.levels
    ]
    assert found == [("all", 4, 100, 100, 100), ("boxed", 2, 100, 100, 100), ("label_only", 2, 100, 100, 100)]
    assert (card.predictions.at.f1, card.predictions.haurc) == (100, 0)
    parts = {row.id: row.supervision for row in card.classes}
    assert parts == dict.fromkeys(BOXED, "boxes") | dict.fromkeys(LABEL_ONLY, "image labels")


def test_a_class_without_boxes_is_mapped_to_its_common_ancestor_with_a_boxed_class(
    reader: ShardReader,
) -> None:
    tree = reader.tree
    dog, cat, car, boat = (tree.node(wnid) for wnid in COLOURS)
    label_counts = LabelCounts(
        tree, np.isin(np.arange(len(tree)), [dog, car]), np.isin(np.arange(len(tree)), [cat, boat])
    )
    shared = [tree.lowest_common_ancestor(dog, cat), tree.lowest_common_ancestor(car, boat)]
    mapped = EvaluationSet.of(reader, EvaluateConfig()).mapped_to_boxed(label_counts)
    nodes = [truth.node[~truth.ignored].tolist() for truth in mapped.truths]
    assert nodes == [[dog], [shared[0]], [car], [shared[1]]]
    # A box of a class is neither right nor wrong for its ancestor.
    assert [truth.node[truth.ignored].tolist() for truth in mapped.truths] == [
        [shared[0]],
        [],
        [shared[1]],
        [],
    ]


def test_wrong_detections_of_a_class_inside_a_box_of_a_class_below_it_count(toy_tree: WordTree) -> None:
    animal, dog = 0, 2
    truths = [truth(([0, 0, 200, 200], dog)), truth((LEFT, animal))]
    spots = detected(*(([x, y, x + 10, y + 10], animal, 0.9) for x in range(0, 100, 10) for y in (0, 10)))
    whole = detected(([0, 0, 200, 200], animal, 0.9))
    right = detected((LEFT, animal, 0.5))
    prepared = ignored_for_ancestors(truths, toy_tree)
    assert average_precision(prepared, [spots, right])[animal].ap50 == pytest.approx(100 / 21)
    assert average_precision(prepared, [whole, right])[animal].ap50 == pytest.approx(100)


def test_a_crowd_of_a_class_is_a_crowd_of_the_classes_above(toy_tree: WordTree) -> None:
    animal, dog = 0, 2
    truths = [truth(([0, 0, 200, 200], dog), ignored=[0]), truth((LEFT, animal))]
    (crowded, _) = ignored_for_ancestors(truths, toy_tree)
    assert crowded.node.tolist() == [dog, animal]
    assert crowded.crowd.tolist() == [True, True]


@pytest.mark.parametrize(("source_format", "is_crowd"), [("coco", True), ("voc", False), ("imagenet", False)])
def test_ignored_boxes_are_crowds_except_in_voc_xml_where_they_are_difficult_objects(
    reader: ShardReader, source_format: str, is_crowd: bool
) -> None:
    changed = copy(reader)
    rows = [{"name": source.name, "format": source_format} for source in reader.sources]
    changed.provenance = {"config": {"sources": rows}}
    changed.box_ignored = np.ones_like(reader.box_ignored)
    truths = EvaluationSet.of(changed, EvaluateConfig()).truths
    assert len(truths) == 4
    for found in truths:
        assert found.ignored.all()
        assert found.crowd.tolist() == [is_crowd] * len(found.node)


def test_the_batch_size_changes_no_detection(reader: ShardReader, model: Detector) -> None:
    images = EvaluationSet.of(reader, EvaluateConfig())
    assert len(images.images) == 4
    one = predict_boxes(model, images, 64, EvaluateConfig(batch_size=1))
    all_at_once = predict_boxes(model, images, 64, EvaluateConfig(batch_size=16))
    assert len(one) == len(all_at_once) == 4
    for a, b in zip(one, all_at_once, strict=True):
        assert a.node.tolist() == b.node.tolist()
        assert np.allclose(a.score, b.score, atol=1e-5)
        assert np.allclose(a.xyxy_px, b.xyxy_px, atol=1e-2)


def test_boxes_are_scored_for_the_classes_of_the_split_and_no_others(
    reader: ShardReader, model: Detector
) -> None:
    images = EvaluationSet.of(reader, EvaluateConfig())
    expected = sorted(reader.tree.node(wnid) for wnid in COLOURS)
    assert images.nodes().tolist() == expected
    found = predict_boxes(model, images, 64, EvaluateConfig(min_objectness=0))
    assert {int(node) for boxes in found for node in boxes.node} == set(expected)


def test_a_limit_takes_the_first_images(reader: ShardReader, model: Detector) -> None:
    card = evaluate_detector(model, reader, reader.label_counts, 64, EvaluateConfig(limit=1))
    assert card.images == 1
    assert len(card.classes) == 1


def test_supervision_comes_from_the_given_label_counts(reader: ShardReader, model: Detector) -> None:
    nothing = type(reader.label_counts)(reader.tree, np.zeros(len(reader.tree)), np.zeros(len(reader.tree)))
    card = evaluate_detector(model, reader, nothing, 64, EvaluateConfig())
    assert (card.boxed.classes, card.label_only.classes, card.none.classes) == (0, 0, 4)
    assert card.boxed.ap50 is None


def test_each_image_has_a_box_of_highest_objectness(reader: ShardReader, model: Detector) -> None:
    images = EvaluationSet.of(reader, EvaluateConfig())
    found = highest_objectness_boxes(model, images, 64, EvaluateConfig(batch_size=3))
    assert list(found) == [0, 1, 2, 3]
    for xyxy_px, objectness in found.values():
        assert xyxy_px.shape == (4,)
        assert (xyxy_px[2:] >= xyxy_px[:2]).all()
        assert 0 <= objectness <= 1


def test_an_unknown_split_is_reported_with_those_there_are(reader: ShardReader, model: Detector) -> None:
    with pytest.raises(DataMismatch, match=r"split 'val' is not in the shards; they have: train, test\."):
        evaluate_detector(model, reader, reader.label_counts, 64, EvaluateConfig(split="val"))


def test_images_of_sources_without_boxes_are_not_evaluated(reader: ShardReader) -> None:
    assert len(reader.split("train")) == 16
    assert len(EvaluationSet.of(reader, EvaluateConfig(split="train")).images) == 8


@pytest.fixture(scope="module")
def bare_reader(tmp_path_factory: pytest.TempPathFactory) -> ShardReader:
    """Shards whose test scenes come from a source with boxes, but have no objects."""
    folder = tmp_path_factory.mktemp("bare")
    made_shards(folder)
    instances = folder / "test" / "instances.json"
    instances.write_text(json.dumps({**json.loads(instances.read_text()), "annotations": []}))
    sources = [
        {"name": name, "format": "coco", "images": str(folder / split / "images"), "split": split}
        | {"annotations": str(folder / split / "instances.json")}
        for name, split in (("scenes", "train"), ("test", "test"))
    ]
    merge(MergeConfig.model_validate({"sources": sources}), folder / "bare")
    return ShardReader(folder / "bare")


def test_a_split_without_objects_has_a_scorecard_without_classes(bare_reader: ShardReader) -> None:
    cfg = made_config(bare_reader.folder, model__anchors=[[1.0, 1.0]])
    model = build_detector(cfg.model, bare_reader.tree).eval()
    card = evaluate_detector(model, bare_reader, bare_reader.label_counts, 64, EvaluateConfig())
    assert card.images == 4
    assert card.classes == ()
    assert card.all.ap50 is None


def test_the_progress_bar_leaves_stdout_alone(
    reader: ShardReader, model: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate_detector(model, reader, reader.label_counts, 64, EvaluateConfig())
    assert capsys.readouterr() == ("", "")
