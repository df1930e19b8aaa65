"""Time of the loss, the network and the optimizer in a training step; measured in turn in one run.

    python benchmarks/loss_time.py [--quick] [--json FILE] [--nodes 9418 80] [--precision bfloat16 float32]
                                   [--rounds 3] [--threads 1] [--batch 16] [--size 416] [--width 1]
                                   [--tree FILE] [--shards SHARDS]

The network is `yolov2` with random weights, on a generated tree or the tree of FILE; the images are noise. The loss is
measured from box logits and features to its terms (assignment included), and back to the gradients of box logits,
features and class weights. The last column leaves out the gradient of the class weights, which here is as large as they
are; training computes it for few rows only (training/lazy_rows.py, benchmarks/training_step.py).
Each line is a kind of batch and an assignment: 8 boxes per image, one label per image, or four images with labels to
one with boxes.

Prints the median (minimum) of the rounds in milliseconds: of CPU time with one thread, which hardly depends on other
processes, and of wall time with more; the share of the loss in the step; and with SHARDS the number of images that a
thread prepares in the time of one training image.

Requirement at full width, 416 px and batch 16: the loss takes at most 5 % of the step. Measured on one of two cores
that ten other processes shared, 9418 nodes, bfloat16: forward 2320 ms, backward 4996, optimizer 99; the loss with
default settings 84 (terms 67, backward 17), 1.1 % of the step. A thread prepares 205 photographs per second, the step
takes 2.1.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import TypeVar

import numpy as np
import torch
from benchmark_options import benchmark_parser, parse, write_json
from generated_training import AFTER_WARM_UP, ANCHORS, generated_targets, generated_tree
from torch import Tensor

from data_prep import ShardReader
from wordtree import WordTree
from yolo9000.config import Config, DataConfig, LossConfig, ModelConfig, OptimizerConfig, ScheduleConfig
from yolo9000.data.batch import Targets
from yolo9000.data.detector_data import DetectorData
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.models.detector import Detector, build_detector
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.allocator import keep_freed_memory
from yolo9000.training.optim import build_optimizer

QUICK = {"nodes": [300], "precision": ["float32"], "rounds": 1, "batch": 2, "size": 96, "width": 0.125}
Result = TypeVar("Result")


@dataclass(frozen=True)
class Case:
    """A line of the table: a kind of batch, and the settings of the loss."""

    name: str
    targets: Targets
    criterion: JointLoss


@dataclass(frozen=True)
class Stopwatch:
    """Milliseconds of named parts, each measured once per round."""

    now: Callable[[], float]
    times_ms: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], Result]) -> Result:
        start = self.now()
        result = work()
        self.times_ms.setdefault(name, []).append(1000 * (self.now() - start))
        return result

    def ms(self, name: str) -> float:
        return median(self.times_ms[name])

    def text(self, name: str) -> str:
        return f"{self.ms(name):6.0f} ({min(self.times_ms[name]):.0f})"


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    keep_freed_memory()  # as in training
    rows = []
    for tree in [WordTree.load(args.tree)] if args.tree else [generated_tree(nodes) for nodes in args.nodes]:
        for precision in args.precision:
            parts_ms = measure(tree, precision, args)
            rows.append({"nodes": len(tree), "precision": precision, "median_ms": parts_ms})
    write_json(args, rows)


def parse_arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[9418, 80])
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=416, help="px")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--shards", type=Path)
    return parse(parser, QUICK)


def measure(tree: WordTree, precision: str, args: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of every part."""
    torch.manual_seed(0)
    cfg = ModelConfig(anchors=ANCHORS, width=args.width, input_size_px=args.size)
    model = build_detector(cfg, tree).train()
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-6))
    images = torch.rand(args.batch, 3, args.size, args.size).contiguous(memory_format=torch.channels_last)
    cases = list(cases_of(model.tree_tensors, args.batch))
    input_data = training_data(args) if args.shards else None
    now = process_time if args.threads == 1 else perf_counter
    one_round(model, optimizer, images, cases, precision, Stopwatch(now))  # warm-up
    watch = Stopwatch(now)
    for turn in range(1, args.rounds + 1):
        one_round(model, optimizer, images, cases, precision, watch)
        if input_data:
            watch.time("input", lambda data=input_data, step=turn: data.batch(step))  # type: ignore[misc]
    members = len(model.tree_tensors.path_members(torch.arange(len(tree))).node) / len(tree)
    print(f"\n{len(tree)} nodes, {members:.0f} group members on a path; {precision}; {args.batch} images")
    print_table(watch, cases, args.batch)
    return {name: watch.ms(name) for name in watch.times_ms}


