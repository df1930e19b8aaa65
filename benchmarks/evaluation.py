"""Time and memory of average precision with many classes: this project's, hotcoco's and pycocotools' evaluators.

    python benchmarks/evaluation.py --images 2000 --classes 9418 --with yolo9000 hotcoco pycocotools
    python benchmarks/evaluation.py --quick [--json FILE]

Prints seconds, memory and the mean AP of each, side by side with this project's: the factor of its time and memory.
Memory is the peak of the process minus what it held before the evaluation. Every image has 5 boxes and 100 detections:
half are near a box, and half of all detections have the box's class, the others a random one. Each evaluator runs in a
process of its own, which has the boxes as arrays (yolo9000) or has read COCO's files (the others) before it is
measured. Evaluators that are not installed are left out: `pip install hotcoco pycocotools`.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import resource
import sys
import tempfile
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from benchmark_options import benchmark_parser, parse, write_json

from yolo9000.inference.scored_boxes import GroundTruth, ScoredBoxes

QUICK = {"images": 200, "classes": 500}
BOXES, DETECTIONS = 5, 100  # in each image


@dataclass(frozen=True)
class Measurement:
    """The cost of one evaluation, and its result.

    memory_gb   peak memory of the process beyond what it held before
    peak_gb     peak memory of the process
    """

    evaluator: str
    seconds: float
    memory_gb: float
    peak_gb: float
    mean_ap: float


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=9418)
    parser.add_argument("--with", dest="evaluators", nargs="+", choices=EVALUATORS, default=list(EVALUATORS))
    options = parse(parser, QUICK)
    images, classes = options.images, options.classes
    found = []
    for name in options.evaluators:
        if find_spec(name) is None:
            print(f"{name} is not installed: pip install {name}", file=sys.stderr)
            continue
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            found.append(pool.apply(partial(measured, name, images, classes)))
    print_side_by_side(found, f"{images} images x {classes} classes x {DETECTIONS} detections")
    write_json(options, {"images": images, "classes": classes, "evaluators": [asdict(row) for row in found]})


def print_side_by_side(found: list[Measurement], title: str) -> None:
    """Print a row for each evaluator, with the factor of the first one's time and memory."""
    print(title)
    print(
        f"{'':>12}  {'seconds':>8}  {'factor':>7}  {'memory, GB':>10}  {'factor':>7}  {'peak, GB':>8}  mean AP"
    )
    for row in found:
        time, memory = row.seconds / found[0].seconds, row.memory_gb / max(found[0].memory_gb, 1e-3)
        print(
            f"{row.evaluator:>12}  {row.seconds:8.2f}  {time:7.2f}  {row.memory_gb:10.2f}  {memory:7.2f}  "
            f"{row.peak_gb:8.2f}  {row.mean_ap:.6f}"
        )


def measured(name: str, images: int, classes: int) -> Measurement:
    """The measurement of one evaluator in this process."""
    truths, detections = boxes_of(images, classes)
    evaluate = EVALUATORS[name](truths, detections, classes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started = perf_counter()
    ap = evaluate()
    seconds = perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return Measurement(name, seconds, peak - before, peak, ap)


def boxes_of(images: int, classes: int) -> tuple[list[GroundTruth], list[ScoredBoxes]]:
    """Ground truth and detections of all images, from a fixed seed."""
    rng = np.random.default_rng(0)
    truths, detections = [], []
    for _ in range(images):
        corner, node = rng.uniform(0, 400, (BOXES, 2)), rng.integers(0, classes, BOXES)
        labelled = np.concatenate([corner, corner + rng.uniform(20, 200, (BOXES, 2))], axis=1)
        own = rng.integers(0, BOXES, DETECTIONS)
        spread = np.where(rng.random(DETECTIONS) < 0.5, 5, 100)[:, None]
        found = labelled[own] + rng.normal(0, 1, (DETECTIONS, 4)) * spread
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 2)
        of_box = rng.random(DETECTIONS) < 0.5
        of_class = np.where(of_box, node[own], rng.integers(0, classes, DETECTIONS))
        truths.append(GroundTruth(labelled, node, np.zeros(BOXES, bool)))
        detections.append(ScoredBoxes(found, of_class, rng.random(DETECTIONS)))
    return truths, detections


def with_yolo9000(truths: list[GroundTruth], detections: list[ScoredBoxes], _: int) -> Any:
    """A function that returns the mean AP."""
    from yolo9000.evaluation.average_precision import average_precision

    return lambda: float(np.mean([row.ap for row in average_precision(truths, detections).values()]))


def with_pycocotools(truths: list[GroundTruth], detections: list[ScoredBoxes], classes: int) -> Any:
    """A function that returns the mean AP of pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    return partial(mean_ap_of, loaded(COCO, COCOeval, *coco_lists(truths, detections, classes)))


def with_hotcoco(truths: list[GroundTruth], detections: list[ScoredBoxes], classes: int) -> Any:
    """A function that returns the mean AP of hotcoco."""
    from hotcoco import COCO, COCOeval

    return partial(mean_ap_of, loaded(COCO, COCOeval, *coco_lists(truths, detections, classes)))


def loaded(coco_class: Any, evaluator_class: Any, truth: dict[str, Any], results: list[Any]) -> Any:
    """An evaluator with the interface of pycocotools that has read the boxes."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        truth_file, results_file = Path(folder) / "truth.json", Path(folder) / "results.json"
        truth_file.write_text(json.dumps(truth))
        results_file.write_text(json.dumps(results))
        coco = coco_class(str(truth_file))
        return evaluator_class(coco, coco.loadRes(str(results_file)), "bbox")


def mean_ap_of(evaluation: Any) -> float:
    """The mean AP of an evaluator with the interface of pycocotools."""
    with redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * float(evaluation.stats[0])


def coco_lists(
    truths: list[GroundTruth], detections: list[ScoredBoxes], classes: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The boxes in COCO's format."""
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (truth, boxes) in enumerate(zip(truths, detections, strict=True)):
        rows = zip(xywh(truth), truth.node.tolist(), strict=True)
        annotations += [
            {"image_id": image, "category_id": node, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for box, node in rows
        ]
        found = zip(xywh(boxes), boxes.node.tolist(), boxes.score.tolist(), strict=True)
        results += [
            {"image_id": image, "category_id": node, "bbox": box, "score": score}
            for box, node, score in found
        ]
    images = [{"id": image, "width": 640, "height": 640} for image in range(len(truths))]
    content = {
        "info": {},
        "images": images,
        "categories": [{"id": node, "name": str(node)} for node in range(classes)],
        "annotations": [row | {"id": number} for number, row in enumerate(annotations, start=1)],
    }
    return content, results


def xywh(boxes: GroundTruth | ScoredBoxes) -> list[list[float]]:
    corner, size = boxes.xyxy_px[:, :2], boxes.xyxy_px[:, 2:] - boxes.xyxy_px[:, :2]
    rows: list[list[float]] = np.concatenate([corner, size], axis=1).tolist()
    return rows


EVALUATORS = {"yolo9000": with_yolo9000, "hotcoco": with_hotcoco, "pycocotools": with_pycocotools}

if __name__ == "__main__":
    main()
