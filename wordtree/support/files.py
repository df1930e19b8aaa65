"""Atomic writing of files and folders. Files are marked as written by us."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wordtree.support.lines import one_line

_PART_NAME = 55  # letters of a file's name in that of its part file


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, so that readers see the old file or the complete new one.

    Writes a new file `NAME.….part` beside it first, and removes that file after a failure. Follows a link; writes
    directly to a pipe or a device. Raises OSError, which names the path.
    """
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        path.write_bytes(payload)
        return
    target = path.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "The folder to write into does not exist", str(path.parent))
    with path_in_errors(path):
        with part_file(target) as part, part.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(target.parent)


@contextmanager
def part_file(path: Path) -> Iterator[Path]:
    """A new file name beside `path`: the file replaces `path` after the block, and is removed if the block fails."""
    part = part_path(path)
    try:
        yield part
        mark_as_written(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def part_folder(path: Path, *, error: type[Exception]) -> Iterator[Path]:
    """A new folder beside `path`: it gets the name `path` after the block, and is removed if the block fails.

    An empty folder `path` is replaced; OSError if it has content. What a killed process left of such a folder is
    removed first. Raises `error` while another process makes the same folder.
    """
    from wordtree.support.file_lock import locked

    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent, name=f".{path.name[:_PART_NAME]}.lock", error=error):
        remove_leftover_parts(path.parent, [path.name])
        part = part_path(path)
        part.mkdir()
        try:
            yield part
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            part.rename(path)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def part_path(path: Path) -> Path:
    """A new name beside `path` for its part file or folder: `NAME.TOKEN.part`.

    The token is 8 random digits and their checksum with the name, so that a file of the user is never taken for ours.
    """
    beginning, token = path.name[:_PART_NAME], secrets.token_hex(4)
    return path.with_name(f"{beginning}.{token}{_check_digits(beginning, token)}.part")


class LeftoverParts:
    """The parts that killed processes left in a folder, and below, while they wrote files or folders.

    Remove those of a file under a lock that keeps other processes from writing it.
    """

    def __init__(self, folder: Path, pattern: str = "**/*.part") -> None:
        self._parts: dict[Path, list[Path]] = {}
        for part in folder.glob(pattern):
            beginning, _, token = part.name.removesuffix(".part").rpartition(".")
            if token == token[:8] + _check_digits(beginning, token[:8]) and not part.is_symlink():
                self._parts.setdefault(part.with_name(beginning), []).append(part)

    def remove(self, path: Path) -> None:
        """Remove the parts of the file or folder that is to be written to `path`."""
        for part in self._parts.pop(path.with_name(path.name[:_PART_NAME]), ()):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def remove_leftover_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove the `LeftoverParts` of these names in a folder."""
    left = LeftoverParts(folder, "*.part")
    for name in names:
        left.remove(folder / name)


def _check_digits(beginning: str, token: str) -> str:
    return hashlib.sha256(os.fsencode(f"{beginning}.{token}")).hexdigest()[:8]


def exists(path: Path) -> bool:
    """True if there is something at the path; False for names that no file can have, such as very long ones."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


_MARK = "user.wordtree.written"  # an extended attribute, which moves with the file


def mark_as_written(path: Path) -> None:
    """Mark a file as the output of one of our commands, in its present state; no effect where a system cannot do it."""
    if hasattr(os, "setxattr"):
        with suppress(OSError):  # not every file system has extended attributes
            os.setxattr(path, _MARK, _state(path))


def is_own_output(path: Path) -> bool:
    """True if one of our commands wrote this file and nobody has changed it since; False where this is unknown."""
    try:
        return hasattr(os, "getxattr") and os.getxattr(path, _MARK) == _state(path)
    except OSError:
        return False


def _state(path: Path) -> bytes:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}".encode()


@contextmanager
def path_in_errors(path: Path) -> Iterator[None]:
    """Add the path to an OSError that names no file, such as the error of a full disk."""
    try:
        yield
    except OSError as reason:
        if reason.filename is not None:
            raise
        raise OSError(reason.errno, reason.strerror, str(path)) from reason


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, where the system can open a folder."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def system_message(reason: OSError) -> str:
    """The reason of the operating system: `No space left on device`."""
    return os.strerror(reason.errno) if reason.errno else one_line(reason)
