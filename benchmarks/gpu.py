"""Training and inference on a GPU, in at most eight minutes.

    python benchmarks/gpu.py [--json FILE] [--minutes 8] [--device cuda] [--batch 16] [--size 416] [--width 1]
    python benchmarks/gpu.py --device cpu --quick          # a test of the program, without a GPU

The network is `yolov2` with random weights on generated trees of 80, 9418 and 82,115 nodes; the images are noise with 8
boxes each. Prints and writes as JSON, for float32 and bfloat16:

    peak        FLOP/s of a large matrix product. cuDNN computes float32 convolutions in TF32 by default, so the product
                for float32 does too.
    training    images per second, share of the peak, time relative to 80 nodes (the sizes take turns), and memory
    inference   the same for the network alone, and images per second from images to detections
    waits       how often the host waits for the GPU in one training step and in one batch of detections, and in which
                operations: `cudaStreamSynchronize` in the profiler. The goal is none. On a CPU, the operations that
                would wait on a GPU are counted instead.
    processes   two processes with NCCL (gloo on a CPU), each with its own GPU and a batch of its own: images per
                second, relative to one process too, and whether both have the same weights afterwards, bit for bit

A measurement that does not fit into the time or into memory is left out, with the reason. So far this program has run
on CPUs only, where it counted 27 waits in a training step and 39 in a batch of detections (docs/speed.md).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmark_options import benchmark_parser, parse, write_json
from generated_training import GeneratedTraining, Size
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from waits import counted_waits

from yolo9000.config import PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.distributed import all_gather, is_first, joined_processes, world_size
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput
from yolo9000.training.allocator import keep_freed_memory

PRECISIONS = ("float32", "bfloat16")
NODES = (80, 9418, 82115)
QUICK = {"nodes": (80, 4500), "batch": 2, "size": 64, "width": 0.25, "seconds": 0.2, "matrix": 256}
ROUNDS = 3


@dataclass(frozen=True)
class Bench:
    """The device, the arguments, and the results so far."""

    device: torch.device
    args: argparse.Namespace
    end: float  # of the time, on time.perf_counter()
    results: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        """Record the result of `work`, or why there is none."""
        if time.perf_counter() > self.end:
            self.left_out.append(f"{name}: no time left")
            return
        try:
            self.results[name] = work()
        except torch.OutOfMemoryError:
            self.left_out.append(f"{name}: not enough memory on the device")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def rates(self, works: Sequence[Callable[[], object]], *, images: int) -> list[list[float]]:
        """Images per second of each work, `ROUNDS` times; the works take turns."""
        rates: list[list[float]] = [[] for _ in works]
        for work in works:
            for _ in range(2):  # the first calls choose algorithms and request memory
                work()
        for _ in range(ROUNDS):
            for work, found in zip(works, rates, strict=True):
                self.wait()
                start, calls = time.perf_counter(), 0
                while time.perf_counter() - start < self.args.seconds:
                    work()
                    calls += 1
                self.wait()
                found.append(images * calls / (time.perf_counter() - start))
        return rates


def main() -> None:
    args = parse_arguments()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("Expected a GPU, found none. `--device cpu --quick` tests the program without one.")
    keep_freed_memory()
    bench = Bench(device, args, end=time.perf_counter() + 60 * args.minutes)
    if args.worker:
        two_processes(bench)
        return
    bench.results["machine"] = machine(device)
    bench.measure("peak", lambda: {precision: peak(bench, precision) for precision in PRECISIONS})
    measure_sizes(bench)
    processes = torch.cuda.device_count() if device.type == "cuda" else 2
    if processes >= 2:
        bench.measure("processes", lambda: measured_processes(bench))
    else:
        bench.left_out.append("processes: one GPU only")
    bench.results["left_out"] = bench.left_out
    print_results(bench.results)
    write_json(args, bench.results)


def parse_arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=416, help="px")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each of three rounds of a measurement")
    parser.add_argument("--matrix", type=int, default=8192, help="side of the matrices of the peak")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parse(parser, QUICK)


def machine(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    count = torch.cuda.device_count() if device.type == "cuda" else torch.get_num_threads()
    return {"device": name, "count": count, "torch": torch.__version__, "cuda": torch.version.cuda}


def peak(bench: Bench, precision: str) -> float:
    """FLOP/s of a product of two square matrices."""
    side = bench.args.matrix
    matrix = torch.randn(side, side, device=bench.device, dtype=getattr(torch, precision))
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    (rates,) = bench.rates([lambda: matrix @ matrix], images=1)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * side**3 * max(rates)


# --- one process


def measure_sizes(bench: Bench) -> None:
    """Training, inference and waits for each number of nodes."""
    trainings: dict[int, GeneratedTraining] = {}
    for nodes in bench.args.nodes:
        bench.measure("building", lambda nodes=nodes: trainings.update({nodes: build_training(bench, nodes)}))  # type: ignore[misc]
    bench.results.pop("building", None)
    for precision in PRECISIONS:
        asked = [replace(training, precision=precision) for training in trainings.values()]
        bench.measure(f"training {precision}", lambda asked=asked: training_rows(bench, asked))  # type: ignore[misc]
        bench.measure(f"inference {precision}", lambda asked=asked: inference_rows(bench, asked))  # type: ignore[misc]
    if trainings:
        largest = list(trainings.values())[-1]
        bench.measure("waits in a training step", lambda: waits(bench, lambda: largest.step(0)))
        bench.measure("waits in a batch of detections", lambda: waits(bench, lambda: detections(largest)))


def build_training(bench: Bench, nodes: int) -> GeneratedTraining:
    args = bench.args
    size = Size(args.batch, args.size, args.width)
    return GeneratedTraining.of(nodes, size, precision="float32", device=args.device)


def training_rows(bench: Bench, trainings: list[GeneratedTraining]) -> list[dict[str, Any]]:
    """A row for each number of nodes."""
    batch = bench.args.batch
    rates = bench.rates([numbered_steps(training) for training in trainings], images=batch)
    rows = []
    for training, found in zip(trainings, rates, strict=True):
        row = rate_facts(bench, training, found, rates[0], lambda training=training: training.step(0))  # type: ignore[misc]
        rows.append({**row, "peak_mb": peak_memory_mb(bench, lambda training=training: training.step(0))})  # type: ignore[misc]
    return rows


def numbered_steps(training: GeneratedTraining) -> Callable[[], None]:
    numbers = iter(range(10**9))
    return lambda: training.step(next(numbers))


def rate_facts(
    bench: Bench,
    training: GeneratedTraining,
    rates: list[float],
    first: list[float],
    work: Callable[[], object],
) -> dict[str, Any]:
    """Images per second, time relative to the first size in the same rounds, FLOP/s and share of the peak.

    work: does once what was measured.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    flop_rate = counter.get_total_flops() / bench.args.batch * median(rates)
    highest = bench.results.get("peak", {}).get(training.precision)
    return {
        "nodes": len(training.model.tree),
        "images_per_second": median(rates),
        "times": median(a / b for a, b in zip(first, rates, strict=True)),
        "flop_per_second": flop_rate,
        "share_of_peak": flop_rate / highest if highest else None,
    }


