"""report.html of a run, made anew at each evaluation: its scores, curves and settings, and images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from data_prep import ShardReader
from yolo9000.config import Config, PretrainConfig
from yolo9000.data.image import decode_image
from yolo9000.data.sampler import split_of
from yolo9000.distributed import is_first
from yolo9000.evaluation.classification import ClassificationScore
from yolo9000.evaluation.evaluate import ScoredImages, ground_truth
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.inference.draw import draw_detections, to_pillow
from yolo9000.inference.predict import MIN_DRAWN_PX, Predictor
from yolo9000.models.classifier import Classifier
from yolo9000.models.detector import Detector
from yolo9000.reports.classifier_report import ClassifierReport, write_classifier_report
from yolo9000.reports.detector_report import Baseline, ReportContent, write_report
from yolo9000.reports.object_images import class_images
from yolo9000.reports.page import NO_CURVES, InvalidReport, Scene, read_series
from yolo9000.training.run import Run
from yolo9000.training.run_folder import TrainingError

SCENES = 12

DetectorRun: TypeAlias = Run[Config, Detector]
ClassifierRun: TypeAlias = Run[PretrainConfig, Classifier]


@dataclass(frozen=True)
class Words:
    """What a page says beyond what its run knows; an empty title or summary is made from the configuration."""

    title: str = ""
    summary: str = ""
    baselines: Sequence[Baseline] = ()


NO_WORDS = Words()


def write_run_report(run: DetectorRun, folder: Path, words: Words, scorecard: Scorecard, step: int) -> None:
    """report.html after the weights of `step` were scored; after the last with answers of best.pt for some images.

    Of several processes the first one writes. A page that cannot be written is no reason to stop a run: a line on
    stderr tells why.
    """
    if not is_first():
        return
    try:
        write_report(folder / "report.html", _content(run, folder, words, scorecard, step))
    except (InvalidReport, OSError) as trouble:
        _tell(folder, trouble)


def write_pretrain_report(run: ClassifierRun, folder: Path, score: ClassificationScore, step: int) -> None:
    """The same of a classifier."""
    if not is_first():
        return
    cfg = run.cfg
    try:
        content = ClassifierReport(
            title=f"Run {cfg.name}",
            summary=_summary(cfg),
            score=score,
            facts=run_facts(run, folder, step),
            metrics_csv=_text(folder / "metrics.csv"),
            config_yaml=_text(folder / "config.yaml"),
            attribution=_text(cfg.data.attribution) if cfg.data.attribution else "",
        )
        write_classifier_report(folder / "report.html", content)
    except (InvalidReport, OSError) as trouble:
        _tell(folder, trouble)


def refuse_missing_attribution(cfg: Config | PretrainConfig) -> None:
    """TrainingError where the text that the run's page should show is not there."""
    path = cfg.data.attribution
    if path and not path.is_file():
        raise TrainingError(
            f"data.attribution: there is no file {path}. Name a text file, or set it to null."
        )


def scenes(predictor: Predictor, reader: ShardReader) -> list[Scene]:
    """Images from all over the evaluated split with the detector's answers, and what it missed."""
    images = split_of(reader, predictor.config.evaluate.split)
    chosen = images[:: max(1, len(images) // SCENES)][:SCENES]
    found = []
    for image in chosen.tolist():
        name = reader.source_id(image)
        pixels = decode_image(reader.encoded(image), name=name)
        (detections,) = predictor.detect([pixels], [name])
        drawn = draw_detections(
            to_pillow(pixels), detections, truth=ground_truth(reader, image), min_side_px=MIN_DRAWN_PX
        )
        message = ", ".join(detections.names) or "nothing"
        found.append(Scene(drawn, name, f"{name}, answers: {message}"))
    return found


def run_facts(run: Run[Any, Any], folder: Path, step: int) -> list[tuple[str, str]]:
    """What a reader of the page wants to know first."""
    cfg, curves = run.cfg, read_series(_text(folder / "metrics.csv"))
    last = {curve.name: curve.values[-1] for curve in curves if curve.name in NO_CURVES}
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


def _content(run: DetectorRun, folder: Path, words: Words, scorecard: Scorecard, step: int) -> ReportContent:
    cfg, reader = run.cfg, run.reader
    label_counts, tree = reader.label_counts, reader.tree
    is_over = step >= cfg.schedule.max_steps
    images = ScoredImages.of(reader, cfg.evaluate).images
    return ReportContent(
        title=words.title or f"Run {cfg.name}",
        summary=words.summary or _summary(cfg),
        scorecard=scorecard,
        baselines=words.baselines,
        facts=run_facts(run, folder, step),
        scenes=scenes(Predictor(folder / "best.pt"), reader) if is_over else (),
        class_images=class_images(scorecard, reader, images),
        training_labels={
            tree.ids[node]: (
                int(label_counts.boxes_rolled_up[node]),
                int(label_counts.image_labels_rolled_up[node]),
            )
            for node in range(len(tree))
        },
        metrics_csv=_text(folder / "metrics.csv"),
        config_yaml=_text(folder / "config.yaml"),
        attribution=_text(cfg.data.attribution) if cfg.data.attribution else "",
    )


def _summary(cfg: Config | PretrainConfig) -> str:
    return f"Trained on {cfg.data.shards}, scored on its split '{cfg.evaluate.split}'."


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def _tell(folder: Path, trouble: Exception) -> None:
    print(f"{folder / 'report.html'} is not written: {trouble}", file=sys.stderr)
