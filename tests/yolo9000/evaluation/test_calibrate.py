"""Calibration: the ranks, what they guarantee, temperatures, groups, and what a checkpoint stores."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep import LabelCounts, ShardReader
from tests.yolo9000.made import made_config, made_shards
from wordtree.tree.tree import WordTree
from yolo9000 import Predictor
from yolo9000.checkpoints.calibration import (
    Calibration,
    CalibrationError,
    GroupThreshold,
    RequestedAccuracy,
    Rule,
    group_names,
    weights_sha256,
)
from yolo9000.checkpoints.checkpoint import (
    Checkpoint,
    DetectorCheckpoint,
    load_detector,
    save_checkpoint,
)
from yolo9000.commands.evaluation import _print_calibration
from yolo9000.data.image import decode_image
from yolo9000.evaluation.calibrate import (
    CalibrationChoice,
    calibrate,
    confident_rank,
    threshold_of,
    thresholds_by_group,
)
from yolo9000.evaluation.temperature import best_temperature
from yolo9000.inference.calibrated import at_calibrated_depth
from yolo9000.inference.detections import Detections
from yolo9000.models.detector import build_detector

CONFIDENT = [(59, 59), (100, 99), (200, 196), (500, 484), (1000, 962), (2000, 1917), (5000, 4776)]


@pytest.mark.parametrize(("count", "rank"), CONFIDENT)
def test_the_confident_rank_is_that_of_the_derivation(count: int, rank: int) -> None:
    assert confident_rank(count, 0.95, 0.95) == rank


def test_95_percent_at_95_percent_needs_59_boxes() -> None:
    assert confident_rank(58, 0.95, 0.95) == 59  # no such rank
    required = np.zeros(58)
    assert threshold_of(required, 0.95, "confident", confidence=0.95, boxes_per_image=1) is None


def test_the_confident_rank_agrees_with_the_binomial_distribution() -> None:
    for count, target, confidence in ((70, 0.9, 0.9), (31, 0.8, 0.99), (400, 0.99, 0.95)):
        pmf = [math.comb(count, k) * target**k * (1 - target) ** (count - k) for k in range(count + 1)]
        tails = [sum(pmf[k:]) for k in range(count + 1)]
        expected = next((k for k, tail in enumerate(tails) if tail <= 1 - confidence), count + 1)
        assert confident_rank(count, target, confidence) == expected


def test_the_marginal_threshold_is_the_conformal_quantile() -> None:
    required = np.random.default_rng(0).random(300)
    found = threshold_of(required, 0.9, "marginal", confidence=0.5, boxes_per_image=1)
    level = math.ceil(301 * 0.9) / 300  # as MAPIE and puncc take it
    assert found == np.quantile(required, level, method="inverted_cdf")


@pytest.mark.parametrize(
    ("count", "most", "errors"),
    [
        pytest.param(300, 5, 10, id="10 of 300 boxes may be wrong"),  # ⌊.05 · 300 − .95 · 5⌋ = ⌊10.25⌋
        pytest.param(95, 5, 0, id="just enough boxes"),
        pytest.param(94, 5, None, id="too few boxes"),
    ],
)
def test_the_per_image_rule_allows_for_the_errors_of_one_more_image(
    count: int, most: int, errors: int | None
) -> None:
    required = np.arange(count) / count
    found = threshold_of(required, 0.95, "per_image", confidence=0.5, boxes_per_image=most)
    assert found == (None if errors is None else required[count - 1 - errors])


@pytest.mark.parametrize(("rule", "violated"), [("marginal", (0.3, 0.6)), ("confident", (0.0, 0.07))])
def test_a_threshold_keeps_the_requested_accuracy_on_new_boxes(
    rule: Rule, violated: tuple[float, float]
) -> None:
    """Required thresholds are uniform, so a threshold is also the share of new predictions that are correct."""
    rng = np.random.default_rng(0)
    found = [
        threshold_of(rng.random(300), 0.9, rule, confidence=0.95, boxes_per_image=1) or 0 for _ in range(1000)
    ]
    assert violated[0] <= np.mean(np.array(found) < 0.9) <= violated[1]
    assert 0.895 < np.mean(found) < 0.95


def test_a_group_with_too_few_boxes_takes_the_threshold_of_all() -> None:
    required = np.concatenate([np.full(100, 0.2), np.full(10, 0.9)])
    group = ["boxes"] * 100 + ["image labels"] * 10
    rows = thresholds_by_group(required, group, 0.95, CalibrationChoice(boxes_per_image=100))
    assert [(row.group, row.threshold, row.boxes, row.is_inherited) for row in rows] == [
        ("all", 0.9, 110, False),
        ("boxes", 0.2, 100, False),
        ("image labels", 0.9, 10, True),
    ]


def test_too_few_boxes_and_an_accuracy_out_of_reach_are_one_line() -> None:
    with pytest.raises(
        CalibrationError, match=r"^50 matched boxes are too few for a requested accuracy of 0\.95"
    ):
        thresholds_by_group(np.zeros(50), ["all"] * 50, 0.95, CalibrationChoice(boxes_per_image=100))
    required = np.concatenate([np.zeros(80), np.full(20, np.inf)])
    with pytest.raises(CalibrationError, match=r"for 20\.0 % of the boxes, even the root"):
        thresholds_by_group(required, ["all"] * 100, 0.95, CalibrationChoice(boxes_per_image=100))


def test_groups_are_the_supervision_of_the_leaf_or_its_branch(toy_tree: WordTree) -> None:
    counts = LabelCounts(toy_tree, np.eye(7, dtype=int)[2], np.eye(7, dtype=int)[3])
    by_supervision = group_names("supervision", toy_tree, counts)
    assert (by_supervision[2], by_supervision[3], by_supervision[4]) == ("boxes", "image labels", "none")
    dog, terrier, vehicle = 2, 6, 1
    subtree = group_names("subtree", toy_tree, counts)
    assert subtree[terrier] == subtree[dog] == toy_tree.ids[dog]
    assert subtree[vehicle] == toy_tree.ids[vehicle]
    assert set(group_names("all", toy_tree, counts)) == {"all"}


@pytest.mark.parametrize("siblings", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_of_logits_that_are_too_sure_is_found(temperature: float, siblings: str) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=generator)
    if siblings == "softmax":
        label = torch.multinomial(logits.softmax(1), 1, generator=generator)
        on_path = torch.zeros(4000, 5, dtype=torch.bool).scatter_(1, label, True)
    else:
        on_path = torch.rand(4000, 5, generator=generator) < logits.sigmoid()
    segment = torch.arange(4000).repeat_interleave(5)
    scaled = (logits * temperature).flatten()
    found = best_temperature(scaled, segment, on_path.flatten(), siblings=siblings)
    assert found == pytest.approx(temperature, rel=0.08)


def test_a_single_root_has_the_temperature_1() -> None:
    one = torch.ones(30)
    assert best_temperature(one, torch.arange(30), one.bool(), siblings="softmax") == 1


def test_detections_move_to_the_calibrated_level_and_are_sorted_again(toy_tree: WordTree) -> None:
    dog, terrier, car = 2, 6, 4
    found = Detections(
        tree=toy_tree,
        image="street.jpg",
        image_size_px=(64, 48),
        xyxy_px=np.array([[0, 0, 9, 9], [20, 20, 29, 29]], np.float32),
        node=np.array([dog, car]),
        objectness=np.array([0.9, 0.8], np.float32),
        absolute=np.array([0.6, 0.5], np.float32),
        score=np.array([0.54, 0.4], np.float32),
        conditional=(np.array([0.8, 0.75], np.float32), np.array([1.0, 0.5], np.float32)),
        best_leaf=np.array([terrier, car]),
        conditional_below=(np.array([0.5], np.float32), np.zeros(0, np.float32)),
        stopped=("threshold", "leaf"),
    )
    deeper = at_calibrated_depth(found, np.full(7, 0.2))
    assert deeper.names == ["car", "terrier"]
    assert deeper.score.tolist() == pytest.approx([0.4, 0.27])
    assert deeper.stopped == ("leaf", "leaf")
    own = np.full(7, 0.55)
    own[car] = 0.5  # not exceeded
    higher = at_calibrated_depth(found, own)
    assert higher.names == ["vehicle", "dog"]
    assert higher.score.tolist() == pytest.approx([0.8, 0.54])
    assert higher.stopped == ("threshold", "threshold")
    assert [path.tolist() for path in higher.conditional_below or ()] == [[0.5], [0.5]]
    assert at_calibrated_depth(found, np.ones(7)).stopped == ("root", "root")
    assert at_calibrated_depth(found[:0], np.ones(7)).names == []


# --- checkpoints


def checkpoint_of(shards: Path) -> DetectorCheckpoint:
    reader = ShardReader(shards)
    torch.manual_seed(0)
    cfg = made_config(shards, model__anchors=[[1.0, 1.0], [2.0, 2.0]], predict__min_score=0.01)
    weights = build_detector(cfg.model, reader.tree).state_dict()
    return Checkpoint(cfg, reader.tree, reader.label_counts, 0, weights, None, math.nan)


def made_calibration(checkpoint: DetectorCheckpoint, threshold: float = 0.7) -> Calibration:
    group = GroupThreshold(group="all", threshold=threshold, boxes=100)
    return Calibration(
        by="all",
        rule="confident",
        confidence=0.95,
        targets=(RequestedAccuracy(accuracy=0.9, groups=(group,)),),
        temperatures=(1.0,) * (int(checkpoint.tree.depth.max()) + 1),
        min_score=0.01,
        nms_iou=checkpoint.config.predict.nms_iou,
        input_size_px=checkpoint.config.model.input_size_px,
        images=10,
        images_sha256="0" * 64,
        weights_sha256=weights_sha256(checkpoint.weights),
    )


def test_a_stored_calibration_decides_the_level_of_predictions(shards: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(shards)
    calibration = made_calibration(checkpoint, threshold=0.2)
    save_checkpoint(tmp_path / "net.pt", replace(checkpoint, calibration=calibration))
    assert load_detector(tmp_path / "net.pt").calibration == calibration
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (found,) = Predictor(tmp_path / "net.pt", accuracy=0.9).detect([image], ["a"])
    (expected,) = Predictor(tmp_path / "net.pt", changes={"min_absolute": 0.2}).detect([image], ["a"])
    assert len(found) > 5
    assert found.node.tolist() == expected.node.tolist()
    assert found.score.tolist() == pytest.approx(expected.score.tolist(), rel=1e-5)


def test_temperatures_change_probabilities_and_no_path(shards: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(shards)
    soft = made_calibration(checkpoint, threshold=0.0).model_copy(
        update={"temperatures": (2.0,) * (int(checkpoint.tree.depth.max()) + 1)}
    )
    save_checkpoint(tmp_path / "net.pt", replace(checkpoint, calibration=soft))
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    (found,) = Predictor(tmp_path / "net.pt", accuracy=0.9).detect([image], ["a"])
    (plain,) = Predictor(tmp_path / "net.pt", changes={"min_absolute": 0}).detect([image], ["a"])
    softer = dict(zip(found.objectness.tolist(), found.absolute.tolist(), strict=True))
    before = zip(plain.objectness.tolist(), plain.absolute.tolist(), strict=True)
    common = [(absolute, softer[objectness]) for objectness, absolute in before if objectness in softer]
    assert len(common) > 5
    assert all(softened <= absolute for absolute, softened in common)
    assert set(found.node.tolist()) <= set(checkpoint.tree.leaves.tolist())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"calibration": None}, r"is not calibrated.*`yolo9000 calibrate .* SHARDS`", id="none"),
        pytest.param(
            {"accuracy": 0.95}, r"calibrated for a requested accuracy of 0\.9, not of 0\.95", id="accuracy"
        ),
        pytest.param({"weights": True}, r"has other weights than those that were calibrated", id="weights"),
        pytest.param({"min_score": 0.3}, r"min_score 0\.3 instead of 0\.01", id="settings"),
    ],
)
def test_an_accuracy_that_is_not_calibrated_is_refused_in_one_line(
    shards: Path, tmp_path: Path, change: dict[str, float | None], message: str
) -> None:
    checkpoint = checkpoint_of(shards)
    calibration = made_calibration(checkpoint) if change.get("calibration", 0) is not None else None
    if "weights" in change:
        other = {name: value + 1 for name, value in checkpoint.weights.items()}
        checkpoint = replace(checkpoint, weights=other)
    save_checkpoint(tmp_path / "net.pt", replace(checkpoint, calibration=calibration))
    changes = {"min_score": change["min_score"]} if "min_score" in change else {}
    with pytest.raises(CalibrationError, match=message) as error:
        Predictor(tmp_path / "net.pt", changes=changes, accuracy=change.get("accuracy", 0.9))
    assert "\n" not in str(error.value)


def test_calibrating_needs_enough_boxes(shards: Path) -> None:
    checkpoint, reader = checkpoint_of(shards), ShardReader(shards)
    with pytest.raises(
        CalibrationError, match=r"matched boxes are too few for a requested accuracy of 0\.95"
    ):
        calibrate(checkpoint, checkpoint.build_model(), reader, CalibrationChoice())


# --- classes without boxes


@pytest.fixture(scope="module")
def labelled_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with boxes of dogs and cats, and images that are labelled as cars or boats."""
    return made_shards(tmp_path_factory.mktemp("labelled"), scenes=12, label_images=20, test_scenes=12)