def peak_memory_mb(bench: Bench, work: Callable[[], object]) -> float | None:
    """Peak memory of the GPU during `work`, the tensors of the other sizes included; None on a CPU."""
    if bench.device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    work()
    return torch.cuda.max_memory_allocated() / 2**20


@torch.inference_mode()
def inference_rows(bench: Bench, trainings: list[GeneratedTraining]) -> list[dict[str, Any]]:
    """A row for each number of nodes; the networks are in training mode again afterwards."""
    for training in trainings:
        training.model.eval()
    networks = bench.rates([lambda t=t: network_output(t) for t in trainings], images=bench.args.batch)  # type: ignore[misc]
    detected = bench.rates([lambda t=t: detections(t) for t in trainings], images=bench.args.batch)  # type: ignore[misc]
    rows = []
    for training, network, found in zip(trainings, networks, detected, strict=True):
        work = lambda training=training: network_output(training)  # noqa: E731
        facts = rate_facts(bench, training, network, networks[0], work)
        times = median(a / b for a, b in zip(detected[0], found, strict=True))
        rows.append({**facts, "detections_images_per_second": median(found), "detections_times": times})
        training.model.train()
    return rows


def network_output(training: GeneratedTraining) -> Any:
    enabled = training.precision == "bfloat16"
    with torch.autocast(training.images.device.type, torch.bfloat16, enabled=enabled):
        return training.model(training.images)


