"""The paper's claim, measured: how well are classes detected that never had a box?

    python benchmarks/never_boxed.py --seeds 0 1 2 --minutes 5 --folder runs/never_boxed [--rules all] [--record]
    python benchmarks/never_boxed.py --data tiny-imagenet-200 --folder runs/photographs --jobs 2
    python benchmarks/never_boxed.py --merge MERGE.yaml --boxed apple,banana --steps 400 --folder runs/fruits

Half of the classes have boxes, the other half only image labels. Each seed has its own world: emoji scenes or, with
`--data`, mosaics of photographs from a folder in Tiny ImageNet's layout. With `--merge`, the images are your own:
`--boxed` names the classes that keep their boxes, and `--withhold half` draws half of the classes for each seed
(benchmarks/withheld_boxes.py). Each row of the table is a detector, and all are trained for the same number of steps:

    joint training                boxes and image labels, with the settings of the demo of emoji; with --data those of
                                  configs/train/mosaic_world.yaml, with --merge those of --config
    max_score, paper  …           joint training with another loss.label_assignment and loss.label_objectness
    boxes only                    no image labels
    label on image, on best box   baselines: the true image labels of the test image, on the whole image or on the box
                                  of highest objectness of `boxes only`; evaluated together with that row
    oracle                        the same images, with all boxes
    random weights                joint training with architecture `tiny` and no pretrained weights
    --row "NAME: key=value, …"    your own idea: joint training with these settings; with merge=merge_oracle it trains
                                  on all boxes

All rows but `boxes only` and `random weights` start from a classifier of image labels and box crops, one for each seed
(yolo9000/assets/demo_classifier.yaml; for mosaics configs/pretrain/mosaic_world.yaml). A row with
model.start_from=null does not. With --merge there is no such classifier; all rows start as their configuration says.

The columns are mean ± standard deviation over the seeds, in percent:

    AP50      of boxed classes; of label-only classes, also as a share of the oracle's
    mapped    AP50 of label-only classes, with every class mapped to its nearest ancestor with boxes
    recall    at IoU 0.5, whatever the detected class
    accuracy  correctly classified share of the detected objects

--json writes all metrics, also those of each class, and how many objects were detected and correctly classified by
size, truncation and occlusion; --breakdown prints these numbers. Finished rows are kept in --folder: an interrupted
table continues, and rows and seeds can be added.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import product
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from never_boxed_rows import (
    CLASSIFIER,
    JOINT,
    JOINT_MERGE,
    ORACLE_MERGE,
    RANDOM_WEIGHTS,
    SCENES,
    BenchmarkError,
    Row,
    rows_of,
)
from never_boxed_table import (
    BOXES_ONLY,
    ON_BEST_BOX,
    ON_IMAGE,
    ORACLE,
    Results,
    RowResults,
    Scores,
    breakdown_table,
    markdown,
    mean_never_boxed,
    mean_of_known,
    score_row,
    summary,
    table_of,
)
from withheld_boxes import BOXES, Withheld, merged, withhold

from data_prep import DataPrepError, EmojiWorldConfig, MergeConfig, load_config, merge
from data_prep.merging.workers import end_with_parent
from data_prep.synthetic.emoji_world import write_emoji_world
from data_prep.synthetic.mosaic_world import MosaicWorldConfig, write_mosaic_world
from wordtree import WordTreeError
from wordtree.support.config_files import apply_overrides, validate
from wordtree.support.files import write_atomically
from yolo9000.config import Config, PretrainConfig, read_config
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
OWN_DATA = CONFIGS / "train" / "own_data.yaml"

SETTINGS = "settings.json"
WITHOUT_EFFECT = ("data.shards", "data.loader_threads", "log.")  # settings that do not change the scores
NO_TEST_IMAGES = ("evaluate.split=train", "evaluate.limit=300")  # the classifier of photographs trains on all

BASELINES = {  # rows that the demo shows besides its own, and their names there
    ORACLE: "oracle: the same images, all boxes",
    BOXES_ONLY: "boxes only, no image labels",
    ON_IMAGE: "true label on the whole image",
    ON_BEST_BOX: "true label on the best box of the boxes-only detector",
}


@dataclass(frozen=True)
class Plan:
    """Settings that all rows share."""

    folder: Path
    data: Path | None  # photographs for mosaics; None: emoji
    steps: int
    threads: int
    world: tuple[str, ...]  # settings of the world
    settings: tuple[str, ...]  # settings of every row, before the row's own
    classifier: tuple[str, ...]  # settings of the classifier
    withheld: Withheld | None = None  # a merge instead of a world
    config_path: Path = OWN_DATA  # of the rows of a merge

    def config(self, row: Row, seed: int) -> Config:
        shards = self.seed_folder(seed) / row.merge
        start = () if self.withheld else (f"model.start_from={self.classifier_path(seed)}",)
        scenes = BOXES if self.withheld else "scenes"
        own = [override.replace(SCENES, scenes) for override in row.overrides if not self.has_own(override)]
        overrides = (f"data.loader_threads={self.threads}", *start, *self.settings, *own)
        if self.data is None and self.withheld is None:
            return detector_config(shards, steps=self.steps, seed=seed, overrides=overrides)
        path = self.config_path if self.withheld else PHOTOGRAPHS
        return scaled_detector_config(path, shards, steps=self.steps, seed=seed, overrides=overrides)

    def has_own(self, override: str) -> bool:
        """Whether the configuration of a merge names the tile sources itself, and does so for all rows."""
        is_tile_sources = override.startswith("augment.tile_sources=")
        return is_tile_sources and bool(self.withheld and read_config(self.config_path).augment.tile_sources)

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

    @property
    def title(self) -> str:
        """The images, for the heading of the table."""
        if self.withheld:
            kept = (
                f"boxes of {', '.join(self.withheld.boxed)}"
                if self.withheld.boxed
                else "boxes of half of the classes"
            )
            return f"{self.withheld.merge}, {kept}"
        return "mosaics of photographs" if self.data else "emoji scenes"

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
        loaded = finished(rows, plan, arguments.seeds)
        results = scores_of(loaded)
        print(f"\n{plan.title}, {plan.steps} steps; percentages, mean ± standard deviation over the seeds\n")
        print(markdown(table_of(results)))
        if arguments.breakdown:
            print("\nShare of the label-only objects, in percent: detected / also correctly classified\n")
            print(markdown(breakdown_table(loaded)))
        if arguments.json:
            write_atomically(arguments.json, json.dumps(report(loaded, plan), indent=1))
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
        make_shards(plan, seed)
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


def make_shards(plan: Plan, seed: int) -> None:
    """Generate the world of a seed and merge it twice; finished parts are kept."""
    folder = plan.seed_folder(seed)
    settings = apply_overrides({"seed": seed}, plan.world)
    with locked(folder):
        world = folder / "world"
        if plan.withheld:
            with locked(plan.folder):
                reader = merged(plan.withheld, plan.folder, plan.threads)
            test_split = plan.config(Row(JOINT), seed).evaluate.split
            withhold(plan.withheld, reader, world, seed=seed, test_split=test_split)
        elif plan.data is None:
            write_emoji_world(
                world, validate(settings, EmojiWorldConfig, where="--world"), workers=plan.threads
            )
        else:
            write_mosaic_world(plan.data, world, validate(settings, MosaicWorldConfig, where="--world"))
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
    if plan.withheld:
        settings["boxed"] = sorted(plan.withheld.boxed)
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


def finished(rows: Sequence[Row], plan: Plan, seeds: Sequence[int]) -> RowResults:
    """Results on disk, by row and seed; rows without a finished seed are omitted."""
    names = [
        name
        for row in rows
        for name in (row.name, *((ON_IMAGE, ON_BEST_BOX) if row.name == BOXES_ONLY else ()))
    ]
    results: RowResults = {}
    for name, seed in product(names, seeds):
        path = plan.run_folder(name, seed) / "result.json"
        if path.exists():
            results.setdefault(name, {})[seed] = json.loads(path.read_text("utf-8"))
    return results


def scores_of(results: RowResults) -> Results:
    """The scores of all results."""
    return {
        name: {seed: Scores(**result["scores"]) for seed, result in seeds.items()}
        for name, seeds in results.items()
    }


def report(results: RowResults, plan: Plan) -> dict[str, Any]:
    """All results as plain values."""
    rows = [
        {"row": name, "seed": seed, **result}
        for name, seeds in results.items()
        for seed, result in seeds.items()
    ]
    return {"images": plan.title, "steps": plan.steps, "settings": plan.settings, "rows": rows}


def record(results: Results, arguments: argparse.Namespace) -> None:
    """Write the demo's baselines."""
    missing = [name for name in BASELINES if set(results.get(name, {})) != set(arguments.seeds)]
    if (
        missing
        or arguments.data
        or arguments.merge
        or arguments.set
        or arguments.world
        or arguments.classifier
    ):
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


