"""Where the bytes of an image lie, and reading them there: a file in a folder, or a span of an archive."""

import os
from pathlib import Path
from typing import NamedTuple

from data_prep.errors import MergeError
from data_prep.shards.images import ImageError
from wordtree.support.files import system_message


class Place(NamedTuple):
    """A folder of images, or an archive of them with its size and time when it was planned (else -1)."""

    path: str
    size_bytes: int = -1
    mtime_ns: int = -1


class EncodedImage(NamedTuple):
    """The file `path`, and where in it the image's bytes lie; offset None: they are the whole file."""

    path: Path
    offset: int | None
    size_bytes: int
    place: Place


def place_of(path: str, *, is_archive: bool) -> Place:
    """The folder or archive as it is now, by its absolute path."""
    place = Path(path).absolute()
    if not is_archive:
        return Place(str(place))
    try:
        found = place.stat()
    except OSError:  # whoever reads an image of it will tell
        return Place(str(place))
    return Place(str(place), found.st_size, found.st_mtime_ns)


def read_image_file(file: EncodedImage) -> bytes:
    """The encoded image.

    Raises PictureError where this image cannot be used, MergeError where its folder or archive is gone or changed.
    """
    try:
        return _span(file) if file.offset is not None else _whole(file)
    except OSError as reason:
        if not Path(file.place.path).exists():
            raise MergeError(
                f"{file.place.path}: was there when the merge was planned and is gone now. "
                "Bring it back (is its disk mounted?) and run the command again to continue."
            ) from None
        raise ImageError(f"image file that cannot be read ({system_message(reason)})") from None


def _whole(file: EncodedImage) -> bytes:
    data = file.path.read_bytes()
    if len(data) != file.size_bytes:
        raise ImageError("image file that changed after planning")
    return data


def _span(file: EncodedImage) -> bytes:
    """The span of an archive. In one that changed, offsets may point at other images."""
    assert file.offset is not None
    with file.path.open("rb", buffering=0) as archive:
        found = os.fstat(archive.fileno())
        if (found.st_size, found.st_mtime_ns) != file.place[1:]:
            raise MergeError(f"{file.path}: has changed since the merge was planned; run the command again.")
        data = os.pread(archive.fileno(), file.size_bytes, file.offset)
    if len(data) != file.size_bytes:
        raise ImageError("image beyond the end of its archive")
    return data
