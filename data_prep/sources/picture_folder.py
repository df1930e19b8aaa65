"""Pictures found by names that come from outside, and folders walked: nothing outside them is ever touched."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.sources.contents import FILE_MISSING, NO_NAME_INSIDE, cannot_list, stays_inside

LINK_OUTSIDE = "picture file that is a link out of its folder"


class FoundPicture(NamedTuple):
    """A picture that exists."""

    path: Path
    size_bytes: int


class PictureFolder:
    """The folder of a source's pictures. It may be a link itself; links within it may not lead out of it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._real_folder = folder, folder.resolve()
        self._last_parent, self._last_is_inside = folder, True  # names mostly come folder by folder

    def find(self, name: str) -> FoundPicture | str:
        """The picture of a name relative to the folder, or the reason why there is none."""
        if not stays_inside(name):
            return NO_NAME_INSIDE
        path = self._folder / name
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                status = path.stat()
                is_inside = self._is_inside(path)
            else:
                is_inside = self._parent_is_inside(path.parent)
        except (
            OSError,
            RuntimeError,
            ValueError,
        ):  # RuntimeError: a circle of links; ValueError: no possible name
            return FILE_MISSING
        if not is_inside:
            return LINK_OUTSIDE
        return FoundPicture(path, status.st_size) if stat.S_ISREG(status.st_mode) else FILE_MISSING

    def _parent_is_inside(self, parent: Path) -> bool:
        if parent != self._last_parent:
            self._last_parent, self._last_is_inside = parent, self._is_inside(parent)
        return self._last_is_inside

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._real_folder)


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
