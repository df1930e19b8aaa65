"""Writing a shard: images are read, checked and packed with their labels, completely or not at all."""

import os
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
from data_prep.shards.decoding import ImageError
from data_prep.shards.format import (
    SHARD_DATASETS,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardError,
    hash_file,
)
from data_prep.shards.hdf5_files import new_hdf5, write_format
from data_prep.shards.image_files import read_image_file
from data_prep.shards.images import BoxFrame, ImageRules, PreparedImage, prepare_image
from wordtree.support.files import part_file, system_message

_UPRIGHT: tuple[BoxFrame, BoxFrame] = ("upright", "upright")


@dataclass(frozen=True)
class ShardJob:
    """The task of one worker: the path, the images and the encoding of one shard.

    frames: for each source, the frame of images that state a size, and of images that state none; empty: upright.
    """

    path: Path
    images: Catalogue
    rules: ImageRules
    frames: tuple[tuple[BoxFrame, BoxFrame], ...] = ()


@dataclass(frozen=True)
class ShardResult:
    """A written shard.

    bytes_start, bytes_end: the span of the images in the file. frame_sha256: the hash of all other bytes.
    counts: the number of images and labels left out or changed, by source and reason.
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
        """Whether a repair has left the whole shard out of the index."""
        return not self.sha256


def write_shard(job: ShardJob, on_image: Callable[[], None] | None = None) -> ShardResult:
    """Read, check and pack the images of a job; the shard gets its name only when it is complete."""
    packed = _PackedImages(job.images)
    for image in range(len(job.images)):
        try:
            data = read_image_file(job.images.file(image))
            size_px = job.images.size_px(image)
            sized, unsized = job.frames[job.images["image_source"][image]] if job.frames else _UPRIGHT
            packed.add(image, prepare_image(data, size_px, job.rules, sized if size_px else unsized))
        except ImageError as reason:
            packed.leave_out(image, str(reason))
        if on_image is not None:
            on_image()
    written = _write(job.path, packed.arrays(), packed.encoded)
    return ShardResult(
        job.path.name,
        len(packed.encoded),
        *written,
        {
            source: dict(sorted(kept.items()))
            for source, count in sorted(packed.counts.items())
            if (kept := +count)
        },
        tuple(packed.left_out),
    )


class _PackedImages:
    """The images of a shard that grows, and the counts of images left out or changed."""

    def __init__(self, images: Catalogue) -> None:
        self.encoded: list[bytes] = []
        self.counts: dict[int, Counter[str]] = {}
        self.left_out: list[tuple[int, str, str]] = []
        self._images = images
        self._kept: list[int] = []
        self._sizes_px: list[tuple[int, int]] = []

    def add(self, image: int, prepared: PreparedImage) -> None:
        self.encoded.append(prepared.data)
        self._kept.append(image)
        self._sizes_px.append((prepared.width, prepared.height))
        self._counts_of(image).update(prepared.changes)

    def leave_out(self, image: int, reason: str) -> None:
        source, counts = int(self._images["image_source"][image]), self._counts_of(image)
        self.left_out.append((source, self._images.source_id(image), reason))
        counts[reason] += 1
        counts[BOX_OF_LOST_IMAGE] += int(self._images.count("box")[image])
        counts[LABEL_OF_LOST_IMAGE] += int(self._images.count("label")[image])

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """All datasets of the shard except the bytes of the images."""
        stored = self._images.take(np.array(self._kept, dtype=np.int64))
        sizes_px = np.array(self._sizes_px, dtype=np.int32).reshape(-1, 2)
        columns = {
            **stored.columns,
            "picture_offsets": np.cumsum([0, *map(len, self.encoded)]),
            "picture_crc32": np.array([zlib.crc32(data) for data in self.encoded]),
            "image_width": sizes_px[:, 0],
            "image_height": sizes_px[:, 1],
        }
        return {
            name: np.ascontiguousarray(columns[name], dtype)
            for name, dtype in SHARD_DATASETS.items()
            if name != "picture_bytes"
        }

    def _counts_of(self, image: int) -> Counter[str]:
        return self.counts.setdefault(int(self._images["image_source"][image]), Counter())


class _Written(NamedTuple):
    size_bytes: int
    sha256: str
    frame_sha256: str
    bytes_start: int
    bytes_end: int


def _write(path: Path, arrays: dict[str, np.ndarray[Any, Any]], encoded: list[bytes]) -> _Written:
    """Write a shard to a part file, sync it to disk, rename it; returns sizes and hashes for the index.

    The part has a name of its own, so that a worker that outlives its merge cannot write into the next one's part.
    """
    try:
        with part_file(path) as part:
            with new_hdf5(part) as file:
                write_format(file, SHARD_FORMAT, SHARD_VERSION)
                for name, array in arrays.items():
                    file.create_dataset(name, data=array, track_times=False)
                first = _reserve(file, sum(map(len, encoded)))
            with part.open("r+b") as written:
                written.seek(first)
                written.writelines(encoded)
                end = written.tell()
                written.flush()
                hashes = hash_file(written, first, end)
                os.fsync(written.fileno())
                size_bytes = os.fstat(written.fileno()).st_size
    except OSError as reason:
        raise ShardError(
            f"{path}: cannot write this shard ({system_message(reason)}). "
            "Finished shards stay; run the command again to resume."
        ) from None
    return _Written(size_bytes, *hashes, first, end)


def _reserve(file: h5py.File, size_bytes: int) -> int:
    """Reserve contiguous space for the images at the end of the file; returns its position."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_obj_track_times(False)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    shape = h5py.h5s.create_simple((size_bytes,))
    dataset = h5py.h5d.create(file.id, b"picture_bytes", h5py.h5t.STD_U8LE, shape, layout)
    return dataset.get_offset() or 0
