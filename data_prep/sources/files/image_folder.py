"""Images found by names that come from outside, which lead nowhere else; and folders walked in order."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.sources.contents import FILE_MISSING, NO_NAME_INSIDE, cannot_list, stays_inside


class FoundImage(NamedTuple):
    """An image that exists."""

    path: Path
    size_bytes: int


class ImageFolder:
    """The folder of a source's images. Names may not lead out of it; links may, for whoever made them chose so
    (folders of links to a common store are usual)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> FoundImage | str:
        """The image of a name relative to the folder, or the reason why there is none."""
        if not stays_inside(name):
            return NO_NAME_INSIDE
        path = self._folder / name
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: no possible name
            return FILE_MISSING
        return FoundImage(path, status.st_size) if stat.S_ISREG(status.st_mode) else FILE_MISSING


def walk(folder: Path, counts: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """Each folder at or below one (its path from there, empty or with a `/` behind) and the files in it, in order.

    Links to folders are counted, not followed: one could lead back. Raises SourceError.
    """

    def stop(reason: OSError) -> None:
        raise cannot_list(reason.filename, reason)

    for name, folders, files in os.walk(folder, onerror=stop):
        place = Path(name)
        folders.sort()
        files.sort()
        counts["link to a folder (not followed)"] += sum((place / below).is_symlink() for below in folders)
        prefix = "" if place == folder else f"{place.relative_to(folder).as_posix()}/"
        yield prefix, files
