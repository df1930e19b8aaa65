"""YOLO text files as Ultralytics and Darknet lay them out: an image in …/images/…, its boxes in …/labels/….

A line is `class x y width height`, centre and size in the unit square, or a class and the corners of a polygon. A
image without a text file is one in which somebody looked and found nothing.
"""

from __future__ import annotations

import math
import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, NamedTuple

from data_prep.config import YoloSource
from data_prep.records import BoxLabel, ImageRecord
from data_prep.sources.columns.label_table import BoxRow, box_labels
from data_prep.sources.contents import (
    IMAGE_SUFFIXES,
    UNIT_ROUNDING,
    Corners,
    OpenSource,
    SourceError,
    cannot_list,
    readable_name,
    require_folder,
)
from data_prep.sources.files.image_folder import ImageFolder, walk
from data_prep.sources.files.text_lines import number, text_lines
from wordtree.support.config_files import read_yaml

_LARGEST: Final = 16 << 20  # bytes of a text file: a hundred thousand boxes
_TXT: Final = ".txt"
_SUFFIXES: Final = tuple(sorted(IMAGE_SUFFIXES))
_POLYGON: Final = "polygon of which the bounding box is taken"
_BACKGROUND: Final = "image without a text file: nothing in it (kept)"
_UNUSED: Final = "text file without an image"


def open_source(config: YoloSource) -> OpenSource:
    """The names of the classes; raises SourceError where they or the folders are missing."""
    require_folder(config.images, config.name)
    if config.labels is not None:
        require_folder(config.labels, config.name, "text files")
    names = read_names(config.class_names)
    contents = _Contents(config, names)
    return OpenSource(config.name, has_boxes=True, classes=names.classes, stream=contents.records)


class _TextFileError(SourceError):
    """A text file that cannot be used; its text is the reason under which its image is counted."""


@dataclass(frozen=True)
class _Contents:
    config: YoloSource
    names: YoloNames

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        """The images, folder by folder; raises SourceError where none of their folders has one of text files."""
        looked_into: list[Path] = []
        for place, files in walk(self.config.images, counts):
            images = [file for file in files if _is_image(file, counts)]
            if images:
                looked_into.append(self._texts_of(place))
                yield from self._folder_records(place, images, counts)
        if looked_into and not any(map(Path.is_dir, looked_into)):
            raise SourceError(
                f"source {self.config.name!r}: expected the text files of its images in {looked_into[0]}, "
                "found no such folder; say where they are with `labels`."
            )
        self._count_unused(set(looked_into), counts)

    def _folder_records(
        self, place: str, pictures: Sequence[str], counts: Counter[str]
    ) -> Iterator[ImageRecord]:
        folder, texts = ImageFolder(self.config.images), self._texts_of(place)
        for image in pictures:
            found = folder.find(place + image)
            if isinstance(found, str):
                counts[found] += 1
                continue
            try:
                boxes = self._boxes(texts / f"{image.rpartition('.')[0]}{_TXT}", counts)
            except _TextFileError as reason:
                counts[str(reason)] += 1
            else:
                yield ImageRecord(readable_name(place + image), found.path, found.size_bytes, None, boxes)
        counts[_UNUSED] += _unused(texts, pictures)

    def _texts_of(self, place: str) -> Path:
        """The folder of the text files of a folder of images: `labels` for the last `images` of its path."""
        if self.config.labels is not None:
            return self.config.labels / place
        parts = list((self.config.images / place).absolute().parts)
        if "images" in parts:
            last = len(parts) - 1 - parts[::-1].index("images")
            parts[last] = "labels"
        return Path(*parts)

    def _count_unused(self, looked_into: set[Path], counts: Counter[str]) -> None:
        """Count the text files in folders that belong to no folder of images."""
        root = self._texts_of("")
        if root.is_dir() and root != self.config.images.absolute():
            for place, files in walk(root, Counter()):
                if root / place not in looked_into:
                    counts[_UNUSED] += sum(file.endswith(_TXT) for file in files)

    def _boxes(self, path: Path, counts: Counter[str]) -> tuple[BoxLabel, ...]:
        text = _text(path)
        if text is None:
            counts[_BACKGROUND] += 1
            return ()
        rows = []
        for line in filter(None, map(str.split, text.splitlines())):
            row = _row(line, self.names, counts)
            if isinstance(row, str):
                counts[row] += 1
            else:
                rows.append(row)
        return box_labels(rows, (1, 1), range(len(self.names.classes)), counts, rounding=UNIT_ROUNDING)


