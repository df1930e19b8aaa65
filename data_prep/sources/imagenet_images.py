"""The images of a class in a folder or a tar, chosen by one rule and sorted in one order."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.files.image_folder import walk
from data_prep.sources.paths import cannot_list, readable_name
from data_prep.sources.source import FILE_MISSING, Counts

FILE_BESIDE_CLASSES = "file beside the class folders"
TAR_INSIDE = "tar inside a class (not read)"
_SUFFIXES = tuple(sorted(IMAGE_SUFFIXES))


class ClassImage(NamedTuple):
    """An image of a class: its path within the class, its file, and its position there (None: the whole file)."""

    name: str
    path: Path
    offset: int | None
    size_bytes: int


@dataclass(frozen=True)
class ImageClass:
    """A class and the function that streams its images in order and counts the files left out."""

    name: str
    images: Callable[[Counts], Iterable[ClassImage]]
    is_whole_path: bool = False  # whether the names of the images begin above the folder of the class


def is_image(name: str, counts: Counts) -> bool:
    """Whether a file is an image by its name; counts the others."""
    lower = name.lower()
    if lower.endswith(_SUFFIXES):
        return True
    is_tar = lower.endswith(".tar")
    counts.leave_out(TAR_INSIDE if is_tar else "file without the suffix of an image", readable_name(name))
    return False


def in_order(images: Iterable[ClassImage]) -> list[ClassImage]:
    """The images in the order of a walk: the files of a folder by name, then its subfolders."""

    def key(image: ClassImage) -> tuple[tuple[bool, str], ...]:
        *folders, file = image.name.split("/")
        return (*((True, folder) for folder in folders), (False, file))

    return sorted(images, key=key)


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted by name; raises SourceError."""
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as reason:
        raise cannot_list(folder, reason) from None


def images_of_folder(folder: Path, counts: Counts) -> Iterator[ClassImage]:
    """The images at or below a folder, in order."""
    for prefix, names in walk(folder, counts):
        for name in names:
            path = folder / prefix / name
            if is_image(name, counts) and (size_bytes := _size_of_file(path, counts)) is not None:
                yield ClassImage(prefix + name, path, None, size_bytes)


def _size_of_file(path: Path, counts: Counts) -> int | None:
    try:
        found = path.stat()
    except OSError:  # a broken link
        counts.leave_out(FILE_MISSING, readable_name(path.name), readable_name(str(path)))
        return None
    if not S_ISREG(found.st_mode):  # reading a pipe would block
        counts.leave_out("device or pipe with the name of an image", readable_name(str(path)))
        return None
    return found.st_size