@torch.inference_mode()
def detections(training: GeneratedTraining) -> Any:
    """Detections as in prediction, with its default settings."""
    images, _, height, width = training.images.shape
    fitted = Letterbox.fit(image_size_px=(width, height), network_size_px=(width, height))
    output = BatchOutput(network_output(training), training.model.tree_tensors, [fitted] * images)
    return detect(output, [""] * images, PredictConfig())


# --- waits


def waits(bench: Bench, work: Callable[[], object]) -> dict[str, int]:
    """How often the host waits for the device in `work`, by operation."""
    work()
    bench.wait()
    if bench.device.type != "cuda":
        return dict(counted_waits(work).most_common())
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        work()
    operations: Counter[str] = Counter()
    for event in profiled.events() or []:
        if event.name == "cudaStreamSynchronize":
            operations[event.cpu_parent.name if event.cpu_parent else "outside operations"] += 1
    return dict(operations.most_common())


# --- two processes


def measured_processes(bench: Bench) -> dict[str, Any]:
    """The report of `two_processes`, from two processes that torchrun starts."""
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "processes.json"
        arguments = [*sys.argv[1:], "--worker", "--json", str(report)]
        left_s = max(60.0, bench.end - time.perf_counter())
        with suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                [*program, __file__, *arguments], capture_output=True, text=True, timeout=left_s, check=False
            )
            if report.exists():
                return with_relative_rate(bench, json.loads(report.read_text()))
            return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return {"failed": f"not finished after {left_s:.0f} s"}


def with_relative_rate(bench: Bench, report: dict[str, Any]) -> dict[str, Any]:
    """The report with the rate relative to that of one process, where this was measured."""
    rows = bench.results.get("training float32", [])
    alone = [row["images_per_second"] for row in rows if row["nodes"] == report["nodes"]]
    return {**report, "relative_to_one_process": report["images_per_second"] / alone[0] if alone else None}


@joined_processes()
def two_processes(bench: Bench) -> None:
    """Train in this process and the other; the first writes the report."""
    training = build_training(bench, sorted(bench.args.nodes)[len(bench.args.nodes) // 2])
    steps = 4 if bench.args.quick else 30
    for number in range(3):
        training.step(number)
    bench.wait()
    start = time.perf_counter()
    for number in range(steps):
        training.step(number)
    bench.wait()
    rate = steps * bench.args.batch * world_size() / (time.perf_counter() - start)
    if training.lazy_rows:
        training.lazy_rows.flush()
    weights = training.model.state_dict().values()
    digest = sha256(b"".join(value.cpu().numpy().tobytes() for value in weights)).hexdigest()
    gathered = all_gather([digest])
    if is_first():
        nodes, equal = len(training.model.tree), len(set(gathered)) == 1
        report = {
            "nodes": nodes,
            "images_per_second": rate,
            "equal_weights": equal,
            "processes": len(gathered),
        }
        bench.args.json.write_text(json.dumps(report))


# --- output


def print_results(results: dict[str, Any]) -> None:
    """Tables of rows, and lines for everything else."""
    for name, result in results.items():
        if isinstance(result, list) and result and isinstance(result[0], dict):
            print(f"\n{name}")
            print("".join(f"{key.replace('_', ' '):>20.19}" for key in result[0]))
            for row in result:
                print("".join(f"{'' if value is None else f'{value:.4g}':>20}" for value in row.values()))
        elif isinstance(result, dict):
            numbers = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in result.items()}
            print(f"\n{name}: " + (", ".join(f"{key} {value}" for key, value in numbers.items()) or "none"))
        else:
            print(f"\n{name}: {'; '.join(result) or 'none'}")


if __name__ == "__main__":
    main()
