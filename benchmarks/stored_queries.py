"""Time of queries over a million stored detections.

    python benchmarks/stored_queries.py [FOLDER] [--quick] [--json FILE] [--images 100000]

Writes images with ten detections each, of random classes of a tree of 9418 nodes, into FOLDER once, and prints the
median CPU time of each query over seven runs, with the tree loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
from benchmark_options import benchmark_parser, parse, write_json
from generated_training import generated_tree

from yolo9000.predictions.store import ResultStore, StoreWriter

QUICK = {"images": 200}
IN_EACH, NODES, RUNS = 10, 9418, 7
QUERIES = (  # own27: a fifth of the nodes
    "own27 & !own17 & score >= 0.3",
    "own27",
    "leaf & score > 0.9",
    "depth >= 0 & score > 0.5",
    "(own27 & score > 0.5) | (own28 & area < 5)",
)


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="default: a temporary folder")
    parser.add_argument("--images", type=int, default=100_000)
    args = parse(parser, QUICK)
    with TemporaryDirectory() as temporary:
        path = (args.folder or Path(temporary)) / f"{args.images}_images.sqlite"
        if not path.exists():
            began = perf_counter()
            write_store(path, args.images)
            print(f"written in {perf_counter() - began:.0f} s, {path.stat().st_size / 1e6:.0f} MB")
        with ResultStore.open(path) as store:
            write_json(args, [row_of(store, expression) for expression in QUERIES])


def write_store(path: Path, images: int) -> None:
    """Write a store of images with detections of random classes."""
    tree, rng = generated_tree(NODES), np.random.default_rng(0)
    paths = [[tree.names[step] for step in tree.path(node)] for node in range(NODES)]
    classes = [
        {"id": tree.ids[node], "name": path[-1], "path": path, "conditional": [1.0] * len(path)}
        for node, path in enumerate(paths)
    ]
    with StoreWriter(path, tree, {"model_sha256": "benchmark"}) as writer:
        for image in range(images):
            nodes, scores = rng.integers(0, NODES, IN_EACH), np.sort(rng.random(IN_EACH))[::-1].round(6)
            found = [
                {"xyxy_px": [1, 2, 30, 40], "score": score, "absolute": score, **classes[node]}
                for node, score in zip(nodes, scores.tolist(), strict=True)
            ]
            rows = [{**one, "objectness": 1.0} for one in found]
            writer.add({"image": f"cards/{image}.jpg", "width_px": 64, "height_px": 64, "detections": rows})


def row_of(store: ResultStore, expression: str) -> dict[str, object]:
    """Detections that match, and milliseconds of each kind of answer; printed, too."""
    calls: dict[str, Callable[[], object]] = {
        "counts": lambda: store.query(expression).counts(),
        "20 best files": lambda: store.query(expression).matches(20),
        "number of images": lambda: store.query(expression).count_matching_images(),
    }
    number = int(store.query(expression).counts().sum())
    ms = {name: 1e3 * median(cpu_seconds(call) for _ in range(RUNS)) for name, call in calls.items()}
    times = ", ".join(f"{name} {value:.0f} ms" for name, value in ms.items())
    print(f"{expression}: {number:,} detections, {times}")
    return {"query": expression, "detections": number, "ms": ms}


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of a call."""
    began = process_time()
    call()
    return process_time() - began


if __name__ == "__main__":
    main()
