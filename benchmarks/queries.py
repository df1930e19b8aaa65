"""Time of tree queries, on a tree of all WordNet nouns below *entity*, 82,114 nodes.

    python benchmarks/queries.py [--quick] [--json FILE] [--runs 21]

Prints the median of the runs in milliseconds. Requirement on two CPU cores: 10,000 pairs of *is under* in less than
1 ms, an expression in less than 10 ms. The first query with a name builds the name index, which is timed separately.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
from benchmark_options import benchmark_parser, parse, write_json

from wordtree import WordTree, build_tree
from wordtree.wordnet.graph import WordNet

QUICK = {"runs": 3}
EXPRESSIONS = (
    "vehicle.n.01 & !car.n.01",
    "(fruit | vegetable) & depth <= 8",
    "leaf & *terrier",
    "siblings(*dog) | above(hot dog)",
    "graph(domestic animal) & !domestic animal",
    "depth = 6 | leaf & depth < 6",
)


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--runs", type=int, default=21)
    args = parse(parser, QUICK)
    tree = all_nouns()
    generator = np.random.default_rng(0)
    nodes, ancestors = generator.integers(0, len(tree), (2, 10_000))
    print(f"{len(tree)} nodes, {len(tree.relations)} relations")
    started = perf_counter()
    tree.named("dog")
    print(f"{(perf_counter() - started) * 1000:8.3f} ms  the index of names, once")
    works: dict[str, Callable[[], object]] = {
        "10,000 nodes under one ancestor": lambda: tree.is_at_or_under(nodes, 0),
        "10,000 pairs": lambda: tree.is_at_or_under(nodes, ancestors),
    }
    works |= {expression: partial(tree.select, expression) for expression in EXPRESSIONS}
    results = {}
    for title, work in works.items():
        results[title] = median_ms(work, args.runs)
        found = f"  ({len(tree.select(title))} nodes)" if title in EXPRESSIONS else ""
        print(f"{results[title]:8.3f} ms  {title}{found}")
    write_json(args, results)


def all_nouns() -> WordTree:
    wordnet = WordNet.shipped()
    root = wordnet.named("entity.n.01")
    assert root is not None
    return build_tree((wnid for wnid in wordnet.wnids if wnid != wordnet.wnid(root)), root="entity.n.01")


def median_ms(query: Callable[[], object], runs: int) -> float:
    seconds = []
    for _ in range(runs):
        started = perf_counter()
        query()
        seconds.append(perf_counter() - started)
    return 1000 * median(seconds)


if __name__ == "__main__":
    main()
