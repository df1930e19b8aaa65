"""Requested and achieved accuracy of calibrated predictions over many random splits of the images.

    python benchmarks/calibration.py runs/demo/best.pt runs/demo/shards [--quick] [--json FILE] [--splits 200]

A third of the images gives the temperatures. Each split calibrates on one half of the others and tests on the other
half, for each rule and requested accuracy. Prints the mean accuracy on the test half, its mean coverage (0: the root,
100: a leaf), its mean depth (edges below the root) and the share of splits without a threshold; then the same numbers
for the fixed thresholds .5 and .65 and for leaves. All of it for all matched boxes, and for the boxes of classes with
boxes in training and of classes with image labels only. The temperatures are part of all of these.

The accuracy on a finite test half varies even at a right threshold. `violated` therefore takes all boxes as the
population: the share of as many calibrations, on images drawn from it with replacement, as many as it has, whose
threshold has a lower accuracy than requested in the whole population.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_options import benchmark_parser, parse, write_json

from data_prep import ShardReader
from yolo9000.checkpoints.calibration import Rule
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.evaluation.calibrate import calibration_boxes, threshold_of
from yolo9000.evaluation.predicted_paths import MatchedPaths
from yolo9000.evaluation.prediction_metrics import coverage_of

RULES: tuple[Rule, ...] = ("marginal", "confident", "per_image")
TARGETS = (0.8, 0.9, 0.95, 0.99)
QUICK = {"splits": 5}
FIXED = {"P > .5": 0.5, "P > .65": 0.65, "leaf": 0.0}


@dataclass(frozen=True)
class Outcome:
    """Accuracy and coverage of one split's test half, 0..1, and mean depth; None where there was no threshold.

    is_violated: of a resampled calibration, whether the accuracy is below the request
    """

    accuracy: float | None
    coverage: float | None
    depth: float | None
    is_violated: bool = False


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--splits", type=int, default=200)
    parser.add_argument("--boxes-per-image", type=int, default=8)
    options = parse(parser, QUICK)
    checkpoint, reader = load_detector(options.model), ShardReader(options.shards)
    _, boxes = calibration_boxes(checkpoint, checkpoint.build_model(), reader)
    supervision = np.array(
        [checkpoint.label_counts.supervision(int(node)) for node in boxes.node[boxes.object]]
    )
    print(
        "boxes         method                requested  accuracy  violated  coverage     depth  no threshold"
    )
    number = {"all": len(boxes)} | {name: int((supervision == name).sum()) for name in set(supervision)}
    print(f"matched boxes: {number}")
    results = []
    for name in ("all", "boxes", "image labels"):
        chosen = boxes.rows(np.ones(len(boxes), bool) if name == "all" else supervision == name)
        if len(chosen):
            for method, target, outcomes in methods(chosen, options.splits, options.boxes_per_image):
                print(f"{name:<14}{method:<22}{row_of(outcomes, target)}")
                row = {"boxes": name, "method": method, "requested": target}
                results.append(row | {"outcomes": [asdict(outcome) for outcome in outcomes]})
    write_json(options, results)


def methods(
    boxes: MatchedPaths, splits: int, boxes_per_image: int
) -> Iterator[tuple[str, float | None, list[Outcome]]]:
    """Name, requested accuracy and outcomes of each method."""
    halves = [half_of_images(boxes, np.random.default_rng(seed)) for seed in range(splits)]
    resampled = [resampled_images(boxes, np.random.default_rng(seed)) for seed in range(splits)]
    for target in TARGETS:
        for rule in RULES:
            ask = partial(calibrated, boxes, target=target, rule=rule, boxes_per_image=boxes_per_image)
            yield rule, target, [ask(half, rows) for half, rows in zip(halves, resampled, strict=True)]
    for name, threshold in FIXED.items():
        yield name, None, [outcome_at(boxes.rows(~is_calibration), threshold) for is_calibration in halves]


def half_of_images(boxes: MatchedPaths, rng: np.random.Generator) -> np.ndarray:
    """Whether each box is in a random half of the images."""
    images = rng.permutation(np.unique(boxes.image))
    return np.isin(boxes.image, images[: len(images) // 2])


def resampled_images(boxes: MatchedPaths, rng: np.random.Generator) -> np.ndarray:
    """The boxes of as many images as there are, drawn with replacement."""
    images, first, count = np.unique(boxes.image, return_index=True, return_counts=True)
    drawn = rng.integers(0, len(images), len(images))
    return np.concatenate([np.arange(first[image], first[image] + count[image]) for image in drawn])


def calibrated(
    boxes: MatchedPaths,
    is_calibration: np.ndarray,
    resampled: np.ndarray,
    *,
    target: float,
    rule: Rule,
    boxes_per_image: int,
) -> Outcome:
    """The outcome of a calibration on one half, and whether one on the resampled boxes violates the request."""

    def threshold_from(rows: MatchedPaths) -> float | None:
        found = threshold_of(
            rows.required_threshold(), target, rule, confidence=0.95, boxes_per_image=boxes_per_image
        )
        return None if found is None or np.isinf(found) else found

    of_population = threshold_from(boxes.rows(resampled))
    accuracy = None if of_population is None else outcome_at(boxes, of_population).accuracy
    is_violated = accuracy is not None and accuracy < target
    threshold = threshold_from(boxes.rows(is_calibration))
    if threshold is None:
        return Outcome(None, None, None, is_violated)
    return replace(outcome_at(boxes.rows(~is_calibration), threshold), is_violated=is_violated)


def outcome_at(boxes: MatchedPaths, threshold: float) -> Outcome:
    nodes = boxes.nodes_at(threshold)
    coverage = coverage_of(boxes.predicted(nodes), boxes.tree)
    accuracy = float((nodes <= boxes.correct_nodes).mean())
    return Outcome(accuracy, float(coverage.mean()), float(nodes.mean() - 1))


def row_of(outcomes: list[Outcome], target: float | None) -> str:
    """Requested and mean accuracy, violations, coverage and depth, and the share of splits without a threshold."""
    found = [outcome for outcome in outcomes if outcome.accuracy is not None]
    none = f"{100 * (1 - len(found) / len(outcomes)):9.0f} %"
    asked = "        –" if target is None else f"{100 * target:9.0f}"
    if not found:
        return f"{asked}         –         –         –         –{none}"
    values = np.array([[outcome.accuracy, outcome.coverage, outcome.depth] for outcome in found], float)
    accuracy, coverage, depth = values.mean(axis=0)
    violated = np.mean([outcome.is_violated for outcome in outcomes])
    below = "        –" if target is None else f"{100 * violated:7.1f} %"
    return f"{asked}  {100 * accuracy:8.1f} {below}  {100 * coverage:8.1f}  {depth:8.2f}{none}"


if __name__ == "__main__":
    main()
