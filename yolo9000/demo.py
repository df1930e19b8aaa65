"""`yolo9000 demo`: emoji world → merge → classifier → joint training → report. An interrupted demo continues."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_prep import EmojiWorldConfig, MergeConfig, load_config, merge
from data_prep.synthetic.emoji_table import twemoji_folder
from data_prep.synthetic.emoji_world import write_emoji_world
from wordtree.support.files import write_atomically
from yolo9000.checkpoints.checkpoint import SettingsT
from yolo9000.config import Config, PretrainConfig, read_config, read_pretrain_config
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.reports.detector_report import Baseline
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run import with_settings
from yolo9000.training.run_report import ReportText
from yolo9000.training.train import train

STEPS_PER_MINUTE = 170  # detector steps on README's 2 CPU cores, with the classifier's training included
QUICK_STEPS = 30
QUICK_WORLD = {"scenes": 60, "test_scenes": 20, "labels_per_class": 2}

SUMMARY = (
    "Trained on generated scenes in which half of the classes have boxes, and on images of the other half, which "
    "have an image label and no box. Started from a classifier of these images and of crops around the boxes. "
    "Evaluated on new scenes, with boxes for all classes. Most classes have one drawing, so the demo tests whether "
    "objects are detected and labels are assigned to the right locations, not whether new drawings are recognised."
)


@dataclass(frozen=True)
class Recorded:
    """Baselines from recorded runs of benchmarks/never_boxed.py, and the command that made them."""

    command: str
    rows: list[Baseline]


class DemoMismatch(Yolo9000Error):
    """A demo folder was made with other settings, or another process makes it."""


def run_demo(folder: Path, *, minutes: float, quick: bool, seed: int) -> None:
    """Run the demo in `folder`; finished parts of an interrupted demo are kept.

    minutes: length of both trainings on the reference machine; AP50 increases with it.
    Raises DemoMismatch; MissingDrawings without the `demo` extra.
    """
    console, started = Console(), time.monotonic()
    steps = QUICK_STEPS if quick else max(1, round(minutes * STEPS_PER_MINUTE))
    twemoji_folder()
    record_settings(folder, {"steps": steps, "quick": quick, "seed": seed})
    length = "half a minute" if quick else f"{minutes + 2:.0f} minutes"
    console.print(
        f"[bold]YOLO9000 demo[/]: generates emoji scenes in which half of the classes have boxes and the other half "
        f"only image labels, trains a classifier, and from it a detector ({steps} steps). "
        f"It takes about {length} on 2 CPU cores. All files are in {escape(str(folder))}/. "
        "Ctrl-C stops the demo; the same command continues it."
    )
    shards = make_shards(folder, quick=quick, seed=seed)
    notice = folder / "world" / "ATTRIBUTION.txt"
    classifier = with_attribution(classifier_config(shards, steps=steps, seed=seed), notice)
    start = f"model.start_from={make_classifier(classifier, folder / 'classifier')}"
    cfg = with_attribution(detector_config(shards, steps=steps, seed=seed, overrides=(start,)), notice)
    recorded = read_baselines()
    text = ReportText(
        title="YOLO9000 demo: boxes for half of the classes",
        summary=f"{SUMMARY} The baselines are means of recorded runs: {recorded.command}.",
        baselines=recorded.rows,
    )
    scorecard = train(cfg, folder, resume=(folder / "last.pt").exists(), report_text=text)
    print_metrics(console, scorecard, recorded, "Scenes that training never saw, percentages")
    print(f"Detector: {folder / 'best.pt'}\nReport with images: {folder / 'report.html'}")
    print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


def make_shards(folder: Path, *, quick: bool, seed: int) -> Path:
    """Generate `folder`/world and merge it; returns the folder of shards."""
    world, shards = folder / "world", folder / "shards"
    write_emoji_world(
        world, EmojiWorldConfig.model_validate({"seed": seed, **(QUICK_WORLD if quick else {})})
    )
    merge(load_config(world / "merge.yaml", MergeConfig), shards, workers=1 if quick else 2)
    return shards


def make_classifier(cfg: PretrainConfig, folder: Path) -> Path:
    """Train the classifier unless it is finished; returns the absolute path of its checkpoint."""
    best, last = (folder.absolute() / name for name in ("best.pt", "last.pt"))
    if last.exists() or not best.exists():
        pretrain(cfg, folder, resume=last.exists())
        last.unlink()  # marks the classifier as finished
    return best


def classifier_config(
    shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()
) -> PretrainConfig:
    """The configuration of the demo's classifier, for a detector of `steps` steps."""
    with as_file(files("yolo9000") / "assets" / "demo_classifier.yaml") as path:
        detector = path.with_name("demo.yaml")
        return scaled_classifier_config(
            path, shards, detector=detector, steps=steps, seed=seed, overrides=overrides
        )


