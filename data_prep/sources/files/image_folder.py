"""Finding images by untrusted names, and walking folders in a fixed order."""

import itertools
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import unquote

from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.paths import MAX_NAME, cannot_list, stays_inside
from data_prep.sources.source import FILE_MISSING, NO_NAME_INSIDE, Counts

_COMMON_SUFFIXES: Final = (".jpg", ".JPEG", ".jpeg", ".png", ".JPG", ".PNG")
SUFFIXES: Final = (
    *_COMMON_SUFFIXES,
    *sorted(IMAGE_SUFFIXES.difference(_COMMON_SUFFIXES)),
)  # the likeliest first
HIDDEN: Final = "hidden file or folder (not read)"
_SAME_FILE: Final = "image whose file another name of the source has found"
_LOCAL_FILES: Final = "/data/local-files/?d="  # Label Studio
_UPLOAD: Final = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio's prefix of uploaded files


class FoundImage(NamedTuple):
    """An image that exists."""

    path: Path
    size_bytes: int


class NotFound(NamedTuple):
    """The reason why there is no image, and the path that was tried."""

    reason: str
    path: str


class ImageFolder:
    """The folder of a source's images.

    A name must stay inside the folder. A link may lead outside: folders of links to a common store are usual.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._suffix = SUFFIXES[0]  # of the last image; the next one likely has the same
        self._name_of: dict[str, str] = {}  # of each path that was found under another name

    def at(self, path: str) -> FoundImage | None:
        """The image at a path relative to the folder."""
        if not stays_inside(path):
            return None
        full = self._folder / path
        try:
            status = full.stat()
        except (OSError, ValueError):  # ValueError: an impossible file name
            return None
        return FoundImage(full, status.st_size) if stat.S_ISREG(status.st_mode) else None

    def find(self, name: str) -> FoundImage | NotFound:
        """The image of a name: at this path, or else at the path that a URL, an absolute path or a stem stands for.

        Two names that only so lead to one file are not the same image: the second is not found.
        """
        if len(name) > MAX_NAME:
            return NotFound(FILE_MISSING, f"{name[:100]}…")
        found = self.at(name)
        if found is not None:
            return found
        for path in self._other_paths(name):
            found = self.at(path)
            if found is not None:
                self._suffix = found.path.suffix
                if self._name_of.setdefault(path, name) != name:
                    return NotFound(_SAME_FILE, f"{name}: {found.path}")
                return found
        if stays_inside(name):
            return NotFound(FILE_MISSING, str(self._folder / name))
        return NotFound(NO_NAME_INSIDE, name)

    def with_suffix(self, stem: str) -> Iterator[str]:
        """The stem with each suffix of images; the suffix of the last image comes first."""
        yield f"{stem}{self._suffix}"
        yield from (f"{stem}{suffix}" for suffix in SUFFIXES if suffix != self._suffix)

    def _other_paths(self, name: str) -> Iterator[str]:
        for path in dict.fromkeys(_paths_in(name)):
            yield from spellings(path)
            folders, _, file = path.rpartition("/")
            if (upload := _UPLOAD.match(file)) is not None:
                yield from spellings(f"{folders}/{file[upload.end() :]}".lstrip("/"))
            suffix = PurePosixPath(path).suffix
            if suffix.lower() not in IMAGE_SUFFIXES:
                yield from (spelt for full in self.with_suffix(path) for spelt in spellings(full))
            else:  # Windows does not tell a.JPG from a.jpg
                stem = path.removesuffix(suffix)
                yield from (f"{spelt}{suffix.lower()}" for spelt in spellings(stem))
                yield from (f"{spelt}{suffix.upper()}" for spelt in spellings(stem))


def spellings(path: str) -> tuple[str, ...]:
    """The path, and with accents in the other form of Unicode: macOS writes an accent after its letter."""
    if path.isascii():
        return (path,)
    return tuple(dict.fromkeys((path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))))


def _paths_in(name: str) -> Iterator[str]:
    """The paths that a name may stand for: with `/` between folders, unescaped, and without host, drive or root."""
    path, is_relative = name.strip().replace("\\", "/"), stays_inside(name) and "://" not in name
    if _LOCAL_FILES in path:
        path = path.partition(_LOCAL_FILES)[2]
    elif "://" in path:
        path = re.split("[?#]", path.partition("://")[2].partition("/")[2])[0]
    for plain in (path, unquote(path)):
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        starts = range(1 if is_relative else len(parts))
        if plain.startswith("//") or (
            parts and ":" in parts[0]
        ):  # a host and a share, or a drive; then a folder
            starts = range(2 + plain.startswith("//"), len(parts))
        yield from ("/".join(parts[first:]) for first in starts)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the user's: `.DS_Store`, `._a.jpg`, `.ipynb_checkpoints`, `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"


def walk(folder: Path, counts: Counts) -> Iterator[tuple[str, list[str]]]:
    """The folder and each folder below it, sorted: the relative path as a prefix (`` or `a/b/`) and the file names.

    Links to folders are counted, not followed, as they could form a cycle. Hidden files and folders are counted, not
    read: copies by notebooks, and the other half of each file in archives of macOS. Raises SourceError.
    """

    def stop(reason: OSError) -> None:
        raise cannot_list(reason.filename, reason)

    for name, subfolders, files in os.walk(folder, onerror=stop):
        path = Path(name)
        for hidden in filter(is_hidden, [*subfolders, *files]):
            counts.leave_out(HIDDEN, hidden, str(path / hidden))
        subfolders[:] = sorted(itertools.filterfalse(is_hidden, subfolders))
        files = sorted(itertools.filterfalse(is_hidden, files))
        for link in filter(Path.is_symlink, map(path.joinpath, subfolders)):
            counts.leave_out("link to a folder (not followed)", str(link))
        prefix = "" if path == folder else f"{path.relative_to(folder).as_posix()}/"
        yield prefix, files
