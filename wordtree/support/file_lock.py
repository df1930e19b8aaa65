"""One writer at a time in a folder: a lock that ends with the process that holds it, however that ends."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


@contextmanager
def locked(folder: Path, *, name: str, error: type[Exception]) -> Iterator[None]:
    """Hold the lock of a folder; raises the error where another process does.

    On file systems that know no locks nobody is locked out.
    """
    path = folder / name
    descriptor = _taken(path, error)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is free: who waits for it sees that it has gone
        os.close(descriptor)


def _taken(path: Path, error: type[Exception]) -> int:
    """A descriptor of the lock file that holds its lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, path, error)
            if _is_still(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path, error: type[Exception]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as reason:
        if reason.errno in _TAKEN:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "another process"
            raise error(
                f"{path.parent}: {holder} is writing into this folder. Wait until it has finished, or end it."
            ) from None


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was locked is the one at the path, not one that its holder has just removed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
