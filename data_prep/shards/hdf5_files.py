"""New HDF5 files on disks that may be full."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py


@contextmanager
def new_hdf5(path: Path, **options: Any) -> Iterator[h5py.File]:
    """A new file to write into; what cannot be written raises OSError, as of any file, when it is closed.

    HDF5 neither tells of a full disk as OSError nor closes the file then, so it writes to a stream that remembers the
    first failure and goes on.
    """
    with _Stream(path, "w+b") as stream:
        with h5py.File(stream, "w", track_order=False, **options) as file:
            yield file
        if stream.failure is not None:
            raise stream.failure


class _Stream(io.FileIO):
    """A file whose writes never seem to fail; `failure` is the first that did. What was lost reads as zeros."""

    failure: OSError | None = None
    _end = 0  # of what was written, as HDF5 believes

    def write(self, data: Any, /) -> int:
        pieces = memoryview(data).cast("B")
        size, place = len(pieces), self.tell()
        try:
            while self.failure is None and pieces:
                pieces = pieces[super().write(pieces) or 0 :]
        except OSError as reason:
            self.failure = reason
        self._end = max(self._end, place + size)
        self.seek(place + size)
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
        found, place = memoryview(buffer).cast("B"), self.tell()
        filled = super().readinto(found) or 0
        found[filled:] = bytes(len(found) - filled)
        self.seek(place + len(found))
        return len(found)