def required_of_label_images(path: Path, reader: ShardReader) -> list[float]:
    """Slowly: P of the shallowest wrong node of the box of highest objectness, where its leaf is label-only."""
    tree, required = reader.tree, []
    predictor = Predictor(path, changes={"min_absolute": 0, "batch_size": 1})
    for image in reader.split("train").tolist():
        if reader.image_boxed[image]:
            continue
        (label,) = reader.label_nodes[reader.label_offsets[image] : reader.label_offsets[image + 1]]
        pixels = decode_image(reader.encoded(image))
        (found,) = predictor.detect([pixels], ["label image"])
        best = int(found.objectness.argmax())
        path = tree.path(int(found.node[best]))
        if reader.label_counts.supervision(path[-1]) != "image labels":
            continue
        absolute = np.cumprod(found.conditional[best].astype(float))
        wrong = [p for node, p in zip(path, absolute, strict=True) if node not in tree.path(int(label))]
        required.append(math.inf if len(wrong) == len(path) else max(wrong, default=0.0))
    return required


def test_classes_without_boxes_are_calibrated_on_label_images(
    labelled_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, reader = checkpoint_of(labelled_shards), ShardReader(labelled_shards)
    evaluate = checkpoint.config.evaluate.model_copy(update={"split": "train"})
    checkpoint = replace(checkpoint, config=checkpoint.config.model_copy(update={"evaluate": evaluate}))
    save_checkpoint(tmp_path / "net.pt", checkpoint)
    required = required_of_label_images(tmp_path / "net.pt", reader)
    assert 10 <= len(required) <= 40
    choice = CalibrationChoice(accuracies=(0.05,), confidence=0.6, by="supervision")
    monkeypatch.setattr(
        "yolo9000.evaluation.calibrate.fit_temperatures",
        lambda *_: [1.0] * (int(reader.tree.depth.max()) + 1),
    )
    found = calibrate(checkpoint, checkpoint.build_model(), reader, choice)
    (row,) = [row for row in found.targets[0].groups if row.group == "image labels"]
    rank = confident_rank(len(required), 0.05, 0.6)
    assert (row.source, row.boxes, row.is_inherited) == ("image labels", len(required), False)
    assert row.threshold == pytest.approx(sorted(required)[rank - 1], abs=1e-5)


def test_boxes_of_label_only_classes_go_before_label_images(labelled_shards: Path) -> None:
    """In the test split, cars and boats have boxes, which are better truth than the labels of whole images."""
    checkpoint, reader = checkpoint_of(labelled_shards), ShardReader(labelled_shards)
    choice = CalibrationChoice(accuracies=(0.01,), confidence=0.02, by="supervision")
    found = calibrate(checkpoint, checkpoint.build_model(), reader, choice)
    assert {row.source for row in found.targets[0].groups} == {"boxes"}


def test_the_output_says_what_label_images_guarantee(
    capsys: pytest.CaptureFixture[str], shards: Path
) -> None:
    calibration = made_calibration(checkpoint_of(shards))
    _print_calibration(calibration, Path("net.pt"))
    assert "for such images only" not in capsys.readouterr().out
    row = GroupThreshold(group="image labels", threshold=1, boxes=70, source="image labels", is_reached=False)
    targets = (RequestedAccuracy(accuracy=0.9, groups=(*calibration.targets[0].groups, row)),)
    _print_calibration(calibration.model_copy(update={"targets": targets}), Path("net.pt"))
    text = " ".join(capsys.readouterr().out.split())
    assert "guaranteed for such images only, not for scenes" in text
    assert "out of reach" in text
