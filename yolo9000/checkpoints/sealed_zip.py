"""A torch file that tells of every changed byte, and unpacks to no more than its own size.

torch.save writes a zip of uncompressed members and torch.load compares no checksum. So the checksum of all bytes before
it stands last, as the zip's comment.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

_MARK = b"crc32 "
_DIGITS = 8
_CHUNK_BYTES = 1 << 20


def sealed(archive: io.BytesIO) -> bytes:
    """The bytes of a zip with their checksum as its comment."""
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = _MARK + bytes(_DIGITS)
    view = archive.getbuffer()
    view[-_DIGITS:] = _checksum(zlib.crc32(view[:-_DIGITS]))
    view.release()
    return archive.getvalue()


def trouble_of(path: Path) -> str | None:
    """What is wrong with a file that should be a sealed zip, in a few words; None if nothing is.

    A zip without a comment, which torch alone wrote, passes unless it would unpack to more than itself.
    Raises OSError.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            members, comment = opened.infolist(), opened.comment
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
        return "no archive that can be opened"
    size = path.stat().st_size
    if (
        any(m.compress_type != zipfile.ZIP_STORED for m in members)
        or sum(m.file_size for m in members) > size
    ):
        return "an archive of compressed or overlapping parts"
    if _is_sealed(path, size) or (not comment and _end_of(path, 2) == bytes(2)):  # the length of its comment
        return None
    return "changed since it was written"


def _is_sealed(path: Path, size: int) -> bool:
    end = _end_of(path, _DIGITS + len(_MARK))
    if not end.startswith(_MARK):
        return False
    value, left = 0, size - _DIGITS
    with path.open("rb") as file:
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            value, left = zlib.crc32(chunk, value), left - len(chunk)
    return end.endswith(_checksum(value))


def _end_of(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(-count, io.SEEK_END)
        return file.read()


def _checksum(value: int) -> bytes:
    return f"{value:0{_DIGITS}x}".encode()
