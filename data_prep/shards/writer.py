"""One shard: images read, checked, packed with their labels, written whole or not at all."""

import os
import secrets
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from data_prep.records import BOX_OF_LOST_IMAGE, LABEL_OF_LOST_IMAGE
from data_prep.shards.catalogue import Catalogue
from data_prep.shards.format import (
    SHARD_DATASETS,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardError,
    hash_file,
    mark,
)
from data_prep.shards.hdf5_files import new_hdf5
from data_prep.shards.image_files import read_image_file
from data_prep.shards.images import ImageError, ImageRules, StoredImage, prepare_image
from wordtree.support.files import system_message


@dataclass(frozen=True)
class ShardJob:
    """What one worker is asked to do: the images of one shard."""

    path: Path
    images: Catalogue
    rules: ImageRules


@dataclass(frozen=True)
class ShardResult:
    """A written shard: its size, hashes, and what happened, counted by source and reason.

    bytes_start, bytes_end: the bytes of the file between which its images lie.
    frame_sha256: of all its other bytes.
    left_out: (source, source id, reason) of each image that could not be used.
    """

    name: str
    images: int
    size_bytes: int
    sha256: str
    frame_sha256: str
    bytes_start: int
    bytes_end: int
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    left_out: tuple[tuple[int, str, str], ...] = ()

    @property
    def is_lost(self) -> bool:
        """Whether a repair has given up the whole shard: nothing of it is read any more."""
        return not self.sha256


def write_shard(job: ShardJob, on_image: Callable[[], None] | None = None) -> ShardResult:
    """Read, check and pack the images of a job; the shard appears under its name only when complete."""
    packed = _Packed(job.images)
    for image in range(len(job.images)):
        try:
            data = read_image_file(job.images.file(image))
            packed.add(image, prepare_image(data, job.images.size_px(image), job.rules))
        except ImageError as reason:
            packed.leave_out(image, str(reason))
        if on_image is not None:
            on_image()
    written = _write(job.path, packed.arrays(), packed.pictures)
    return ShardResult(
        job.path.name,
        len(packed.pictures),
        *written,
        {
            source: dict(sorted(kept.items()))
            for source, count in sorted(packed.counts.items())
            if (kept := +count)
        },
        tuple(packed.left_out),
    )


class _Packed:
    """The images of a shard while it grows, and what was left out or changed."""

    def __init__(self, images: Catalogue) -> None:
        self.pictures: list[bytes] = []
        self.counts: dict[int, Counter[str]] = {}
        self.left_out: list[tuple[int, str, str]] = []
        self._images = images
        self._numbers: list[int] = []
        self._sizes_px: list[tuple[int, int]] = []

    def add(self, picture: int, stored: StoredImage) -> None:
        self.pictures.append(stored.data)
        self._numbers.append(picture)
        self._sizes_px.append((stored.width, stored.height))
        self._counts_of(picture).update(stored.changes)

    def leave_out(self, picture: int, reason: str) -> None:
        source, counts = int(self._images["image_source"][picture]), self._counts_of(picture)
        self.left_out.append((source, self._images.source_id(picture), reason))
        counts[reason] += 1
        counts[BOX_OF_LOST_IMAGE] += int(self._images.count("box")[picture])
        counts[LABEL_OF_LOST_IMAGE] += int(self._images.count("label")[picture])

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every dataset of the shard but the images."""
        stored = self._images.take(np.array(self._numbers, dtype=np.int64))
        sizes_px = np.array(self._sizes_px, dtype=np.int32).reshape(-1, 2)
        columns = {
            **stored.columns,
            "picture_offsets": np.cumsum([0, *map(len, self.pictures)]),
            "picture_crc32": np.array([zlib.crc32(image) for image in self.pictures]),
            "image_width": sizes_px[:, 0],
            "image_height": sizes_px[:, 1],
        }
        return {
            name: np.ascontiguousarray(columns[name], dtype)
            for name, dtype in SHARD_DATASETS.items()
            if name != "picture_bytes"
        }

    def _counts_of(self, picture: int) -> Counter[str]:
        return self.counts.setdefault(int(self._images["image_source"][picture]), Counter())


class _Written(NamedTuple):
    size_bytes: int
    sha256: str
    frame_sha256: str
    bytes_start: int
    bytes_end: int


def _write(path: Path, arrays: dict[str, np.ndarray[Any, Any]], pictures: list[bytes]) -> _Written:
    """Write `.part`, make it durable, rename; returns what the index says of the file.

    The part has a name of its own: a worker that outlives its merge must not touch the part of the next one.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with new_hdf5(part) as file:
            mark(file, SHARD_FORMAT, SHARD_VERSION)
            for name, array in arrays.items():
                file.create_dataset(name, data=array, track_times=False)
            first = _reserve(file, sum(map(len, pictures)))
        with part.open("r+b") as written:
            written.seek(first)
            written.writelines(pictures)
            end = written.tell()
            written.flush()
            hashes = hash_file(written, first, end)
            os.fsync(written.fileno())
            size_bytes = os.fstat(written.fileno()).st_size
        part.replace(path)
    except OSError as reason:
        raise ShardError(
            f"{path}: cannot write this shard ({system_message(reason)}). "
            "Finished shards stay; run the command again to resume."
        ) from None
    finally:
        part.unlink(missing_ok=True)
    return _Written(size_bytes, *hashes, first, end)


def _reserve(file: h5py.File, size_bytes: int) -> int:
    """Room for the images, in one piece at the end; returns the byte of the file at which it starts."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_obj_track_times(False)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    shape = h5py.h5s.create_simple((size_bytes,))
    dataset = h5py.h5d.create(file.id, b"picture_bytes", h5py.h5t.STD_U8LE, shape, layout)
    return dataset.get_offset() or 0
