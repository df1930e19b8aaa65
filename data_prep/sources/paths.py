"""Untrusted names and paths of images, and the folders that hold them."""

import os
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from data_prep.sources.source import SourceError
from wordtree.support.lines import valid_text

MAX_NAME = 4096  # characters: no file system has longer paths


def stays_inside(name: str) -> bool:
    """Whether a path is relative and stays in its folder, on any operating system."""
    if name and name[0] not in "/." and ".." not in name and ":" not in name and "\\" not in name:
        return True  # nearly all names; the rest takes ten times longer
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


def tidy_path(name: str) -> str:
    """The relative path with `/` between its parts: `.\\a\\b.jpg` and `a//b.jpg` are a/b.jpg."""
    if (
        name
        and name[-1] != "/"
        and "\\" not in name
        and "//" not in name
        and "./" not in name
        and "/." not in name
    ):
        return name
    return str(PurePosixPath(name.replace("\\", "/")))


def require_folder(folder: Path, source: str, content: str = "images") -> None:
    """Raise SourceError unless the folder exists and can be listed."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise SourceError(
            f"source {source!r}: expected the folder of its {content} at {folder}, found {found}."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"source {source!r}: the folder {folder} cannot be listed; check its permissions.")


def cannot_list(folder: object, reason: OSError) -> SourceError:
    """The error for a folder that cannot be listed."""
    return SourceError(f"{folder}: cannot list this folder ({os.strerror(reason.errno or 0)}).")


def readable_name(name: str) -> str:
    """The name as valid UTF-8; other bytes appear as `\\xNN`."""
    return valid_text(name)


def file_size(path: Path) -> int | None:
    """The size of a regular file in bytes; None if it is missing or not readable."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: an impossible file name
        return None
    return status.st_size if S_ISREG(status.st_mode) else None
