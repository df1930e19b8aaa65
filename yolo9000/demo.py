"""The two-command start: emoji world → merge → joint training → scorecard → report, each step continued if interrupted."""

from __future__ import annotations

import json
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from rich.console import Console

from data_prep import EmojiWorldConfig, MergeConfig, emoji_world, load_config, merge
from yolo9000.config import Config, read_config
from yolo9000.report_run import report_run
from yolo9000.train import train

STEPS_PER_MINUTE = 300  # of training on 2 cores of a 2024 server processor
QUICK_STEPS = 40
QUICK_WORLD = {"scenes": 60, "test_scenes": 20, "labels_per_class": 2}


def run_demo(folder: Path, *, minutes: float, quick: bool, seed: int) -> None:
    """Make everything below `folder`; what an interrupted run finished there is kept.

    minutes: length of the training at the speed of the reference machine; more learns better.
    """
    console = Console()
    steps = QUICK_STEPS if quick else round(minutes * STEPS_PER_MINUTE)
    console.print(
        f"[bold]YOLO9000 demo[/]: draws a world of emoji in which half of the classes have boxes and the other half only "
        f"image labels, then trains one detector on both ({steps} steps). "
        + ("About half a minute. " if quick else f"About {minutes + 1:.0f} minutes on 2 cores. ")
        + f"Everything goes to {folder}/; Ctrl-C and the same command again goes on."
    )
    world, shards = folder / "world", folder / "shards"
    emoji_world(world, EmojiWorldConfig(seed=seed, **(QUICK_WORLD if quick else {})))
    merge(load_config(world / "merge.yaml", MergeConfig), shards, workers=2)
    cfg = demo_config(shards, steps=steps, seed=seed)
    scorecard = train(cfg, folder, resume=(folder / "last.pt").exists())
    console.print(scorecard.table("Scenes that training never saw, percentages"))
    recorded = recorded_yardsticks()
    report = report_run(folder, scorecard, recorded=recorded)
    console.print(f"Detector: {folder / 'best.pt'}\nReport with pictures: {report}")


def demo_config(shards: Path, *, steps: int, seed: int, overrides: tuple[str, ...] = ()) -> Config:
    """The configuration that the package ships, for these shards."""
    with as_file(files("yolo9000") / "data" / "demo.yaml") as path:
        given = (f"data.shards={shards.absolute()}", f"schedule.max_steps={steps}", f"seed={seed}")
        return read_config(path, (*given, *overrides))


def recorded_yardsticks() -> dict[str, Any]:
    """AP50 of the oracle and of the label baselines, from runs of benchmarks/never_boxed.py."""
    return json.loads((files("yolo9000") / "data" / "demo_yardsticks.json").read_text("utf-8"))  # type: ignore[no-any-return]
