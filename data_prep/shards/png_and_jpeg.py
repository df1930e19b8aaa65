"""The structure of PNG and JPEG files: what can be seen in their bytes without decoding them."""

import re
import struct
import zlib
from collections.abc import Iterator

PNG_START, JPEG_START, _JPEG_END = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9"
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}  # all that the pixels depend on
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # after the data of a scan: neither stuffing nor restart
_START, _END, _SCAN, _TEMPORARY = 0xD8, 0xD9, 0xDA, 0x01
_APPLICATION, _COMMENT = range(0xE0, 0xF0), 0xFE
_JFIF, _JFIF_BYTES = b"\xff\xe0\x00\x10JFIF\0", 18  # without the small image that it may have
_ADOBE = b"\xff\xee\x00\x0eAdobe"  # the colour space of the pixels


def is_clean_png(data: bytes) -> bool:
    """Whether the last chunk is there, and the checksums of all chunks are right."""
    for kind, start, end in _png_chunks(data):
        if zlib.crc32(data[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return False
        if kind == b"IEND":
            return True
    return False


def png_without_texts(data: bytes) -> bytes:
    """The PNG without texts, colour profiles and other chunks that no pixel depends on."""
    kept = [data[start:end] for kind, start, end in _png_chunks(data) if kind in _PIXEL_CHUNKS]
    return PNG_START + b"".join(kept)


def without_metadata(data: bytes) -> bytes:
    """The PNG or JPEG without EXIF data, XMP, comments, texts, colour profiles, small images and what follows its end.

    The pixels as stored are the same; the rotation that EXIF asks for is lost.
    """
    if data.startswith(JPEG_START):
        return b"".join(_jpeg_pixel_parts(data))
    kept = [data[start:end] for kind, start, end in _png_chunks(data) if kind in _PIXEL_CHUNKS - {b"eXIf"}]
    return PNG_START + b"".join(kept)


def _jpeg_pixel_parts(data: bytes) -> Iterator[bytes]:
    """The parts of a JPEG that its pixels depend on."""
    yield JPEG_START
    at, in_scan = len(JPEG_START), False
    while found := _MARKER.search(data, at):
        if in_scan:
            yield data[at : found.start()]
        start, at, marker = found.start(), found.end(), data[found.end() - 1]
        if marker == _END:
            yield _JPEG_END
            return
        if marker in (_START, _TEMPORARY):  # without content
            in_scan = False
            continue
        at += max(2, int.from_bytes(data[at : at + 2]))  # the length includes its own two bytes
        segment, in_scan = data[start:at], marker == _SCAN
        if segment[4:9] == b"JFIF\0" and len(segment) >= _JFIF_BYTES:
            yield _JFIF + segment[9:16] + b"\0\0"
        elif segment.startswith(_ADOBE) or (marker not in _APPLICATION and marker != _COMMENT):
            yield segment
    if in_scan:
        yield data[at:]


def jpeg_with_end_marker(data: bytes) -> bytes:
    """The JPEG with an end marker; half a marker at its end is completed."""
    return data.removesuffix(b"\xff") + _JPEG_END


def jpeg_with_filler(data: bytes) -> bytes:
    """The JPEG with bytes before a new end marker that change its pixels if it is incomplete, and only then."""
    return data.removesuffix(b"\xff") + b"\x55" * 64 + _JPEG_END


def count_jpeg_scans(data: bytes) -> int:
    """Number of scans: one, or for each component one, or in a progressive JPEG about ten."""
    scans, at = 0, len(JPEG_START)
    while found := _MARKER.search(data, at):
        at = found.end()
        marker = data[at - 1]
        if marker == _END:  # perhaps followed by other images
            break
        if marker in (_START, _TEMPORARY):  # without content
            continue
        scans += marker == _SCAN
        at += max(2, int.from_bytes(data[at : at + 2]))  # the length includes its own two bytes
    return scans


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each complete chunk."""
    start = len(PNG_START)
    while start + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            return
        yield kind, start, end
        start = end
