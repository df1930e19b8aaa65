"""The two-command start: emoji world → merge → classifier → joint training → report; interrupted, it goes on."""

from __future__ import annotations

import json
import time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape

from data_prep import EmojiWorldConfig, MergeConfig, load_config, merge
from data_prep.synthetic.emoji_table import twemoji_folder
from data_prep.synthetic.emoji_world import emoji_world
from wordtree.support.files import write_atomically
from yolo9000.config import Config, PretrainConfig, read_config, read_pretrain_config
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation.scorecard import Scorecard
from yolo9000.reports.detector_report import Baseline
from yolo9000.training.pretrain import pretrain
from yolo9000.training.run_report import ReportText
from yolo9000.training.train import train

Settings = TypeVar("Settings", Config, PretrainConfig)
STEPS_PER_MINUTE = 170  # of the detector, its classifier's with them, on the README's 2 processor cores
QUICK_STEPS = 30
QUICK_WORLD = {"scenes": 60, "test_scenes": 20, "labels_per_class": 2}

SUMMARY = (
    "Trained on generated scenes in which half of the classes have boxes, and on images of the other half of the "
    "classes that carry an image label and no box; begun from a classifier of these images and of what the boxes "
    "hold. Scored on scenes that training never saw, with the boxes of all classes. Most classes have a single "
    "drawing, so this tests whether things are found and where labels go, not whether unseen kinds of drawing are "
    "recognised."
)


class DemoMismatch(Yolo9000Error):
    """A demo folder that was made with other settings."""


def run_demo(folder: Path, *, minutes: float, quick: bool, seed: int) -> None:
    """Make everything below `folder`; what an interrupted run finished there is kept.

    minutes: length of both trainings at the speed of the reference machine; more learns better.
    Raises DemoMismatch; MissingDrawings without the `demo` extra.
    """
    console, started = Console(), time.monotonic()
    steps = QUICK_STEPS if quick else max(1, round(minutes * STEPS_PER_MINUTE))
    twemoji_folder()
    _refuse_other_settings(folder, {"steps": steps, "quick": quick, "seed": seed})
    length = "half a minute" if quick else f"{minutes + 2:.0f} minutes"
    console.print(
        f"[bold]YOLO9000 demo[/]: draws a world of emoji in which half of the classes have boxes and the other half "
        f"only image labels, and trains a classifier on both, then from it one detector on both ({steps} steps): "
        f"about {length} on 2 processor cores. "
        f"Everything goes to {escape(str(folder))}/. Ctrl-C stops it; the same command goes on."
    )
    shards = make_world(folder, quick=quick, seed=seed)
    notice = folder / "world" / "ATTRIBUTION.txt"
    classifier = with_attribution(classifier_config(shards, steps=steps, seed=seed), notice)
    start = f"model.start_from={make_classifier(classifier, folder / 'classifier')}"
    cfg = with_attribution(demo_config(shards, steps=steps, seed=seed, overrides=(start,)), notice)
    words = ReportText(
        title="YOLO9000 demo: boxes for half of the classes",
        summary=f"{SUMMARY} The baselines are means of recorded runs: {_recorded()['command']}.",
        baselines=recorded_baselines(),
    )
    scorecard = train(cfg, folder, resume=(folder / "last.pt").exists(), words=words)
    ours = Baseline("this run", scorecard.boxed.ap50, scorecard.label_only.ap50)
    _tell(console, scorecard, [ours, *words.baselines])
    print(f"Detector: {folder / 'best.pt'}\nReport with images: {folder / 'report.html'}")
    print(f"Done in {(time.monotonic() - started) / 60:.1f} minutes.")


def make_world(folder: Path, *, quick: bool, seed: int) -> Path:
    """The generated world in `folder`/world, merged to `folder`/shards, whose path is the answer."""
    world, shards = folder / "world", folder / "shards"
    emoji_world(world, EmojiWorldConfig.model_validate({"seed": seed, **(QUICK_WORLD if quick else {})}))
    merge(load_config(world / "merge.yaml", MergeConfig), shards, workers=1 if quick else 2)
    return shards


