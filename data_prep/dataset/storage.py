"""Files of a merged data set: in a folder of this machine, or wherever fsspec reads (`s3://…`, `gs://…`, `https://…`).

Both kinds of folder open a file as a stream, or for reads of byte ranges by threads and processes alike.
"""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_prep.shards.format import INDEX_NAME, ShardError
from wordtree.support.arrays import UInt8Array
from wordtree.support.lines import one_line


class LocalFolder:
    """A folder of this machine; reading from it needs no fsspec and costs one system call for a range."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self) -> bool:
        return self._path.is_dir()

    def has(self, name: str) -> bool:
        return (self._path / name).is_file()

    def open(self, name: str) -> BinaryIO:
        """A file to be read as a whole; raises ShardError if it cannot be read."""
        return _opened(self._path / name)

    def file(self, name: str) -> "LocalFile":
        """A file for reads of byte ranges; raises ShardError if it cannot be read."""
        return LocalFile(self._path / name)


class LocalFile:
    """An open file. `pread` moves no position, so threads and forked processes may share the descriptor."""

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
        """The bytes from `start` on, fewer than `size` at the end of the file; a fresh array."""
        data = np.empty(size, dtype=np.uint8)
        try:
            return data[: os.preadv(self._descriptor, [data.data], start)]
        except OSError as reason:
            raise _unreadable(self._path, reason) from None

    def stream(self) -> BinaryIO:
        """The file as a stream that can seek."""
        return _opened(self._path)


class RemoteFolder:
    """A folder that fsspec reads, with the methods of LocalFolder."""

    def __init__(self, address: str) -> None:
        import fsspec

        self._address = address.rstrip("/")
        try:
            # An fsspec file system that was made before a fork may hang, so each process makes its own.
            self._system, root = fsspec.core.url_to_fs(self._address, skip_instance_cache=True)
        except (ValueError, ImportError, OSError) as reason:
            raise ShardError(f"{address}: cannot be read from ({one_line(reason)}).") from None
        self._root = str(root).rstrip("/")

    def exists(self) -> bool:
        return bool(self._system.exists(self._root))

    def has(self, name: str) -> bool:
        return bool(self._system.exists(f"{self._root}/{name}"))

    def open(self, name: str) -> BinaryIO:
        """A file to be read as a whole, fetched at once; raises ShardError if it cannot be read."""
        try:
            return io.BytesIO(self._system.cat_file(f"{self._root}/{name}"))
        except OSError as reason:
            raise _unreadable(f"{self._address}/{name}", reason) from None

    def file(self, name: str) -> "RemoteFile":
        return RemoteFile(self._system, f"{self._root}/{name}", f"{self._address}/{name}")


class RemoteFile:
    """A file that fsspec reads, with the members of LocalFile."""

    def __init__(self, system: Any, path: str, address: str) -> None:
        self._system, self._path, self._address = system, path, address
        try:
            self.size_bytes = int(system.size(path))
        except OSError as reason:
            raise _unreadable(address, reason) from None

    def read(self, start: int, size: int) -> UInt8Array:
        """The bytes from `start` on, fewer than `size` at the end of the file; a fresh array."""
        try:
            data = self._system.cat_file(self._path, start, start + size)
        except OSError as reason:
            raise _unreadable(self._address, reason) from None
        return np.frombuffer(bytearray(data), np.uint8)

    def stream(self) -> BinaryIO:
        """The file as a stream that can seek and fetches only the parts that are read."""
        try:
            stream: BinaryIO = self._system.open(self._path, "rb")
        except OSError as reason:
            raise _unreadable(self._address, reason) from None
        return stream


def open_folder(folder: Path | str) -> LocalFolder | RemoteFolder:
    """The folder of a path, or of an address with `://`; raises ShardError if fsspec cannot serve the address."""
    is_address = isinstance(folder, str) and "://" in folder
    return RemoteFolder(str(folder)) if is_address else LocalFolder(Path(folder))


def files_of_shards(folder: Path | str) -> list[Path]:
    """The files of a merged data set on this machine, which no output may replace; none of an address."""
    if isinstance(folder, str) and "://" in folder:
        return []
    return [Path(folder) / INDEX_NAME, *Path(folder).glob("shard-*.h5")]


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as reason:
        raise _unreadable(path, reason) from None


def _unreadable(where: Path | str, reason: OSError) -> ShardError:
    if isinstance(reason, FileNotFoundError):
        return ShardError(f"{where} is missing.")
    return ShardError(f"{where}: cannot be read ({reason.strerror or one_line(reason)}).")