def one_round(
    model: Detector,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    cases: list[Case],
    precision: str,
    watch: Stopwatch,
) -> None:
    """Time every part once; the network's backward uses the gradients of the last case."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        output: GridOutput = watch.time("forward", lambda: model(images))
    for case in cases:
        for trained in (False, True):
            model.head.classes.requires_grad_(trained).zero_grad(set_to_none=True)
            gradients = time_loss(case, output, watch, back="back" if trained else "back without weights")
    watch.time("backward", lambda: torch.autograd.backward([output.box_logits, output.features], gradients))
    watch.time("optimizer", optimizer.step)


def time_loss(case: Case, output: GridOutput, watch: Stopwatch, *, back: str) -> list[Tensor]:
    """Gradients of box logits and features, which are detached from the network."""
    inputs = [tensor.detach().requires_grad_() for tensor in (output.box_logits, output.features)]
    detached = replace(output, box_logits=inputs[0], features=inputs[1])

    def terms() -> LossTerms:
        return case.criterion(detached, case.targets, images_seen=AFTER_WARM_UP)  # type: ignore[no-any-return]

    total = watch.time(f"{case.name}: terms", terms).total
    watch.time(f"{case.name}: {back}", total.backward)
    return [tensor.grad for tensor in inputs]  # type: ignore[misc]


def cases_of(tree_tensors: TreeTensors, images: int) -> Iterator[Case]:
    every = np.arange(images)
    batches = {"labels": every < 0, "mixed": every % 5 == 0, "boxes": every >= 0}
    rules: list[tuple[str, str, dict[str, object]]] = [
        ("labels, max_objectness", "labels", {"label_assignment": "max_objectness"}),
        ("labels, max_size", "labels", {"label_assignment": "max_size"}),
        ("labels, top_k", "labels", {"label_assignment": "top_k"}),
        ("labels, max_score", "labels", {"label_assignment": "max_score"}),
        ("boxes, all background", "boxes", {"unannotated_objectness": None}),
        ("boxes", "boxes", {}),
        ("mixed, defaults", "mixed", {}),
    ]
    for name, batch, changes in rules:
        cfg = LossConfig().model_copy(update=changes)
        targets = generated_targets(tree_tensors, batches[batch])
        yield Case(name, targets, JointLoss(cfg, tree_tensors))


def training_data(args: argparse.Namespace) -> DetectorData:
    """Training data of SHARDS with default augmentation."""
    cfg = Config(
        model=ModelConfig(input_size_px=args.size),
        data=DataConfig(shards=args.shards, batch_size=args.batch),
        schedule=ScheduleConfig(max_steps=1),
    )
    data = DetectorData(ShardReader(args.shards), cfg)
    data.batch(1)
    return data


def print_table(watch: Stopwatch, cases: list[Case], images: int) -> None:
    parts = ("forward", "backward", "optimizer")
    network = sum(watch.ms(part) for part in parts)
    print("ms:", ", ".join(f"{part} {watch.text(part).strip()}" for part in parts))
    print(f"{'loss, ms':24}{'terms':>14}{'backward':>14}{'of the step':>14}{'without weights':>18}")
    for case in cases:
        terms, back, less = (f"{case.name}: {part}" for part in ("terms", "back", "back without weights"))
        shares = (loss / (network + loss) for loss in (watch.ms(terms) + watch.ms(b) for b in (back, less)))
        columns = "".join(f"{share:>14.1%}" for share in shares)
        print(f"{case.name:24}{watch.text(terms):>14}{watch.text(back):>14}{columns}")
    step = network + watch.ms(terms) + watch.ms(back)
    line = f"a step takes {1000 * images / step:.1f} images/s"
    if "input" in watch.times_ms:
        prepared = 1000 * images / watch.ms("input")
        line += f", a thread prepares {prepared:.0f}: {prepared * step / images / 1000:.0f} times as many"
    print(line)


if __name__ == "__main__":
    main()
