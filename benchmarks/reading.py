"""Random reading of images: from shards, beside loose files and the other ways of HDF5, round about in one run.

    python benchmarks/reading.py [--pictures 1500] [--rounds 9]

Makes images of noise (about 130 kB each, 640 × 480), merges them, stores the same bytes in each other way in a
temporary folder (0.8 GB), and reads 300 of them in random order from each way in turn, so that what else the machine
does hits all alike. Prints microseconds an image: the median of the rounds, the best round, and the median as a
multiple of that of loose files; once with the files in memory, once after they were dropped from it (Linux).

To hold: shards are read fastest. Seen on two quiet cores of an EPYC (Zen 5): in memory 16 µs, .62 of loose files (1.88
when checksums are compared, once for each image: 30 µs, where decoding takes milliseconds), 64 KiB chunks 5.7,
variable length 9.3; dropped from memory .89 (1.09), 3.2 and 3.9.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import h5py
import numpy as np
from PIL import Image

from data_prep import MergeConfig, ShardReader, merge
from wordtree.support.config_files import validated

READ = 300  # images in a round
CHUNK_BYTES = 64 * 1024
FOLDERS = ("n02084071", "n02121808")

Read = Callable[[int], object]
Ways = dict[str, Callable[[], Read]]  # how images are stored: what makes a reader ready


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = make_images(folder / "loose", given.pictures)
        ways = open_ways(folder, paths)
        require_equal(ways, len(paths))
        size_kb = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
        print(
            f"{len(paths)} images of {size_kb:.0f} kB; {given.rounds} rounds of {READ} from each way in turn"
        )
        tell("in memory", timed(ways, len(paths), given.rounds))
        if hasattr(os, "posix_fadvise"):
            drop = [path for path in folder.rglob("*") if path.is_file()]
            tell("dropped from memory", timed(ways, len(paths), max(3, given.rounds // 3), drop))


def make_images(folder: Path, pictures: int) -> list[Path]:
    """JPEGs of noise, half in each of two folders; their sizes differ as those of photographs do."""
    generator, paths = np.random.default_rng(0), []
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    for number in range(pictures):
        path = folder / FOLDERS[number * 2 // pictures] / f"{number:06d}.jpg"
        noise = generator.integers(0, 256, (480 // 4, 640 // 4, 3), dtype=np.uint8)
        image = Image.fromarray(noise).resize((640, 480), Image.Resampling.BICUBIC)
        image.save(path, quality=int(generator.integers(70, 96)))
        paths.append(path)
    return paths


def open_ways(folder: Path, paths: Sequence[Path]) -> Ways:
    """The ways of storing the images, each filled with them."""
    source = {"name": "noise", "format": "imagenet", "images": folder / "loose"}
    merge(validated({"sources": [source], "shard_mb": 64}, MergeConfig, place="reading"), folder / "shards")
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
    stranger = by_h5py_alone(folder / "shards")
    return {
        "loose files": lambda: lambda number: paths[number].read_bytes(),
        "shards": lambda: shards.encoded,
        "shards, first time: checksums compared": lambda: ready(folder / "shards"),
        "shards, by h5py alone": lambda: stranger,
        "HDF5, 64 KiB chunks": lambda: lambda number: other["chunked"][offsets[number] : offsets[number + 1]],
        "HDF5, variable length": lambda: lambda number: other["vlen"][number],
    }


def ready(shards: Path) -> Read:
    """A new reader that has its files open and no image verified."""
    reader = ShardReader(shards)
    for image in range(0, len(reader), 50):
        reader.source_id(image)
    return reader.encoded


def by_h5py_alone(folder: Path) -> Read:
    """What a stranger writes who keeps the shards open and their offsets in memory."""
    with h5py.File(folder / "index.h5") as index:
        shard_of, place_of = index["image_shard"][:], index["image_place"][:]
        files = [h5py.File(folder / name) for name in index["shard_name"].asstr()[:]]
    images = [file["picture_bytes"] for file in files]
    offsets = [file["picture_offsets"][:] for file in files]

    def read(image: int) -> object:
        shard, place = shard_of[image], place_of[image]
        return images[shard][offsets[shard][place] : offsets[shard][place + 1]]

    return read


def require_equal(ways: Ways, pictures: int) -> None:
    """Every way gives the same bytes, or the comparison would mean nothing."""
    reads = [prepare() for prepare in ways.values()]
    for number in range(pictures):
        found = {bytes(read(number)) for read in reads}  # type: ignore[call-overload]
        assert len(found) == 1, f"image {number} differs"


def timed(ways: Ways, pictures: int, rounds: int, drop: Sequence[Path] = ()) -> dict[str, list[float]]:
    """Microseconds an image of each round, for each way; the ways take turns, and another begins each round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        order = random.Random(turn).sample(range(pictures), min(READ, pictures))
        names = list(ways)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            for path in drop:
                forget(path)
            read = ways[name]()
            started = perf_counter()
            for number in order:
                read(number)
            seconds[name].append((perf_counter() - started) / len(order) * 1e6)
    return seconds


def forget(path: Path) -> None:
    """Drop a file from the memory in which the system keeps what was read."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def tell(title: str, seconds: dict[str, list[float]]) -> None:
    loose = median(seconds["loose files"])
    print(f"\n{title + ', µs a picture':44}{'median':>8}{'best':>8}{'of loose':>10}")
    for name, times in sorted(seconds.items(), key=lambda item: median(item[1])):
        print(f"{name:44}{median(times):8.1f}{min(times):8.1f}{median(times) / loose:10.2f}")


if __name__ == "__main__":
    main()
