"""`yolo9000 demo --photographs`: the package's photographs → merge → joint training → report."""

from __future__ import annotations

import time
from importlib.resources import as_file, files
from pathlib import Path
from zipfile import ZipFile

from rich.console import Console
from rich.markup import escape

from data_prep import MergeConfig, load_config, merge
from wordtree.support.files import part_folder
from yolo9000.checkpoints.backbone_weights import packaged_weights
from yolo9000.config import Config
from yolo9000.demo import (
    QUICK_STEPS,
    DemoMismatch,
    record_settings,
    scaled_detector_config,
    with_attribution,
)
from yolo9000.training.run_report import ReportText
from yolo9000.training.train import train

STEPS_PER_MINUTE = 400  # on README's 2 CPU cores, with the features of the backbone included
QUICK_OVERRIDES = ("data.distinct_batches=2", "evaluate.limit=8")
ARCHIVE, CONFIG = "photographs.zip", "demo_photographs.yaml"
NOTICE = "ATTRIBUTION.txt"

SUMMARY = (
    "Trained on photographs of seven animals in two aquariums. Fish, penguins and sharks have boxes; jellyfish, "
    "puffins, starfish and stingrays have image labels and no box. The backbone is EfficientNet-Lite0 with ImageNet "
    "weights, which stay as they are. Evaluated on other photographs, with boxes for all classes."
)


def run_photograph_demo(folder: Path, *, minutes: float, quick: bool, seed: int) -> None:
    """Run the demo in `folder`; finished parts of an interrupted demo are kept.

    minutes: length of training on the reference machine. Raises DemoMismatch; CheckpointError without the extra.
    """
    console, started = Console(), time.monotonic()
    steps = QUICK_STEPS if quick else max(1, round(minutes * STEPS_PER_MINUTE))
    packaged_weights()
    record_settings(folder, {"images": "photographs", "steps": steps, "quick": quick, "seed": seed})
    length = "half a minute" if quick else f"{minutes + 2:.0f} minutes"
    console.print(
        f"[bold]YOLO9000 demo[/]: trains a detector on photographs, in which three classes have boxes and four others "
        f"only image labels ({steps} steps). It takes about {length} on 2 CPU cores. All files are in "
        f"{escape(str(folder))}/. Ctrl-C stops the demo; the same command continues it."
    )
    world, shards = unpack(folder / "world"), folder / "shards"
    merge(load_config(world / "merge.yaml", MergeConfig), shards, workers=1 if quick else 2)
    overrides = QUICK_OVERRIDES if quick else ()
    cfg = photograph_config(shards, steps=steps, seed=seed, overrides=overrides)
    text = ReportText(title="YOLO9000 demo: boxes for three of seven classes", summary=SUMMARY)
    cfg = with_attribution(cfg, world / NOTICE)
    scorecard = train(cfg, folder, resume=(folder / "last.pt").exists(), report_text=text)
    console.print(scorecard.table("Photographs that training never saw, percentages"))
    print(f"Detector: {folder / 'best.pt'}\nReport with images: {folder / 'report.html'}")
    print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


def unpack(world: Path) -> Path:
    """Unpack the photographs and their labels into the folder `world`, atomically; a finished folder is kept."""
    if not world.exists():
        archive = files("yolo9000") / "assets" / ARCHIVE
        with (
            part_folder(world, error=DemoMismatch) as part,
            as_file(archive) as path,
            ZipFile(path) as opened,
        ):
            opened.extractall(part)
    return world


def photograph_config(shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration of the detector."""
    with as_file(files("yolo9000") / "assets" / CONFIG) as path:
        return scaled_detector_config(path, shards, steps=steps, seed=seed, overrides=overrides)
