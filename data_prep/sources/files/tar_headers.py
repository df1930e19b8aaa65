"""The headers of a tar, 512 bytes each, in the formats v7, ustar, GNU and PAX."""

from typing import NamedTuple
from zlib import adler32

from data_prep.sources.source import SourceError

BLOCK = 512  # bytes: headers and files begin at multiples of it
FOLDER, LINKS, DEVICES, SPARSE = b"5", (b"1", b"2"), (b"3", b"4", b"6"), b"S"
REGULAR = (b"0", b"\0", b"7")
EXTENSIONS = (b"L", b"K", b"x", b"X", b"g")  # their data describes the next member
WITHOUT_DATA = (FOLDER, *LINKS, *DEVICES)  # no bytes follow, whatever the stated size
_CHECKSUM = slice(148, 156)
_ZEROS = bytes(BLOCK)


class TarDamage(SourceError):
    """An invalid header or an invalid value in one; the message states what was found."""


class Header(NamedTuple):
    """One header; `size` in bytes as stated, even if no bytes follow."""

    kind: bytes
    name: bytes
    size: int


class Extension:
    """The values in the extensions before a member, which replace the values in its header."""

    def __init__(self) -> None:
        self.name: bytes | None = None
        self.size: int | None = None
        self.is_sparse = False

    def add(self, kind: bytes, data: bytes) -> None:
        """Add the data of one extension; raises TarDamage."""
        if kind == b"L":
            self.name = data.partition(b"\0")[0]
        elif kind != b"K":  # K is the target of a link, which is not followed
            values = _pax_values(data)
            if kind == b"g" and not {b"path", b"size"}.isdisjoint(values):
                raise TarDamage("one name or size for all members")
            self.name = values.get(b"path", self.name)
            self.size = _decimal(values[b"size"]) if b"size" in values else self.size
            self.is_sparse = self.is_sparse or any(key.startswith(b"GNU.sparse.") for key in values)


def parse_header(block: bytes) -> Header | None:
    """The header in 512 bytes, or None if all are zero (the end mark); raises TarDamage."""
    if block == _ZEROS:
        return None
    if len(block) < BLOCK:
        raise TarDamage("its end within a header")
    if not _is_checksum(_number(block[_CHECKSUM]), block):
        raise TarDamage("a header with a wrong checksum")
    kind, name = block[156:157], _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = _text(block[345:500]) + b"/" + name
    if kind == b"\0" and name.endswith(b"/"):  # a folder as programs before POSIX wrote it
        kind = FOLDER
    return Header(kind, name, _number(block[124:136]))


def _is_checksum(stated: int, block: bytes) -> bool:
    """Whether the stated checksum is the sum of the bytes, with blanks in its own field.

    Some old programs summed signed bytes.
    """
    counted = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    # The low half of Adler-32 is 1 + the sum of the bytes, modulo 65521; much faster than a sum in Python.
    if (stated + 1) % 65521 == adler32(counted) & 0xFFFF:
        return True
    return stated == sum(counted) - 256 * sum(byte > 127 for byte in counted)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """The number in octal digits or, after a byte 128, in base 256 (GNU); raises TarDamage."""
    if field[0] == 128:
        return int.from_bytes(field[1:], "big")
    digits = _text(field).strip(b" ")
    if digits.strip(b"01234567"):
        raise TarDamage("a header with an invalid number")
    return int(digits or b"0", 8)


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise TarDamage("a size that is not a number")
    return int(digits)


def _pax_values(data: bytes) -> dict[bytes, bytes]:
    """The values in repeated `LENGTH KEY=VALUE\\n`; raises TarDamage."""
    values: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        digits = data[position : position + 20].partition(b" ")[0]
        end = position + _decimal(digits)
        key, equals, value = data[position + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            raise TarDamage("an extension that cannot be read")
        values[key] = value
        position = end
    return values
