"""Time and memory of a training step with 80, 9418 and 82,115 classes.

    python benchmarks/training_step.py [--quick] [--json FILE] [--nodes 80 9418 82115] [--class-rows auto]
                                       [--precision float32 bfloat16] [--rounds 9] [--threads 1]
                                       [--batch 4] [--size 416] [--width 1]

The network is `yolov2` with random weights on a generated tree, the optimizer SGD with momentum and weight decay; the
images are noise with 8 boxes each. Each round takes one step with every number of classes, in turn. With one thread,
the times are CPU times, which hardly depend on other processes; with more, wall times. Freed memory is kept, as in
training (training/allocator.py). Memory (Linux) is the peak of the resident set of a fresh process for each number of
classes, after its class weights and their momentum have been written once (7 GB with 82,115 classes).

Requirements at the default size: 9418 classes take at most 1.03 times, and 82,115 at most 1.10 times as long as 80; and
apart from the class weights and their momentum at most 1.05 times as much memory. Measured in float32 on one of two
cores that other processes used as well: 1.006 and 1.011 times the 2.84 s of 80 classes; .991 and 1.027 times 2.3 GB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from benchmark_options import benchmark_parser, parse, write_json
from generated_training import GeneratedTraining, Size

from yolo9000.training.allocator import keep_freed_memory

QUICK = {"nodes": [80, 4500], "precision": ["float32"], "rounds": 2, "batch": 2, "size": 96, "width": 0.25}
MEMORY_STEPS = 3


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    nodes: int
    precision: str
    ms: float  # median of the rounds
    least_ms: float
    times: float  # median of the ratios to the first number of classes in the same round
    peak_mb: float  # of the process
    class_rows_mb: float  # of `peak_mb`: class weights and their moments
    memory_times: float  # ratio of the rest to that with the first number of classes


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    if args.memory_of:
        print(json.dumps(memory_mb(args.memory_of, args)))
        return
    rows = [row for precision in args.precision for row in measure(precision, args)]
    print_table(rows)
    write_json(args, [asdict(row) for row in rows])


def parse_arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[80, 9418, 82115])
    parser.add_argument("--class-rows", choices=["auto", "dense", "lazy"], default="auto")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=416, help="px")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    return parse(parser, QUICK)


def build_training(nodes: int, precision: str, args: argparse.Namespace) -> GeneratedTraining:
    size = Size(args.batch, args.size, args.width)
    return GeneratedTraining.of(nodes, size, precision=precision, class_rows=args.class_rows)


def measure(precision: str, args: argparse.Namespace) -> list[Row]:
    """A row for each number of nodes."""
    trainings = {nodes: build_training(nodes, precision, args) for nodes in args.nodes}
    now = process_time if args.threads == 1 else perf_counter
    times_ms: dict[int, list[float]] = {nodes: [] for nodes in args.nodes}
    for number in range(-1, args.rounds):  # the first is the warm-up
        for nodes, training in trainings.items():
            start = now()
            training.step(number)
            if number >= 0:
                times_ms[nodes].append(1000 * (now() - start))
    del trainings, training
    memory = {nodes: memory_in_fresh_process(nodes, precision) for nodes in args.nodes}
    first, rest = times_ms[args.nodes[0]], [peak - class_rows for peak, class_rows in memory.values()]
    return [
        Row(
            nodes,
            precision,
            round(median(times), 1),
            round(min(times), 1),
            round(median(time / least for time, least in zip(times, first, strict=True)), 3),
            *memory[nodes],
            memory_times=round(more / rest[0], 3),
        )
        for (nodes, times), more in zip(times_ms.items(), rest, strict=True)
    ]


def memory_in_fresh_process(nodes: int, precision: str) -> tuple[float, float]:
    """`memory_mb` of a process of its own, with the same arguments."""
    command = [sys.executable, *sys.argv, "--memory-of", str(nodes), "--precision", precision]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    peak, class_rows = json.loads(done.stdout)
    return peak, class_rows


def memory_mb(nodes: int, args: argparse.Namespace) -> tuple[float, float]:
    """Peak memory of this process after some steps, and the part of class weights and moments."""
    training = build_training(nodes, args.precision[0], args)
    for number in range(MEMORY_STEPS):
        training.step(number)
        if training.lazy_rows:
            training.lazy_rows.flush()
    weight = training.model.head.classes.weight
    tensors = [weight, *training.optimizer.state[weight].values()]
    class_rows = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    status = Path("/proc/self/status").read_text()  # getrusage would include the peak of the parent process
    return int(status.split("VmHWM:")[1].split()[0]) / 1024, class_rows / 2**20


def print_table(rows: list[Row]) -> None:
    heads = ("classes", "precision", "ms", "least", "times", "MB", "class rows", "times")
    print("".join(f"{head:>11}" for head in heads))
    for row in rows:
        numbers = (
            f"{row.ms:11.0f}{row.least_ms:11.0f}{row.times:11.3f}{row.peak_mb:11.0f}{row.class_rows_mb:11.0f}"
        )
        print(f"{row.nodes:11}{row.precision:>11}{numbers}{row.memory_times:11.3f}")


if __name__ == "__main__":
    main()
