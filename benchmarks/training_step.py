"""A training step by its parts: what the loss and its targets cost beside the network, round about in one run.

    python benchmarks/training_step.py [--nodes 9418 80] [--precision bfloat16 float32] [--rounds 3] [--threads 1]
                                       [--batch 16] [--size 416] [--width 1] [--tree FILE] [--shards SHARDS]

The network is `yolov2` with random weights, on a made tree of so many nodes or that of FILE; the images are noise. In
turn: its forward, the loss, its backward, the optimizer. *The loss* is all from box logits and features to the terms
(targets included), and back to the gradients of box logits, features and class weights; since that of the class weights
is as large as they are, the last column leaves it out. A line for each kind of batch and rule: 8 boxes an image, or an
image label, or four images with labels to one with boxes. To an untrained network every place is an object, so that
vouching looks at its 64 places of every image. Prints the median (least) milliseconds of the rounds, of processor
time with one thread, which hardly depends on what else the machine does, and by the clock with more; the part of the
step that the loss is; and with SHARDS how many of their images a thread prepares while a step takes one.

To hold at full width, 416 px and batch 16: the loss takes at most 5 % of the step. Seen on one of two cores that ten
other processes shared, 9418 nodes, bfloat16: forward 2783 ms, backward 5610, optimizer 99; the loss by the defaults 149
(terms 68, back 81), 1.7 % of the step, .8 % without the gradient of the class weights; max_objectness on labels 1.1 %,
max_score on labels alone 1.8 %, boxes 1.5 %; in float32 the defaults .9 %. With 80 nodes .5 %, so that 9418 cost 1.016
of a step with 80. A thread prepares 205 photographs a second, the step takes 1.9.
With glibc told to keep large memory (MALLOC_MMAP_THRESHOLD_=17179869184 MALLOC_TRIM_THRESHOLD_=17179869184
MALLOC_TOP_PAD_=268435456) forward 2320, backward 4996, the loss 67 + 17: 13 % less, since no page is given back and
asked for again in every step.
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
from torch import Tensor

from data_prep import ShardReader
from wordtree import WordTree
from wordtree.support.arrays import BoolArray
from yolo9000.config import Config, DataConfig, LossConfig, ModelConfig, OptimizerConfig, ScheduleConfig
from yolo9000.data.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.data.detector_data import TrainingData
from yolo9000.losses.joint import JointLoss, LossTerms
from yolo9000.models.detector import Detector, build_model
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import Hierarchy
from yolo9000.training.optim import build_optimizer

ANCHORS = ((0.57, 0.68), (1.87, 2.06), (3.34, 5.47), (7.88, 3.53), (9.77, 9.17))  # darknet yolov2.cfg
BOXES = 8  # in each image that has boxes
AFTER_WARM_UP = 10**6  # images seen

Made = TypeVar("Made")


@dataclass(frozen=True)
class Case:
    """A line of the table: a kind of batch, and the rules of its loss."""

    name: str
    targets: Targets
    criterion: JointLoss


@dataclass(frozen=True)
class Stopwatch:
    """Milliseconds of named parts, each measured once a round."""

    now: Callable[[], float]
    found: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], Made]) -> Made:
        start = self.now()
        made = work()
        self.found.setdefault(name, []).append(1000 * (self.now() - start))
        return made

    def ms(self, name: str) -> float:
        return median(self.found[name])

    def shown(self, name: str) -> str:
        return f"{self.ms(name):6.0f} ({min(self.found[name]):.0f})"


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    for tree in [WordTree.load(given.tree)] if given.tree else [made_tree(nodes) for nodes in given.nodes]:
        for precision in given.precision:
            measure(tree, precision, given)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[9418, 80])
    parser.add_argument("--precision", nargs="+", default=["bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=416, help="px")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--tree", type=Path)
    parser.add_argument("--shards", type=Path)
    return parser.parse_args()


def made_tree(nodes: int) -> WordTree:
    """Sibling groups of log-normal size under random leaves: paths as long and wide as in the published tree."""
    rng = np.random.default_rng(0)
    parents, leaves = [-1] * 4, list(range(4))
    while len(parents) < nodes:
        size = min(nodes - len(parents), max(1, round(rng.lognormal(1.1, 1.0))))
        chosen = int(rng.integers(len(leaves)))
        parent, leaves[chosen] = leaves[chosen], leaves[-1]
        leaves[-1:] = range(len(parents), len(parents) + size)
        parents += [parent] * size
    return WordTree([f"own{node}" for node in range(nodes)], parents)


def measure(tree: WordTree, precision: str, given: argparse.Namespace) -> None:
    torch.manual_seed(0)
    cfg = ModelConfig(anchors=ANCHORS, width=given.width, input_size_px=given.size)
    model = build_model(cfg, tree).train()
    optimizer = build_optimizer(model, OptimizerConfig(learning_rate=1e-6))
    images = torch.rand(given.batch, 3, given.size, given.size).contiguous(memory_format=torch.channels_last)
    cases = list(cases_of(model.hierarchy, given.batch))
    input_data = training_data(given) if given.shards else None
    now = process_time if given.threads == 1 else perf_counter
    one_round(model, optimizer, images, cases, precision, Stopwatch(now))  # warms up
    watch = Stopwatch(now)
    for turn in range(1, given.rounds + 1):
        one_round(model, optimizer, images, cases, precision, watch)
        if input_data:
            watch.time("input", lambda data=input_data, step=turn: data.batch(step))  # type: ignore[misc]
    members = len(model.hierarchy.path_members(torch.arange(len(tree))).node) / len(tree)
    print(
        f"\n{len(tree)} nodes, {members:.0f} members of groups on a path; {precision}; {given.batch} images"
    )
    tell(watch, cases, given.batch)


def one_round(
    model: Detector,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    cases: list[Case],
    precision: str,
    watch: Stopwatch,
) -> None:
    """Every part once; the backward of the network goes down the gradients of the last case."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        output: GridOutput = watch.time("forward", lambda: model(images))
    for case in cases:
        for learns in (False, True):
            model.head.classes.requires_grad_(learns).zero_grad(set_to_none=True)
            gradients = time_loss(case, output, watch, back="back" if learns else "back without weights")
    watch.time("backward", lambda: torch.autograd.backward([output.box_logits, output.features], gradients))
    watch.time("optimizer", optimizer.step)


