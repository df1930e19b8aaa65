"""All images of a plan in columns, so that fourteen million fit into memory; records are made on demand.

An image takes about 75 bytes and its names, a box 21 bytes. Slices are views; each worker receives a slice.
"""

import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.records import Boxes, ImageLabel, ImageRecord
from data_prep.shards.format import BOXED, EXHAUSTIVE, IGNORED, INCOMPLETE, POSITIVE
from data_prep.shards.image_files import Container, ImageFile, container_at
from data_prep.shards.offsets import offsets_of, owner_of_rows, rows_of
from wordtree.support.arrays import BoolArray, Int64Array

Array = npt.NDArray[Any]

_IMAGE_COLUMNS = {
    "image_source": "int32",
    "container": "int32",  # row of `containers`
    "offset": "int64",  # of the image in its archive; -1: it is a file in a folder
    "size_bytes": "int64",
    "stated_width": "int32",  # px in the annotations; 0: not stated
    "stated_height": "int32",
    "image_flags": "uint8",  # BOXED, INCOMPLETE
}
_RAGGED_COLUMNS = {  # kind of row: its columns; the rows of image i begin at `KIND_offsets[i]`
    "name": {"name_bytes": "uint8"},  # of the file; empty if the source id ends with it, or in an archive
    "source_id": {"source_id_bytes": "uint8"},
    "box": {"boxes_xyxy_unit": "float32", "box_class": "int32", "box_flags": "uint8"},
    "label": {"label_class": "int32", "label_flags": "uint8"},
}
# The location of an image does not change the stored bytes, so the digest leaves it out.
_DIGESTED_COLUMNS = ("size_bytes", "stated_width", "stated_height", "image_flags")
_DIGESTED_KINDS = ("source_id", "box", "label")
_DTYPES = {
    **_IMAGE_COLUMNS,
    **{f"{kind}_offsets": "int64" for kind in _RAGGED_COLUMNS},
    **{name: dtype for columns in _RAGGED_COLUMNS.values() for name, dtype in columns.items()},
}
_TYPECODES = {"int32": "i", "int64": "q", "uint8": "B", "float32": "f"}
_IMAGES_AT_ONCE = 1 << 16  # the rows of all names at once would be eight times as large as the names


@dataclass(frozen=True, eq=False)
class Catalogue:
    """n images of several sources in the order of the shards, with M boxes and L image labels.

    Each of `_IMAGE_COLUMNS` has n rows, each column of offsets n + 1; `boxes_xyxy_unit` is (M, 4).
    Classes are rows of the plan's table of all classes.
    """

    containers: tuple[Container, ...]
    columns: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.columns["image_source"])

    def __iter__(self) -> Iterator[ImageRecord]:
        return map(self.record, range(len(self)))

    def __getitem__(self, column: str) -> Array:
        return self.columns[column]

    def count(self, kind: str) -> Int64Array:
        """The number of rows of a kind (box, label) in each image, (n,)."""
        return np.diff(self[f"{kind}_offsets"])

    def image_of(self, kind: str) -> Int64Array:
        """The image of each row of a kind: (M,) for boxes, (L,) for labels."""
        return owner_of_rows(self[f"{kind}_offsets"])

    @property
    def is_boxed(self) -> BoolArray:
        """Whether each image has been annotated with boxes, perhaps without an object; (n,)."""
        is_boxed: BoolArray = (self["image_flags"] & BOXED) != 0
        return is_boxed

    def source_id(self, image: int) -> str:
        """The name of an image within its source."""
        return self.source_id_bytes(image).decode()

    def source_id_bytes(self, image: int) -> bytes:
        """The name of an image within its source, in UTF-8."""
        return self["source_id_bytes"][_rows(self["source_id_offsets"], image)].tobytes()

    def file(self, image: int) -> ImageFile:
        """The file of an image and the position of the image in it."""
        container, offset = self.containers[self["container"][image]], int(self["offset"][image])
        path, size_bytes = Path(container.path), int(self["size_bytes"][image])
        if offset >= 0:
            return ImageFile(path, offset, size_bytes, container)
        name = self["name_bytes"][_rows(self["name_offsets"], image)].tobytes() or _file_name(
            self.source_id_bytes(image)
        )
        return ImageFile(path / os.fsdecode(name), None, size_bytes, container)

    def size_px(self, image: int) -> tuple[int, int] | None:
        """Width and height in the annotations; None if they are not stated."""
        width, height = int(self["stated_width"][image]), int(self["stated_height"][image])
        return (width, height) if width else None

    def record(self, image: int) -> ImageRecord:
        """An image and its labels; classes are rows of the plan's table."""
        path, offset, size_bytes, _ = self.file(image)
        rows = _rows(self["label_offsets"], image)
        labels = tuple(
            ImageLabel(row, bool(flags & POSITIVE), bool(flags & EXHAUSTIVE))
            for row, flags in zip(
                self["label_class"][rows].tolist(), self["label_flags"][rows].tolist(), strict=True
            )
        )
        flags = self["image_flags"][image]
        boxes = self._boxes(image) if flags & BOXED else None
        return ImageRecord(
            self.source_id(image),
            path,
            size_bytes,
            self.size_px(image),
            boxes,
            labels,
            offset,
            bool(flags & INCOMPLETE),
        )

    def slice(self, first: int, end: int) -> "Catalogue":
        """The images from `first` up to `end`, as views of the columns."""
        columns = {name: self[name][first:end] for name in _IMAGE_COLUMNS}
        containers, columns["container"] = np.unique(columns["container"], return_inverse=True)
        for kind, names in _RAGGED_COLUMNS.items():
            offsets = self[f"{kind}_offsets"][first : end + 1]
            columns[f"{kind}_offsets"] = offsets - offsets[0]
            columns |= {name: self[name][offsets[0] : offsets[-1]] for name in names}
        return Catalogue(tuple(self.containers[row] for row in containers), columns)

    def take(self, images: Int64Array) -> "Catalogue":
        """A copy of the chosen images, in the given order."""
        columns = {name: self[name][images] for name in _IMAGE_COLUMNS}
        for kind, names in _RAGGED_COLUMNS.items():
            offsets = offsets_of(self.count(kind)[images])
            taken = {name: np.empty((offsets[-1], *self[name].shape[1:]), self[name].dtype) for name in names}
            for first in range(0, len(images), _IMAGES_AT_ONCE):
                some = images[first : first + _IMAGES_AT_ONCE]
                _, rows = rows_of(self[f"{kind}_offsets"], some)
                start, end = offsets[first], offsets[first + len(some)]
                for name in names:
                    taken[name][start:end] = self[name][rows]
            columns |= taken | {f"{kind}_offsets": offsets}
        return Catalogue(self.containers, columns)

    def digest(self, first_class: int = 0) -> str:
        """The sha256 (hex) of everything that decides the stored bytes: neither locations nor meanings of classes.

        first_class: the row of the source's first class, so that the digest of a source depends on no other source.
        """
        digest = sha256(str(len(self)).encode())
        for name in _DIGESTED_COLUMNS:
            digest.update(np.ascontiguousarray(self[name]).data)
        for kind in _DIGESTED_KINDS:
            digest.update(self.count(kind).data)
            for name in _RAGGED_COLUMNS[kind]:
                column = self[name] - first_class if name.endswith("_class") else self[name]
                digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def _boxes(self, image: int) -> Boxes:
        rows = _rows(self["box_offsets"], image)
        xyxy_unit = [tuple(corners) for corners in self["boxes_xyxy_unit"][rows].tolist()]
        is_ignored = (self["box_flags"][rows] & IGNORED).astype(bool)
        return Boxes(self["box_class"][rows].tolist(), xyxy_unit, is_ignored.tolist())


