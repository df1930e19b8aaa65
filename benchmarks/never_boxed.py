"""The paper's claim on the emoji world: how well are classes detected that never had a box?

    python benchmarks/never_boxed.py --seeds 0 1 2 --minutes 5 --folder runs/never_boxed [--record]

For each seed one world, and three detectors at the same number of steps: ours (boxes and image labels), boxes only (no
image label anywhere), and the oracle (the same pictures, with all boxes). Two baselines know the true image labels of
the test pictures: on the box of the whole picture, and on the most object-like box of the boxes-only detector.
Prints AP50 on boxed and on label-only classes, mean and spread over the seeds. `--record` writes the means to the file
from which `yolo9000 demo` takes its yardsticks. Finished parts are kept, so an interrupted benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from statistics import mean, pstdev

from data_prep import EmojiWorldConfig, MergeConfig, ShardReader, load_config, merge
from data_prep.emoji_world import emoji_world
from yolo9000.checkpoint import load_checkpoint
from yolo9000.demo import STEPS_PER_MINUTE, demo_config
from yolo9000.evaluate import TestPictures, best_boxes
from yolo9000.report import Yardstick
from yolo9000.scorecard import Scorecard, label_on_best_box, label_on_whole_image, score
from yolo9000.train import train

BOXES_ONLY = "boxes only, no image labels"
ORACLE = "oracle: the same pictures, all boxes"
OURS = "joint training"
ON_WHOLE = "true label on the whole picture"
ON_BEST_BOX = "true label on the best box of the boxes-only detector"

VARIANTS = {  # which merge, and what differs from the demo's configuration
    ORACLE: ("merge_oracle", ("augment.tile_sources=[labels]",)),
    BOXES_ONLY: ("merge", ("data.ratio={scenes: 1}",)),
    OURS: ("merge", ()),
}


Parts = tuple[float | None, float]
"""AP50 on boxed classes (None where it is not asked) and on label-only classes."""


@dataclass(frozen=True)
class Spread:
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(mean(values), pstdev(values))

    def __str__(self) -> str:
        return f"{self.mean:5.1f} ± {self.deviation:3.1f}"


def main() -> None:
    arguments = parse()
    results: dict[str, list[Parts]] = {}
    for seed in arguments.seeds:
        for name, parts in run_seed(arguments.folder / f"seed{seed}", seed, arguments).items():
            results.setdefault(name, []).append(parts)
    rows = [summary(name, parts) for name, parts in results.items()]
    ours, oracle = (next(label_only for row, _, label_only in rows if row == name) for name in (OURS, ORACLE))
    print(f"\n{len(arguments.seeds)} seeds, {steps_of(arguments)} steps; AP50, mean ± spread")
    for name, boxed, label_only in rows:
        print(f"{name:55} boxed {boxed or '    –     '}   label-only {label_only}")
    print(f"joint training reaches {ours.mean / oracle.mean:.0%} of the oracle on label-only classes")
    if arguments.record:
        record(rows, arguments)


def run_seed(folder: Path, seed: int, arguments: argparse.Namespace) -> dict[str, Parts]:
    """AP50 on boxed and on label-only classes of every variant and baseline."""
    done = folder / "results.json"
    if done.exists():
        return {name: tuple(parts) for name, parts in json.loads(done.read_text()).items()}
    world = folder / "world"
    emoji_world(world, EmojiWorldConfig(seed=seed))
    found, cards = {}, {}
    for name, (merged, overrides) in VARIANTS.items():
        shards = folder / merged
        merge(load_config(world / f"{merged}.yaml", MergeConfig), shards, workers=2)
        cfg = demo_config(shards, steps=steps_of(arguments), seed=seed, overrides=overrides)
        run, started = folder / name.split(",")[0].split(":")[0].replace(" ", "_"), time.monotonic()
        cards[name] = train(cfg, run, resume=(run / "last.pt").exists())
        found[name] = run
        print(f"seed {seed}: {name}, {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    # What is label-only is what had no box in *our* training, in every row.
    ledger = ShardReader(folder / "merge").ledger
    scored = {name: split_by(card, ledger.tree.node, ledger.evidence) for name, card in cards.items()}
    scored |= baselines(found[BOXES_ONLY], folder / "merge")
    done.write_text(json.dumps(scored, indent=1))
    return scored


def baselines(boxes_only: Path, shards: Path) -> dict[str, Parts]:
    """The two answers that know the true image labels but were never taught to place them."""
    checkpoint, reader = load_checkpoint(boxes_only / "best.pt"), ShardReader(shards)
    cfg = checkpoint.config.evaluate
    pictures = TestPictures.of(reader, cfg)
    nodes = {int(node) for node in pictures.nodes() if reader.ledger.evidence(int(node)) == "image labels"}
    boxes = best_boxes(checkpoint.build_model(), pictures, checkpoint.config.model.input_size_px, cfg)
    answers = {
        ON_WHOLE: label_on_whole_image(pictures.truths, pictures.sizes_px, nodes),
        ON_BEST_BOX: label_on_best_box(pictures.truths, boxes, nodes),
    }
    cards = {
        name: score(pictures.truths, found, tree=reader.tree, evidence=reader.ledger.evidence)
        for name, found in answers.items()
    }
    return {name: (None, card.label_only.ap50 or 0.0) for name, card in cards.items()}


def split_by(card: Scorecard, node_of, evidence) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Mean AP50 over the classes that had boxes, and over those with image labels only, by another run's ledger."""
    parts: dict[str, list[float]] = {"boxes": [], "image labels": []}
    for one in card.classes:
        parts[evidence(node_of(one.id))].append(one.ap50)
    return mean(parts["boxes"]), mean(parts["image labels"])


def summary(name: str, parts: list[Parts]) -> tuple[str, Spread | None, Spread]:
    boxed, label_only = zip(*parts, strict=True)
    return name, None if None in boxed else Spread.of(boxed), Spread.of(label_only)


def record(rows: list[tuple[str, Spread | None, Spread]], arguments: argparse.Namespace) -> None:
    yardsticks = [
        asdict(Yardstick(name, None if boxed is None else round(boxed.mean, 1), round(label_only.mean, 1)))
        for name, boxed, label_only in rows
        if name != OURS
    ]
    seeds = " ".join(map(str, arguments.seeds))
    command = f"python benchmarks/never_boxed.py --seeds {seeds} --minutes {arguments.minutes:g} --record"
    path = Path(str(files("yolo9000") / "data" / "demo_yardsticks.json"))
    path.write_text(json.dumps({"command": command, "yardsticks": yardsticks}, indent=1) + "\n")


def steps_of(arguments: argparse.Namespace) -> int:
    return round(arguments.minutes * STEPS_PER_MINUTE)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=5, help="training length, as of `yolo9000 demo`")
    parser.add_argument("--folder", type=Path, default=Path("runs/never_boxed"))
    parser.add_argument("--record", action="store_true", help="write the demo's yardsticks")
    return parser.parse_args()


if __name__ == "__main__":
    main()
