"""Speed of a merge, compared with the work that no merge can avoid: read, hash, decode and write every image.

    python benchmarks/merge_speed.py [--quick] [--json FILE] [--images 4000] [--workers 2] [--repeats 5]
    python benchmarks/merge_speed.py --data FOLDER --times 6     (a folder per class; each image 6 times)

The bound is a plain loop in the same number of processes, each over its share of the images: read the file, SHA-256,
decode with Pillow, write all bytes to one file and sync it. Bound and merge take turns. Prints medians, the speed of
the merge in percent of the bound, and the peak memory of all processes together. The images come from the page cache.
Requirement: 80 % with two workers.

Measured on two idle cores of an EPYC (Zen 5): 1275 images/s, 82 % of the bound by wall time and 84 % by CPU time,
343 MB. 260 ImageNet photographs 6 times: 958 images/s, 79 % and 81 %; starting the workers takes .2 s of the 1.6 s.
20 times, on a busy machine: 89 % by CPU time.
"""

import argparse
import io
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from threading import Event, Thread
from typing import TYPE_CHECKING

import numpy as np
from benchmark_options import benchmark_parser, parse, write_json
from PIL import Image

if TYPE_CHECKING:  # workers import this file, and should not import more than a merge's workers do
    from data_prep.planning.plan import Plan

QUICK = {"images": 60, "repeats": 1, "shard_mb": 1}
PARTS = ("read", "hash", "decode", "write")


def main() -> None:
    arguments = parse_arguments()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        if arguments.data:
            data = copy_images(arguments.data, folder / "images", arguments.times)
        else:
            data = generated(folder / "images", arguments.images)
        write_json(arguments, measure(merge_plan(data, arguments), folder, arguments))
    finally:
        shutil.rmtree(folder)


