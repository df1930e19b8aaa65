"""YOLO text files in the layout of Ultralytics and Darknet: images in …/images/…, boxes in …/labels/… or beside them.

A line is `class x y width height`, centre and size in the unit square, or a class and the corners of a polygon. An
image without a text file has been annotated and has no object, if another image has a text file.
"""

from __future__ import annotations

import os
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from pathlib import Path
from stat import S_ISREG
from typing import Final

from data_prep.config import YoloSource
from data_prep.records import Boxes, Corners, ImageRecord
from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.columns.label_table import StatedBoxes, lost_labels, unit_boxes
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, NotFound, is_hidden, walk
from data_prep.sources.files.text_lines import number, text_lines
from data_prep.sources.paths import (
    cannot_list,
    file_size,
    readable_name,
    require_folder,
)
from data_prep.sources.source import FILE_MISSING, NO_NAME_INSIDE, Counts, OpenSource, SourceError
from data_prep.sources.yolo_data import ListedImages, YoloNames, read_names, read_splits
from wordtree.support.files import exists

_MAX_BYTES: Final = 16 << 20  # of a text file: a hundred thousand boxes
_TXT: Final = ".txt"
_SUFFIXES: Final = tuple(sorted(IMAGE_SUFFIXES))
_POLYGON: Final = "polygon converted to its bounding box"
_BACKGROUND: Final = "image without a text file (kept, no object)"
_UNUSED: Final = "text file without an image"
_NO_CLASS: Final = "line whose class is not an integer"
_NO_NAME: Final = "line whose class number has no name"
_NO_BOX: Final = "line that is neither a box nor a polygon"


def open_source(config: YoloSource) -> OpenSource:
    """The class names and the images; raises SourceError if names or folders are missing."""
    if config.data is not None:
        names = read_names(config.data)
        root, listed = read_splits(config.data)
        splits = _Splits(config.name, names, root, listed)
        return OpenSource(config.name, has_boxes=True, classes=names.classes, stream=splits.records)
    assert config.images is not None
    assert config.class_names is not None
    require_folder(config.images, config.name)
    if config.labels is not None:
        require_folder(config.labels, config.name, "text files")
    names = read_names(config.class_names)
    contents = _Folder(config.name, names, config.images, config.labels)
    return OpenSource(config.name, has_boxes=True, classes=names.classes, stream=contents.records)


class _TextFileError(SourceError):
    """A text file that cannot be used; the message is the reason under which the image is counted."""


@dataclass(frozen=True)
class _Splits:
    """The images of a data.yaml; the name of an image begins with its split."""

    source: str
    names: YoloNames
    root: Path
    listed: list[ListedImages]

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        """The images, split by split; a folder that two splits name belongs to the first."""
        known: set[Path] = set()
        for split, path in self.listed:
            if not exists(path):
                counts.leave_out("split whose images are missing", split, f"{split}: {path}")
                continue
            if path in known:
                counts.leave_out("split with the images of another split", split, f"{split}: {path}")
                continue
            known.add(path)
            prefix = f"{split}/{self._below_root(path if path.is_dir() else path.parent)}"
            if path.is_dir() and not _has_text_file(path):
                counts.leave_out_box("split without text files", split, f"{split}: {labels_folder(path)}")
            elif path.is_dir():
                yield from _Folder(self.source, self.names, path, None, prefix).records(counts)
            else:
                yield from _List(self.source, self.names, path, self.root, split).records(counts)

    def _below_root(self, path: Path) -> str:
        """The path relative to the data set, with a slash at its end; empty for the data set itself."""
        root = self.root.absolute()
        below = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
        return f"{below.as_posix()}/" if below.parts else ""


@dataclass(frozen=True)
class _List:
    """The images that a text file lists, one path a line, as Darknet's train.txt."""

    source: str
    names: YoloNames
    path: Path
    root: Path
    split: str

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        """The images in the order of the list."""
        texts, folder = _TextFiles(self.source, self.names), ImageFolder(self.root)
        for line in filter(None, map(str.strip, text_lines(self.path))):
            name = line.replace("\\", "/").removeprefix("./")
            # Ultralytics: `./` is the folder of the list; Darknet: the working directory.
            image = next(
                (path for path in (self.path.parent / name, self.root / name) if file_size(path) is not None),
                None,
            )
            found = folder.find(name) if image is None else FoundImage(image, file_size(image) or 0)
            if isinstance(found, NotFound):
                reason = FILE_MISSING if found.reason == NO_NAME_INSIDE else found.reason
                counts.leave_out(reason, readable_name(name), f"{self.root / name}")
                continue
            source_id = readable_name(f"{self.split}/{name.lstrip('/')}")
            yield from texts.record(found, source_id, labels_folder(found.path.parent), counts)
        texts.require_one(self.path)


