"""All images of a plan in columns, so that fourteen million fit into memory; records are made on demand.

About 75 bytes an image besides its names and 21 a box. Slices are views; workers are sent a slice.
"""

import os
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.records import BoxLabel, ImageLabel, ImageRecord
from data_prep.shards.format import BOXED, EXHAUSTIVE, IGNORED, POSITIVE
from data_prep.shards.image_files import EncodedImage, Place, place_of
from data_prep.shards.offsets import offsets_of, owner_of_rows, rows_of
from wordtree.support.arrays import BoolArray, Int64Array

Array = npt.NDArray[Any]

_OF_PICTURES = {
    "image_source": "int32",
    "place": "int32",  # row of `places`
    "offset": "int64",  # of its bytes in the archive; -1: it is a file in a folder
    "size_bytes": "int64",
    "stated_width": "int32",  # px that the annotations state; 0: they state none
    "stated_height": "int32",
    "image_flags": "uint8",  # BOXED
}
_OF_PARTS = {  # kind of part: its columns; row i of `KIND_offsets` is where those of image i begin
    "name": {"name_bytes": "uint8"},  # of the file; empty where the source id ends with it, or in an archive
    "source_id": {"source_id_bytes": "uint8"},
    "box": {"boxes_xyxy_unit": "float32", "box_class": "int32", "box_flags": "uint8"},
    "label": {"label_class": "int32", "label_flags": "uint8"},
}
_DIGESTED = (
    "size_bytes",
    "stated_width",
    "stated_height",
    "image_flags",
)  # where an image lies does not decide what is stored
_DIGESTED_PARTS = ("source_id", "box", "label")
_TYPES = {
    **_OF_PICTURES,
    **{f"{kind}_offsets": "int64" for kind in _OF_PARTS},
    **{name: dtype for parts in _OF_PARTS.values() for name, dtype in parts.items()},
}
_TAKEN_AT_ONCE = 1 << 16  # images: a list of all rows would be eight times as large as the names it selects
_TYPECODES = {"int32": "i", "int64": "q", "uint8": "B", "float32": "f"}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """n images of several sources in the order in which they are stored, with M boxes and L image labels.

    Each column of `_OF_PICTURES` has n rows, `box_offsets` and the other offsets n + 1; `boxes_xyxy_unit` is (M, 4).
    Classes are rows of the plan's table of all classes.
    """

    places: tuple[Place, ...]
    columns: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.columns["image_source"])

    def __iter__(self) -> Iterator[ImageRecord]:
        return map(self.record, range(len(self)))

    def __getitem__(self, column: str) -> Array:
        return self.columns[column]

    def count(self, kind: str) -> Int64Array:
        """(n,) how many parts of a kind (box, label) each image has."""
        return np.diff(self[f"{kind}_offsets"])

    def picture_of(self, kind: str) -> Int64Array:
        """The image of each part: (M,) of boxes, (L,) of labels."""
        return owner_of_rows(self[f"{kind}_offsets"])

    @property
    def is_boxed(self) -> BoolArray:
        """(n,) whether somebody drew boxes on the image, even if there was nothing to box."""
        is_boxed: BoolArray = (self["image_flags"] & BOXED) != 0
        return is_boxed

    def source_id(self, picture: int) -> str:
        """The image's name within its source."""
        return self.source_id_bytes(picture).decode()

    def source_id_bytes(self, picture: int) -> bytes:
        """The same in UTF-8."""
        return self._parts("source_id", "source_id_bytes", picture).tobytes()

    def file(self, picture: int) -> EncodedImage:
        """Where an image's bytes lie."""
        place, offset = self.places[self["place"][picture]], int(self["offset"][picture])
        path, size_bytes = Path(place.path), int(self["size_bytes"][picture])
        if offset >= 0:
            return EncodedImage(path, offset, size_bytes, place)
        name = self._parts("name", "name_bytes", picture).tobytes()
        return EncodedImage(
            path / os.fsdecode(name or _last(self.source_id_bytes(picture))), None, size_bytes, place
        )

    def size_px(self, picture: int) -> tuple[int, int] | None:
        """Width and height that the annotations state."""
        width, height = int(self["stated_width"][picture]), int(self["stated_height"][picture])
        return (width, height) if width else None

    def record(self, picture: int) -> ImageRecord:
        """An image and its labels; classes are rows of the plan's table."""
        path, offset, size_bytes, _ = self.file(picture)
        size_px, boxes = self.size_px(picture), self._boxes(picture)
        is_boxed = bool(self["image_flags"][picture] & BOXED)
        labels = tuple(
            ImageLabel(row, bool(flags & POSITIVE), bool(flags & EXHAUSTIVE))
            for row, flags in self._rows("label", picture, "label_class", "label_flags")
        )
        return ImageRecord(
            self.source_id(picture), path, size_bytes, size_px, boxes if is_boxed else None, labels, offset
        )

    def slice(self, first: int, end: int) -> "Catalogue":
        """The images from `first` up to `end`, as views of the columns."""
        columns = {name: self[name][first:end] for name in _OF_PICTURES}
        numbers, columns["place"] = np.unique(columns["place"], return_inverse=True)
        for kind, parts in _OF_PARTS.items():
            offsets = self[f"{kind}_offsets"][first : end + 1]
            columns[f"{kind}_offsets"] = offsets - offsets[0]
            columns |= {name: self[name][offsets[0] : offsets[-1]] for name in parts}
        return Catalogue(tuple(self.places[number] for number in numbers), columns)

    def take(self, pictures: Int64Array) -> "Catalogue":
        """Only the images of these numbers, in their order, copied."""
        columns = {name: self[name][pictures] for name in _OF_PICTURES}
        for kind, parts in _OF_PARTS.items():
            offsets = offsets_of(self.count(kind)[pictures])
            taken = {name: np.empty((offsets[-1], *self[name].shape[1:]), self[name].dtype) for name in parts}
            for first in range(0, len(pictures), _TAKEN_AT_ONCE):
                some = pictures[first : first + _TAKEN_AT_ONCE]
                _, rows = rows_of(self[f"{kind}_offsets"], some)
                start, end = offsets[first], offsets[first + len(some)]
                for name in parts:
                    taken[name][start:end] = self[name][rows]
            columns |= taken | {f"{kind}_offsets": offsets}
        return Catalogue(self.places, columns)

    def digest(self, first_class: int = 0) -> str:
        """sha256 (hex) of all that decides what is stored: neither where the images lie nor what classes mean.

        first_class: the row of the source's first class, so that a digest of one source depends on no other.
        """
        digest = sha256(str(len(self)).encode())
        for name in _DIGESTED:
            digest.update(np.ascontiguousarray(self[name]).data)
        for kind in _DIGESTED_PARTS:
            digest.update(self.count(kind).data)
            for name in _OF_PARTS[kind]:
                column = self[name] - first_class if name.endswith("_class") else self[name]
                digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()

    def _parts(self, kind: str, column: str, picture: int) -> Array:
        first, end = self[f"{kind}_offsets"][picture : picture + 2]
        return self[column][first:end]

    def _rows(self, kind: str, picture: int, *columns: str) -> Iterator[tuple[Any, ...]]:
        return zip(*(self._parts(kind, column, picture).tolist() for column in columns), strict=True)

    def _boxes(self, picture: int) -> tuple[BoxLabel, ...]:
        return tuple(
            BoxLabel(row, tuple(corners), bool(flags & IGNORED))
            for corners, row, flags in self._rows("box", picture, "boxes_xyxy_unit", "box_class", "box_flags")
        )


