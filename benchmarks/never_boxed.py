"""The paper's claim, measured: how well are classes detected that never had a box?

    python benchmarks/never_boxed.py --seeds 0 1 2 --minutes 5 --folder runs/never_boxed [--rules all] [--record]
    python benchmarks/never_boxed.py --data tiny-imagenet-200 --folder runs/photographs --jobs 2

Each seed has its own world: emoji scenes or, with `--data`, mosaics of photographs from a folder in Tiny ImageNet's
layout. Half of its classes have boxes, the other half only image labels. Each row of the table is a detector, and all
are trained for the same number of steps:

    joint training                boxes and image labels, with the settings of `yolo9000 demo`; with --data those of
                                  configs/train/mosaic_world.yaml
    max_score, paper  …           joint training with another loss.assign and loss.label_objectness
    boxes only                    no image labels
    label on image, on best box   baselines: the true image labels of the test image, on the whole image or on the box
                                  of highest objectness of `boxes only`; scored together with that row
    oracle                        the same images, with all boxes
    --row "NAME: key=value, …"    your own idea: joint training with these settings; with merge=merge_oracle it trains
                                  on all boxes

All rows but `boxes only` start from a classifier of image labels and box crops, one for each seed
(yolo9000/assets/demo_classifier.yaml; for photographs configs/pretrain/mosaic_world.yaml). A row with
model.start_from=null does not.

The columns are mean ± standard deviation over the seeds, in percent:

    AP50      of boxed classes; of label-only classes, also as a share of the oracle's
    mapped    AP50 of label-only classes, with every class mapped to its nearest ancestor with boxes
    recall    at IoU 0.5, whatever the detected class
    accuracy  correctly classified share of the detected objects

Finished rows are kept in --folder: an interrupted table continues, and rows and seeds can be added.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from importlib.resources import files
from itertools import product
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from never_boxed_table import (
    BOXES_ONLY,
    ON_BEST_BOX,
    ON_IMAGE,
    ORACLE,
    Results,
    Scores,
    markdown,
    mean_never_boxed,
    mean_of_known,
    score_row,
    summary,
    table_of,
)

from data_prep import DataPrepError, EmojiWorldConfig, MergeConfig, load_config, merge
from data_prep.merging.workers import end_with_parent
from data_prep.synthetic.emoji_world import emoji_world
from data_prep.synthetic.mosaic_world import MosaicWorldConfig, mosaic_world
from wordtree import WordTreeError
from wordtree.support.config_files import apply_overrides, validate
from wordtree.support.files import write_atomically
from yolo9000.config import Config, PretrainConfig
from yolo9000.demo import (
    STEPS_PER_MINUTE,
    classifier_config,
    detector_config,
    make_classifier,
    scaled_classifier_config,
    scaled_detector_config,
)
from yolo9000.errors import Yolo9000Error
from yolo9000.reports.detector_report import Baseline
from yolo9000.training.resume import flat_settings
from yolo9000.training.train import train

PHOTOGRAPH_STEPS_PER_MINUTE = 500  # detector steps on 2 CPU cores, with the classifier's training included
CONFIGS = Path(__file__).parents[1] / "configs"
PHOTOGRAPHS, PHOTOGRAPH_CLASSIFIER = (CONFIGS / part / "mosaic_world.yaml" for part in ("train", "pretrain"))

JOINT = "joint training"
JOINT_MERGE, ORACLE_MERGE = "merge", "merge_oracle"
CLASSIFIER = "classifier"
SETTINGS = "settings.json"
WITHOUT_EFFECT = ("data.shards", "data.loader_threads", "log.")  # settings that do not change the scores
NO_TEST_IMAGES = ("evaluate.split=train", "evaluate.limit=300")  # the classifier of photographs trains on all


@dataclass(frozen=True)
class Row:
    """A detector of the table: its merge of the world, and its differences from joint training."""

    name: str
    merge: str = JOINT_MERGE
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


NO_PSEUDO_BOXES = (
    "pseudo_boxes.at_steps=[]"  # rules are compared without them; other rows have no labels for them
)
RULES = (
    Row(JOINT),
    *(
        Row(
            f"{assign}, {objectness}",
            overrides=(
                *(f"loss.assign={assign}", f"loss.label_objectness={objectness}"),
                *("loss.assumed_iou=0.3", NO_PSEUDO_BOXES),  # paper, section 4
            ),
        )
        for assign, objectness in product(
            ("max_score", "max_objectness", "max_size", "top_k"), ("paper", "darknet", "ignore")
        )
    ),
    Row(BOXES_ONLY, overrides=("data.ratio={scenes: 1}", NO_PSEUDO_BOXES, "model.start_from=null")),
    Row(ORACLE, ORACLE_MERGE, ("augment.tile_sources=[labels]", NO_PSEUDO_BOXES)),
)
BASELINES = {  # rows that the demo shows besides its own, and their names there
    ORACLE: "oracle: the same images, all boxes",
    BOXES_ONLY: "boxes only, no image labels",
    ON_IMAGE: "true label on the whole image",
    ON_BEST_BOX: "true label on the best box of the boxes-only detector",
}


class BenchmarkError(Yolo9000Error):
    """Arguments name no row, or results were made with other settings."""


@dataclass(frozen=True)
class Plan:
    """Settings that all rows share."""

    folder: Path
    data: Path | None  # photographs; None: emoji
    steps: int
    threads: int
    world: tuple[str, ...]  # settings of the world
    settings: tuple[str, ...]  # settings of every row, before the row's own
    classifier: tuple[str, ...]  # settings of the classifier

    def config(self, row: Row, seed: int) -> Config:
        shards = self.seed_folder(seed) / row.merge
        start = f"model.start_from={self.classifier_path(seed)}"
        overrides = (f"data.loader_threads={self.threads}", start, *self.settings, *row.overrides)
        if self.data is None:
            return detector_config(shards, steps=self.steps, seed=seed, overrides=overrides)
        return scaled_detector_config(PHOTOGRAPHS, shards, steps=self.steps, seed=seed, overrides=overrides)

    def classifier_config(self, seed: int) -> PretrainConfig:
        shards = self.seed_folder(seed) / JOINT_MERGE
        overrides = (f"data.loader_threads={self.threads}", *self.classifier)
        if self.data is None:
            return classifier_config(shards, steps=self.steps, seed=seed, overrides=overrides)
        overrides = (*NO_TEST_IMAGES, *overrides)
        path, detector = PHOTOGRAPH_CLASSIFIER, PHOTOGRAPHS
        return scaled_classifier_config(
            path, shards, detector=detector, steps=self.steps, seed=seed, overrides=overrides
        )

    def classifier_path(self, seed: int) -> Path:
        return self.run_folder(CLASSIFIER, seed).absolute() / "best.pt"

    def seed_folder(self, seed: int) -> Path:
        return self.folder / f"seed{seed}"

    def run_folder(self, name: str, seed: int) -> Path:
        return self.seed_folder(seed) / f"{self.steps}-steps" / Row(name).folder


def main() -> None:
    arguments = parse_arguments()
    try:
        rows, plan = rows_of(arguments), plan_of(arguments)
        if not arguments.finished:
            run_all(rows, plan, arguments)
        results = finished(rows, plan, arguments.seeds)
        world = "mosaics of photographs" if plan.data else "emoji scenes"
        print(f"\n{world}, {plan.steps} steps; percentages, mean ± standard deviation over the seeds\n")
        print(markdown(table_of(results)))
        if arguments.record:
            record(results, arguments)
    except (Yolo9000Error, DataPrepError, WordTreeError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted; the same command continues.", file=sys.stderr)
        sys.exit(130)


# --- running


def run_all(rows: Sequence[Row], plan: Plan, arguments: argparse.Namespace) -> None:
    """Train and score all unfinished rows, seed by seed, so that the first table is complete early."""
    tasks = [(row, seed, plan) for seed in arguments.seeds for row in rows]
    for task in tasks:
        refuse_other_settings(*task)
    if arguments.jobs == 1:
        for task in tasks:
            run_row(*task)
        return
    spawn = get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, spawn, end_with_parent, max_tasks_per_child=1) as pool:
        waiting = [pool.submit(run_row, *task) for task in tasks]
        try:
            for one in waiting:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def run_row(row: Row, seed: int, plan: Plan) -> None:
    """Train and score one row; an interrupted training continues."""
    folder = plan.run_folder(row.name, seed)
    with locked(folder):
        if (folder / "result.json").exists():
            return
        torch.set_num_threads(plan.threads)
        make_world(plan, seed)
        started = time.monotonic()
        write_atomically(folder / SETTINGS, json.dumps(settings_of(row, seed, plan)))
        cfg = plan.config(row, seed)
        if cfg.model.start_from == plan.classifier_path(seed):
            with locked(cfg.model.start_from.parent) as start:
                refuse_other_settings(row, seed, plan)  # another process may have started it meanwhile
                if not any(start.glob("*.pt")):
                    write_atomically(start / SETTINGS, json.dumps(classifier_settings(seed, plan)))
                make_classifier(plan.classifier_config(seed), start)
        train(cfg, folder, resume=(folder / "last.pt").exists())
        results = score_row(row.name, folder / "best.pt", plan.seed_folder(seed) / JOINT_MERGE)
        for name in reversed(results):  # the row itself last, because its result marks all as finished
            results[name]["minutes"] = round((time.monotonic() - started) / 60, 2)
            row_folder = plan.run_folder(name, seed)
            row_folder.mkdir(exist_ok=True)
            write_atomically(row_folder / "result.json", json.dumps(results[name], indent=1))
            print(f"seed {seed}, {name}: {summary(Scores(**results[name]['scores']))}", flush=True)
        (folder / "last.pt").unlink()  # best.pt suffices


def make_world(plan: Plan, seed: int) -> None:
    """Generate the world of a seed and merge it twice; finished parts are kept."""
    folder = plan.seed_folder(seed)
    settings = apply_overrides({"seed": seed}, plan.world)
    with locked(folder):
        world = folder / "world"
        if plan.data is None:
            emoji_world(world, validate(settings, EmojiWorldConfig, place="--world"), workers=plan.threads)
        else:
            mosaic_world(plan.data, world, validate(settings, MosaicWorldConfig, place="--world"))
        for name in (JOINT_MERGE, ORACLE_MERGE):
            merge(load_config(world / f"{name}.yaml", MergeConfig), folder / name, workers=plan.threads)


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Wait until no other process works in the folder, and keep others out."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "benchmark.lock"):
        yield folder


def refuse_other_settings(row: Row, seed: int, plan: Plan) -> None:
    """BenchmarkError if the row or its classifier was started with other settings; ConfigError for invalid ones."""
    now = settings_of(row, seed, plan)
    advice = "Give the row another name or another --folder, or remove its folder."
    _refuse_changed(plan.run_folder(row.name, seed), now, advice)
    if now["model.start_from"] == CLASSIFIER:
        advice = "All rows of a seed start from the same classifier; give another --folder."
        _refuse_changed(plan.run_folder(CLASSIFIER, seed), now, advice)


def _refuse_changed(folder: Path, now: dict[str, Any], advice: str) -> None:
    path = folder / SETTINGS
    if not path.exists():
        return
    used = json.loads(path.read_text("utf-8"))
    changed = [f"{key} {used[key]}, now {now[key]}" for key in used if key in now and now[key] != used[key]]
    if changed:
        raise BenchmarkError(f"{folder}: made with {'; '.join(changed)}. {advice}")


def settings_of(row: Row, seed: int, plan: Plan) -> dict[str, Any]:
    """Settings that determine the result of a row, by dotted name."""
    cfg = plan.config(row, seed)
    settings = {"world": sorted(plan.world), "merge": row.merge, **_effective(cfg)}
    if cfg.model.start_from == plan.classifier_path(seed):
        settings |= classifier_settings(seed, plan)
        settings["model.start_from"] = CLASSIFIER  # independent of the folder
    return settings


def classifier_settings(seed: int, plan: Plan) -> dict[str, Any]:
    """Settings that determine the classifier of a seed, by dotted name."""
    settings = _effective(plan.classifier_config(seed))
    return {"world": sorted(plan.world), **{f"{CLASSIFIER}.{name}": v for name, v in settings.items()}}


def _effective(cfg: Config | PretrainConfig) -> dict[str, Any]:
    return {name: value for name, value in flat_settings(cfg).items() if not name.startswith(WITHOUT_EFFECT)}


# --- results


def finished(rows: Sequence[Row], plan: Plan, seeds: Sequence[int]) -> Results:
    """Scores on disk; rows without a finished seed are omitted."""
    names = [
        name
        for row in rows
        for name in (row.name, *((ON_IMAGE, ON_BEST_BOX) if row.name == BOXES_ONLY else ()))
    ]
    results: Results = {}
    for name, seed in product(names, seeds):
        path = plan.run_folder(name, seed) / "result.json"
        if path.exists():
            scores = json.loads(path.read_text("utf-8"))["scores"]
            results.setdefault(name, {})[seed] = Scores(**scores)
    return results


def record(results: Results, arguments: argparse.Namespace) -> None:
    """Write the demo's baselines."""
    missing = [name for name in BASELINES if set(results.get(name, {})) != set(arguments.seeds)]
    if missing or arguments.data or arguments.set or arguments.world or arguments.classifier:
        raise BenchmarkError(
            "--record needs the emoji world, no other settings, and these rows for all seeds: "
            f"{', '.join(BASELINES)}."
        )
    baselines = []
    for name, title in BASELINES.items():
        scores = results[name].values()
        boxed = mean_of_known(one.boxed for one in scores)
        rounded = None if boxed is None else round(boxed, 1)
        baselines.append(asdict(Baseline(title, rounded, round(mean_never_boxed(scores), 1))))
    length = f"--steps {arguments.steps}" if arguments.steps else f"--minutes {arguments.minutes:g}"
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python benchmarks/never_boxed.py --seeds {seeds} {length} --record"
    path = Path(str(files("yolo9000") / "assets" / "demo_baselines.json"))
    path.write_text(json.dumps({"command": command, "baselines": baselines}, indent=1) + "\n")