@dataclass(frozen=True)
class _Folder:
    """The images at or below a folder. prefix: before the name of each image."""

    source: str
    names: YoloNames
    images: Path
    labels: Path | None
    prefix: str = ""

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        """The images, folder by folder; raises SourceError if no image has a text file."""
        text_folders: list[Path] = []
        texts = _TextFiles(self.source, self.names)
        for prefix, files in walk(self.images, counts):
            images = [file for file in files if _is_image(file, prefix, counts)]
            if images:
                text_folders.append(self._text_folder(prefix))
                beside = [self.images / prefix / file for file in _unused(files, images)]
                yield from self._folder_records(prefix, images, beside, texts, counts)
        if text_folders:
            texts.require_one(text_folders[0])
        self._leave_out_unused(set(text_folders), counts)

    def _folder_records(
        self,
        prefix: str,
        images: Sequence[str],
        beside: Sequence[Path],
        texts: _TextFiles,
        counts: Counts,
    ) -> Iterator[ImageRecord]:
        """The images of one folder. beside: the text files beside them that have the name of none."""
        folder, text_folder = ImageFolder(self.images), self._text_folder(prefix)
        unused = [text_folder / name for name in sorted(_unused(_text_files(text_folder), images))]
        texts.spelt_otherwise = {_key(path.stem): path for path in [*beside, *unused]}
        for image in images:
            found = folder.find(prefix + image)
            name = readable_name(f"{self.prefix}{prefix}{image}")
            if isinstance(found, NotFound):
                counts.leave_out(found.reason, name, found.path)
            else:
                yield from texts.record(found, name, text_folder, counts)
        for path in unused:
            if path not in texts.found_otherwise:
                counts.leave_out_box(_UNUSED, path.name, readable_name(str(path)))

    def _text_folder(self, prefix: str) -> Path:
        """The folder of the text files for a folder of images."""
        return labels_folder(self.images / prefix) if self.labels is None else self.labels / prefix

    def _leave_out_unused(self, text_folders: set[Path], counts: Counts) -> None:
        """Count the text files outside the text folders of the images."""
        root = self._text_folder("")
        if root.is_dir() and root != self.images.absolute():
            for prefix, files in walk(root, Counts()):
                if root / prefix not in text_folders:
                    for file in filter(lambda name: name.lower().endswith(_TXT), files):
                        counts.leave_out_box(_UNUSED, file, readable_name(str(root / prefix / file)))


def _has_text_file(images: Path) -> bool:
    """Whether a text file lies in the text folder of a folder of images, or beside the images."""
    return any(next(folder.rglob(f"*{_TXT}"), None) for folder in (labels_folder(images), images))


def labels_folder(images: Path) -> Path:
    """The folder of the text files: the last `images` (or VOC's `JPEGImages`) in the path becomes `labels`."""
    parts = list(images.absolute().parts)
    for position in reversed(range(len(parts))):
        if parts[position] in ("images", "JPEGImages"):
            parts[position] = "labels"
            break
    return Path(*parts)


