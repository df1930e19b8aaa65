"""The training input, end to end at 416 px: images a second, beside its unavoidable parts, round about in one run.

    python benchmarks/input_pipeline.py SHARDS [--size 416] [--batch 16] [--batches 12] [--rounds 5]

SHARDS is any folder that `data-prep merge` wrote. On the same pictures, in turn: read (its bytes), read + decode,
read + decode + resize, and whole batches of `TrainingData` (augmented, colours shifted, collated, channels last) with
one and two threads; so what else the machine does hits all alike. Prints the median images a second of the rounds, and
each as a multiple of one thread's read + decode + resize.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

from data_prep import ShardReader
from yolo9000.config import Config, DataConfig, ModelConfig, ScheduleConfig
from yolo9000.data import Sampler, TrainingData
from yolo9000.image import decode_image, letterbox

Way = Callable[[], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path)
    parser.add_argument("--size", type=int, default=416, help="px")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)  # threads are counted by the loader
    reader = ShardReader(given.shards)
    configs = {threads: config(given.shards, given.size, given.batch, threads) for threads in (1, 2)}
    ways = dict(ways_of(reader, configs, given.batches))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = perf_counter()
            way()
            seconds[name].append(perf_counter() - start)
    pictures = given.batch * given.batches
    print(f"{given.shards}: {len(reader)} pictures; {given.rounds} rounds of {pictures} at {given.size} px")
    unit = median(seconds["read + decode + resize"])
    for name, found in seconds.items():
        print(f"{name:32} {pictures / median(found):8.0f} images/s   {unit / median(found):5.2f}")


def config(shards: Path, size_px: int, batch_size: int, threads: int) -> Config:
    """A run that only ever reads; the augmentation is the default one."""
    return Config(
        model=ModelConfig(input_size_px=size_px),
        data=DataConfig(shards=shards, batch_size=batch_size, loader_threads=threads),
        schedule=ScheduleConfig(max_steps=1),
    )


def ways_of(reader: ShardReader, configs: dict[int, Config], batches: int) -> Iterator[tuple[str, Way]]:
    """What is timed, on the pictures of the first batches of training."""
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
            letterbox(decode_image(reader.encoded(image)), size_px)

    yield "read", read
    yield "read + decode", decode
    yield "read + decode + resize", resize
    for threads, made in configs.items():
        data = TrainingData(reader, made)

        def train(data: TrainingData = data) -> None:
            for _ in data.batches(1, batches):
                pass

        yield f"training batches, {threads} thread{'s'[: threads > 1]}", train


if __name__ == "__main__":
    main()