def make_classifier(cfg: PretrainConfig, folder: Path) -> Path:
    """The absolute path of the weights that the detector starts from; a finished classifier is kept."""
    best, last = (folder.absolute() / name for name in ("best.pt", "last.pt"))
    if last.exists() or not best.exists():
        pretrain(cfg, folder, resume=last.exists())
        last.unlink()  # it is finished
    return best


def classifier_config(
    shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()
) -> PretrainConfig:
    """The classifier that the package ships, for these shards and so many steps of joint training after it."""
    with as_file(files("yolo9000") / "assets" / "demo_classifier.yaml") as path:
        before = path.with_name("demo.yaml")
        return classifier_of(path, shards, before=before, steps=steps, seed=seed, overrides=overrides)


def demo_config(shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()) -> Config:
    """The detector that the package ships, for these shards."""
    with as_file(files("yolo9000") / "assets" / "demo.yaml") as path:
        return detector_of(path, shards, steps=steps, seed=seed, overrides=overrides)


def classifier_of(
    path: Path, shards: Path, *, before: Path, steps: int, seed: int, overrides: tuple[str, ...] = ()
) -> PretrainConfig:
    """A classifier's configuration file, for these shards and a detector of so many steps.

    before: the detector's file; the classifier is longer or shorter than its file says as the detector is.
    """
    given = (f"data.shards={shards.absolute()}", f"seed={seed}")
    scale = steps / read_config(before, given).schedule.max_steps
    its_steps = max(1, round(scale * read_pretrain_config(path, given).schedule.max_steps))
    return read_pretrain_config(path, (*given, f"schedule.max_steps={its_steps}", *overrides))


def detector_of(
    path: Path, shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()
) -> Config:
    """A detector's configuration file, for these shards; of another length, pseudo-boxes keep their share."""
    given = (f"data.shards={shards.absolute()}", f"seed={seed}")
    written = read_config(path, given)
    scale = steps / written.schedule.max_steps
    at_steps = sorted({max(1, round(step * scale)) for step in written.pseudo_boxes.at_steps})
    scaled = (f"schedule.max_steps={steps}", f"pseudo_boxes.at_steps={at_steps}")
    return read_config(path, (*given, *scaled, *overrides))


def with_attribution(cfg: Settings, path: Path) -> Settings:
    """The same, whose page passes on the notice that goes with the drawings."""
    return cfg.model_copy(update={"data": cfg.data.model_copy(update={"attribution": path})})


def recorded_baselines() -> list[Baseline]:
    """AP50 of the oracle and of the label baselines, from recorded runs of benchmarks/never_boxed.py."""
    return [Baseline(**row) for row in _recorded()["baselines"]]


def _recorded() -> dict[str, Any]:
    """The recorded baselines and the command that makes them."""
    text = (files("yolo9000") / "assets" / "demo_baselines.json").read_text("utf-8")
    recorded: dict[str, Any] = json.loads(text)
    return recorded


def _refuse_other_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a new demo; DemoMismatch where an older one had others."""
    path = folder / "demo.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(settings))
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        found = "unreadable"
    if found != settings:
        text = ", ".join(f"{k} {v}" for k, v in found.items()) if isinstance(found, dict) else found
        raise DemoMismatch(
            f"{folder} holds a demo with other settings ({text}). Give another folder with --run, or remove this one."
        )


def _tell(console: Console, scorecard: Scorecard, baselines: list[Baseline]) -> None:
    """The scorecard, and ours beside the baselines."""
    from rich.table import Table

    console.print(scorecard.table("Scenes that training never saw, percentages"))
    table = Table(
        "AP50",
        "classes with boxes",
        "with image labels only",
        title="Compared",
        caption=f"The others are means of recorded runs: {escape(_recorded()['command'])}",
    )
    for row in baselines:
        table.add_row(row.name, *("–" if v is None else f"{v:.1f}" for v in (row.boxed, row.label_only)))
    console.print(table)
