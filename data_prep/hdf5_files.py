"""New HDF5 files on disks that may be full."""

import io
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
    """A file whose writes never fail; `failure` is the first that did."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        pieces = memoryview(data).cast("B")
        place = self.tell()
        try:
            while self.failure is None and pieces:
                pieces = pieces[super().write(pieces) or 0 :]
        except OSError as reason:
            self.failure = reason
        self.seek(place + memoryview(data).nbytes)
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as reason:
            self.failure = self.failure or reason
            return size or 0
