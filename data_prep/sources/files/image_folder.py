"""Finding images by untrusted names, and walking folders in a fixed order."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data_prep.sources.paths import cannot_list, stays_inside
from data_prep.sources.source import FILE_MISSING, NO_NAME_INSIDE


class FoundImage(NamedTuple):
    """An image that exists."""

    path: Path
    size_bytes: int


class ImageFolder:
    """The folder of a source's images.

    A name must stay inside the folder. A link may lead outside: folders of links to a common store are usual.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> FoundImage | str:
        """The image at a path relative to the folder, or the reason why there is none."""
        if not stays_inside(name):
            return NO_NAME_INSIDE
        path = self._folder / name
        try:
            status = path.stat()
        except (OSError, ValueError):  # ValueError: an impossible file name
            return FILE_MISSING
        return FoundImage(path, status.st_size) if stat.S_ISREG(status.st_mode) else FILE_MISSING


def walk(folder: Path, counts: Counter[str]) -> Iterator[tuple[str, list[str]]]:
    """The folder and each folder below it, sorted: the relative path as a prefix (`` or `a/b/`) and the file names.

    Links to folders are counted, not followed, as they could form a cycle. Raises SourceError.
    """

    def stop(reason: OSError) -> None:
        raise cannot_list(reason.filename, reason)

    for name, subfolders, files in os.walk(folder, onerror=stop):
        path = Path(name)
        subfolders.sort()
        files.sort()
        counts["link to a folder (not followed)"] += sum((path / below).is_symlink() for below in subfolders)
        prefix = "" if path == folder else f"{path.relative_to(folder).as_posix()}/"
        yield prefix, files
