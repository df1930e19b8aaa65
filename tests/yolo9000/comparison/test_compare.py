"""The comparison of two models: differences by class and level, the same model twice, different trees, and images."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep import LabelCounts, ShardReader
from tests.yolo9000.evaluation.test_calibrate import checkpoint_of
from wordtree import WordTree
from yolo9000.checkpoints.checkpoint import Checkpoint, DetectorCheckpoint
from yolo9000.comparison.compare import compare
from yolo9000.comparison.comparison import Comparison
from yolo9000.comparison.model_pair import ComparedModel, ComparisonError, compared_models
from yolo9000.comparison.resampling import Difference, ResamplingChoice
from yolo9000.comparison.tables import classes_sentences, comparison_tables, images_sentences
from yolo9000.data.image import decode_image
from yolo9000.evaluation import evaluate as evaluation
from yolo9000.evaluation.evaluate import evaluate_detector
from yolo9000.models.detector import build_detector

FEW = ResamplingChoice(resamples=40)


@pytest.fixture(scope="module")
def reader(shards: Path) -> ShardReader:
    return ShardReader(shards)


@pytest.fixture(scope="module")
def one(shards: Path) -> DetectorCheckpoint:
    """A detector with random weights, evaluated on the larger split."""
    return with_settings(checkpoint_of(shards), evaluate={"split": "train"})


def with_settings(checkpoint: DetectorCheckpoint, **sections: dict[str, object]) -> DetectorCheckpoint:
    changed = {
        name: getattr(checkpoint.config, name).model_copy(update=values) for name, values in sections.items()
    }
    return replace(checkpoint, config=checkpoint.config.model_copy(update=changed))


def with_other_weights(checkpoint: DetectorCheckpoint, seed: int = 1) -> DetectorCheckpoint:
    torch.manual_seed(seed)
    weights = build_detector(checkpoint.config.model, checkpoint.tree).state_dict()
    return replace(checkpoint, weights=weights)


def both(a: DetectorCheckpoint, b: DetectorCheckpoint, **changes: object) -> list[ComparedModel]:
    return compared_models([("a.pt", a), ("b.pt", b)], changes)


def all_differences(comparison: Comparison) -> list[Difference]:
    return [
        *(one for group in comparison.groups for one in (group.ap50, group.ap)),
        *comparison.predictions.values(),
        *(level.correct for level in comparison.levels),
        *(one for row in comparison.classes for one in (row.ap50, row.ap)),
    ]


def test_a_model_does_not_differ_from_itself(reader: ShardReader, one: DetectorCheckpoint) -> None:
    found = compare(both(one, one), reader, FEW)
    rows = [row for row in all_differences(found) if row.difference is not None]
    assert len(rows) >= 12
    assert {(row.difference, row.low, row.high, row.p) for row in rows} <= {
        (0, 0, 0, 1),
        (0, None, None, None),
    }
    assert (0, 0, 0, 1) in {(row.difference, row.low, row.high, row.p) for row in rows}
    assert found.disagreements == ()
    assert found.better == (0, 0)


def test_the_values_of_each_model_are_those_of_evaluate(reader: ShardReader, one: DetectorCheckpoint) -> None:
    other = with_settings(with_other_weights(one), predict={"min_score": 0.1, "min_absolute": 0.2})
    found = compare(both(one, other), reader, FEW)
    for checkpoint, side in ((one, "a"), (other, "b")):
        cfg = checkpoint.config
        card = evaluate_detector(
            checkpoint.build_model(), reader, checkpoint.label_counts, 64, cfg.evaluate, predict=cfg.predict
        )
        assert getattr(found.groups[0].ap50, side) == pytest.approx(card.all.ap50, abs=1e-8)
        assert getattr(found.groups[0].ap, side) == pytest.approx(card.all.ap, abs=1e-8)
        assert {row.id: getattr(row.ap50, side) for row in found.classes} == pytest.approx(
            {row.id: row.ap50 for row in card.classes}, abs=1e-8
        )
        assert card.predictions is not None
        of_all = card.predictions.levels[0]
        expected = {
            "precision": card.predictions.at.precision,
            "recall": card.predictions.at.recall,
            "F1": card.predictions.at.f1,
            "accuracy": of_all.accuracy,
            "exact": of_all.exact,
            "coverage": of_all.coverage,
        }
        assert {name: getattr(row, side) for name, row in found.predictions.items()} == pytest.approx(
            expected
        )
    assert found.predictions["coverage"].difference
    assert found.disagreements


def test_other_thresholds_change_predictions_and_no_average_precision(
    reader: ShardReader, one: DetectorCheckpoint
) -> None:
    deeper = with_settings(one, predict={"min_absolute": 0.01})
    found = compare(both(one, deeper), reader, FEW)
    assert all(row.ap50.difference == row.ap.difference == 0 for row in found.classes)
    assert all(level.correct.difference == 0 for level in found.levels)
    coverage = found.predictions["coverage"]
    assert coverage.difference is not None
    assert coverage.difference > 0
    assert coverage.low is not None
    assert coverage.high is not None
    assert 0 < coverage.low <= coverage.difference <= coverage.high
    assert coverage.p == pytest.approx(2 / 41)
    assert found.disagreements == ()  # a class below or above is no disagreement


def test_levels_count_objects_down_to_their_class(reader: ShardReader, one: DetectorCheckpoint) -> None:
    """Slowly, object by object, from the detections of one model."""
    found = compare(both(one, with_other_weights(one)), reader, FEW)
    detections = found.found[0]
    paths, tree = detections.paths, reader.tree
    leaf_of = {
        int(paths.object[row]): int(paths.leaf[row])
        for row in range(len(paths))
        if paths.object[row] >= 0 and detections.is_reported[row]
    }
    for level in found.levels:
        objects = [
            (number, node)
            for number, node in enumerate(paths.node.tolist())
            if tree.depth[node] >= level.depth
        ]
        right = [
            number in leaf_of and tree.path(node)[level.depth] in tree.path(leaf_of[number])
            for number, node in objects
        ]
        assert level.objects == len(objects)
        assert level.nodes == len({tree.path(node)[level.depth] for _, node in objects})
        assert level.correct.a == pytest.approx(100 * np.mean(right))
    assert len(found.levels) == 1 + max(tree.depth[paths.node])
    assert found.levels[0].correct.a


def other_tree(checkpoint: DetectorCheckpoint, without: str, seed: int = 2) -> DetectorCheckpoint:
    """A detector of a tree with one node less, and one other node, in another order."""
    tree = checkpoint.tree
    kept = [node for node in range(len(tree)) if tree.ids[node] != without]
    position = {node: number for number, node in enumerate(kept)}
    parents = [position[int(tree.parent[node])] if tree.parent[node] >= 0 else -1 for node in kept]
    roots = sum(parent < 0 for parent in parents)
    ids = [tree.ids[node] for node in kept]
    new = WordTree(
        [*ids[:roots], "new-root", *ids[roots:]],
        [-1] * (roots + 1) + [parent + (parent >= roots) for parent in parents[roots:]],
    )
    torch.manual_seed(seed)
    weights = build_detector(checkpoint.config.model, new).state_dict()
    zeros = np.zeros(len(new), int)
    return Checkpoint(checkpoint.config, new, LabelCounts(new, zeros, zeros), 0, weights, None, math.nan)


def test_models_of_different_trees_are_compared_by_the_classes_of_both(
    reader: ShardReader, one: DetectorCheckpoint
) -> None:
    everything = compare(both(one, one), reader, FEW)
    leaves = [row for row in everything.classes if reader.tree.is_leaf[reader.tree.node(row.id)]]
    other = other_tree(one, without=leaves[0].id)
    found = compare(both(one, other), reader, FEW)
    assert found.unshared == (leaves[0].name,)
    assert [row.id for row in found.classes] == [row.id for row in everything.classes if row != leaves[0]]
    expected = [row.ap50.a for row in everything.classes if row != leaves[0]]
    assert [row.ap50.a for row in found.classes] == pytest.approx(expected, abs=1e-9)
    assert {row.supervision_b for row in found.classes} == {"none"}
    assert any(row.ap50.b for row in found.classes)
    assert "coverage" not in found.predictions  # of different trees
    assert any("1 classes that are not in both trees" in line for line in images_sentences(found))
    again = compare(both(other, other), reader, FEW)
    expected = [row.ap50.b for row in found.classes]
    assert [row.ap50.a for row in again.classes] == pytest.approx(expected, abs=1e-9)
    assert again.disagreements == ()
    assert again.predictions["recall"].a == found.predictions["recall"].b


def test_nothing_in_common_and_contradicting_settings_are_one_line(
    reader: ShardReader, one: DetectorCheckpoint
) -> None:
    strange = WordTree(["x", "y"], [-1, -1])
    torch.manual_seed(0)
    weights = build_detector(one.config.model, strange).state_dict()
    counts = LabelCounts(strange, np.ones(2, int), np.zeros(2, int))
    foreign = Checkpoint(one.config, strange, counts, 0, weights, None, math.nan)
    with pytest.raises(ComparisonError, match=r"none of the \d+ classes .* is in the trees of both") as error:
        compare(both(one, foreign), reader, FEW)
    assert "\n" not in str(error.value)
    elsewhere = with_settings(one, evaluate={"split": "test"})
    with pytest.raises(ComparisonError, match=r"split is train in a\.pt and test in b\.pt\. .* --split"):
        both(one, elsewhere)
    assert both(one, elsewhere, split="test")[0].cfg.evaluate.split == "test"


def test_each_image_is_decoded_once(
    reader: ShardReader, one: DetectorCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def counted(encoded: np.ndarray, *, name: str) -> torch.Tensor:
        decoded.append(name)
        return decode_image(encoded, name=name)

    monkeypatch.setattr(evaluation, "decode_image", counted)
    larger = with_settings(with_other_weights(one), model={"input_size_px": 96})
    found = compare(both(one, larger), reader, FEW)
    assert len(decoded) == len(set(decoded)) == found.evaluated_images == 8


def test_disagreements_are_counted_by_hand(reader: ShardReader, one: DetectorCheckpoint) -> None:
    silent = with_settings(one, predict={"min_score": 1.0})
    found = compare(both(one, silent), reader, FEW, listed_images=3)
    detections = found.found[0]
    totals = np.bincount(
        detections.paths.image[detections.is_reported],
        detections.score[detections.is_reported],
        minlength=8,
    )
    assert [row.disagreement for row in found.disagreements] == pytest.approx(
        sorted(totals, reverse=True)[:3]
    )
    first = found.disagreements[0]
    reported = detections.is_reported & (detections.paths.image == first.position)
    assert first.correct_a + first.wrong_a == (reported & ~detections.paths.is_ignored).sum()
    assert (first.correct_b, first.wrong_b) == (0, 0)
    assert first.image == reader.source_id(int(found.images[first.position]))


def test_a_comparison_is_plain_json_and_has_tables(reader: ShardReader, one: DetectorCheckpoint) -> None:
    found = compare(both(one, with_other_weights(one)), reader, FEW)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["choice"]["resamples"] == 40
    assert plain["tested"] + sum(row["ap50"]["low"] is None for row in plain["classes"]) == len(
        plain["classes"]
    )
    assert plain["disagreements"][0]["image"] == found.disagreements[0].image
    assert not {"found", "agreed", "images"} & set(plain)
    tables = comparison_tables(found, per_class=True)
    assert [len(table.rows) for table in tables] == [
        2 * len(found.groups),
        6,
        len(found.levels),
        len(found.classes),
        len(found.disagreements),
    ]
    assert all(row.images < 10 for row in found.classes)
    assert classes_sentences(found)[-1] == (
        f"No class is tested: all {len(found.classes)} have objects in fewer than 10 images."
    )
