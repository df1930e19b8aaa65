"""Where merged data sets lie: a folder of this machine, or one that fsspec reaches (`s3://…`, `gs://…`, `https://…`).

Both kinds give the same: files opened whole, and ranges of bytes read by threads and processes alike.
"""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from data_prep.shards.format import ShardError
from wordtree.support.arrays import UInt8Array
from wordtree.support.config_files import one_line


class StoredFile(Protocol):
    """A file of which ranges are read."""

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""

    def read(self, start: int, size: int) -> UInt8Array:
        """The bytes from `start` on, fewer than `size` where the file ends; a fresh array."""

    def open(self) -> BinaryIO:
        """The same file as a stream that can seek."""


class Folder(Protocol):
    """A folder of shards."""

    def exists(self) -> bool:
        """Whether there is such a folder."""

    def has(self, name: str) -> bool:
        """Whether it holds a file of that name."""

    def open(self, name: str) -> BinaryIO:
        """A file to be read whole; raises ShardError where it cannot be."""

    def file(self, name: str) -> StoredFile:
        """A file to be read in ranges; raises ShardError where it cannot be."""


def open_folder(folder: Path | str) -> Folder:
    """The folder of a path, or of an address with `://`; ShardError where fsspec is needed and cannot serve."""
    if isinstance(folder, str) and "://" in folder:
        return _RemoteFolder(folder)
    return _LocalFolder(Path(folder))


class _LocalFolder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    def exists(self) -> bool:
        return self._path.is_dir()

    def has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def open(self, name: str) -> BinaryIO:
        return _opened(self._path / name)

    def file(self, name: str) -> StoredFile:
        return _LocalFile(self._path / name)


class _LocalFile:
    """A descriptor: `pread` moves no position, so threads and forked processes may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
            self.size_bytes = os.fstat(self._descriptor).st_size
        except OSError as reason:
            raise _unreadable(path, reason) from None

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, start: int, size: int) -> UInt8Array:
        data = np.empty(size, dtype=np.uint8)
        try:
            return data[: os.preadv(self._descriptor, [data.data], start)]
        except OSError as reason:
            raise _unreadable(self._path, reason) from None

    def open(self) -> BinaryIO:
        return _opened(self._path)


class _RemoteFolder:
    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._system, self._root = _file_system(self._address)

    def __str__(self) -> str:
        return self._address

    def exists(self) -> bool:
        return bool(self._system.exists(self._root))

    def has(self, name: str) -> bool:
        return bool(self._system.exists(f"{self._root}/{name}"))

    def open(self, name: str) -> BinaryIO:
        try:
            return io.BytesIO(self._system.cat_file(f"{self._root}/{name}"))
        except OSError as reason:
            raise _unreadable(f"{self._address}/{name}", reason) from None

    def file(self, name: str) -> StoredFile:
        return _RemoteFile(self._system, f"{self._root}/{name}", f"{self._address}/{name}")


class _RemoteFile:
    def __init__(self, system: Any, path: str, address: str) -> None:
        self._system, self._path, self._address = system, path, address
        try:
            self.size_bytes = int(system.size(path))
        except OSError as reason:
            raise _unreadable(address, reason) from None

    def read(self, start: int, size: int) -> UInt8Array:
        try:
            data = self._system.cat_file(self._path, start, start + size)
        except OSError as reason:
            raise _unreadable(self._address, reason) from None
        return np.frombuffer(bytearray(data), np.uint8)

    def open(self) -> BinaryIO:
        try:
            stream: BinaryIO = self._system.open(self._path, "rb")
        except OSError as reason:
            raise _unreadable(self._address, reason) from None
        return stream


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as reason:
        raise _unreadable(path, reason) from None


def _file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system of an address, made anew: one that came through a fork may hang."""
    try:
        import fsspec
    except ImportError:
        raise ShardError(
            f"{address}: reading from there needs fsspec: pip install 'yolo9000[remote]'."
        ) from None
    try:
        system, root = fsspec.core.url_to_fs(address, skip_instance_cache=True)
    except (ValueError, ImportError, OSError) as reason:
        raise ShardError(f"{address}: cannot be read from ({one_line(reason)}).") from None
    return system, str(root).rstrip("/")


def _unreadable(place: Path | str, reason: OSError) -> ShardError:
    if isinstance(reason, FileNotFoundError):
        return ShardError(f"{place} is missing.")
    return ShardError(f"{place}: cannot be read ({reason.strerror or one_line(reason)}).")
