"""YOLO text files in the layout of Ultralytics and Darknet: images in …/images/…, boxes in …/labels/….

A line is `class x y width height`, centre and size in the unit square, or a class and the corners of a polygon. An
image without a text file has been annotated and has no object.
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
from data_prep.records import Boxes, Corners, ImageRecord
from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.columns.label_table import StatedBoxes, unit_boxes
from data_prep.sources.files.image_folder import ImageFolder, walk
from data_prep.sources.files.text_lines import number, text_lines
from data_prep.sources.paths import cannot_list, readable_name, require_folder
from data_prep.sources.source import OpenSource, SourceError
from data_prep.sources.unit_box import UNIT_ROUNDING
from wordtree.support.config_files import read_yaml

_MAX_BYTES: Final = 16 << 20  # of a text file: a hundred thousand boxes
_TXT: Final = ".txt"
_SUFFIXES: Final = tuple(sorted(IMAGE_SUFFIXES))
_POLYGON: Final = "polygon converted to its bounding box"
_BACKGROUND: Final = "image without a text file (kept, no object)"
_UNUSED: Final = "text file without an image"


def open_source(config: YoloSource) -> OpenSource:
    """The class names and the images; raises SourceError if names or folders are missing."""
    require_folder(config.images, config.name)
    if config.labels is not None:
        require_folder(config.labels, config.name, "text files")
    names = read_names(config.class_names)
    contents = _Contents(config, names)
    return OpenSource(config.name, has_boxes=True, classes=names.classes, stream=contents.records)


class _TextFileError(SourceError):
    """A text file that cannot be used; the message is the reason under which the image is counted."""


@dataclass(frozen=True)
class _Contents:
    config: YoloSource
    names: YoloNames

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        """The images, folder by folder; raises SourceError if no folder of text files exists."""
        text_folders: list[Path] = []
        for prefix, files in walk(self.config.images, counts):
            images = [file for file in files if _is_image(file, counts)]
            if images:
                text_folders.append(self._text_folder(prefix))
                yield from self._folder_records(prefix, images, counts)
        if text_folders and not any(map(Path.is_dir, text_folders)):
            raise SourceError(
                f"source {self.config.name!r}: expected the text files of its images in {text_folders[0]}, "
                "found no such folder; give the folder as `labels`."
            )
        self._count_unused(set(text_folders), counts)

    def _folder_records(
        self, prefix: str, images: Sequence[str], counts: Counter[str]
    ) -> Iterator[ImageRecord]:
        folder, text_folder = ImageFolder(self.config.images), self._text_folder(prefix)
        for image in images:
            found = folder.find(prefix + image)
            if isinstance(found, str):
                counts[found] += 1
                continue
            try:
                boxes = self._boxes(text_folder / f"{image.rpartition('.')[0]}{_TXT}", counts)
            except _TextFileError as reason:
                counts[str(reason)] += 1
            else:
                yield ImageRecord(readable_name(prefix + image), found.path, found.size_bytes, None, boxes)
        counts[_UNUSED] += _unused(text_folder, images)

    def _text_folder(self, prefix: str) -> Path:
        """The folder of the text files for a folder of images: the last `images` in its path becomes `labels`."""
        if self.config.labels is not None:
            return self.config.labels / prefix
        parts = list((self.config.images / prefix).absolute().parts)
        if "images" in parts:
            last = len(parts) - 1 - parts[::-1].index("images")
            parts[last] = "labels"
        return Path(*parts)

    def _count_unused(self, text_folders: set[Path], counts: Counter[str]) -> None:
        """Count the text files outside the text folders of the images."""
        root = self._text_folder("")
        if root.is_dir() and root != self.config.images.absolute():
            for prefix, files in walk(root, Counter()):
                if root / prefix not in text_folders:
                    counts[_UNUSED] += sum(file.endswith(_TXT) for file in files)

    def _boxes(self, path: Path, counts: Counter[str]) -> Boxes:
        text = _text(path)
        if text is None:
            counts[_BACKGROUND] += 1
            return Boxes()
        stated = StatedBoxes()
        for cells in filter(None, map(str.split, text.splitlines())):
            box = _box(cells, self.names, counts)
            if isinstance(box, str):
                counts[box] += 1
            else:
                stated.add(*box)
        return unit_boxes(stated, (1, 1), counts, rounding=UNIT_ROUNDING)


def _box(cells: Sequence[str], names: YoloNames, counts: Counter[str]) -> tuple[int, Corners] | str:
    """Class and corners of the box in a line, or the reason why the line is no box."""
    class_number, *numbers = map(number, cells)
    if not class_number.is_integer():  # false for NaN and infinity
        return "line whose class is not an integer"
    if not 0 <= class_number < len(names.classes):
        return "line whose class number has no name"
    if names.keypoint_numbers and len(numbers) == 4 + names.keypoint_numbers:
        numbers = numbers[:4]
    if len(numbers) == 4:
        x, y, width, height = numbers
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    elif len(numbers) > 4 and len(numbers) % 2 == 0:
        corners = _bounding_box(numbers)
        counts[_POLYGON] += 1
    else:
        return "line that is neither a box nor a polygon"
    return int(class_number), corners


def _bounding_box(numbers: Sequence[float]) -> Corners:
    if not all(map(isfinite, numbers)):
        return nan, nan, nan, nan
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def _text(path: Path) -> str | None:
    """The content of a text file; None if there is no file. Raises _TextFileError."""
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:  # reading a pipe would block
            raise _TextFileError(
                f"image whose text file is not a regular file or larger than {_MAX_BYTES >> 20} MB"
            )
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise _TextFileError("image whose text file is a broken link") from None
        return None
    except (OSError, UnicodeDecodeError):
        raise _TextFileError("image whose text file is not UTF-8 text") from None
    if "\0" in text:
        raise _TextFileError("image whose text file is not UTF-8 text")
    return text


def _unused(text_folder: Path, images: Sequence[str]) -> int:
    """The number of text files in a folder that belong to none of the images, which are sorted."""
    suffixes = {f".{image.rpartition('.')[2]}" for image in images}
    try:
        with os.scandir(text_folder) as entries:
            stems = (entry.name[: -len(_TXT)] for entry in entries if entry.name.endswith(_TXT))
            return sum(not any(_is_in(images, stem + suffix) for suffix in suffixes) for stem in stems)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as reason:
        raise cannot_list(text_folder, reason) from None


def _is_in(names: Sequence[str], name: str) -> bool:
    """Whether sorted names contain a name; a set of millions of names would double the memory."""
    index = bisect_left(names, name)
    return index < len(names) and names[index] == name


def _is_image(name: str, counts: Counter[str]) -> bool:
    """Whether a file is an image by its name; counts files that are neither images nor text files."""
    lower = name.lower()
    if lower.endswith(_SUFFIXES):
        return True
    counts["file without the suffix of an image"] += not lower.endswith(_TXT)
    return False


class YoloNames(NamedTuple):
    """The class names in the order of their numbers, and the count of keypoint numbers after each box."""

    classes: tuple[str, ...]
    keypoint_numbers: int = 0


def read_names(path: Path) -> YoloNames:
    """The names in Ultralytics' data.yaml, or in a text file with one name per line; raises SourceError."""
    names = (
        _names_in_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else YoloNames(_names_in_text(path))
    )
    if not names.classes:
        raise SourceError(f"{path}: expected class names, found none.")
    known: set[str] = set()
    for index, name in enumerate(names.classes):
        if not name or name in known:
            found = f"{name!r} again" if name else "an empty name"
            raise SourceError(f"{path}: expected a unique name for class {index}, found {found}.")
        known.add(name)
    return names


def _names_in_text(path: Path) -> tuple[str, ...]:
    lines = [readable_name(line.strip()) for line in text_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _names_in_yaml(path: Path) -> YoloNames:
    values = read_yaml(path, SourceError)
    classes = _numbered_names(values.get("names"), path)
    count, shape = values.get("nc", len(classes)), values.get("kpt_shape", [0])
    if not isinstance(count, int) or count != len(classes):
        found = count if isinstance(count, int) else f"a {type(count).__name__}"
        raise SourceError(f"{path}: expected {len(classes)} as `nc`, the number of `names`, found {found}.")
    if not isinstance(shape, list) or not all(isinstance(length, int) for length in shape):
        raise SourceError(f"{path}: `kpt_shape`: expected a list of integers, such as [17, 3].")
    return YoloNames(classes, math.prod(shape))


def _numbered_names(names: Any, path: Path) -> tuple[str, ...]:
    """The names in the order of their numbers, from a list or from a mapping of numbers to names."""
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise SourceError(f"{path}: `names`: expected a name for each number from 0 to {len(names) - 1}.")
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