def _row(cells: Sequence[str], names: YoloNames, counts: Counter[str]) -> BoxRow | str:
    """The box that a line states, or the reason why it is none."""
    class_number, *numbers = map(number, cells)
    if not class_number.is_integer():  # nor are NaN and infinity
        return "line whose class is no whole number"
    if not 0 <= class_number < len(names.classes):
        return "line whose class number has no name"
    if names.keypoint_numbers and len(numbers) == 4 + names.keypoint_numbers:
        numbers = numbers[:4]
    if len(numbers) == 4:
        x, y, width, height = numbers
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    elif len(numbers) > 4 and len(numbers) % 2 == 0:
        corners = _bounds(numbers)
        counts[_POLYGON] += 1
    else:
        return "line that is neither a box nor a polygon"
    return BoxRow(int(class_number), corners, is_ignored=False)


def _bounds(numbers: Sequence[float]) -> Corners:
    if not all(map(isfinite, numbers)):
        return nan, nan, nan, nan
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def _text(path: Path) -> str | None:
    """What a text file holds; None where there is none. Raises _TextFileError."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) or status.st_size > _LARGEST:  # to read a pipe would wait for ever
            raise _TextFileError(f"image whose text file is no file, or larger than {_LARGEST >> 20} MB")
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise _TextFileError("image whose text file is a link to nothing") from None
        return None
    except (OSError, UnicodeDecodeError):
        raise _TextFileError("image whose text file cannot be read as text") from None
    if "\0" in text:
        raise _TextFileError("image whose text file cannot be read as text")
    return text


def _unused(texts: Path, pictures: Sequence[str]) -> int:
    """How many text files of a folder belong to none of the images, which are sorted."""
    suffixes = {f".{image.rpartition('.')[2]}" for image in pictures}

    def has_image(stem: str) -> bool:
        names = [f"{stem}{suffix}" for suffix in suffixes]
        places = [(name, bisect_left(pictures, name)) for name in names]
        return any(list(pictures[place : place + 1]) == [name] for name, place in places)

    try:
        with os.scandir(texts) as entries:
            stems = (entry.name[: -len(_TXT)] for entry in entries if entry.name.endswith(_TXT))
            return sum(not has_image(stem) for stem in stems)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as reason:
        raise cannot_list(texts, reason) from None


def _is_image(name: str, counts: Counter[str]) -> bool:
    """Whether a file is an image by its name; counts those that are neither that nor a text file."""
    lower = name.lower()
    if lower.endswith(_SUFFIXES):
        return True
    counts["file that is no image by its name"] += not lower.endswith(_TXT)
    return False


class YoloNames(NamedTuple):
    """The name of each class by its number, and how many numbers of a line behind the box are keypoints."""

    classes: tuple[str, ...]
    keypoint_numbers: int = 0


def read_names(path: Path) -> YoloNames:
    """The names in a data.yaml of Ultralytics, or in a text file with a name on each line; raises SourceError."""
    names = _of_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else YoloNames(_of_text(path))
    if not names.classes:
        raise SourceError(f"{path}: expected the names of the classes, found none.")
    known: set[str] = set()
    for index, name in enumerate(names.classes):
        if not name or name in known:
            found = f"{name!r} again" if name else "an empty name"
            raise SourceError(f"{path}: expected a name of its own for class {index}, found {found}.")
        known.add(name)
    return names


def _of_text(path: Path) -> tuple[str, ...]:
    lines = [readable_name(line.strip()) for line in text_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _of_yaml(path: Path) -> YoloNames:
    values = read_yaml(path, SourceError)
    classes = _listed(values.get("names"), path)
    count, shape = values.get("nc", len(classes)), values.get("kpt_shape", [0])
    if not isinstance(count, int) or count != len(classes):
        found = count if isinstance(count, int) else f"a {type(count).__name__}"
        raise SourceError(f"{path}: expected {len(classes)} as `nc`, the number of `names`, found {found}.")
    if not isinstance(shape, list) or not all(isinstance(length, int) for length in shape):
        raise SourceError(f"{path}: `kpt_shape`: expected a list of whole numbers, such as [17, 3].")
    return YoloNames(classes, math.prod(shape))


def _listed(names: Any, path: Path) -> tuple[str, ...]:
    """The names in the order of their numbers; the file has them as a list, or by number."""
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise SourceError(
                f"{path}: `names`: expected the numbers 0 to {len(names) - 1}, each with its name."
            )
        by_number = {int(number): name for number, name in names.items()}
        names = [by_number[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise SourceError(f"{path}: expected `names`, a list or `number: name` lines.")
    for index, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise SourceError(
                f"{path}: class {index}: expected a name, found a {type(name).__name__}; write it in quotes."
            )
    return tuple(readable_name(str(name).strip()) for name in names)