def detector_config(shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration of the demo's detector."""
    with as_file(files("yolo9000") / "assets" / "demo.yaml") as path:
        return scaled_detector_config(path, shards, steps=steps, seed=seed, overrides=overrides)


def scaled_classifier_config(
    path: Path, shards: Path, *, detector: Path, steps: int, seed: int, overrides: tuple[str, ...] = ()
) -> PretrainConfig:
    """The configuration in a classifier's file, scaled to a detector of `steps` steps.

    detector: the detector's configuration file. The classifier's steps change by the same factor as the detector's.
    """
    common = (f"data.shards={shards.absolute()}", f"seed={seed}")
    scale = steps / read_config(detector, common).schedule.max_steps
    max_steps = max(1, round(scale * read_pretrain_config(path, common).schedule.max_steps))
    return read_pretrain_config(path, (*common, f"schedule.max_steps={max_steps}", *overrides))


def scaled_detector_config(
    path: Path, shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()
) -> Config:
    """The configuration in a detector's file, scaled to `steps` steps, with the steps of its pseudo-boxes."""
    common = (f"data.shards={shards.absolute()}", f"seed={seed}")
    unscaled = read_config(path, common)
    scale = steps / unscaled.schedule.max_steps
    at_steps = sorted({max(1, round(step * scale)) for step in unscaled.pseudo_boxes.at_steps})
    scaled = (f"schedule.max_steps={steps}", f"pseudo_boxes.at_steps={at_steps}")
    return read_config(path, (*common, *scaled, *overrides))


def with_attribution(cfg: SettingsT, path: Path) -> SettingsT:
    """The configuration with the text file at `path` as the attribution of its images."""
    return with_settings(cfg, "data", attribution=path)


def read_baselines() -> Recorded:
    """The recorded baselines in the package's assets."""
    content: dict[str, Any] = json.loads(
        (files("yolo9000") / "assets" / "demo_baselines.json").read_text("utf-8")
    )
    return Recorded(content["command"], [Baseline(**row) for row in content["baselines"]])


def record_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new demo; DemoMismatch if the folder holds a demo with other settings."""
    path = folder / "demo.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(settings))
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):
        found = "unreadable"
    if found != settings:
        text = ", ".join(f"{k} {v}" for k, v in found.items()) if isinstance(found, dict) else found
        raise DemoMismatch(
            f"{folder} holds a demo with other settings ({text}). Choose another folder with --run, or remove this one."
        )


def print_metrics(console: Console, scorecard: Scorecard, recorded: Recorded, title: str) -> None:
    """Print the scorecard, then AP50 of this run and of the baselines."""
    console.print(scorecard.table(title))
    table = Table(
        "AP50",
        "classes with boxes",
        "with image labels only",
        title="Baselines",
        caption=f"Baselines are means of recorded runs: {escape(recorded.command)}",
    )
    this_run = Baseline("this run", scorecard.boxed.ap50, scorecard.label_only.ap50)
    for row in (this_run, *recorded.rows):
        table.add_row(row.name, *("–" if v is None else f"{v:.1f}" for v in (row.boxed, row.label_only)))
    console.print(table)
