"""The paper's claim, measured: how well are classes detected that never had a box?

    python benchmarks/never_boxed.py --seeds 0 1 2 --minutes 5 --folder runs/never_boxed [--rules all] [--record]
    python benchmarks/never_boxed.py --data tiny-imagenet-200 --folder runs/photographs --jobs 2

For each seed one world: emoji scenes or, with `--data`, mosaics of photographs from a folder in Tiny ImageNet's layout.
Half of its classes have boxes, half image labels alone. Each row of the table is a detector trained for as many steps:

    joint training                boxes and image labels, by the settings of `yolo9000 demo`, with --data by those of
                                  configs/train/mosaic_world.yaml
    max_score, paper  …           joint training by another rule: each combination of loss.assign and
                                  loss.label_objectness
    boxes only                    no image label anywhere
    label on image, on best box the true image labels of the test image, on the whole of it or on the most
                                  object-like box of `boxes only`; they come with that row
    oracle                        the same images, with all boxes
    --row "NAME: key=value, …"    an idea of yours: joint training with these settings; merge=merge_oracle among them
                                  trains on all boxes

All but `boxes only` start from a classifier of image labels and of what boxes hold, one for each seed
(yolo9000/assets/demo_classifier.yaml, of photographs configs/pretrain/mosaic_world.yaml). A row with
model.start_from=null does not.

The columns, as mean ± standard deviation over the seeds:

    AP50      of classes with boxes; of never-boxed classes, also as a share of the oracle's
    mapped    AP50 of never-boxed classes with every class mapped to its nearest ancestor with boxes
    recall    at IoU 0.5, whatever the detected class
    accuracy  the share of the detected objects that are correctly classified

Finished rows are kept in --folder, so an interrupted table goes on, and rows and seeds can be added to one.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from importlib.resources import files
from itertools import product
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch

from data_prep import DataPrepError, EmojiWorldConfig, MergeConfig, ShardReader, load_config, merge
from data_prep.merging.workers import end_with_parent
from data_prep.synthetic.emoji_world import emoji_world
from data_prep.synthetic.mosaic_world import MosaicWorldConfig, mosaic_world
from wordtree import WordTreeError
from wordtree.support.config_files import overridden, validated
from wordtree.support.files import write_atomically
from yolo9000.checkpoints.checkpoint import load_detector, refuse_other_tree
from yolo9000.config import Config, EvaluateConfig, PretrainConfig
from yolo9000.demo import (
    STEPS_PER_MINUTE,
    classifier_config,
    classifier_of,
    demo_config,
    detector_of,
    make_classifier,
)
from yolo9000.errors import Yolo9000Error
from yolo9000.evaluation.average_precision import average_precision
from yolo9000.evaluation.baselines import label_on_best_box, label_on_whole_image
from yolo9000.evaluation.evaluate import highest_objectness_boxes, predict_boxes
from yolo9000.evaluation.evaluation_set import EvaluationSet
from yolo9000.evaluation.scorecard import score
from yolo9000.evaluation.supervision import nearest_boxed
from yolo9000.inference.scored_boxes import ScoredBoxes
from yolo9000.reports.detector_report import Baseline
from yolo9000.training.train import train

PHOTOGRAPH_STEPS_PER_MINUTE = 500  # of the detector, its classifier's with them, on 2 processor cores
CONFIGS = Path(__file__).parents[1] / "configs"
PHOTOGRAPHS, PHOTOGRAPH_CLASSIFIER = (CONFIGS / part / "mosaic_world.yaml" for part in ("train", "pretrain"))

JOINT_MERGE, ORACLE_MERGE = "merge", "merge_oracle"
CLASSIFIER = "classifier"
SETTINGS = "settings.json"
NO_IMAGES_HELD_BACK = ("evaluate.split=train", "evaluate.limit=300")  # by the classifier of photographs


@dataclass(frozen=True)
class Row:
    """A detector of the table: which merge of the world it sees, and what differs from joint training."""

    name: str
    merge: str = JOINT_MERGE
    overrides: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-")


JOINT, BOXES_ONLY, ORACLE = "joint training", "boxes only", "oracle"
ON_IMAGE, ON_BEST_BOX = "label on image", "label on best box"
PAPER = "loss.assumed_iou=0.3"  # section 4
NO_PSEUDO_BOXES = "pseudo_boxes.at_steps=[]"  # rules are compared by themselves; the others have none to draw
RULES = (
    Row(JOINT),
    *(
        Row(
            f"{assign}, {objectness}",
            overrides=(
                f"loss.assign={assign}",
                f"loss.label_objectness={objectness}",
                PAPER,
                NO_PSEUDO_BOXES,
            ),
        )
        for assign, objectness in product(
            ("max_score", "max_objectness", "max_size", "top_k"), ("paper", "darknet", "ignore")
        )
    ),
    Row(BOXES_ONLY, overrides=("data.ratio={scenes: 1}", NO_PSEUDO_BOXES, "model.start_from=null")),
    Row(ORACLE, ORACLE_MERGE, ("augment.tile_sources=[labels]", NO_PSEUDO_BOXES)),
)
BASELINES = {  # what the demo calls the rows that it shows beside its own
    ORACLE: "oracle: the same images, all boxes",
    BOXES_ONLY: "boxes only, no image labels",
    ON_IMAGE: "true label on the whole image",
    ON_BEST_BOX: "true label on the best box of the boxes-only detector",
}


class BenchmarkError(Yolo9000Error):
    """Arguments that name no row, or results that were made with other settings."""


@dataclass(frozen=True)
class Plan:
    """What all rows have in common."""

    folder: Path
    data: Path | None  # photographs; None: emoji
    steps: int
    threads: int
    world: tuple[str, ...]  # settings of the world
    settings: tuple[str, ...]  # of every row's configuration, before the row's own
    classifier: tuple[str, ...]  # settings of the classifier

    def config(self, row: Row, seed: int) -> Config:
        shards = self.seed_folder(seed) / row.merge
        start = f"model.start_from={self.classifier_path(seed)}"
        overrides = (f"data.loader_threads={self.threads}", start, *self.settings, *row.overrides)
        if self.data is None:
            return demo_config(shards, steps=self.steps, seed=seed, overrides=overrides)
        return detector_of(PHOTOGRAPHS, shards, steps=self.steps, seed=seed, overrides=overrides)

    def classifier_config(self, seed: int) -> PretrainConfig:
        shards = self.seed_folder(seed) / JOINT_MERGE
        overrides = (f"data.loader_threads={self.threads}", *self.classifier)
        if self.data is None:
            return classifier_config(shards, steps=self.steps, seed=seed, overrides=overrides)
        overrides = (*NO_IMAGES_HELD_BACK, *overrides)
        return classifier_of(
            PHOTOGRAPH_CLASSIFIER,
            shards,
            detector=PHOTOGRAPHS,
            steps=self.steps,
            seed=seed,
            overrides=overrides,
        )

    def classifier_path(self, seed: int) -> Path:
        return self.run_folder(CLASSIFIER, seed).absolute() / "best.pt"

    def seed_folder(self, seed: int) -> Path:
        return self.folder / f"seed{seed}"

    def run_folder(self, name: str, seed: int) -> Path:
        return self.seed_folder(seed) / f"{self.steps}-steps" / Row(name).folder


@dataclass(frozen=True)
class Scores:
    """The scores of one row and seed, as percentages; None where a row has no detections of these classes."""

    boxed: float | None
    never_boxed: float | None
    never_boxed_mapped: float | None  # to the nearest ancestor with boxes
    boxed_recall: float | None
    never_boxed_recall: float | None
    boxed_accuracy: float | None
    never_boxed_accuracy: float | None

    def without_boxed(self) -> Scores:
        return replace(self, boxed=None, boxed_recall=None, boxed_accuracy=None)


def main() -> None:
    arguments = parse()
    try:
        rows, plan = rows_of(arguments), plan_of(arguments)
        if not arguments.finished:
            run_all(rows, plan, arguments)
        results = finished(rows, plan, arguments.seeds)
        table = table_of(results)
        print(f"\n{heading(plan)}\n")
        print(markdown(table) if arguments.markdown else text(table))
        if arguments.record:
            record(results, arguments)
    except (Yolo9000Error, DataPrepError, WordTreeError) as mistake:
        print(mistake, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on.", file=sys.stderr)
        sys.exit(130)


# --- running


def run_all(rows: Sequence[Row], plan: Plan, arguments: argparse.Namespace) -> None:
    """Train and score what is not finished: seed by seed, so that whole tables come first."""
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
    """Train and score one row; an interrupted training goes on."""
    folder = plan.run_folder(row.name, seed)
    with alone(folder):
        if (folder / "result.json").exists():
            return
        torch.set_num_threads(plan.threads)
        make_world(plan, seed)
        started = time.monotonic()
        write_atomically(folder / SETTINGS, json.dumps(comparable(row, seed, plan)))
        cfg = plan.config(row, seed)
        if cfg.model.start_from == plan.classifier_path(seed):
            place = cfg.model.start_from.parent
            with alone(place):
                refuse_other_settings(row, seed, plan)  # another process may have begun it meanwhile
                if not any(place.glob("*.pt")):
                    write_atomically(place / SETTINGS, json.dumps(comparable_classifier(seed, plan)))
                make_classifier(plan.classifier_config(seed), place)
        train(cfg, folder, resume=(folder / "last.pt").exists())
        for name, result in reversed(
            score_row(row, seed, plan).items()
        ):  # the row's own last: then all are there
            result["minutes"] = round((time.monotonic() - started) / 60, 2)
            place = plan.run_folder(name, seed)
            place.mkdir(exist_ok=True)
            write_atomically(place / "result.json", json.dumps(result, indent=1))
            print(f"seed {seed}, {in_words(name, Scores(**result['scores']))}", flush=True)
        (folder / "last.pt").unlink()  # best.pt is enough to look at


def make_world(plan: Plan, seed: int) -> None:
    """The world of a seed and its two merges; what is finished is kept."""
    folder = plan.seed_folder(seed)
    world = folder / "world"
    given = overridden({"seed": seed}, plan.world)
    with alone(folder):
        if plan.data is None:
            emoji_world(world, validated(given, EmojiWorldConfig, place="--world"), workers=plan.threads)
        else:
            mosaic_world(plan.data, world, validated(given, MosaicWorldConfig, place="--world"))
        for merged in (JOINT_MERGE, ORACLE_MERGE):
            merge(load_config(world / f"{merged}.yaml", MergeConfig), folder / merged, workers=plan.threads)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in the folder, and keep others waiting."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "benchmark.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refuse_other_settings(row: Row, seed: int, plan: Plan) -> None:
    """BenchmarkError where the row or the classifier that it starts from was trained, or begun, with other settings;
    ConfigError where they are wrong."""
    now = comparable(row, seed, plan)
    refuse_changed(
        plan.run_folder(row.name, seed), now, "Give the row another name, another --folder, or remove it."
    )
    if now["model.start_from"] == CLASSIFIER:
        advice = "All rows of a seed start from the same classifier; give another --folder."
        refuse_changed(plan.run_folder(CLASSIFIER, seed), now, advice)


def refuse_changed(folder: Path, now: dict[str, Any], advice: str) -> None:
    path = folder / SETTINGS
    if not path.exists():
        return
    used = json.loads(path.read_text("utf-8"))
    changed = [f"{key} {used[key]}, now {now[key]}" for key in used if key in now and now[key] != used[key]]
    if changed:
        raise BenchmarkError(f"{folder}: made with {'; '.join(changed)}. {advice}")


def comparable(row: Row, seed: int, plan: Plan) -> dict[str, Any]:
    """What decides the result, by dotted name."""
    cfg = plan.config(row, seed)
    settings = {"world": sorted(plan.world), "merge": row.merge, **by_dotted_name(cfg)}
    if cfg.model.start_from == plan.classifier_path(seed):
        settings |= comparable_classifier(seed, plan)
        settings["model.start_from"] = CLASSIFIER  # wherever the folder lies
    return settings


def comparable_classifier(seed: int, plan: Plan) -> dict[str, Any]:
    """What decides the classifier of a seed, likewise."""
    settings = by_dotted_name(plan.classifier_config(seed))
    return {
        "world": sorted(plan.world),
        **{f"{CLASSIFIER}.{name}": value for name, value in settings.items()},
    }


def by_dotted_name(cfg: Config | PretrainConfig) -> dict[str, Any]:
    """The settings of a configuration that decide the result."""
    values = cfg.model_dump(mode="json", exclude={"data": {"shards", "loader_threads"}, "log": True})
    return {
        f"{part}.{key}" if isinstance(section, dict) else part: value
        for part, section in values.items()
        for key, value in (section.items() if isinstance(section, dict) else [("", section)])
    }


# --- scoring


def score_row(row: Row, seed: int, plan: Plan) -> dict[str, dict[str, Any]]:
    """The result of the row by its name; of the boxes-only row those of the label baselines too."""
    path = plan.run_folder(row.name, seed) / "best.pt"
    checkpoint = load_detector(path)
    # What is never boxed is what had no box in *joint* training, in every row.
    reader = ShardReader(plan.seed_folder(seed) / JOINT_MERGE)
    refuse_other_tree(checkpoint, path, reader)
    cfg, size_px, model = (
        checkpoint.config.evaluate,
        checkpoint.config.model.input_size_px,
        checkpoint.build_model(),
    )
    images = EvaluationSet.of(reader, cfg)
    both = (images, images.mapped_to_boxed(reader.label_counts))
    scored = {row.name: measured(both, [predict_boxes(model, one, size_px, cfg) for one in both], cfg)}
    if row.name == BOXES_ONLY:
        boxes = highest_objectness_boxes(model, images, size_px, cfg)
        label_only = {
            int(node)
            for node in images.nodes()
            if reader.label_counts.supervision(int(node)) == "image labels"
        }
        mapped = {nearest_boxed(node, reader.label_counts) for node in label_only}
        classes = list(zip(both, (label_only, mapped), strict=True))
        on_image = [label_on_whole_image(one.truths, one.sizes_px, nodes) for one, nodes in classes]
        on_best_box = [label_on_best_box(one.truths, boxes, nodes) for one, nodes in classes]
        for name, detections in ((ON_IMAGE, on_image), (ON_BEST_BOX, on_best_box)):
            result = measured(both, detections, cfg)
            scored[name] = {**result, "scores": asdict(Scores(**result["scores"]).without_boxed())}
    return scored


def measured(
    both: tuple[EvaluationSet, EvaluationSet], detections: Sequence[list[ScoredBoxes]], cfg: EvaluateConfig
) -> dict[str, Any]:
    """The scores of the row and of each class, as plain values.

    both: the test images as they are, and with their labels mapped to the nearest boxed ancestors; detections: of both.
    """
    (own, mapped), label_counts = both, both[0].reader.label_counts
    card = score(
        own.truths,
        detections[0],
        tree=label_counts.tree,
        supervision=label_counts.supervision,
        max_detections=cfg.max_detections,
    )
    precision = average_precision(mapped.truths, detections[1], max_detections=cfg.max_detections)
    never_boxed = [
        label_counts.tree.node(one.id) for one in card.classes if one.supervision == "image labels"
    ]
    scores = Scores(
        boxed=card.boxed.ap50,
        never_boxed=card.label_only.ap50,
        never_boxed_mapped=mean(precision[nearest_boxed(node, label_counts)].ap50 for node in never_boxed),
        boxed_recall=card.boxed.recall50,
        never_boxed_recall=card.label_only.recall50,
        boxed_accuracy=card.boxed.accuracy,
        never_boxed_accuracy=card.label_only.accuracy,
    )
    return {"scores": asdict(scores), "classes": [asdict(one) for one in card.classes]}


# --- the table


Results = dict[str, dict[int, Scores]]
"""The scores of each row by seed, as far as finished; the label baselines stand after the boxes-only row."""


def finished(rows: Sequence[Row], plan: Plan, seeds: Sequence[int]) -> Results:
    """What is on disk; rows without any finished seed are left out."""
    names = [name for row in rows for name in (row.name, *baselines_of(row))]
    found: Results = {}
    for name, seed in product(names, seeds):
        path = plan.run_folder(name, seed) / "result.json"
        if path.exists():
            result = json.loads(path.read_text("utf-8"))
            found.setdefault(name, {})[seed] = Scores(**result["scores"])
    return found


def baselines_of(row: Row) -> tuple[str, ...]:
    return (ON_IMAGE, ON_BEST_BOX) if row.name == BOXES_ONLY else ()


def spread(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):.1f} ± {pstdev(known):.1f}" if known else "–"


def table_of(results: Results) -> list[list[str]]:
    """Headings, and a row of cells for each row of the benchmark."""
    headings = (
        "AP50: boxed|never boxed|of oracle|mapped|recall: boxed|never boxed|accuracy: boxed|never boxed|seeds"
    )
    table = [["", *headings.split("|")]]
    for name, scores in results.items():
        cells = [
            spread(getattr(one, field) for one in scores.values()) for field in Scores.__dataclass_fields__
        ]
        share = share_of_oracle(scores, results.get(ORACLE, {}))
        table.append([name, *cells[:2], share, *cells[2:], str(len(scores))])
    return table


def share_of_oracle(scores: dict[int, Scores], oracle: dict[int, Scores]) -> str:
    """Of the seeds that both have."""
    seeds = scores.keys() & oracle.keys()
    of_oracle = mean_never_boxed(oracle[seed] for seed in seeds) if seeds else 0.0
    return f"{mean_never_boxed(scores[seed] for seed in seeds) / of_oracle:.0%}" if of_oracle else "–"


def mean_never_boxed(scores: Iterable[Scores]) -> float:
    return mean(one.never_boxed or 0.0 for one in scores)


def text(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    )


def markdown(table: Sequence[Sequence[str]]) -> str:
    rule = ["---", *("---:" for _ in table[0][1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in (table[0], rule, *table[1:]))


def in_words(name: str, scores: Scores) -> str:
    numbers = ", ".join(
        f"{field.replace('_', ' ')} {value:.1f}"
        for field, value in asdict(scores).items()
        if value is not None
    )
    return f"{name}: {numbers}"


def heading(plan: Plan) -> str:
    world = "mosaics of photographs" if plan.data else "emoji scenes"
    return f"{world}, {plan.steps} steps; percentages, mean ± spread over the seeds"


def record(results: Results, arguments: argparse.Namespace) -> None:
    """Write the demo's baselines."""
    lacking = [name for name in BASELINES if set(results.get(name, {})) != set(arguments.seeds)]
    if lacking or arguments.data or arguments.set or arguments.world or arguments.classifier:
        raise BenchmarkError(
            f"--record needs the emoji world, no other settings, and of all seeds the rows {', '.join(BASELINES)}."
        )
    baselines = []
    for name, title in BASELINES.items():
        scores = results[name].values()
        boxed = [one.boxed for one in scores if one.boxed is not None]
        mean_boxed = round(mean(boxed), 1) if boxed else None
        baselines.append(asdict(Baseline(title, mean_boxed, round(mean_never_boxed(scores), 1))))
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python benchmarks/never_boxed.py --seeds {seeds} {length_of(arguments)} --record"
    path = Path(str(files("yolo9000") / "assets" / "demo_baselines.json"))
    path.write_text(json.dumps({"command": command, "baselines": baselines}, indent=1) + "\n")