def measure(plan: "Plan", folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Print and return rates, shares of the bound (0..1) and memory."""
    paths = [str(record.path) for record in plan.images]
    megabytes = float(plan.images["size_bytes"].sum()) / 1e6
    print(
        f"{len(paths)} images, {megabytes:.0f} MB, {arguments.workers} workers, {arguments.repeats} repeats"
    )
    bounds, merges, peaks, parts = [], [], [], []
    for _ in range(arguments.repeats):
        spent, shares = timed_bound(paths, folder, arguments.workers)
        bounds.append(spent)
        parts.append(shares)
        with peak_memory() as peak:
            merges.append(timed_merge(plan, folder / "shards", arguments.workers))
        peaks.append(peak[0])
    results = {}
    for name, row in (("bound", bounds), ("merge", merges)):
        wall, cpu = median(duration.wall for duration in row), median(duration.cpu for duration in row)
        rates = f"{len(paths) / wall:7.1f} images/s {megabytes / wall:6.1f} MB/s"
        print(f"{name}  {rates}  {cpu:6.2f} s CPU")
        results |= {f"{name}_images_per_s": len(paths) / wall, f"{name}_cpu_s": cpu}
    print("bound: " + ", ".join(f"{part} {median(row[part] for row in parts):.0%}" for part in PARTS))
    share = median(duration.wall for duration in bounds) / median(duration.wall for duration in merges)
    cpu = median(duration.cpu for duration in bounds) / median(duration.cpu for duration in merges)
    print(f"the merge reaches {share:.0%} of the bound by wall time, {cpu:.0%} by CPU time")
    print(
        f"memory  {max(peaks) / 1e6:7.0f} MB peak in all processes; a shard has {plan.config.shard_mb:g} MB"
    )
    return results | {"share_of_bound": share, "share_of_bound_cpu": cpu, "peak_mb": max(peaks) / 1e6}


@dataclass(frozen=True)
class Duration:
    """Seconds of wall time, and of CPU time, which other processes disturb less."""

    wall: float
    cpu: float


def timed_merge(plan: "Plan", out: Path, workers: int) -> Duration:
    from data_prep.merging.merge import execute_plan

    started, before = time.perf_counter(), cpu_seconds()
    execute_plan(plan, out, workers=workers)
    spent = Duration(time.perf_counter() - started, cpu_seconds() - before)
    shutil.rmtree(out)
    return spent


def cpu_seconds() -> float:
    """CPU seconds of this process and of its finished children."""
    return sum(os.times()[:4])


def timed_bound(paths: list[str], folder: Path, workers: int) -> tuple[Duration, dict[str, float]]:
    """Wall time of the slowest process and CPU time of all; and the share of each part in the slowest process."""
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        list(pool.map(warm, range(workers * 4)))
        jobs = [(paths[number::workers], str(folder / f"bare{number}")) for number in range(workers)]
        rows = list(pool.map(bare_loop, *zip(*jobs, strict=True)))
    slowest = max((parts for parts, _ in rows), key=lambda parts: sum(parts.values()))
    total = sum(slowest.values())
    return Duration(total, sum(cpu for _, cpu in rows)), {part: slowest[part] / total for part in PARTS}


def warm(_: int) -> None:
    """Let a worker process finish its imports before time is measured."""
    Image.init()
    time.sleep(0.1)


def bare_loop(paths: list[str], out: str) -> tuple[dict[str, float], float]:
    """Wall seconds of each part, and CPU seconds in total."""
    spent, kept, before = dict.fromkeys(PARTS, 0.0), [], time.process_time()
    for path in paths:
        times = [time.perf_counter()]
        data = Path(path).read_bytes()
        times.append(time.perf_counter())
        sha256(data).digest()
        times.append(time.perf_counter())
        Image.open(io.BytesIO(data)).load()
        times.append(time.perf_counter())
        kept.append(data)
        for part, first, end in zip(PARTS, times, times[1:], strict=False):
            spent[part] += end - first
    started = time.perf_counter()
    with Path(out).open("wb") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    spent["write"] = time.perf_counter() - started
    Path(out).unlink()
    return spent, time.process_time() - before


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Peak resident bytes of this process and its children together; shared memory counts once per process."""
    peak, done = [0], Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], sum(map(resident_bytes, [os.getpid(), *children()])))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def children() -> list[int]:
    pid = os.getpid()
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_bytes(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:  # the process has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def merge_plan(data: Path, arguments: argparse.Namespace) -> "Plan":
    from data_prep import MergeConfig, make_plan

    source = {"name": "data", "format": "imagenet", "images": data}
    return make_plan(MergeConfig.model_validate({"sources": [source], "shard_mb": arguments.shard_mb}))


def copy_images(data: Path, folder: Path, times: int) -> Path:
    """Copy each image of a folder of class folders several times, with different bytes after its end."""
    for path in sorted(data.glob("*/*")):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        for number in range(times):
            (folder / path.parent.name / f"{number}-{path.name}").write_bytes(
                path.read_bytes() + number.to_bytes(4, "little")
            )
    return folder


def generated(folder: Path, number: int) -> Path:
    """Write different JPEG files of 500 × 375 px with the spectrum of photographs, about 90 kB each."""
    generator = np.random.default_rng(0)
    scenes = [scene(generator) for _ in range(20)]
    for wnid in ("n02084071", "n02121808"):
        (folder / wnid).mkdir(parents=True)
    for index in range(number):
        left, top = generator.integers(0, [300, 225])
        pixels = scenes[index % len(scenes)][top : top + 375, left : left + 500]
        wnid = ("n02084071", "n02121808")[index % 2]
        Image.fromarray(pixels).save(folder / wnid / f"{index}.jpg", quality=int(generator.integers(88, 95)))
    return folder


def scene(generator: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency, as in photographs; shape (600, 800, 3)."""
    height, width = 600, 800
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    channels = []
    for _ in range(3):
        spectrum = np.fft.rfft2(generator.standard_normal((height, width))) / frequency
        values = np.fft.irfft2(spectrum, s=(height, width))
        channels.append((values - values.min()) / np.ptp(values))
    mixed = np.stack(channels, axis=2) * 0.3 + channels[0][..., None] * 0.7
    return (255 * mixed).astype(np.uint8)


def parse_arguments() -> argparse.Namespace:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=4000, help="generated images")
    parser.add_argument("--data", type=Path, help="folder of class folders, instead of generated images")
    parser.add_argument("--times", type=int, default=1, help="copies of each image of --data")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--shard-mb", type=float, default=16, help="small, so that both workers are busy to the end"
    )
    parser.add_argument(
        "--folder", type=Path, help="folder to write to; default: the system's temporary folder"
    )
    return parse(parser, QUICK)


if __name__ == "__main__":
    main()