def plan_of(arguments: argparse.Namespace) -> Plan:
    per_minute = PHOTOGRAPH_STEPS_PER_MINUTE if arguments.data else STEPS_PER_MINUTE
    steps = arguments.steps or max(1, round(arguments.minutes * per_minute))
    if arguments.merge and not arguments.steps:
        steps = read_config(arguments.config).schedule.max_steps
    return Plan(
        folder=arguments.folder,
        data=arguments.data,
        steps=steps,
        threads=arguments.threads or max(1, (cpu_count() or 1) // arguments.jobs),
        world=tuple(arguments.world),
        settings=tuple(arguments.set),
        classifier=tuple(arguments.classifier),
        withheld=Withheld(arguments.merge, arguments.boxed or ()) if arguments.merge else None,
        config_path=arguments.config,
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
    images = parser.add_mutually_exclusive_group()
    images.add_argument("--data", type=Path, help="photographs in Tiny ImageNet's layout, instead of emoji")
    images.add_argument("--merge", type=Path, help="a MERGE.yaml with boxes of all classes, instead of emoji")
    boxed = parser.add_mutually_exclusive_group()
    boxed.add_argument(
        "--boxed", type=names, help="with --merge: the classes that keep their boxes, as A,B,C"
    )
    boxed.add_argument("--withhold", choices=["half"], help="with --merge: half of the classes, by the seed")
    add("--config", type=Path, default=OWN_DATA, help="with --merge: the configuration of all rows")
    add(
        "--rules",
        nargs="+",
        help="rows by name (* matches anything), or all; default: all but rules for image labels",
    )
    add("--row", action="append", default=[], metavar="'NAME: key=value, …'", help="one more row")
    add("--set", **settings, help="a setting of every row")
    add("--classifier", **settings, help="a setting of the classifier that rows start from")
    add("--world", **settings, help="a setting of the world")
    add("--jobs", type=positive, default=1, help="rows at the same time, each in its own process")
    add("--threads", type=positive, help="threads of each job; default: all cores, divided by the jobs")
    add(
        "--breakdown",
        action="store_true",
        help="also print recall and accuracy by size, truncation, occlusion",
    )
    add("--json", type=Path, help="write all scores to this file")
    add("--finished", action="store_true", help="train nothing; print the table of finished rows")
    add("--record", action="store_true", help="write the demo's baselines")
    arguments = parser.parse_args()
    arguments.seeds = list(dict.fromkeys(arguments.seeds))
    arguments.rules = arguments.rules or [
        JOINT,
        BOXES_ONLY,
        ORACLE,
        *([RANDOM_WEIGHTS] if arguments.merge else []),
    ]
    if arguments.folder.exists() and not arguments.folder.is_dir():
        parser.error(f"--folder {arguments.folder} is a file")
    if arguments.merge is None and (arguments.boxed or arguments.withhold):
        parser.error("--boxed and --withhold need --merge")
    if arguments.merge and not (arguments.boxed or arguments.withhold):
        parser.error("--merge needs --boxed A,B,C or --withhold half")
    if arguments.merge and (arguments.world or arguments.classifier):
        parser.error("--world and --classifier do not apply to --merge")
    return arguments


def names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def positive(text: str) -> int:
    """An integer of at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number


if __name__ == "__main__":
    main()