# --- arguments


def rows_of(arguments: argparse.Namespace) -> list[Row]:
    """The rows that --rules chooses, then those of --row; BenchmarkError for a pattern that fits none."""
    chosen: list[Row] = []
    for pattern in arguments.rules:
        fitting = [row for row in RULES if pattern == "all" or fnmatch(row.name, pattern)]
        if not fitting:
            names = "; ".join(row.name for row in RULES)
            raise BenchmarkError(f"--rules {pattern!r} fits no row. The rows are: {names}; or say all.")
        chosen += fitting
    own = [row_of(message) for message in arguments.row]
    folders = [row.folder for row in (*RULES, *map(Row, (ON_IMAGE, ON_BEST_BOX, CLASSIFIER)), *own)]
    for row in own:
        if not row.folder or folders.count(row.folder) > 1:
            raise BenchmarkError(f"--row {row.name!r}: there is such a row already. Give it another name.")
    return [*(row for row in RULES if row in chosen), *own]


def row_of(told: str) -> Row:
    """`NAME: a.b=c, d.e=f`; commas inside a value stay there."""
    name, _, settings = told.partition(":")
    parts = [part.strip() for part in re.split(r",(?=\s*[\w.]+=)", settings) if part.strip()]
    merges = [part.removeprefix("merge=") for part in parts if part.startswith("merge=")]
    overrides = tuple(part for part in parts if not part.startswith("merge="))
    if any("=" not in part for part in overrides) or any(
        one not in (JOINT_MERGE, ORACLE_MERGE) for one in merges
    ):
        raise BenchmarkError(f"--row {told!r}: expected NAME: key=value, key=value …, or merge=merge_oracle.")
    return Row(name.strip(), *merges[-1:] or (JOINT_MERGE,), overrides)


