"""LVIS, OpenImages and ILSVRC: average precision agrees with other implementations and with cases by hand."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_prep import ShardReader
from tests.yolo9000.evaluation.made_boxes import LEFT, MIDDLE, RIGHT, crowded_world, detected, truth
from tests.yolo9000.evaluation.test_coco_twin import annotations, results
from wordtree import WordTree
from yolo9000.config import EvaluateConfig, Protocol
from yolo9000.evaluation.average_precision import DetectionOutcomes, precision_of
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.other_protocols import (
    ilsvrc_outcomes,
    lvis_outcomes,
    openimages_outcomes,
    outcomes_by_protocol,
)
from yolo9000.evaluation.verified_labels import VerifiedLabels, expand_boxes, expand_labels
from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes


def with_labels(
    seed: int, *, crowds: bool, nodes: int = 7
) -> tuple[list[GroundTruth], list[ScoredBoxes], list[VerifiedLabels]]:
    """A random world with different scores; of each image some absent classes and some unfinished ones are labelled."""
    truths, detections = crowded_world(seed, images=40, nodes=nodes)
    rng = np.random.default_rng(seed)
    ranks = iter(rng.permutation(sum(map(len, detections))))
    detections = [
        ScoredBoxes(boxes.xyxy_px, boxes.node, [(1 + next(ranks)) / 1e6 for _ in range(len(boxes))])
        for boxes in detections
    ]
    if not crowds:
        truths = [GroundTruth(t.xyxy_px, t.node, np.zeros(len(t.node), bool)) for t in truths]
    labels = []
    for image in truths:
        present = np.unique(image.node)
        absent = np.setdiff1d(rng.permutation(nodes)[:3], present)
        node = np.concatenate([present, absent])
        is_positive = np.isin(node, present)
        labels.append(VerifiedLabels(node, is_positive, ~is_positive | (rng.random(len(node)) < 0.6)))
    return truths, detections, labels


def ap50_of(outcomes: DetectionOutcomes) -> dict[int, float]:
    """The AP of each class by a protocol with one threshold."""
    found = precision_of(outcomes)
    assert all(row.ap is None for row in found.values())
    return {node: row.ap50 for node, row in found.items()}


# --- LVIS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the lvis package
@pytest.mark.parametrize("fixed", [False, True], ids=["AP", "AP-fixed"])
@pytest.mark.parametrize("seed", range(3))
def test_federated_ap_equals_the_lvis_package(
    seed: int, fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths, detections, labels = with_labels(seed, crowds=False)
    monkeypatch.setattr("yolo9000.evaluation.other_protocols.LVIS_DETECTIONS_PER_IMAGE", 20)
    monkeypatch.setattr("yolo9000.evaluation.other_protocols.LVIS_DETECTIONS_PER_CLASS", 50)
    found = precision_of(lvis_outcomes(truths, detections, labels, fixed=fixed))
    limited = best_of_each_class(detections, 50) if fixed else detections
    expected = lvis_precision(truths, limited, labels, monkeypatch, max_dets=-1 if fixed else 20)
    assert len(found) == 7
    assert [row.ap50 for row in found.values()] == pytest.approx(100 * expected[0].mean(axis=0), abs=1e-9)
    assert [row.ap for row in found.values()] == pytest.approx(100 * expected.mean(axis=(0, 1)), abs=1e-9)
    assert 1 < np.mean([row.ap for row in found.values()]) < 99


def lvis_precision(
    truths: Sequence[GroundTruth],
    detections: Sequence[ScoredBoxes],
    labels: Sequence[VerifiedLabels],
    monkeypatch: pytest.MonkeyPatch,
    *,
    max_dets: int,
) -> Any:
    """Precision by IoU threshold, recall and node, from LVIS' own evaluator."""
    monkeypatch.setattr(np, "float", float, raising=False)  # which NumPy no longer has
    missing = "lvis is not installed (pip install --no-deps lvis)"
    lvis = pytest.importorskip("lvis.lvis", reason=missing, exc_type=ImportError)
    of_results = pytest.importorskip("lvis.results", reason=missing, exc_type=ImportError)
    of_eval = pytest.importorskip("lvis.eval", reason=missing, exc_type=ImportError)
    content = {
        "images": [
            {
                "id": image,
                "neg_category_ids": label.node[~label.is_positive].tolist(),
                "not_exhaustive_category_ids": label.node[~label.is_exhaustive].tolist(),
            }
            for image, label in enumerate(labels)
        ],
        "categories": [{"id": node, "frequency": "f"} for node in range(7)],
        "annotations": [row | {"id": number} for number, row in enumerate(annotations(truths), start=1)],
    }
    ground_truth = lvis.LVIS.__new__(lvis.LVIS)
    ground_truth.logger, ground_truth.dataset = types.SimpleNamespace(info=print, warn=print), content
    ground_truth._create_index()
    found = of_results.LVISResults(ground_truth, results(detections), max_dets=max_dets)
    evaluation = of_eval.LVISEval(ground_truth, found, iou_type="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation.eval["precision"][:, :, :, 0]


def best_of_each_class(detections: Sequence[ScoredBoxes], count: int) -> list[ScoredBoxes]:
    """The detections of each class with the highest scores in all images."""
    node = np.concatenate([boxes.node for boxes in detections])
    score = np.concatenate([boxes.score for boxes in detections])
    lowest = {n: np.sort(score[node == n])[::-1][:count][-1] for n in np.unique(node).tolist()}
    kept = [[s >= lowest[n] for n, s in zip(b.node.tolist(), b.score, strict=True)] for b in detections]
    return [
        ScoredBoxes(boxes.xyxy_px[rows], boxes.node[rows], boxes.score[rows])
        for boxes, rows in zip(detections, (np.array(k, bool) for k in kept), strict=True)
    ]


def test_detections_of_classes_that_nobody_looked_for_do_not_count() -> None:
    wrong = detected((MIDDLE, 2, 0.9), (LEFT, 2, 0.8))
    nobody = VerifiedLabels(np.zeros(0, int), np.zeros(0, bool), np.zeros(0, bool))
    absent = VerifiedLabels(np.array([2]), np.array([False]), np.array([True]))
    boxes = [truth((LEFT, 2)), truth()]
    found = [detected((LEFT, 2, 0.5)), wrong]
    assert precision_of(lvis_outcomes(boxes, found, [nobody, nobody]))[2].ap == pytest.approx(100)
    assert precision_of(lvis_outcomes(boxes, found, [nobody, absent]))[2].ap == pytest.approx(100 / 3)


# --- OpenImages


@pytest.mark.parametrize("seed", range(4))
def test_openimages_ap_equals_tensorflow_object_detection(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    truths, detections, labels = with_labels(seed, crowds=True)
    found = ap50_of(openimages_outcomes(truths, detections, labels))
    assert len(found) == 7
    expected = tensorflow_ap(truths, detections, labels, monkeypatch)
    assert list(found.values()) == pytest.approx((100 * expected).tolist(), abs=1e-9)
    assert 1 < np.mean(list(found.values())) < 99


def tensorflow_ap(
    truths: Sequence[GroundTruth],
    detections: Sequence[ScoredBoxes],
    labels: Sequence[VerifiedLabels],
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """AP of each node from the evaluator of TensorFlow's object_detection."""
    without_tensorflow(monkeypatch)
    evaluation = pytest.importorskip(
        "object_detection.utils.object_detection_evaluation", reason=TENSORFLOW_MISSING, exc_type=ImportError
    )
    categories = [{"id": node + 1, "name": str(node)} for node in range(7)]
    evaluator = evaluation.OpenImagesChallengeEvaluator(categories, evaluate_masks=False, group_of_weight=1.0)
    for image, (labelled, boxes, label) in enumerate(zip(truths, detections, labels, strict=True)):
        evaluator.add_single_ground_truth_image_info(
            image,
            {
                "groundtruth_boxes": labelled.xyxy_px[:, [1, 0, 3, 2]],
                "groundtruth_classes": labelled.node + 1,
                "groundtruth_group_of": labelled.crowd,
                "groundtruth_image_classes": label.node + 1,
            },
        )
        evaluator.add_single_detected_image_info(
            image,
            {
                "detection_boxes": boxes.xyxy_px[:, [1, 0, 3, 2]],
                "detection_scores": boxes.score,
                "detection_classes": boxes.node + 1,
            },
        )
    return evaluator._evaluation.evaluate().average_precisions


TENSORFLOW_MISSING = (
    "object_detection is not installed (pip install --no-deps tf-models-research-object-detection==2.8.0.post1; "
    "pip install six absl-py)"
)


def without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty modules in place of TensorFlow, which the evaluator imports and does not use."""
    modules = {
        name: types.ModuleType(name) for name in ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1")
    }
    modules["tensorflow.compat"].v1 = modules["tensorflow.compat.v1"]  # type: ignore[attr-defined]
    modules["tensorflow"].compat = modules["tensorflow.compat"]  # type: ignore[attr-defined]
    label_map_util = types.ModuleType("object_detection.utils.label_map_util")
    label_map_util.create_category_index = lambda categories: {row["id"]: row for row in categories}  # type: ignore[attr-defined]
    modules[label_map_util.__name__] = label_map_util
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name, value in (("float", float), ("NAN", np.nan)):
        monkeypatch.setattr(np, name, value, raising=False)


def test_the_best_detection_of_a_group_is_correct_and_a_group_without_any_is_missed() -> None:
    group = [0, 0, 100, 100]
    labels = [VerifiedLabels(np.array([2]), np.array([True]), np.array([True]))] * 2
    boxes = [truth((group, 2), ignored=[0]), truth((RIGHT, 2))]
    inside = [detected(*(([x, 0, x + 10, 10], 2, 0.5 + x / 1000) for x in range(0, 90, 10))), detected()]
    assert ap50_of(openimages_outcomes(boxes, inside, labels))[2] == pytest.approx(50)
    missed = [detected(), detected((RIGHT, 2, 0.9))]
    assert ap50_of(openimages_outcomes(boxes, missed, labels))[2] == pytest.approx(50)
    everything = [inside[0], missed[1]]
    assert ap50_of(openimages_outcomes(boxes, everything, labels))[2] == pytest.approx(100)


def test_expansion_agrees_with_tensorflow_object_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = WordTree(["animal", "dog", "cat", "terrier", "poodle"], [-1, 0, 0, 1, 1])
    without_tensorflow(monkeypatch)
    expansion = pytest.importorskip(
        "object_detection.dataset_tools.oid_hierarchical_labels_expansion",
        reason=TENSORFLOW_MISSING,
        exc_type=ImportError,
    )

    def hierarchy(node: int) -> dict[str, Any]:
        below = [hierarchy(int(child)) for child in tree.children(node)]
        return {"LabelName": str(node)} | ({"Subcategory": below} if below else {})

    theirs = expansion.OIDHierarchicalLabelsExpansion({"LabelName": "all", "Subcategory": [hierarchy(0)]})
    for node in range(len(tree)):
        boxes = expand_boxes(truth((LEFT, node)), tree.ancestors)
        rows = theirs.expand_boxes_or_segments_from_csv(f"image,{node},1,0,1,0,1,0")
        assert sorted(boxes.node.tolist()) == sorted(int(row.split(",")[1]) for row in rows)
        for confidence in (0, 1):
            own = VerifiedLabels(np.array([node]), np.array([confidence == 1]), np.array([True]))
            labels = expand_labels(own, tree.ancestors, below(tree))
            rows = theirs.expand_labels_from_csv(f"image,{node},{confidence}")
            assert sorted(labels.node.tolist()) == sorted(int(row.split(",")[1]) for row in rows)
            assert set(labels.is_positive.tolist()) == {confidence == 1}


def below(tree: WordTree) -> Any:
    return lambda node: np.flatnonzero(tree.is_at_or_under(np.arange(len(tree)), node)).tolist()


# --- the images of shards


@pytest.mark.parametrize("protocol", ["coco", "lvis", "lvis_fixed", "openimages", "ilsvrc"])
def test_perfect_detections_score_100_by_every_protocol(shards: Path, protocol: Protocol) -> None:
    images = EvaluationSet.of(ShardReader(shards), EvaluateConfig(protocol=protocol))
    perfect = [ScoredBoxes(t.xyxy_px, t.node, np.ones(len(t.node))) for t in images.truths]
    found = precision_of(outcomes_by_protocol(images, perfect, max_detections=100))
    assert len(found) == 4
    assert [row.ap50 for row in found.values()] == pytest.approx([100] * 4)
    assert {row.ap is None for row in found.values()} == {protocol in ("openimages", "ilsvrc")}
    wrong = [detected((LEFT, int(node), 2.0)) for node in np.roll([t.node[0] for t in images.truths], 1)]
    worse = [
        ScoredBoxes(
            np.concatenate([a.xyxy_px, b.xyxy_px]),
            np.concatenate([a.node, b.node]),
            np.concatenate([a.score, b.score]),
        )
        for a, b in zip(perfect, wrong, strict=True)
    ]
    # COCO's annotators boxed every object of these classes, so a wrong detection counts by every protocol.
    found = precision_of(outcomes_by_protocol(images, worse, max_detections=100))
    assert [row.ap50 for row in found.values()] == pytest.approx([50] * 4)


# --- ILSVRC DET


@pytest.mark.parametrize(
    ("size", "share", "is_enough"),
    [
        # 10 × 10: (100) / (20 · 20) = .25 is enough; 100 × 100: 10000 / 12100 = .83, so .5 is needed
        pytest.param(10, 0.26, True, id="a small box above its threshold"),
        pytest.param(10, 0.24, False, id="a small box below its threshold"),
        pytest.param(100, 0.51, True, id="a large box above 0.5"),
        pytest.param(100, 0.49, False, id="a large box below 0.5"),
        # 20 × 20: 400 / 900 = .444
        pytest.param(20, 0.45, True, id="a box of 20 px above 0.444"),
        pytest.param(20, 0.44, False, id="a box of 20 px below 0.444"),
    ],
)
def test_ilsvrc_needs_a_lower_iou_for_small_boxes(size: int, share: float, is_enough: bool) -> None:
    boxes = [GroundTruth([[0, 0, size, size]], [2], [False])]
    found = [ScoredBoxes([[0, 0, size, size * share]], [2], [0.9])]
    assert ap50_of(ilsvrc_outcomes(boxes, found))[2] == pytest.approx(100 if is_enough else 0)


def test_ilsvrc_takes_the_area_under_the_curve_and_the_best_free_box() -> None:
    boxes = [truth((LEFT, 2), (RIGHT, 2))]
    half = [detected((LEFT, 2, 0.9))]
    assert ap50_of(ilsvrc_outcomes(boxes, half))[2] == pytest.approx(50)  # not 51 of 101 recalls
    second = [detected((LEFT, 2, 0.9), (LEFT, 2, 0.8), (RIGHT, 2, 0.7))]
    assert ap50_of(ilsvrc_outcomes(boxes, second))[2] == pytest.approx(100 * (1 + 2 / 3) / 2)
    near = [truth(([0, 0, 10, 10], 2), ([2, 0, 12, 10], 2))]
    twice = [detected(([0, 0, 10, 10], 2, 0.9), ([0, 0, 10, 10], 2, 0.8))]
    assert ap50_of(ilsvrc_outcomes(near, twice))[2] == pytest.approx(100)
