"""Time of random reads of images: from shards, loose files and other HDF5 layouts; measured in turn in one run.

    python benchmarks/reading.py [--quick] [--json FILE] [--images 1500] [--rounds 9]

Generates images of noise (about 130 kB each, 640 × 480), merges them, stores the same bytes in the other layouts in a
temporary folder (0.8 GB), and reads 300 images in random order from each layout in turn, so that other processes affect
all of them alike. Prints microseconds per image: the median of the rounds, the best round, and the median as a
multiple of that of loose files; once with the files in the page cache, once after they were dropped from it (Linux).

Requirement: shards are read fastest. Measured on two idle cores of an EPYC (Zen 5): in the page cache 16 µs, .62 of
loose files (1.88 with the checksum, which is compared once per image: 30 µs, while decoding takes milliseconds), 64 KiB
chunks 5.7, variable length 9.3; dropped from the page cache .89 (1.09), 3.2 and 3.9.
"""

import json
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import h5py
import numpy as np
from benchmark_options import benchmark_parser, parse, write_json
from PIL import Image

from data_prep import MergeConfig, ShardReader, merge
from wordtree.support.config_files import validate

QUICK = {"images": 60, "rounds": 3}
READ = 300  # images in a round
CHUNK_BYTES = 64 * 1024
FOLDERS = ("n02084071", "n02121808")

Read = Callable[[int], object]
Layouts = dict[str, Callable[[], Read]]  # name of a layout to a function that opens a reader


def main() -> None:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=9)
    args = parse(parser, QUICK)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_images(folder / "loose", args.images)
        layouts = open_layouts(folder, paths)
        require_equal(layouts, len(paths))
        size_kb = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
        print(
            f"{len(paths)} images of {size_kb:.0f} kB; {args.rounds} rounds of {READ} from each layout in turn"
        )
        tables = {"in the page cache": timed(layouts, len(paths), args.rounds)}
        if hasattr(os, "posix_fadvise"):
            drop = [path for path in folder.rglob("*") if path.is_file()]
            rounds = max(3, args.rounds // 3)
            tables["dropped from the page cache"] = timed(layouts, len(paths), rounds, drop)
    for title, microseconds in tables.items():
        print_times(title, microseconds)
    write_json(args, tables)


def make_images(folder: Path, count: int) -> list[Path]:
    """Write JPEGs of noise, half in each of two folders, with sizes that vary as photographs' do."""
    generator, paths = np.random.default_rng(0), []
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for number in range(count):
        path = folder / FOLDERS[number * 2 // count] / f"{number:06d}.jpg"
        noise = generator.integers(0, 256, (480 // 4, 640 // 4, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
        image.save(path, quality=int(generator.integers(70, 96)))
        paths.append(path)
    return paths


def open_layouts(folder: Path, paths: Sequence[Path]) -> Layouts:
    """Store the images in every layout."""
    source = {"name": "noise", "format": "imagenet", "images": folder / "loose"}
    merge(validate({"sources": [source], "shard_mb": 64}, MergeConfig, where="reading"), folder / "shards")
    images = [np.frombuffer(path.read_bytes(), np.uint8) for path in paths]
    offsets = np.cumsum([0, *map(len, images)])
    with h5py.File(folder / "others.h5", "w") as file:
        chunked = file.create_dataset("chunked", (offsets[-1],), np.uint8, chunks=(CHUNK_BYTES,))
        vlen = file.create_dataset("vlen", (len(images),), h5py.vlen_dtype(np.uint8))
        for number, image in enumerate(images):
            chunked[offsets[number] : offsets[number + 1]] = image
            vlen[number] = image
    shards = ShardReader(folder / "shards")
    other = h5py.File(folder / "others.h5")
    plain = with_h5py_alone(folder / "shards")
    return {
        "loose files": lambda: lambda number: paths[number].read_bytes(),
        "shards": lambda: shards.encoded,
        "shards, first read with checksum": lambda: new_reader(folder / "shards"),
        "shards, with h5py alone": lambda: plain,
        "HDF5, 64 KiB chunks": lambda: lambda number: other["chunked"][offsets[number] : offsets[number + 1]],
        "HDF5, variable length": lambda: lambda number: other["vlen"][number],
    }


def new_reader(shards: Path) -> Read:
    """A reader that has its files open and has verified no image."""
    reader = ShardReader(shards)
    for image in range(0, len(reader), 50):
        reader.source_id(image)
    return reader.encoded


def with_h5py_alone(folder: Path) -> Read:
    """A reader without this project's code: shards stay open, their offsets in memory."""
    with h5py.File(folder / "index.h5") as index:
        shard_of, position_of = index["image_shard"][:], index["image_place"][:]
        shards = json.loads(index["metadata"][:].tobytes())["shards"]
    files = [h5py.File(folder / shard["name"]) for shard in shards]
    images = [file["picture_bytes"] for file in files]
    offsets = [file["picture_offsets"][:] for file in files]

    def read(image: int) -> object:
        shard, position = shard_of[image], position_of[image]
        return images[shard][offsets[shard][position] : offsets[shard][position + 1]]

    return read


def require_equal(layouts: Layouts, count: int) -> None:
    """AssertionError unless every layout gives the same bytes."""
    reads = [open_reader() for open_reader in layouts.values()]
    for number in range(count):
        found = {bytes(read(number)) for read in reads}  # type: ignore[call-overload]
        assert len(found) == 1, f"image {number} differs"


def timed(layouts: Layouts, count: int, rounds: int, drop: Sequence[Path] = ()) -> dict[str, list[float]]:
    """Microseconds per image of each round, by layout; each round starts with another layout."""
    seconds: dict[str, list[float]] = {name: [] for name in layouts}
    for turn in range(rounds):
        order = random.Random(turn).sample(range(count), min(READ, count))
        names = list(layouts)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            for path in drop:
                forget(path)
            read = layouts[name]()
            started = perf_counter()
            for number in order:
                read(number)
            seconds[name].append((perf_counter() - started) / len(order) * 1e6)
    return seconds


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def print_times(title: str, seconds: dict[str, list[float]]) -> None:
    loose = median(seconds["loose files"])
    print(f"\n{title + ', µs per image':44}{'median':>8}{'best':>8}{'of loose':>10}")
    for name, times in sorted(seconds.items(), key=lambda item: median(item[1])):
        print(f"{name:44}{median(times):8.1f}{min(times):8.1f}{median(times) / loose:10.2f}")


if __name__ == "__main__":
    main()