@dataclass
class _TextFiles:
    """Reads text files.

    images: the number of images so far; found: whether one of them has a text file.
    spelt_otherwise: text files of a folder by the key of their stem, for images without a file of their exact name:
    case, the form of Unicode, or the suffix of the image in the name may differ. found_otherwise: those that were used.
    """

    source: str
    names: YoloNames
    found: bool = False
    images: int = 0
    spelt_otherwise: dict[str, Path] = field(default_factory=dict)
    found_otherwise: set[Path] = field(default_factory=set)

    def record(
        self, found: FoundImage, name: str, text_folder: Path, counts: Counts
    ) -> Iterator[ImageRecord]:
        """The image with its boxes; nothing, but counted, if its text file cannot be used."""
        self.images += 1
        path = text_folder / f"{found.path.stem}{_TXT}"
        try:
            text = _text(path)
            if text is None and (beside := found.path.with_suffix(_TXT)) != path:
                path, text = beside, _text(beside)
            if text is None and (other := self._spelt_otherwise(found.path)) is not None:
                path, text = other, _text(other)
        except _TextFileError as reason:
            self.found = True
            counts.leave_out_box(str(reason), name, readable_name(str(path)))
            return
        if text is None:
            counts[_BACKGROUND] += 1
            yield ImageRecord(name, found.path, found.size_bytes, None, Boxes())
            return
        self.found = True
        lines = _Lines(self.names, path)
        stated = lines.read(text, counts)
        boxes = unit_boxes(stated, None, counts, str(path))
        labels = lost_labels(stated, boxes, lines.lost)
        yield ImageRecord(
            name, found.path, found.size_bytes, None, boxes, labels, is_incomplete=lines.has_unknown_class
        )

    def _spelt_otherwise(self, image: Path) -> Path | None:
        for name in (image.stem, image.name):
            path = self.spelt_otherwise.get(_key(name))
            if path is not None:
                self.found_otherwise.add(path)
                return path
        return None

    def require_one(self, folder: Path) -> None:
        """Raise SourceError if there are images, and none has a text file."""
        if self.images and not self.found:
            raise SourceError(
                f"source {self.source!r}: expected the text files of its images in {folder}, found none there nor "
                "beside the images; give their folder as `labels`. For images without objects, write empty text files."
            )


@dataclass
class _Lines:
    """The lines of one text file.

    lost: classes of lines that are no box; has_unknown_class: whether a line has no class, or a number without a name.
    """

    names: YoloNames
    path: Path
    lost: list[int] = field(default_factory=list)
    has_unknown_class: bool = False

    def read(self, text: str, counts: Counts) -> StatedBoxes:
        stated = StatedBoxes()
        for line, cells in enumerate(map(str.split, text.splitlines()), start=1):
            if not cells:
                continue
            box = _box(cells, self.names, counts)
            if not isinstance(box, str):
                stated.add(*box)
                continue
            shown = f"{self.path}, line {line}: {' '.join(cells)[:60]}"
            counts.leave_out_box(box, readable_name(self.path.name), readable_name(shown))
            if box in (_NO_CLASS, _NO_NAME):
                self.has_unknown_class = True
            elif box == _NO_BOX:
                self.lost.append(int(number(cells[0])))
        return stated


def _box(cells: Sequence[str], names: YoloNames, counts: Counts) -> tuple[int, Corners] | str:
    """Class and corners of the box in a line, or the reason why the line is no box."""
    class_number, *numbers = map(number, cells)
    if not class_number.is_integer():  # false for NaN and infinity
        return _NO_CLASS
    if not 0 <= class_number < len(names.classes):
        return _NO_NAME
    if names.keypoint_numbers and len(numbers) == 4 + names.keypoint_numbers:
        numbers = numbers[:4]
    if len(numbers) == 4:
        x, y, width, height = numbers
        corners = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    elif len(numbers) > 4 and len(numbers) % 2 == 0:
        corners = _bounding_box(numbers)
        counts[_POLYGON] += 1
    else:
        return _NO_BOX
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


def _text_files(folder: Path) -> list[str]:
    """The names of the text files in a folder, which may be missing."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name.lower().endswith(_TXT)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as reason:
        raise cannot_list(folder, reason) from None


def _unused(files: Sequence[str], images: Sequence[str]) -> Iterator[str]:
    """The text files among some files that have the name of none of the images, which are sorted."""
    suffixes = {f".{image.rpartition('.')[2]}" for image in images}
    for name in files:
        stem, suffix = name[: -len(_TXT)], name[-len(_TXT) :]
        if suffix.lower() != _TXT or is_hidden(name):
            continue
        if suffix != _TXT or not any(_is_in(images, stem + of_image) for of_image in suffixes):
            yield name


def _key(stem: str) -> str:
    """The key of a name: names with one key differ only in case or in the form of Unicode."""
    return stem.lower() if stem.isascii() else unicodedata.normalize("NFC", stem).casefold()


def _is_in(names: Sequence[str], name: str) -> bool:
    """Whether sorted names contain a name; a set of millions of names would double the memory."""
    index = bisect_left(names, name)
    return index < len(names) and names[index] == name


def _is_image(name: str, prefix: str, counts: Counts) -> bool:
    """Whether a file is an image by its name; counts files that are neither images nor text files."""
    lower = name.lower()
    if lower.endswith(_SUFFIXES):
        return True
    if not lower.endswith(_TXT):
        counts.leave_out("file without the suffix of an image", readable_name(f"{prefix}{name}"))
    return False