# --- arguments


def rows_of(arguments: argparse.Namespace) -> list[Row]:
    """The rows that --rules selects, then those of --row; BenchmarkError for a pattern without a row."""
    selected: list[Row] = []
    for pattern in arguments.rules:
        matching = [row for row in RULES if pattern == "all" or fnmatch(row.name, pattern)]
        if not matching:
            names = "; ".join(row.name for row in RULES)
            raise BenchmarkError(f"--rules {pattern!r} matches no row. The rows are: {names}; or `all`.")
        selected += matching
    own = [row_of(text) for text in arguments.row]
    folders = [row.folder for row in (*RULES, *map(Row, (ON_IMAGE, ON_BEST_BOX, CLASSIFIER)), *own)]
    for row in own:
        if not row.folder or folders.count(row.folder) > 1:
            raise BenchmarkError(
                f"--row {row.name!r}: this name is taken or empty. Give the row another name."
            )
    return [*(row for row in RULES if row in selected), *own]


def row_of(text: str) -> Row:
    """The row of `NAME: a.b=c, d.e=f`; a value may contain commas."""
    name, _, settings = text.partition(":")
    parts = [part.strip() for part in re.split(r",(?=\s*[\w.]+=)", settings) if part.strip()]
    merges = [part.removeprefix("merge=") for part in parts if part.startswith("merge=")]
    overrides = tuple(part for part in parts if not part.startswith("merge="))
    if any("=" not in part for part in overrides) or not {*merges} <= {JOINT_MERGE, ORACLE_MERGE}:
        raise BenchmarkError(f"--row {text!r}: expected NAME: key=value, key=value …, or merge=merge_oracle.")
    return Row(name.strip(), *merges[-1:] or (JOINT_MERGE,), overrides)


