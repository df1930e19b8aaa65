"""`yolo9000 evaluate --html`: the page about one evaluation."""

from __future__ import annotations

from pathlib import Path

from data_prep import ShardReader
from wordtree.support.files import write_atomically
from yolo9000.checkpoints.checkpoint import Checkpoint
from yolo9000.config import Config, EvaluateConfig, PretrainConfig
from yolo9000.distributed import on_first_process
from yolo9000.evaluation.classification import ClassificationMetrics
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.reports.classifier_report import render_classifier_report
from yolo9000.reports.detector_report import DetectorReport, render_detector_report
from yolo9000.reports.object_images import class_images
from yolo9000.reports.page import RunDetails


@on_first_process
def write_evaluation_page(
    path: Path,
    result: Scorecard | ClassificationMetrics,
    checkpoint: Checkpoint[Config] | Checkpoint[PretrainConfig],
    reader: ShardReader,
    cfg: EvaluateConfig,
) -> None:
    """Write the page about the metrics; the checkpoint's model was evaluated with these settings."""
    model = checkpoint.config.model
    run = RunDetails(
        title=f"Evaluation of {checkpoint.config.name}",
        summary=f"Evaluated on {reader.folder}, split '{cfg.split}'.",
        facts=[
            ("step", f"{checkpoint.step:,}"),
            ("network", model.network),
            ("tree", f"{len(reader.tree):,} nodes"),
        ],
    )
    if isinstance(result, ClassificationMetrics):
        page = render_classifier_report(run, result)
    else:
        images = EvaluationSet.of(reader, cfg).images
        counts = checkpoint.label_counts
        labels = zip(counts.boxes_rolled_up.tolist(), counts.image_labels_rolled_up.tolist(), strict=True)
        page = render_detector_report(
            DetectorReport(
                run,
                result,
                class_images=class_images(result, reader, images),
                training_labels=dict(zip(reader.tree.ids, labels, strict=True)),
            )
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