class CatalogueBuilder:
    """A catalogue that grows image by image."""

    def __init__(self) -> None:
        self._columns: dict[str, array[Any]] = {
            name: array(_TYPECODES[dtype]) for name, dtype in _DTYPES.items()
        }
        for kind in _RAGGED_COLUMNS:
            self._columns[f"{kind}_offsets"].append(0)
        self._containers: list[Container] = []
        self._container_rows: dict[tuple[str, bool], int] = {}

    def __len__(self) -> int:
        return len(self._columns["image_source"])

    @property
    def box_count(self) -> int:
        """The number of boxes of all images so far."""
        return len(self._columns["box_class"])

    def add(self, source: int, record: ImageRecord, first_class: int) -> None:
        """Append an image of a source; first_class is the row of the source's first class in the table of all."""
        columns, path = self._columns, os.fspath(record.path)
        source_id = record.source_id.encode("utf-8", "backslashreplace")
        folder, name = os.path.split(path)
        width, height = record.size_px or (0, 0)
        is_archived = record.offset is not None
        columns["image_source"].append(source)
        columns["container"].append(self._container(path if is_archived else folder, is_archive=is_archived))
        columns["offset"].append(-1 if record.offset is None else record.offset)
        columns["size_bytes"].append(record.size_bytes)
        columns["stated_width"].append(width)
        columns["stated_height"].append(height)
        flags = 0 if record.boxes is None else BOXED
        columns["image_flags"].append(flags | INCOMPLETE if record.is_incomplete else flags)
        columns["source_id_bytes"].frombytes(source_id)
        stored_name = b"" if is_archived else os.fsencode(name)
        columns["name_bytes"].frombytes(b"" if stored_name == _file_name(source_id) else stored_name)
        if record.boxes:
            columns["boxes_xyxy_unit"].extend(chain.from_iterable(record.boxes.xyxy_unit))
            columns["box_class"].extend(first_class + index for index in record.boxes.class_index)
            columns["box_flags"].extend(IGNORED if ignored else 0 for ignored in record.boxes.is_ignored)
        for label in record.labels:
            columns["label_class"].append(first_class + label.class_index)
            label_flags = (POSITIVE if label.is_positive else 0) | (EXHAUSTIVE if label.is_exhaustive else 0)
            columns["label_flags"].append(label_flags)
        for kind, names in _RAGGED_COLUMNS.items():
            rows = len(columns["box_class"] if kind == "box" else columns[next(iter(names))])
            columns[f"{kind}_offsets"].append(rows)

    def finish(self) -> Catalogue:
        """The catalogue, in the memory in which it grew; nothing can be added afterwards."""
        columns: dict[str, Array] = {name: np.asarray(values) for name, values in self._columns.items()}
        columns["boxes_xyxy_unit"] = columns["boxes_xyxy_unit"].reshape(-1, 4)
        return Catalogue(tuple(self._containers), columns)

    def _container(self, path: str, *, is_archive: bool) -> int:
        row = self._container_rows.get((path, is_archive))
        if row is None:
            row = self._container_rows[path, is_archive] = len(self._containers)
            self._containers.append(container_at(path, is_archive=is_archive))
        return row


def _rows(offsets: Int64Array, image: int) -> slice:
    first, end = offsets[image : image + 2]
    return slice(first, end)


def _file_name(source_id: bytes) -> bytes:
    return source_id.rpartition(b"/")[2]