def plan_of(arguments: argparse.Namespace) -> Plan:
    per_minute = PHOTOGRAPH_STEPS_PER_MINUTE if arguments.data else STEPS_PER_MINUTE
    return Plan(
        folder=arguments.folder,
        data=arguments.data,
        steps=arguments.steps or max(1, round(arguments.minutes * per_minute)),
        threads=arguments.threads or max(1, (cpu_count() or 1) // arguments.jobs),
        world=tuple(arguments.world),
        settings=tuple(arguments.set),
        classifier=tuple(arguments.classifier),
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    settings: dict[str, Any] = {"action": "append", "default": [], "metavar": "KEY=VALUE"}
    add("--seeds", type=int, nargs="+", default=[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=5, help="training length, as for `yolo9000 demo`")
    length.add_argument("--steps", type=positive, help="training length in steps of the detector")
    add("--folder", type=Path, default=Path("runs/never_boxed"), help="worlds, runs and results")
    add("--data", type=Path, help="photographs in Tiny ImageNet's layout, instead of emoji")
    rules = [ORACLE, BOXES_ONLY, JOINT]
    add("--rules", nargs="+", default=rules, help="rows by name (* matches anything), or all")
    add("--row", action="append", default=[], metavar="'NAME: key=value, …'", help="one more row")
    add("--set", **settings, help="a setting of every row")
    add("--classifier", **settings, help="a setting of the classifier that rows start from")
    add("--world", **settings, help="a setting of the world")
    add("--jobs", type=positive, default=1, help="rows at the same time, each in its own process")
    add("--threads", type=positive, help="threads of each job; default: all cores, divided by the jobs")
    add("--finished", action="store_true", help="train nothing; print the table of finished rows")
    add("--record", action="store_true", help="write the demo's baselines")
    arguments = parser.parse_args()
    arguments.seeds = list(dict.fromkeys(arguments.seeds))
    if arguments.folder.exists() and not arguments.folder.is_dir():
        parser.error(f"--folder {arguments.folder} is a file")
    return arguments


def positive(text: str) -> int:
    """An integer of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number


if __name__ == "__main__":
    main()
