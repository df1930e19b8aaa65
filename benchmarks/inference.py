"""Speed of the network in each engine, and of `predict` from image files to results.

    python benchmarks/inference.py [--quick] [--json FILE] [--images FOLDER] [--threads 1] [--rounds 7]
                                   [--batch 8] [--size 416] [--width 1] [--nodes 9418] [--count 1000]
                                   [--darknet EXECUTABLE] [--engines torch-bfloat16 …]

The network is `yolov2` with random weights on a generated tree. Each round runs one batch in every engine, in shuffled
order. `before` is the network as it was before there were engines: float32, batch norm not folded. Times are CPU times
with one thread, which hardly depend on other processes, and wall times with more. GFLOP/s counts multiplication and
addition apart; the peak is that of a large matrix product in torch, in the same precision and in the same rounds.

ncnn (`pip install ncnn pnnx`) and Darknet (--darknet) are rows for comparison, which `predict` does not use. Both run
one image after the other. Darknet comes last; it has a class head for 8 nodes, and it decodes and draws.

With --images, `predict` runs over the images of a folder, repeated up to --count, with and without annotated images:
the share of its time that the network alone takes for as many batches, in the same engine. The network is timed by
itself before and after each run, since threads that decode and draw share the clock during the run.

Requirements: torch in its best precision is at least as fast as ONNX Runtime; the best engine is at least three times
as fast as `before`; `predict` reaches at least .85 of the network's rate.
Measured on one core with AMX, with --batch 4 --rounds 3 (images/s): before 6.0, torch 6.4 in float32 and 21.9 in
bfloat16, ONNX Runtime 6.7, OpenVINO 7.0 and 34.6, ncnn 5.5, Darknet 0.46. Share of the network in `predict` with
OpenVINO in bfloat16, 1000 photographs: .81, annotated .79.
"""

from __future__ import annotations

import argparse
import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch
from benchmark_options import benchmark_parser, parse, write_json
from peers import darknet_seconds, has_ncnn, ncnn_network
from torch.utils.flop_counter import FlopCounterMode

from wordtree import WordTree
from yolo9000 import Predictor
from yolo9000.checkpoints.checkpoint import load_detector
from yolo9000.config import ModelConfig, Precision
from yolo9000.engines.engine import build_engine
from yolo9000.engines.names import is_installed
from yolo9000.inference import FoundImages, find_images
from yolo9000.models import Detector, build_detector
from yolo9000.predictions import OutputChoice, predict_images
from yolo9000.training.allocator import keep_freed_memory

ANCHORS = [[1, 1], [2, 2], [3, 1.5], [1.5, 3], [5, 5]]
ENGINES: tuple[tuple[str, Precision], ...] = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("onnxruntime", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
)
QUICK = {"rounds": 2, "batch": 2, "size": 96, "width": 0.125, "nodes": 300, "count": 4}
# The made detector has a few detections in each photograph: with these objectness logits and this threshold.
OBJECTNESS_LOGIT, OBJECTNESS_SCALE, MIN_SCORE = -6.0, 30.0, 0.05
DARKNET_NODES = 8
MATRIX = 1536  # side of the product that stands for the peak


@dataclass(frozen=True)
class Row:
    """One engine: images per second, GFLOP/s, share of the peak in its precision, speed as a multiple of `before`."""

    engine: str
    precision: str
    images_per_s: float
    gflops: float
    share_of_peak: float
    times_before: float


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    clock = process_time if args.threads == 1 else perf_counter
    rows = engine_rows(args, clock)
    for row in rows:
        print(
            f"{row.engine:12} {row.precision:9} {row.images_per_s:7.2f} images/s {row.gflops:7.0f} GFLOP/s "
            f"{100 * row.share_of_peak:4.0f} % of peak {row.times_before:5.2f} × before"
        )
    shares = predict_shares(args, clock) if args.images else {}
    for name, share in shares.items():
        print(f"predict {name}: {share:.3f} of the network's rate")
    write_json(args, {"engines": [asdict(row) for row in rows], "predict": shares, "settings": vars(args)})


def engine_rows(args: argparse.Namespace, clock: Callable[[], float]) -> list[Row]:
    """A row for each installed engine."""
    detector = made_detector(args, args.nodes)
    images = torch.rand(args.batch, 3, args.size, args.size)
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), counter:
        detector(images)
    gflop = counter.get_total_flops() / args.batch / 1e9
    runs: dict[tuple[str, str], Callable[[], object]] = {
        ("before", "float32"): lambda: detector(images.contiguous(memory_format=torch.channels_last))
    }
    for name, precision in chosen_engines(args):
        engine = build_engine(copy.deepcopy(detector), name, precision=precision)
        runs[name, precision] = lambda engine=engine: engine(images)
    if has_ncnn():
        runs["ncnn", "float32"] = ncnn_network(detector, images, threads=args.threads)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = torch.randn(2, MATRIX, MATRIX).to(dtype)
        runs["peak", precision] = lambda a=a, b=b: a @ b
    least = least_seconds(runs, args.rounds, clock)
    if args.darknet:
        with TemporaryDirectory() as folder:
            checkpoint = load_detector(save_made_checkpoint(args, Path(folder), nodes=DARKNET_NODES))
        seconds = darknet_seconds(args.darknet, checkpoint, images=args.rounds, threads=args.threads)
        least["darknet", "float32"] = args.batch * seconds
    peak = {
        precision: 2 * MATRIX**3 / 1e9 / least["peak", precision] for precision in ("float32", "bfloat16")
    }
    rows = []
    for (name, precision), seconds in least.items():
        if name != "peak":
            rate = args.batch / seconds
            share, times = rate * gflop / peak[precision], least["before", "float32"] / seconds
            rows.append(Row(name, precision, rate, rate * gflop, share, times))
    return rows


