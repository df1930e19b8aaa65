"""The report page of a finished run: its scorecard, curves and settings, and test pictures with its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_prep import ShardReader
from yolo9000.config import Config, read_config
from yolo9000.data import split_of
from yolo9000.draw import draw_detections, to_pillow
from yolo9000.evaluate import ground_truth
from yolo9000.image import decode_image
from yolo9000.predict import MIN_DRAWN_PX, Predictor
from yolo9000.report import ReportContent, Scene, Yardstick, write_report
from yolo9000.scorecard import Scorecard

SCENES = 12


def write_run_report(
    folder: Path,
    scorecard: Scorecard,
    *,
    title: str,
    summary: str,
    yardsticks: Sequence[Yardstick] = (),
    facts: Sequence[tuple[str, str]] = (),
    attribution: str = "",
) -> Path:
    """Write report.html into a run's folder, from its best.pt, metrics.csv and config.yaml; the page's path."""
    predictor = Predictor(folder / "best.pt")
    ledger, tree = predictor.ledger, predictor.tree
    cfg = read_config(folder / "config.yaml")  # best.pt may be older than the last move of the shards
    reader = ShardReader(cfg.data.shards)
    content = ReportContent(
        title=title,
        summary=summary,
        scorecard=scorecard,
        yardsticks=yardsticks,
        facts=[*training_facts(cfg, reader), *facts],
        scenes=scenes(predictor, reader),
        training_labels={
            tree.ids[node]: (int(ledger.boxes_rolled_up[node]), int(ledger.image_labels_rolled_up[node]))
            for node in range(len(tree))
        },
        metrics_csv=(folder / "metrics.csv").read_text("utf-8"),
        config_yaml=(folder / "config.yaml").read_text("utf-8"),
        attribution=attribution,
    )
    write_report(folder / "report.html", content)
    return folder / "report.html"


def scenes(predictor: Predictor, reader: ShardReader) -> list[Scene]:
    """Pictures from all over the evaluated split with the detector's answers, and what it missed."""
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
        found.append(Scene(drawn, name))
    return found


def training_facts(cfg: Config, reader: ShardReader) -> list[tuple[str, str]]:
    """What a reader of the page wants to know first."""
    model, seen = cfg.model, cfg.schedule.max_steps * cfg.data.batch_size
    return [
        ("network", model.network),
        ("tree", f"{len(reader.tree)} nodes"),
        ("pictures seen", f"{seen:,} in {cfg.schedule.max_steps:,} steps"),
    ]