def time_loss(case: Case, output: GridOutput, watch: Stopwatch, *, back: str) -> list[Tensor]:
    """The gradients of box logits and features, cut off from the network."""
    inputs = [tensor.detach().requires_grad_() for tensor in (output.box_logits, output.features)]
    cut = replace(output, box_logits=inputs[0], features=inputs[1])

    def terms() -> LossTerms:
        return case.criterion(cut, case.targets, images_seen=AFTER_WARM_UP)  # type: ignore[no-any-return]

    total = watch.time(f"{case.name}: terms", terms).total
    watch.time(f"{case.name}: {back}", total.backward)
    return [tensor.grad for tensor in inputs]  # type: ignore[misc]


def cases_of(hierarchy: Hierarchy, pictures: int) -> Iterator[Case]:
    every = np.arange(pictures)
    batches = {"labels": every < 0, "mixed": every % 5 == 0, "boxes": every >= 0}
    nothing = torch.zeros(pictures, len(hierarchy), dtype=torch.bool)  # is vouched for
    rules: list[tuple[str, str, dict[str, object]]] = [
        ("labels, max_objectness", "labels", {"assign": "max_objectness"}),
        ("labels, max_size", "labels", {"assign": "max_size"}),
        ("labels, top_k", "labels", {"assign": "top_k"}),
        ("labels, max_score", "labels", {}),
        ("boxes, no vouching", "boxes", {"unannotated_objectness": None}),
        ("boxes", "boxes", {}),
        ("mixed, the defaults", "mixed", {}),
    ]
    for name, batch, changes in rules:
        cfg = LossConfig().model_copy(update=changes)
        targets = made_targets(hierarchy, batches[batch])
        yield Case(name, replace(targets, exhaustive=nothing), JointLoss(cfg, hierarchy))


def made_targets(hierarchy: Hierarchy, has_boxes: BoolArray) -> Targets:
    """Random boxes of leaves in the images that have boxes, and a leaf as the label of each of the others."""
    rng = np.random.default_rng(0)
    leaves = np.flatnonzero(hierarchy.child_group.numpy() < 0)
    image = np.repeat(np.flatnonzero(has_boxes), BOXES)
    labelled = torch.from_numpy(np.flatnonzero(~has_boxes))
    size = rng.uniform(0.05, 0.6, (len(image), 2))
    corner = rng.uniform(0, 1 - size)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(len(labelled), 1)
    return Targets(
        BoxColumns(
            torch.from_numpy(image),
            torch.from_numpy(np.concatenate([corner, corner + size], axis=1)).float(),
            torch.from_numpy(rng.choice(leaves, len(image))),
        ),
        ImageLabelColumns(labelled, torch.from_numpy(rng.choice(leaves, len(labelled))), whole),
        IgnoreColumns(labelled, whole),
        source=torch.zeros(len(has_boxes), dtype=torch.int64),
    )


def training_data(given: argparse.Namespace) -> TrainingData:
    """The input of a run over SHARDS, augmented by the defaults."""
    cfg = Config(
        model=ModelConfig(input_size_px=given.size),
        data=DataConfig(shards=given.shards, batch_size=given.batch),
        schedule=ScheduleConfig(max_steps=1),
    )
    data = TrainingData(ShardReader(given.shards), cfg)
    data.batch(1)
    return data


def tell(watch: Stopwatch, cases: list[Case], pictures: int) -> None:
    parts = ("forward", "backward", "optimizer")
    network = sum(watch.ms(part) for part in parts)
    print("ms:", ", ".join(f"{part} {watch.shown(part).strip()}" for part in parts))
    print(f"{'the loss, ms':24}{'terms':>14}{'back':>14}{'of the step':>14}{'without weights':>18}")
    for case in cases:
        terms, back, less = (f"{case.name}: {part}" for part in ("terms", "back", "back without weights"))
        shares = (loss / (network + loss) for loss in (watch.ms(terms) + watch.ms(b) for b in (back, less)))
        columns = "".join(f"{share:>14.1%}" for share in shares)
        print(f"{case.name:24}{watch.shown(terms):>14}{watch.shown(back):>14}{columns}")
    step = network + watch.ms(terms) + watch.ms(back)
    line = f"a step takes {1000 * pictures / step:.1f} images/s"
    if "input" in watch.found:
        made = 1000 * pictures / watch.ms("input")
        line += f", a thread prepares {made:.0f}: {made * step / pictures / 1000:.0f} times as many"
    print(line)


if __name__ == "__main__":
    main()
