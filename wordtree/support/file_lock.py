"""One writer at a time in a folder."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # some network file systems: nobody is locked out


@contextmanager
def locked(folder: Path, *, name: str, error: type[Exception]) -> Iterator[None]:
    """Hold the lock file `name` of a folder; raises `error` where another process holds it.

    The operating system frees the lock when the process ends, however it ends.
    """
    path = folder / name
    # filelock's own fallback, a marker file, would outlive a killed process.
    lock = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise error(
            f"{folder}: {_holder(path)} is writing into this folder. Wait until it has finished, or stop it."
        ) from None
    except OSError as reason:
        if reason.errno not in _NO_LOCKS:
            raise
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        path.unlink(missing_ok=True)  # first: a waiting process must not lock a file that is then deleted
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")[:200] or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
