"""Finds every byte of shards that changed since they were written, and the images that it hits.

What is as it was written has its hash in the index, and the index seals itself. Of a file that differs, the bytes
between images (the *frame*: names, labels, HDF5's own) either fit their own hash, and then each image's checksum
tells which are hit; or they do not, and then nothing of the file is trusted.
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
    HDF5_ERRORS,
    INDEX_NAME,
    OFFSET_COLUMNS,
    PARTS,
    SHARD_FORMAT,
    SHARD_VERSION,
    Arrays,
    ShardError,
    hash_file,
    open_marked,
)
from data_prep.shards.offsets import owner_of_rows
from data_prep.shards.source_ids import read_source_ids
from data_prep.shards.writer import ShardResult
from wordtree.support.arrays import BoolArray, Int64Array
from wordtree.support.config_files import one_line

Progress = Callable[[int], None]  # called with the number of images that were just checked


@dataclass(frozen=True)
class Damage:
    """A shard that is not as it was written, or not as the index says.

    hits: the whole shard, some images of it, or only what the index copied from it.
    shard: its row of the index's table; images: those of the index that are hit, ascending.
    source_ids: their names in their sources; none where the shard, which holds the names, is hit as a whole.
    sha256: of the file as it is now; empty where it is hit as a whole.
    """

    hits: Literal["shard", "pictures", "index"]
    shard: int
    file: str
    trouble: str
    images: Int64Array
    source_ids: tuple[str, ...] = ()
    sha256: str = ""


@dataclass(frozen=True)
class CheckReport:
    """What was read, and what is wrong.

    shards, size_bytes: the files that were checked. lost: shards that a repair has given up.
    strangers: files named like shards that are none of this data set.
    """

    folder: Path
    index: Index
    shards: int
    size_bytes: int
    damages: tuple[Damage, ...]
    lost: tuple[str, ...]
    strangers: tuple[str, ...]

    @property
    def images_hit(self) -> Int64Array:
        """The images of the index that cannot be trusted as they are, ascending."""
        return np.concatenate([np.empty(0, np.int64), *(damage.images for damage in self.damages)])


def check_shards(
    folder: Path, index: Index, *, workers: int = 1, progress: Progress | None = None
) -> CheckReport:
    """Read every byte of the shards of an index (which `read_index` has checked); workers: threads that read."""
    used = [number for number, shard in enumerate(index.shards) if not shard.is_lost]

    def checked(number: int) -> Damage | None:
        found = _damage_of(folder, index, number)
        if progress is not None:
            progress(len(images_of_shard(index, number)))
        return found

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

    def lost(trouble: str) -> Damage:
        return Damage("shard", number, shard.name, trouble, images)

    if not path.is_file():
        return lost("is missing")
    try:
        with path.open("rb") as file:
            sha256, frame_sha256 = hash_file(file, shard.bytes_start, shard.bytes_end)
            if sha256 == shard.sha256:
                return _contradiction(folder, index, number)
            if frame_sha256 != shard.frame_sha256 or os.fstat(file.fileno()).st_size != shard.size_bytes:
                return lost(_trouble_with_frame(path, shard))
            hit = images[[not _fits(file, index, int(image)) for image in images]]
    except OSError as reason:
        return lost(f"cannot be read ({reason.strerror})")
    trouble = "1 damaged image" if len(hit) == 1 else f"{len(hit)} damaged images"
    if not len(hit):
        trouble = "images that the index leaves out have changed"
    return Damage("pictures", number, shard.name, trouble, hit, _names(path, index, hit), sha256)


def _fits(file: BinaryIO, index: Index, image: int) -> bool:
    """Whether an image has the checksum that the index says."""
    file.seek(int(index.columns["picture_start"][image]))
    picture = file.read(int(index.columns["picture_size"][image]))
    return zlib.crc32(picture) == int(index.columns["picture_crc32"][image])


def _trouble_with_frame(path: Path, shard: ShardResult) -> str:
    size_bytes = path.stat().st_size
    if size_bytes != shard.size_bytes:
        trouble = f"{size_bytes} bytes instead of {shard.size_bytes}"
    else:
        trouble = "names, labels or structure are damaged"
    try:
        open_marked(path, path.name, SHARD_FORMAT, SHARD_VERSION).close()
    except ShardError as reason:
        return f"{trouble}; {str(reason).removeprefix(f'{path.name}: ').rstrip('.')}"
    return trouble


def _contradiction(folder: Path, index: Index, number: int) -> Damage | None:
    """What the index says otherwise than a shard that is whole: a mistake of the program that wrote the index."""
    shard, images = index.shards[number], images_of_shard(index, number)
    said = take_images(index.columns, images)
    try:
        columns = join_columns(folder, [shard])
        found = take_images(columns, said["image_place"].astype(np.int64))
    except (ShardError, *HDF5_ERRORS) as reason:
        return Damage("shard", number, shard.name, f"cannot be read ({one_line(reason)})", images)
    hit = _differing(said, found)
    if not hit.any():
        return None
    trouble = f"{INDEX_NAME} says otherwise of {hit.sum()} images"
    hit_images = images[hit]
    names = _names(folder / shard.name, index, hit_images)
    return Damage("index", number, shard.name, trouble, hit_images, names, shard.sha256)


def _names(path: Path, index: Index, images: Int64Array) -> tuple[str, ...]:
    """What images of one shard are called in their sources."""
    source_ids = read_source_ids(path, path)
    return tuple(map(source_ids.text, index.columns["image_place"][images].tolist()))


def _differing(said: Arrays, found: Arrays) -> BoolArray:
    """(n,) the images of which two sets of columns tell different things."""
    hit = np.zeros(len(said["image_source"]), dtype=bool)
    for name in sorted(said.keys() & found.keys() - {"image_shard", *OFFSET_COLUMNS}):
        if name.startswith(("image_", "picture_")):
            hit |= said[name] != found[name]
    for kind, names in PARTS.items():
        offsets = said[f"{kind}_offsets"]
        if np.array_equal(offsets, found[f"{kind}_offsets"]):
            for name in names:
                rows = np.nonzero(said[name] != found[name])[0]
                hit[owner_of_rows(offsets)[rows]] = True
        else:
            hit[:] = True
    return hit
