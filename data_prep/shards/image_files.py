"""Reading the encoded bytes of an image from a file in a folder, or from a span of an archive."""

import os
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from data_prep.errors import MergeError
from data_prep.shards.decoding import MAX_FILE_BYTES, ImageError
from wordtree.support.files import system_message

_PIECE_BYTES = 1 << 20


class Container(NamedTuple):
    """A folder of images, or an archive of images with its size and time of change at planning (else -1)."""

    path: str
    size_bytes: int = -1
    mtime_ns: int = -1


class ImageFile(NamedTuple):
    """The file `path` and the position of the image in it; offset None: the image is the whole file."""

    path: Path
    offset: int | None
    size_bytes: int
    container: Container


def container_at(path: str, *, is_archive: bool) -> Container:
    """The folder or archive in its current state, with an absolute path."""
    absolute = Path(path).absolute()
    if not is_archive:
        return Container(str(absolute))
    try:
        found = absolute.stat()
    except OSError:  # reading an image from it will raise the error
        return Container(str(absolute))
    return Container(str(absolute), found.st_size, found.st_mtime_ns)


def read_image_file(file: ImageFile) -> bytes:
    """The encoded image.

    Raises ImageError if the image cannot be used, MergeError if its folder or archive is missing or has changed.
    """
    try:
        return _whole_file(file) if file.offset is None else _span(file, file.offset)
    except OSError as reason:
        if not Path(file.container.path).exists():
            raise MergeError(
                f"{file.container.path}: existed when the merge was planned and is missing now. "
                "Restore it (is its disk mounted?) and run the command again to continue."
            ) from None
        raise ImageError(f"image file that cannot be read ({system_message(reason)})") from None


def read_bytes(path: Path) -> bytes:
    """The content of an image file. Raises ImageError if it is too large, OSError if it cannot be read."""
    if "\0" in str(path):
        raise ImageError("image file with an impossible name")
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        _check_size(status.st_size)
        if S_ISREG(status.st_mode):
            return file.read(status.st_size)
        data = bytearray()
        while piece := file.read(_PIECE_BYTES):  # of a pipe, whose size nobody knows
            data += piece
            _check_size(len(data))
        return bytes(data)


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise ImageError(
            "image file that is too large", f"its {size_bytes} bytes are more than {MAX_FILE_BYTES}"
        )


def _whole_file(file: ImageFile) -> bytes:
    data = read_bytes(file.path)
    if len(data) != file.size_bytes:
        raise ImageError("image file that changed after planning")
    return data


def _span(file: ImageFile, offset: int) -> bytes:
    """A span of an archive. If the archive has changed, the offset may point at another image."""
    _check_size(file.size_bytes)
    with file.path.open("rb", buffering=0) as archive:
        found = os.fstat(archive.fileno())
        if (found.st_size, found.st_mtime_ns) != file.container[1:]:
            raise MergeError(f"{file.path}: has changed since the merge was planned; run the command again.")
        data = os.pread(archive.fileno(), file.size_bytes, offset)
    if len(data) != file.size_bytes:
        raise ImageError("image beyond the end of its archive")
    return data
