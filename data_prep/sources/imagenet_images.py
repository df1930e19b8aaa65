"""What a class folder or class tar gives: its images, by one rule and in one order wherever they lie."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from data_prep.sources.contents import FILE_MISSING, IMAGE_SUFFIXES, cannot_list
from data_prep.sources.files.image_folder import walk

BESIDE = "file beside the class folders"
TAR_INSIDE = "tar inside a class (not read)"
_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES))


class Picture(NamedTuple):
    """An image of a class: its path there, the file on disk, and where in that it lies (None: it is the file)."""

    name: str
    path: Path
    offset: int | None
    size_bytes: int


@dataclass(frozen=True)
class ImageClass:
    """A class by name, and the function that streams its images in order and counts what it leaves out."""

    name: str
    pictures: Callable[[Counter[str]], Iterable[Picture]]


def is_image(name: str, counts: Counter[str]) -> bool:
    """Whether a file is an image by its name; counts those that are not."""
    lower = name.lower()
    if lower.endswith(_SUFFIXES):
        return True
    is_tar = lower.endswith(".tar")
    counts[TAR_INSIDE if is_tar else "file that is no image by its name"] += 1
    return False


def in_order(pictures: Iterable[Picture]) -> list[Picture]:
    """As one walks through folders: the files of each by name, then its folders."""

    def walk(picture: Picture) -> tuple[tuple[bool, str], ...]:
        *folders, file = picture.name.split("/")
        return (*((True, folder) for folder in folders), (False, file))

    return sorted(pictures, key=walk)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; raises SourceError."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as reason:
        raise cannot_list(folder, reason) from None


def images_of_folder(folder: Path, counts: Counter[str]) -> Iterator[Picture]:
    """The images at or below a folder, in order."""
    for prefix, names in walk(folder, counts):
        for name in names:
            path = folder / prefix / name
            if is_image(name, counts) and (size_bytes := _size_of_file(path, counts)) is not None:
                yield Picture(prefix + name, path, None, size_bytes)


def _size_of_file(path: Path, counts: Counter[str]) -> int | None:
    try:
        found = path.stat()
    except OSError:  # a link that leads nowhere
        counts[FILE_MISSING] += 1
        return None
    if not S_ISREG(found.st_mode):  # to read a pipe would wait for ever
        counts["device or pipe with the name of an image"] += 1
        return None
    return found.st_size
