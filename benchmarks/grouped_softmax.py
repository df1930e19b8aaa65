"""Time of a log softmax over every sibling group of 9418 nodes at 867 locations, and of a loop over the groups.

    python benchmarks/grouped_softmax.py [--quick] [--json FILE] [--nodes 9418] [--locations 867] [--rounds 7]
                                         [--threads 1] [--tree FILE]

867 locations are 3 anchors on a grid of 17 × 17 cells. The loop has locations as rows and takes a slice of nodes for
each group, which is the direct translation of Darknet's; `loop, nodes first` has nodes as rows. `flat` is one softmax
over all nodes and `copy` reads and writes the logits once: bounds for all methods. Prints the median of the rounds, in
which all methods take turns, in milliseconds of CPU time with one thread and of wall time with more; and how many times
faster than the loop this is, as the median over the rounds.

Requirement: log_conditional at least 10 times as fast as the loop. Measured on one of two cores that other processes
used as well: 10.4 times (13.5 ms; a copy takes 5.2), with its gradient 7.9 times (33.5 ms), P(node) of all nodes 5.5
times (52 ms).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from benchmark_options import benchmark_parser, parse, write_json
from generated_training import generated_tree
from torch import Tensor

from wordtree import WordTree
from yolo9000.models.grouped_softmax import GroupedSoftmax
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.allocator import keep_freed_memory

QUICK = {"nodes": 600, "locations": 50, "rounds": 2}
Work = Callable[[], Tensor]


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    tree = WordTree.load(args.tree) if args.tree else generated_tree(args.nodes)
    torch.manual_seed(0)
    logits = torch.randn(len(tree), args.locations)
    check(tree, logits)
    now = process_time if args.threads == 1 else perf_counter
    tables = {
        "forward": measure(forward_methods(tree, logits), args.rounds, now),
        "forward and backward": measure(gradient_methods(tree, logits), args.rounds, now),
        "P(node) of all nodes": measure(absolute_methods(tree, logits), args.rounds, now),
    }
    print(
        f"{len(tree)} nodes in {len(tree.group_start)} groups, {args.locations} locations, {args.threads} threads"
    )
    for title, table in tables.items():
        print(f"\n{title:32}{'ms':>8}{'times faster':>16}")
        for name, (ms, times) in table.items():
            print(f"{name:32}{ms:8.1f}{times:16.1f}")
    write_json(args, tables)


def parse_arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--nodes", type=int, default=9418)
    parser.add_argument("--locations", type=int, default=867)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tree", type=Path)
    return parse(parser, QUICK)


def check(tree: WordTree, logits: Tensor) -> None:
    """AssertionError unless the results equal the loop's in float64, also where groups lie 200 nats apart."""
    softmax = GroupedSoftmax(tree)
    offset = 200 * torch.randn(len(tree.group_start), 1).sign()[torch.tensor(tree.group.tolist())]
    for values in (logits, logits + offset):
        expected = loop_over_groups(tree, values.double(), dim=0)
        torch.testing.assert_close(softmax(values, dim=0).double(), expected, rtol=1e-4, atol=1e-4)


def loop_over_groups(tree: WordTree, logits: Tensor, *, dim: int) -> Tensor:
    parts = logits.split(tree.group_size.tolist(), dim)
    return torch.cat([part.log_softmax(dim) for part in parts], dim)


def forward_methods(tree: WordTree, logits: Tensor) -> dict[str, Work]:
    softmax, locations_first = GroupedSoftmax(tree), logits.t().contiguous()
    return {
        "loop": partial(loop_over_groups, tree, locations_first, dim=1),
        "loop, nodes first": partial(loop_over_groups, tree, logits, dim=0),
        "log_conditional": partial(softmax.log_conditional, logits),
        "… nodes in their own order": partial(softmax, logits, 0),
        "flat": partial(torch.log_softmax, locations_first, 1),
        "copy": logits.clone,
    }


def gradient_methods(tree: WordTree, logits: Tensor) -> dict[str, Work]:
    softmax, gradient = GroupedSoftmax(tree), torch.randn_like(logits)

    def with_gradient(work: Callable[[Tensor], Tensor], values: Tensor, upstream: Tensor) -> Tensor:
        values = values.detach().requires_grad_()
        work(values).backward(upstream)  # type: ignore[no-untyped-call]
        assert values.grad is not None
        return values.grad

    loop, flat = partial(loop_over_groups, tree, dim=1), partial(torch.log_softmax, dim=1)
    locations_first, upstream = logits.t().contiguous(), gradient.t().contiguous()
    return {
        "loop": partial(with_gradient, loop, locations_first, upstream),
        "log_conditional": partial(with_gradient, softmax.log_conditional, logits, gradient),
        "flat": partial(with_gradient, flat, locations_first, upstream),
    }


def absolute_methods(tree: WordTree, logits: Tensor) -> dict[str, Work]:
    tree_tensors, locations_first = TreeTensors(tree), logits.t().contiguous()

    def loop() -> Tensor:
        absolute = loop_over_groups(tree, locations_first, dim=1).exp()
        for node, parent in enumerate(tree.parent.tolist()):
            if parent >= 0:
                absolute[:, node] *= absolute[:, parent]
        return absolute

    return {"loop": loop, "log_absolute_of_all": lambda: tree_tensors.log_absolute_of_all(logits).exp()}


def measure(
    methods: dict[str, Work], rounds: int, now: Callable[[], float]
) -> dict[str, tuple[float, float]]:
    """Milliseconds of each method, and how many times as fast as the first it is."""
    times_ms: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds + 1):
        for name, work in methods.items():
            start = now()
            work()
            if turn:  # the first is the warm-up
                times_ms[name].append(1000 * (now() - start))
    first = next(iter(times_ms.values()))
    return {
        name: (round(median(times), 2), round(median(a / b for a, b in zip(first, times, strict=True)), 2))
        for name, times in times_ms.items()
    }


if __name__ == "__main__":
    main()
