"""One shard: pictures read, checked, packed with their labels, written whole or not at all."""

import hashlib
import os
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from data_prep.config import one_line
from data_prep.pictures import PictureError, PictureRules, StoredPicture, prepare_picture
from data_prep.records import ImageRecord
from data_prep.shard_format import (
    BOXED,
    EXHAUSTIVE,
    IGNORED,
    POSITIVE,
    SHARD_DATASETS,
    SHARD_FORMAT,
    SHARD_VERSION,
    ShardError,
    content_hash,
    mark,
)


@dataclass(frozen=True)
class ShardJob:
    """What one worker is asked to do: the pictures of one shard, each with the number of its source.

    first_class: for each source, the row of its first class in the table of source classes.
    """

    path: Path
    images: tuple[tuple[int, ImageRecord], ...]
    first_class: tuple[int, ...]
    rules: PictureRules


@dataclass(frozen=True)
class ShardResult:
    """A written shard: its size, hashes, and what happened, counted by source and reason.

    left_out: (source, source id, reason) of each picture that could not be used.
    """

    name: str
    images: int
    size_bytes: int
    sha256: str
    content_sha256: str
    counts: dict[int, dict[str, int]] = field(default_factory=dict)
    left_out: tuple[tuple[int, str, str], ...] = ()


def write_shard(job: ShardJob, on_picture: Callable[[], None] | None = None) -> ShardResult:
    """Read, check and pack the pictures of a job; the shard appears under its name only when complete."""
    columns = _Columns()
    counts: dict[int, Counter[str]] = {}
    left_out = []
    for source, record in job.images:
        count = counts.setdefault(source, Counter())
        try:
            picture = prepare_picture(_read(record.path), record.size_px, job.rules)
        except PictureError as reason:
            left_out.append((source, record.source_id, str(reason)))
            count[str(reason)] += 1
            count["box of an image left out"] += len(record.boxes or ())
        else:
            count.update(picture.changes)
            columns.add(source, record, picture, job.first_class[source])
        if on_picture is not None:
            on_picture()
    arrays = columns.arrays()
    sha256, size_bytes = _write(job.path, arrays, columns.pictures)
    return ShardResult(
        job.path.name,
        len(columns.pictures),
        size_bytes,
        sha256,
        content_hash(arrays, columns.pictures),
        {source: dict(sorted((+count).items())) for source, count in sorted(counts.items())},
        tuple(left_out),
    )


class _Columns:
    """The pictures and columns of a shard while it grows."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self._source_ids: list[bytes] = []
        self._image_rows: list[tuple[int, int, int, int]] = []
        self._boxes: list[tuple[float, ...]] = []
        self._box_rows: list[tuple[int, int]] = []
        self._label_rows: list[tuple[int, int]] = []
        self._box_offsets = [0]
        self._label_offsets = [0]

    def add(self, source: int, record: ImageRecord, picture: StoredPicture, first_class: int) -> None:
        self.pictures.append(picture.data)
        self._source_ids.append(record.source_id.encode("utf-8", "backslashreplace"))
        flags = 0 if record.boxes is None else BOXED
        self._image_rows.append((source, picture.width, picture.height, flags))
        for box in record.boxes or ():
            self._boxes.append(box.xyxy_unit)
            self._box_rows.append((first_class + box.class_index, IGNORED if box.is_ignored else 0))
        for label in record.labels:
            flags = (POSITIVE if label.is_positive else 0) | (EXHAUSTIVE if label.is_exhaustive else 0)
            self._label_rows.append((first_class + label.class_index, flags))
        self._box_offsets.append(len(self._boxes))
        self._label_offsets.append(len(self._label_rows))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Every dataset of the shard but the pictures."""
        image_rows = np.array(self._image_rows, dtype=np.int32).reshape(-1, 4)
        box_rows = np.array(self._box_rows, dtype=np.int32).reshape(-1, 2)
        label_rows = np.array(self._label_rows, dtype=np.int32).reshape(-1, 2)
        columns: dict[str, Any] = {
            "picture_offsets": _offsets(self.pictures),
            "picture_crc32": [zlib.crc32(picture) for picture in self.pictures],
            "source_id_bytes": np.frombuffer(b"".join(self._source_ids), dtype=np.uint8),
            "source_id_offsets": _offsets(self._source_ids),
            "image_source": image_rows[:, 0],
            "image_width": image_rows[:, 1],
            "image_height": image_rows[:, 2],
            "image_flags": image_rows[:, 3],
            "box_offsets": self._box_offsets,
            "boxes_xyxy_unit": np.array(self._boxes, dtype=np.float32).reshape(-1, 4),
            "box_class": box_rows[:, 0],
            "box_flags": box_rows[:, 1],
            "label_offsets": self._label_offsets,
            "label_class": label_rows[:, 0],
            "label_flags": label_rows[:, 1],
        }
        return {name: np.ascontiguousarray(column, SHARD_DATASETS[name]) for name, column in columns.items()}


def _offsets(pieces: list[bytes]) -> np.ndarray[Any, Any]:
    return np.cumsum([0, *map(len, pieces)], dtype=np.int64)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise PictureError(f"picture file that cannot be read ({os.strerror(reason.errno or 0)})") from None


def _write(path: Path, arrays: dict[str, np.ndarray[Any, Any]], pictures: list[bytes]) -> tuple[str, int]:
    """Write `.part`, make it durable, rename; returns sha256 and size of the file."""
    part = path.with_name(f"{path.name}.part")
    try:
        with h5py.File(part, "w", track_order=False) as file:
            mark(file, SHARD_FORMAT, SHARD_VERSION)
            for name, array in arrays.items():
                file.create_dataset(name, data=array, track_times=False)
            _write_pictures(file, arrays["picture_offsets"], pictures)
        with part.open("rb") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
            os.fsync(written.fileno())
            size_bytes = os.fstat(written.fileno()).st_size
        part.replace(path)
    except OSError as reason:
        raise ShardError(f"{path}: cannot write this shard ({one_line(reason)}).") from None
    finally:
        part.unlink(missing_ok=True)
    return sha256, size_bytes


def _write_pictures(file: h5py.File, offsets: np.ndarray[Any, Any], pictures: list[bytes]) -> None:
    dataset = file.create_dataset("picture_bytes", (int(offsets[-1]),), dtype="uint8", track_times=False)
    for start, picture in zip(offsets.tolist(), pictures, strict=False):
        dataset[start : start + len(picture)] = np.frombuffer(picture, dtype=np.uint8)
