"""What lies in a tar, without unpacking it: each regular file in it is a range of bytes of the file on disk.

Only headers are read; the files between them are skipped. Nothing is ever written, so a member with a dangerous
name or type can do no harm; it is left out and counted all the same.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data_prep.sources.contents import DAMAGED_ARCHIVE, SourceError
from data_prep.sources.files.tar_headers import (
    BLOCK,
    DEVICES,
    EXTENSIONS,
    FOLDER,
    LINKS,
    REGULAR,
    SPARSE,
    WITHOUT_DATA,
    Extension,
    Header,
    TarDamage,
    parse_header,
)

_LONGEST_NAME = 4096  # bytes: no file system has longer paths
_LARGEST_EXTENSION = 1 << 20  # bytes
_LOOKED_AT_BEHIND_THE_END = 20 * BLOCK  # tar programs fill up with zeros to a multiple of this
_COMPRESSED_STARTS = (b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"\x1f\x9d")
_COMPRESSED_NAMES = (
    *(f".tar.{suffix}" for suffix in ("gz", "xz", "bz2", "zst", "Z")),
    *(".tgz", ".txz", ".tbz", ".tbz2", ".tzst"),
)
_LEFT_OUT = {
    **dict.fromkeys(LINKS, "link in a tar (not followed)"),
    **dict.fromkeys(DEVICES, "device or pipe in a tar"),
    SPARSE: "sparse file in a tar",
}


@dataclass(frozen=True)
class TarPlace:
    """Where a tar lies: the bytes from `start` to `end` of a file on disk. `name` is for messages."""

    path: Path
    start: int
    end: int
    name: str


class Member(NamedTuple):
    """A regular file in a tar: its relative path there, and where on disk its bytes begin."""

    name: str
    offset: int
    size_bytes: int


def tar_file(path: Path) -> TarPlace:
    """The whole of a file as the place of a tar; raises SourceError where it cannot be looked at."""
    try:
        return TarPlace(path, 0, path.stat().st_size, str(path))
    except OSError as reason:
        raise _unreadable(str(path), reason) from None


def refuse_compressed(name: str) -> None:
    """Raise SourceError where a name is that of a compressed archive: in those nothing can be sought."""
    if name.endswith(_COMPRESSED_NAMES):
        raise _compressed(name)


def members(place: TarPlace, counts: Counter[str]) -> Iterator[Member]:
    """The regular files of a tar in its own order; counts what it leaves out.

    Raises SourceError where the file is no tar. One that is cut short or damaged further on gives what stands
    before the damage, which is counted under the tar's name.
    """
    try:
        with place.path.open("rb", buffering=0) as file:
            blocks = _Blocks(file, place)
            _require_tar(blocks)
            try:
                yield from _members(blocks, counts)
            except TarDamage as found:
                counts[f"{place.name}: {DAMAGED_ARCHIVE}: found {found}"] += 1
    except OSError as reason:
        raise _unreadable(place.name, reason) from None


class _Blocks:
    """The bytes of one tar by their position on disk."""

    def __init__(self, file: BinaryIO, place: TarPlace) -> None:
        self._file, self.place = file, place

    def read(self, position: int, size: int = BLOCK) -> bytes:
        """`size` bytes, or fewer where the tar ends."""
        self._file.seek(position)
        return self._file.read(max(0, min(size, self.place.end - position)))


def _require_tar(blocks: _Blocks) -> None:
    start, name = blocks.read(blocks.place.start), blocks.place.name
    if start.startswith(_COMPRESSED_STARTS):
        raise _compressed(name)
    try:
        parse_header(start)
    except TarDamage as found:
        raise SourceError(f"{name}: expected a tar, found {found if start else 'an empty file'}.") from None


def _members(blocks: _Blocks, counts: Counter[str]) -> Iterator[Member]:
    position, end = blocks.place.start, blocks.place.end
    extension = Extension()
    while position < end:
        header = parse_header(blocks.read(position))
        position += BLOCK
        if header is None:
            counts["bytes behind the end mark of a tar (not read)"] += _has_bytes(blocks, position)
            return
        size = _size_of_data(header, extension)
        if position + size > end:
            raise TarDamage("its end within a member")
        if header.kind in EXTENSIONS:
            extension.add(header.kind, _extension_data(blocks, position, size))
        else:
            name = header.name if extension.name is None else extension.name
            if trouble := _trouble(header.kind, name, extension):
                counts[trouble] += 1
            elif header.kind != FOLDER:
                yield Member(_relative_path(name), position, size)
            extension = Extension()
        position += -(-size // BLOCK) * BLOCK
    counts[f"{blocks.place.name}: without an end mark, perhaps cut short (kept)"] += 1


def _size_of_data(header: Header, extension: Extension) -> int:
    """Bytes that follow a header. A size in an extension is that of the member, not of other extensions."""
    if header.kind in WITHOUT_DATA:
        return 0
    return header.size if extension.size is None or header.kind in EXTENSIONS else extension.size


def _extension_data(blocks: _Blocks, position: int, size: int) -> bytes:
    if size > _LARGEST_EXTENSION:
        raise TarDamage(f"{size} bytes of names and sizes for one member")
    return blocks.read(position, size)


def _has_bytes(blocks: _Blocks, position: int) -> bool:
    """Whether something other than the usual zeros follows: another tar was written behind this one."""
    return any(blocks.read(position, _LOOKED_AT_BEHIND_THE_END))


def _trouble(kind: bytes, name: bytes, extension: Extension) -> str | None:
    """Why a member is left out, None where it is a folder or a regular file."""
    if kind not in REGULAR and kind != FOLDER:
        return _LEFT_OUT.get(kind, "member of an unknown kind in a tar")
    if extension.is_sparse:
        return _LEFT_OUT[SPARSE]
    if name.startswith(b"/") or b".." in name.split(b"/"):
        return "absolute or parent path in a tar"
    if b"\0" in name or len(name) > _LONGEST_NAME or not (kind == FOLDER or name.strip(b"./")):
        return "name in a tar that no file can have"
    return None


def _relative_path(name: bytes) -> str:
    """The path without empty parts and `.`; bytes that are no UTF-8 as Python's file names hold them."""
    parts = name.decode("utf-8", "surrogateescape").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _compressed(name: str) -> SourceError:
    return SourceError(
        f"{name}: a compressed archive, in which no image can be sought. Unpack it or write it anew as a plain tar "
        "(images hardly shrink); if it is no class, move it elsewhere."
    )


def _unreadable(name: str, reason: OSError) -> SourceError:
    return SourceError(f"{name}: cannot be read ({os.strerror(reason.errno or 0)}).")
