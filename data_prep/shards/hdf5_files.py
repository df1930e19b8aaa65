"""New HDF5 files on disks that may be full."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def write_format(file: h5py.File, kind: str, version: int) -> None:
    """Write the format and version of a file as attributes; readers refuse unknown ones."""
    file.attrs["format"] = np.bytes_(kind)
    file.attrs["version"] = np.int32(version)


@contextmanager
def new_hdf5(path: Path, **options: Any) -> Iterator[h5py.File]:
    """A new HDF5 file; a failed write raises OSError when the file is closed.

    On a full disk HDF5 itself neither raises OSError nor closes the file, so it writes to a stream that stores the
    first failure and continues.
    """
    with _Stream(path, "w+b") as stream:
        with h5py.File(stream, "w", track_order=False, **options) as file:
            yield file
        if stream.failure is not None:
            raise stream.failure


class _Stream(io.FileIO):
    """A file whose writes appear to succeed; `failure` is the first error, and lost bytes read as zeros."""

    failure: OSError | None = None
    _end = 0  # of the written bytes, lost ones included

    def write(self, data: Any, /) -> int:
        pieces = memoryview(data).cast("B")
        size, start = len(pieces), self.tell()
        try:
            while self.failure is None and pieces:
                pieces = pieces[super().write(pieces) or 0 :]
        except OSError as reason:
            self.failure = reason
        self._end = max(self._end, start + size)
        self.seek(start + size)
        return size

    def truncate(self, size: int | None = None, /) -> int:
        self._end = self.tell() if size is None else size
        try:
            return super().truncate(size)
        except OSError as reason:
            self.failure = self.failure or reason
            return self._end

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_END:
            return super().seek(self._end + offset)
        return super().seek(offset, whence)

    def readinto(self, buffer: Any, /) -> int:
        target, start = memoryview(buffer).cast("B"), self.tell()
        filled = super().readinto(target) or 0
        target[filled:] = bytes(len(target) - filled)
        self.seek(start + len(target))
        return len(target)