class CatalogueBuilder:
    """A catalogue while it grows, image by image."""

    def __init__(self) -> None:
        self._columns: dict[str, array[Any]] = {
            name: array(_TYPECODES[dtype]) for name, dtype in _TYPES.items()
        }
        for kind in _OF_PARTS:
            self._columns[f"{kind}_offsets"].append(0)
        self._places: dict[tuple[str, bool], int] = {}
        self._described: list[Place] = []

    def __len__(self) -> int:
        return len(self._columns["image_source"])

    def add(self, source: int, record: ImageRecord, first_class: int) -> None:
        """Append an image of a source; first_class is the row of the source's first class in the table of all."""
        columns, path = self._columns, os.fspath(record.path)
        source_id = record.source_id.encode("utf-8", "backslashreplace")
        folder, name = os.path.split(path)
        width, height = record.size_px or (0, 0)
        is_archived = record.offset is not None
        columns["image_source"].append(source)
        columns["place"].append(self._place(path if is_archived else folder, is_archived=is_archived))
        columns["offset"].append(-1 if record.offset is None else record.offset)
        columns["size_bytes"].append(record.size_bytes)
        columns["stated_width"].append(width)
        columns["stated_height"].append(height)
        columns["image_flags"].append(0 if record.boxes is None else BOXED)
        columns["source_id_bytes"].frombytes(source_id)
        stored_name = b"" if is_archived else os.fsencode(name)
        columns["name_bytes"].frombytes(b"" if stored_name == _last(source_id) else stored_name)
        for box in record.boxes or ():
            columns["boxes_xyxy_unit"].extend(box.xyxy_unit)
            columns["box_class"].append(first_class + box.class_index)
            columns["box_flags"].append(IGNORED if box.is_ignored else 0)
        for label in record.labels:
            columns["label_class"].append(first_class + label.class_index)
            flags = (POSITIVE if label.is_positive else 0) | (EXHAUSTIVE if label.is_exhaustive else 0)
            columns["label_flags"].append(flags)
        for kind, (column, *_) in _OF_PARTS.items():
            ends = len(columns[column]) // (4 if kind == "box" else 1)
            columns[f"{kind}_offsets"].append(ends)

    def finish(self) -> Catalogue:
        """The catalogue, over the memory in which it grew; nothing can be added afterwards."""
        columns: dict[str, Array] = {name: np.asarray(values) for name, values in self._columns.items()}
        columns["boxes_xyxy_unit"] = columns["boxes_xyxy_unit"].reshape(-1, 4)
        return Catalogue(tuple(self._described), columns)

    def _place(self, path: str, *, is_archived: bool) -> int:
        number = self._places.get((path, is_archived))
        if number is None:
            number = self._places[path, is_archived] = len(self._described)
            self._described.append(place_of(path, is_archive=is_archived))
        return number


def _last(source_id: bytes) -> bytes:
    return source_id.rpartition(b"/")[2]