def chosen_engines(args: argparse.Namespace) -> list[tuple[str, Precision]]:
    """The installed engines with a precision, of those that were asked for."""
    return [
        (name, precision)
        for name, precision in ENGINES
        if is_installed(name) and (not args.engines or f"{name}-{precision}" in args.engines)
    ]


def least_seconds(
    runs: dict[tuple[str, str], Callable[[], object]], rounds: int, clock: Callable[[], float]
) -> dict[tuple[str, str], float]:
    """The least time of each run, interleaved in shuffled order."""
    least = dict.fromkeys(runs, float("inf"))
    order = list(runs)
    with torch.inference_mode():
        for round_number in range(rounds + 1):  # the first one warms up
            random.Random(round_number).shuffle(order)
            for name in order:
                start = clock()
                runs[name]()
                if round_number:
                    least[name] = min(least[name], clock() - start)
    return least


def predict_shares(args: argparse.Namespace, clock: Callable[[], float]) -> dict[str, float]:
    """The share of `predict`'s time that the network takes, with and without drawing, by engine."""
    found = find_images([args.images])
    entries = list(islice(cycle(found.entries), args.count))
    images = FoundImages(entries=entries)
    shares = {}
    with TemporaryDirectory() as folder:
        checkpoint = save_made_checkpoint(args, Path(folder), nodes=args.nodes)
        sizes = {"batch_size": args.batch, "input_size_px": args.size}
        for name, precision in chosen_engines(args):
            changes = {"precision": precision, "min_score": MIN_SCORE, **sizes}
            predictor = Predictor(checkpoint, changes=changes, engine=name)
            for draw in (False, True):
                out = Path(folder) / f"{name}-{precision}-{draw}"
                network, total = time_of_run(predictor, images, OutputChoice(out, draw=draw), clock)
                shares[f"{name} {precision}, {'annotated' if draw else 'not annotated'}"] = network / total
    return shares


def time_of_run(
    predictor: Predictor, images: FoundImages, choice: OutputChoice, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of the network alone for as many batches as the run has, and of the whole run."""
    batch = predictor.settings.batch_size
    canvases = torch.rand(batch, 3, predictor.size_px, predictor.size_px)
    runs = {("network", "alone"): lambda: predictor.engine(canvases)}
    before = least_seconds(runs, 3, clock)
    start = clock()
    predict_images(predictor, images, choice)
    total = clock() - start
    after = least_seconds(runs, 3, clock)
    least = (before["network", "alone"] + after["network", "alone"]) / 2
    return least * -(-len(images.entries) // batch), total


def made_detector(args: argparse.Namespace, nodes: int) -> Detector:
    """A detector with random weights on a tree of groups of eight siblings; few of its locations have objects."""
    torch.manual_seed(0)
    cfg = ModelConfig.model_validate(
        {"architecture": "yolov2", "width": args.width, "anchors": ANCHORS, "input_size_px": args.size}
    )
    detector = build_detector(cfg, made_tree(nodes)).eval()
    assert detector.head.box.bias is not None
    detector.head.box.bias.data[4::5] = OBJECTNESS_LOGIT
    detector.head.box.weight.data[4::5] *= OBJECTNESS_SCALE
    return detector


def made_tree(nodes: int) -> WordTree:
    """A tree of N nodes with eight children to each node."""
    parents = [-1 if node < 8 else node // 8 - 1 for node in range(nodes)]
    names = [f"own{node}" for node in range(nodes)]
    return WordTree(ids=names, parents=parents, names=names)


def save_made_checkpoint(args: argparse.Namespace, folder: Path, *, nodes: int) -> Path:
    """A checkpoint of `made_detector` with so many nodes."""
    from data_prep import LabelCounts
    from yolo9000.checkpoints.checkpoint import Checkpoint, save_checkpoint
    from yolo9000.config import Config

    tree = made_tree(nodes)
    model = {"architecture": "yolov2", "width": args.width, "anchors": ANCHORS, "input_size_px": args.size}
    config = Config.model_validate({"model": model, "data": {"shards": "."}, "schedule": {"max_steps": 1}})
    weights = made_detector(args, nodes).state_dict()
    counts = LabelCounts(tree, [1] * len(tree), [0] * len(tree))
    path = folder / "made.pt"
    checkpoint = Checkpoint(
        config, tree, counts, step=0, weights=weights, training=None, best_metric=float("nan")
    )
    save_checkpoint(path, checkpoint)
    return path


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=Path, metavar="FOLDER")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=416)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--nodes", type=int, default=9418)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--darknet", type=Path, metavar="EXECUTABLE", help="compare with Darknet, too")
    names = [f"{name}-{precision}" for name, precision in ENGINES]
    parser.add_argument("--engines", nargs="+", choices=names, help="default: all that are installed")
    return parse(parser, QUICK, arguments)


if __name__ == "__main__":
    main()
