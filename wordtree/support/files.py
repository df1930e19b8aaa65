"""Atomic writing of files."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wordtree.support.lines import one_line


def write_atomically(path: Path | str, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, so that readers see the old file or the complete new one.

    Writes `NAME.part` beside it first, and removes that file after a failure. Follows a link; writes directly to a
    pipe or a device. Raises OSError, which names the path.
    """
    path = Path(path)
    payload = data.encode() if isinstance(data, str) else data
    if path.exists() and not path.is_file():
        path.write_bytes(payload)
        return
    target = path.resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "The folder to write into does not exist", str(path.parent))
    part = target.with_name(f"{target.name}.part")
    try:
        with path_in_errors(path):
            with part.open("wb") as file:
                file.write(payload)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
            _sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


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
