"""Torch files with a checksum: every changed byte is detected, and no file unpacks to more than its own size.

torch.save writes a zip of uncompressed members, and torch.load checks no checksum. So the zip's comment, which comes
last, holds the checksum of all bytes before it.
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
    """Bytes of the zip with their checksum as its comment."""
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = _MARK + bytes(_DIGITS)
    view = archive.getbuffer()
    view[-_DIGITS:] = _checksum(zlib.crc32(view[:-_DIGITS]))
    view.release()
    return archive.getvalue()


def problem_of(path: Path) -> str | None:
    """Reason in a few words why a file is not a valid sealed zip; None if it is valid.

    A zip without a comment, as torch.save writes it, is valid unless it would unpack to more than its size.
    Raises OSError.
    """
    try:
        with zipfile.ZipFile(path) as opened:
            members, comment = opened.infolist(), opened.comment
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
        return "not an archive that can be opened"
    size = path.stat().st_size
    if (
        any(m.compress_type != zipfile.ZIP_STORED for m in members)
        or sum(m.file_size for m in members) > size
    ):
        return "an archive with compressed or overlapping members"
    if _is_sealed(path, size) or (not comment and _end_of(path, 2) == bytes(2)):  # length 0 of the comment
        return None
    return "its bytes changed since it was written"


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
