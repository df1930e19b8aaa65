"""Images per second of the training input, and of its unavoidable stages; measured in turn in one run.

    python benchmarks/input_pipeline.py [SHARDS] [--quick] [--json FILE] [--size 416] [--batch 16] [--batches 12]
                                        [--rounds 5]

SHARDS is any folder that `data-prep merge` wrote; without it, images are generated.
Measured on the same images: read (the bytes), read + decode,
read + decode + resize (8 bits per channel, smoothed), and whole batches of `DetectorData` (augmented, colours shifted,
collated, channels last) with one and two threads. The stages take turns, so other processes affect all of them alike.
Prints the median images per second, also as a multiple of one thread's read + decode + resize, and CPU time per image,
which hardly depends on other processes.

Measured on two cores that ten other processes shared, on the photographs of configs/merge/coco128_imagenet.yaml at
416 px: read + decode 1.6 ms of CPU time per image, with resize 2.2, in a batch 4.6. That is 220 images per second for
each thread with a core of its own. By wall time a thread reached .46 of read + decode + resize.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch
from benchmark_options import benchmark_parser, parse, write_json
from merge_speed import generated
from torch.nn.functional import interpolate

from data_prep import MergeConfig, ShardReader, merge
from yolo9000.config import Config, DataConfig, ModelConfig, ScheduleConfig
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.image import decode_image
from yolo9000.data.letterbox import Letterbox
from yolo9000.data.sampler import Sampler

QUICK = {"images": 40, "size": 96, "batch": 4, "batches": 2, "rounds": 1}
Stage = Callable[[], None]


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--images", type=int, default=500, help="generated, without SHARDS")
    parser.add_argument("--size", type=int, default=416, help="px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    args = parse(parser, QUICK)
    with TemporaryDirectory() as folder:
        write_json(args, measure(args.shards or generated_shards(Path(folder), args.images), args))


def generated_shards(folder: Path, images: int) -> Path:
    """Shards of generated JPEG files with image labels."""
    source = {"name": "data", "format": "imagenet", "images": generated(folder / "images", images)}
    merge(MergeConfig.model_validate({"sources": [source]}), folder / "shards")
    return folder / "shards"


def measure(shards: Path, args: argparse.Namespace) -> list[dict[str, object]]:
    """Print and return a row for each stage."""
    torch.set_num_threads(1)  # the loader has its own threads
    reader = ShardReader(shards)
    configs = {threads: config(shards, args.size, args.batch, threads) for threads in (1, 2)}
    stages = dict(stages_of(reader, configs, args.batches))
    seconds: dict[str, list[float]] = {name: [] for name in stages}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(args.rounds):
        for name, stage in stages.items():
            start, cpu_start = perf_counter(), process_time()
            stage()
            seconds[name].append(perf_counter() - start)
            cpu_seconds[name].append(process_time() - cpu_start)
    images = args.batch * args.batches
    print(f"{len(reader)} images; {args.rounds} rounds of {images} at {args.size} px")
    unit, unit_cpu = (median(times["read + decode + resize"]) for times in (seconds, cpu_seconds))
    rows: list[dict[str, object]] = []
    for name, found in seconds.items():
        wall, cpu = median(found), median(cpu_seconds[name])
        print(
            f"{name:32} {images / wall:8.0f} images/s {unit / wall:8.2f}   "
            f"{1000 * cpu / images:6.2f} ms of CPU time {unit_cpu / cpu:8.2f}"
        )
        rows.append({"stage": name, "images_per_s": images / wall, "cpu_ms_per_image": 1000 * cpu / images})
    return rows


def config(shards: Path, size_px: int, batch_size: int, threads: int) -> Config:
    """A configuration with default augmentation."""
    return Config(
        model=ModelConfig(input_size_px=size_px),
        data=DataConfig(shards=shards, batch_size=batch_size, loader_threads=threads),
        schedule=ScheduleConfig(max_steps=1),
    )


def stages_of(reader: ShardReader, configs: dict[int, Config], batches: int) -> Iterator[tuple[str, Stage]]:
    """The timed stages, on the images of the first batches of training."""
    cfg = configs[1]
    sampler = Sampler(reader, cfg)
    chosen = [int(image) for step in range(1, batches + 1) for image in sampler.batch(step)[0]]
    size_px = cfg.model.input_size_px

    def read() -> None:
        for image in chosen:
            reader.encoded(image)

    def decode() -> None:
        for image in chosen:
            decode_image(reader.encoded(image))

    def resize() -> None:
        for image in chosen:
            pixels = decode_image(reader.encoded(image))
            size = Letterbox.fit(
                image_size_px=(pixels.shape[2], pixels.shape[1]), network_size_px=(size_px, size_px)
            )
            interpolate(
                pixels[None],
                size=(size.resized_height_px, size.resized_width_px),
                mode="bilinear",
                antialias=True,
            )

    yield "read", read
    yield "read + decode", decode
    yield "read + decode + resize", resize
    for threads, cfg in configs.items():
        data = DetectorData(reader, cfg)

        def train(data: DetectorData = data) -> None:
            for _ in data.batches(1, batches):
                pass

        yield f"training batches, {threads} thread{'s'[: threads > 1]}", train


if __name__ == "__main__":
    main()
