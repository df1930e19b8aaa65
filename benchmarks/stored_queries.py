"""Time of queries over a million stored detections: `python benchmarks/stored_queries.py [FOLDER]`.

Writes 100,000 images with ten detections each, of random classes of a tree of 9418 nodes, into FOLDER once, and prints
the median CPU time of each query over seven runs, with the tree loaded. The first query matches 21 % of the detections.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from tests.yolo9000.made import random_tree
from yolo9000.predictions.store import ResultStore, StoreWriter

IMAGES, IN_EACH, NODES = 100_000, 10, 9418
QUERIES = (
    "own1 & !own20 & score >= 0.3",
    "own1",
    "leaf & score > 0.9",
    "depth >= 0 & score > 0.5",
    "(own1 & score > 0.5) | (own2 & area < 5)",
)


def main(folder: Path) -> None:
    """Write the store if it is missing, and time the queries."""
    path, tree = folder / "million.sqlite", random_tree(NODES)
    if not path.exists():
        rng = np.random.default_rng(0)
        began = time.perf_counter()
        with StoreWriter(path, tree, {"model_sha256": "benchmark"}) as writer:
            for image in range(IMAGES):
                nodes, scores = rng.integers(0, NODES, IN_EACH), np.sort(rng.random(IN_EACH))[::-1].round(6)
                found = [
                    {"xyxy_px": [1, 2, 30, 40], "id": tree.ids[node], "score": score, "absolute": score}
                    for node, score in zip(nodes, scores.tolist(), strict=True)
                ]
                rows = [{**one, "objectness": 1.0} for one in found]
                writer.add(
                    {"image": f"cards/{image}.jpg", "width_px": 64, "height_px": 64, "detections": rows}
                )
        seconds = time.perf_counter() - began
        print(f"written in {seconds:.0f} s, {path.stat().st_size / 1e6:.0f} MB")
    with ResultStore.open(path) as store:
        for expression in QUERIES:
            number = int(store.query(expression).counts().sum())
            times = [
                f"{what} {median(cpu_seconds(call) for _ in range(7)) * 1e3:.0f} ms"
                for what, call in (
                    ("counts", lambda: store.query(expression).counts()),  # noqa: B023 - called at once
                    ("20 best files", lambda: store.query(expression).matches(20)),  # noqa: B023
                    ("number of images", lambda: store.query(expression).count_matching_images()),  # noqa: B023
                )
            ]
            print(f"{expression}: {number:,} detections, {', '.join(times)}")


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
