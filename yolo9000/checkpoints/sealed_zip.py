"""Torch files with a checksum: every changed byte is detected, and no file unpacks to more than its own size.

torch.save writes a zip of uncompressed members, and torch.load checks no checksum. So the zip's comment, which comes
last, holds the checksum of all bytes before it.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

_MARK = b"crc32 "
_DIGITS = 8
_CHUNK_BYTES = 1 << 20
_END = struct.Struct(
    "<4s4H2IH"
)  # disk, first disk, entries here, entries, bytes and start of the directory, comment
_LOCATOR = struct.Struct("<4sIQI")
_END_64 = struct.Struct("<4sQHHIIQQQQ")


def sealed(archive: io.BytesIO) -> bytes:
    """Bytes of the zip with their checksum as its comment."""
    with zipfile.ZipFile(archive, "a") as opened:
        opened.comment = _MARK + bytes(_DIGITS)
    view = archive.getbuffer()
    view[-_DIGITS:] = _checksum(zlib.crc32(view[:-_DIGITS]))
    view.release()
    return archive.getvalue()


def is_zip(path: Path) -> bool:
    """Whether a file ends like a zip, damaged or not. Raises OSError."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # Python raises it for several disks
        return True


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
    if not (
        _is_sealed(path, size) or (not comment and _end_of(path, 2) == bytes(2))
    ):  # length 0 of the comment
        return "its bytes changed since it was written"
    if not _has_one_directory(path, size, len(comment)):
        return "an archive whose directory is not where it must be"
    if len({member.filename for member in members}) != len(members):
        return "an archive with two members of one name"
    return None


def _has_one_directory(path: Path, size: int, comment_bytes: int) -> bool:
    """Whether the end record states the directory that lies before it; otherwise two readers may find two directories.

    Python looks for the directory just before the end record, torch at the position that the record states. Sources:
    APPNOTE.TXT of the zip format, 4.3.14 to 4.3.16.
    """
    end = size - _END.size - comment_bytes
    with path.open("rb") as file:
        file.seek(max(0, end - _LOCATOR.size - _END_64.size))
        tail = file.read()[: _LOCATOR.size + _END_64.size + _END.size]
    if len(tail) < _END.size:
        return False
    signature, disk, first_disk, here, count, length, start, _ = _END.unpack(tail[-_END.size :])
    stated, is_64 = (disk, first_disk, here, count, length, start), b"PK\x06\x07" in tail[: -_END.size]
    if is_64 and len(tail) == _LOCATOR.size + _END_64.size + _END.size:
        large_signature, _, _, _, *large = _END_64.unpack(tail[: _END_64.size])
        locator_signature, _, large_at, _ = _LOCATOR.unpack(tail[_END_64.size : -_END.size])
        end -= _LOCATOR.size + _END_64.size
        if (locator_signature, large_signature, large_at) != (b"PK\x06\x07", b"PK\x06\x06", end):
            return False
        limits = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
        if any(
            small not in (value, limit) for small, value, limit in zip(stated, large, limits, strict=True)
        ):
            return False
        stated = tuple(large)
        length, start = large[-2:]
    elif is_64:
        return False
    return (
        signature == b"PK\x05\x06"
        and tuple(stated[:2]) == (0, 0)
        and stated[2] == stated[3]
        and start + length == end
    )


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
