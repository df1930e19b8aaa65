"""report.html of a run, rewritten at each evaluation: metrics, curves, settings and images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep import ShardReader
from wordtree.support.arrays import Int64Array
from wordtree.support.files import write_atomically
from yolo9000.config import Config, PretrainConfig
from yolo9000.data.image import decode_image
from yolo9000.distributed import on_first_process
from yolo9000.evaluation.classification import ClassificationMetrics
from yolo9000.evaluation.evaluation_set import EvaluationSet, ground_truth
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.inference.draw import MIN_DRAWN_PX, draw_detections, to_pillow
from yolo9000.inference.predict import Predictor
from yolo9000.models.classifier import Classifier
from yolo9000.models.detector import Detector
from yolo9000.reports.classifier_report import render_classifier_report
from yolo9000.reports.detector_report import Baseline, DetectorReport, render_detector_report
from yolo9000.reports.object_images import class_images
from yolo9000.reports.page import NO_CURVES, InvalidReport, ReportImage, RunDetails, read_series
from yolo9000.training.run import NetworkT, Run, without_folders
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.task import ResultT, Task

TEST_IMAGES = 12


@dataclass(frozen=True)
class ReportText:
    """Text and baselines that a report shows beyond what its run knows; "" stands for a default text."""

    title: str = ""
    summary: str = ""
    baselines: Sequence[Baseline] = ()


DEFAULT_TEXT = ReportText()


def refuse_missing_attribution(cfg: Config | PretrainConfig) -> None:
    """Raise TrainingError if the file with the licences, which the report shows, is missing."""
    path = cfg.data.attribution
    if path and not path.is_file():
        raise TrainingError(
            f"data.attribution: there is no file {path}. Name a text file, or set it to null."
        )


@on_first_process
def write_run_report(
    task: Task[Any, NetworkT, Any, ResultT], run: Run[Any, NetworkT], folder: Path, result: ResultT, step: int
) -> None:
    """Write report.html after the weights of `step` were evaluated.

    A report that cannot be written does not stop the run; one line on stderr gives the reason.
    """
    path = folder / "report.html"
    try:
        write_atomically(path, task.report(run, folder, result, step))
    except (InvalidReport, OSError) as reason:
        print(f"{path} is not written: {reason}", file=sys.stderr)


def detector_report(
    run: Run[Config, Detector], folder: Path, text: ReportText, scorecard: Scorecard, step: int
) -> str:
    """The page about a detector as HTML; after the last step with detections of best.pt on test images."""
    reader, tree, label_counts = run.reader, run.reader.tree, run.reader.label_counts
    boxes, image_labels = label_counts.boxes_rolled_up, label_counts.image_labels_rolled_up
    images = EvaluationSet.of(reader, run.cfg.evaluate).images
    is_over = step >= run.cfg.schedule.max_steps
    report = DetectorReport(
        _run_details(run, folder, step, text),
        scorecard=scorecard,
        baselines=text.baselines,
        test_images=draw_test_images(Predictor(folder / "best.pt"), reader, images) if is_over else (),
        class_images=class_images(scorecard, reader, images),
        training_labels={
            tree.ids[node]: (int(boxes[node]), int(image_labels[node])) for node in range(len(tree))
        },
    )
    return render_detector_report(report)


def classifier_report(
    run: Run[PretrainConfig, Classifier], folder: Path, metrics: ClassificationMetrics, step: int
) -> str:
    """The page about a classifier as HTML."""
    return render_classifier_report(_run_details(run, folder, step), metrics)


def draw_test_images(predictor: Predictor, reader: ShardReader, images: Int64Array) -> list[ReportImage]:
    """Evenly spaced ones of the evaluated images, with their detections and missed objects.

    images: rows of the reader.
    """
    positions = np.linspace(0, len(images) - 1, min(TEST_IMAGES, len(images))).round().astype(int)
    chosen = images[positions]
    drawn = []
    for image in chosen.tolist():
        name = reader.source_id(image)
        pixels = decode_image(reader.encoded(image), name=name)
        (detections,) = predictor.detect([pixels], [name])
        figure = draw_detections(
            to_pillow(pixels), detections, truth=ground_truth(reader, image), min_side_px=MIN_DRAWN_PX
        )
        names = ", ".join(detections.names) or "nothing"
        drawn.append(ReportImage(figure, name, f"{name}, detected: {names}"))
    return drawn


def _run_details(run: Run[Any, Any], folder: Path, step: int, text: ReportText = DEFAULT_TEXT) -> RunDetails:
    """The content that the pages of detectors and classifiers share."""
    cfg = run.cfg
    shared = without_folders(cfg)
    metrics_csv = (folder / "metrics.csv").read_text("utf-8")
    return RunDetails(
        title=text.title or f"Run {cfg.name}",
        summary=text.summary
        or f"Trained on {shared.data.shards}, evaluated on its split '{cfg.evaluate.split}'.",
        facts=_facts(run, metrics_csv, step),
        metrics_csv=metrics_csv,
        config_yaml=yaml.safe_dump(shared.model_dump(mode="json"), sort_keys=False),
        attribution=_text_of(cfg.data.attribution) if cfg.data.attribution else "",
    )


def _text_of(path: Path) -> str:
    """The text of a file in UTF-8, or else in Latin-1, in which any bytes are text."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _facts(run: Run[Any, Any], metrics_csv: str, step: int) -> list[tuple[str, str]]:
    """Facts for the head of the page: names and values."""
    cfg = run.cfg
    last = {curve.name: curve.values[-1] for curve in read_series(metrics_csv) if curve.name in NO_CURVES}
    facts = [
        ("step", f"{step:,} of {cfg.schedule.max_steps:,}"),
        ("network", cfg.model.network),
        ("tree", f"{len(run.reader.tree):,} nodes"),
        ("images seen", f"{step * cfg.data.batch_size:,}"),
    ]
    if last:
        facts += [
            ("speed", f"{last['images_per_second']:.3g} images/s"),
            ("memory", f"{last['memory_mib'] / 1024:.1f} GiB"),
        ]
    return facts