def plan_of(arguments: argparse.Namespace) -> Plan:
    per_minute = PHOTOGRAPH_STEPS_PER_MINUTE if arguments.data else STEPS_PER_MINUTE
    steps = arguments.steps or max(1, round(arguments.minutes * per_minute))
    threads = arguments.threads or max(1, (cpu_count() or 1) // arguments.jobs)
    return Plan(
        folder=arguments.folder,
        data=arguments.data,
        steps=steps,
        threads=threads,
        world=tuple(arguments.world),
        settings=tuple(arguments.set),
        classifier=tuple(arguments.classifier),
    )


def length_of(arguments: argparse.Namespace) -> str:
    return f"--steps {arguments.steps}" if arguments.steps else f"--minutes {arguments.minutes:g}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0])
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=float, default=5, help="training length of each row, as of `yolo9000 demo`"
    )
    length.add_argument("--steps", type=at_least_one, help="the same in steps")
    add("--folder", type=Path, default=Path("runs/never_boxed"), help="worlds, runs and results")
    add("--data", type=Path, help="photographs in Tiny ImageNet's layout, instead of emoji")
    add(
        "--rules",
        nargs="+",
        default=[ORACLE, BOXES_ONLY, JOINT],
        help="rows by name (* fits anything), or all",
    )
    add("--row", action="append", default=[], metavar="'NAME: key=value, …'", help="one more row")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every row")
    add(
        "--classifier",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of the classifier that rows start from",
    )
    add("--world", action="append", default=[], metavar="KEY=VALUE", help="a setting of the world")
    add("--jobs", type=at_least_one, default=1, help="rows at once, each in its own process")
    add("--threads", type=at_least_one, help="of each job; default: the processors shared out")
    add("--finished", action="store_true", help="train nothing: the table of what is there")
    add("--markdown", action="store_true")
    add("--record", action="store_true", help="write the demo's baselines")
    given = parser.parse_args()
    given.seeds = list(dict.fromkeys(given.seeds))
    if given.folder.exists() and not given.folder.is_dir():
        parser.error(f"--folder {given.folder} is a file")
    return given


def at_least_one(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {number}")
    return number


if __name__ == "__main__":
    main()
