"""Finds every changed byte of the shards, and the images that are damaged.

The index has the SHA-256 of each shard, and `read_index` has compared the checksum of the index. Where a shard
differs, the SHA-256 of its *frame* (all bytes but the images: names, labels, HDF5's structure) decides: if the frame
is unchanged, the CRC-32 of each image identifies the damaged images; otherwise the whole shard counts as damaged.
"""

import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from data_prep.dataset.index import Index, images_of_shard, join_columns, take_images
from data_prep.shards.format import (
    INDEX_NAME,
    OFFSET_COLUMNS,
    RAGGED_COLUMNS,
    READ_ERRORS,
    SHARD_FORMAT,
    SHARD_VERSION,
    Arrays,
    ShardError,
    hash_file,
    open_hdf5,
)
from data_prep.shards.offsets import owner_of_rows
from data_prep.shards.source_ids import read_source_ids
from data_prep.shards.writer import ShardResult
from wordtree.support.arrays import BoolArray, Int64Array
from wordtree.support.lines import one_line
from wordtree.support.printing import counted

Progress = Callable[[int], None]  # called with the number of images just checked


@dataclass(frozen=True)
class Damage:
    """A shard that changed since it was written, or that the index contradicts.

    part: the damaged part: the whole shard, some of its images, or only the copy of its columns in the index.
    shard: number of the shard; images: damaged images by their number in the index, ascending.
    source_ids: names of the damaged images; empty where the whole shard is damaged, since it holds the names.
    sha256: of the file as it is now; empty where the whole shard is damaged.
    """

    part: Literal["shard", "images", "index"]
    shard: int
    file: str
    trouble: str
    images: Int64Array
    source_ids: tuple[str, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    shards, size_bytes: number and size of the files that were read.
    lost_shards: shards that a repair has left out of the index.
    other_files: files with the name of a shard that do not belong to this data set.
    """

    folder: Path
    index: Index
    shards: int
    size_bytes: int
    damages: tuple[Damage, ...]
    lost_shards: tuple[str, ...]
    other_files: tuple[str, ...]

    @property
    def damaged_images(self) -> Int64Array:
        """Numbers of the damaged images in the index, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(damage.images for damage in self.damages)])


def check_shards(
    folder: Path, index: Index, *, workers: int = 1, progress: Progress | None = None
) -> CheckReport:
    """Read every byte of the shards of an index; workers: threads that read."""
    used = [number for number, shard in enumerate(index.shards) if not shard.is_lost]

    def checked(number: int) -> Damage | None:
        damage = _damage_of(folder, index, number)
        if progress is not None:
            progress(len(images_of_shard(index, number)))
        return damage

    with ThreadPoolExecutor(workers) as threads:
        damages = tuple(filter(None, threads.map(checked, used)))
    names = {shard.name for shard in index.shards}
    return CheckReport(
        folder,
        index,
        len(used),
        sum(index.shards[number].size_bytes for number in used),
        damages,
        tuple(shard.name for shard in index.shards if shard.is_lost),
        tuple(sorted(path.name for path in folder.glob("shard-*.h5") if path.name not in names)),
    )


def _damage_of(folder: Path, index: Index, number: int) -> Damage | None:
    shard, images = index.shards[number], images_of_shard(index, number)
    path = folder / shard.name

    def whole_shard(trouble: str) -> Damage:
        return Damage("shard", number, shard.name, trouble, images)

    if not path.is_file():
        return whole_shard("is missing")
    try:
        with path.open("rb") as file:
            sha256, frame_sha256 = hash_file(file, shard.bytes_start, shard.bytes_end)
            if sha256 == shard.sha256:
                return _contradiction(folder, index, number)
            if frame_sha256 != shard.frame_sha256 or os.fstat(file.fileno()).st_size != shard.size_bytes:
                return whole_shard(_trouble_with_frame(path, shard))
            damaged = images[[not _fits(file, index, int(image)) for image in images]]
    except OSError as reason:
        return whole_shard(f"cannot be read ({reason.strerror})")
    trouble = "1 damaged image" if len(damaged) == 1 else f"{len(damaged)} damaged images"
    if not len(damaged):
        trouble = "images that the index leaves out have changed"
    return Damage(
        "images", number, shard.name, trouble, damaged, _names(path, index, number, damaged), sha256
    )


def _fits(file: BinaryIO, index: Index, image: int) -> bool:
    """Whether the bytes of an image fit their checksum in the index."""
    file.seek(int(index.columns["picture_start"][image]))
    encoded = file.read(int(index.columns["picture_size"][image]))
    return zlib.crc32(encoded) == int(index.columns["picture_crc32"][image])


def _trouble_with_frame(path: Path, shard: ShardResult) -> str:
    size_bytes = path.stat().st_size
    if size_bytes != shard.size_bytes:
        trouble = f"{size_bytes} bytes instead of {shard.size_bytes}"
    else:
        trouble = "names, labels or structure are damaged"
    try:
        open_hdf5(path, path.name, SHARD_FORMAT, SHARD_VERSION).close()
    except ShardError as reason:
        return f"{trouble}; {str(reason).removeprefix(f'{path.name}: ').rstrip('.')}"
    return trouble


def _contradiction(folder: Path, index: Index, number: int) -> Damage | None:
    """Images of an intact shard whose columns in the index differ: an error of the program that wrote the index."""
    shard, images = index.shards[number], images_of_shard(index, number)
    in_index = take_images(index.columns, images)
    try:
        columns = join_columns(folder, [shard])
        in_shard = take_images(columns, in_index["image_place"].astype(np.int64))
    except (ShardError, *READ_ERRORS) as reason:
        return Damage("shard", number, shard.name, f"cannot be read ({one_line(reason)})", images)
    differing = images[_differs(in_index, in_shard)]
    if not len(differing):
        return None
    trouble = f"{INDEX_NAME} has other labels or sizes for {counted(len(differing), 'image')}"
    names = _names(folder / shard.name, index, number, differing)
    return Damage("index", number, shard.name, trouble, differing, names, shard.sha256)


def _names(path: Path, index: Index, number: int, images: Int64Array) -> tuple[str, ...]:
    """Names in their sources of images of one shard."""
    source_ids = read_source_ids(path, path, index.shards[number])
    return tuple(map(source_ids.text, index.columns["image_place"][images].tolist()))


def _differs(a: Arrays, b: Arrays) -> BoolArray:
    """Whether two sets of columns differ in an image, shape (n,)."""
    differs = np.zeros(len(a["image_source"]), dtype=bool)
    for name in sorted(a.keys() & b.keys() - {"image_shard", *OFFSET_COLUMNS}):
        if name.startswith(("image_", "picture_")):
            differs |= a[name] != b[name]
    for kind, names in RAGGED_COLUMNS.items():
        offsets = a[f"{kind}_offsets"]
        if np.array_equal(offsets, b[f"{kind}_offsets"]):
            for name in names:
                rows = np.nonzero(a[name] != b[name])[0]
                differs[owner_of_rows(offsets)[rows]] = True
        else:
            differs[:] = True
    return differs
