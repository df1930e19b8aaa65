"""The members of a tar without unpacking: each regular file is a span of bytes of the tar on disk.

Only headers are read. Nothing is written, so members with dangerous names or types are harmless; they are left out
and counted.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

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
from data_prep.sources.paths import readable_name
from data_prep.sources.source import DAMAGED_ARCHIVE, Counts, SourceError

_MAX_NAME = 4096  # bytes: no file system has longer paths
_MAX_EXTENSION = 1 << 20  # bytes
_RECORD = 20 * BLOCK  # bytes: tar programs pad with zeros to a multiple of this
_COMPRESSED_STARTS = (b"PK\x03\x04", b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"\x1f\x9d")
_COMPRESSED_NAMES = (
    *(f".tar.{suffix}" for suffix in ("gz", "xz", "bz2", "zst", "z")),
    *(".tgz", ".txz", ".tbz", ".tbz2", ".tzst"),
)
_LEFT_OUT = {
    **dict.fromkeys(LINKS, "link in a tar (not followed)"),
    **dict.fromkeys(DEVICES, "device or pipe in a tar"),
    SPARSE: "sparse file in a tar",
}


@dataclass(frozen=True)
class TarSpan:
    """A tar as the bytes from `start` to `end` of a file on disk; `name` is for messages."""

    path: Path
    start: int
    end: int
    name: str


class Member(NamedTuple):
    """A regular file in a tar: its relative path in the tar, and the position of its bytes in the file on disk."""

    name: str
    offset: int
    size_bytes: int


def whole_tar(path: Path) -> TarSpan:
    """The span of a tar that is a file of its own; raises SourceError if it cannot be read."""
    try:
        return TarSpan(path, 0, path.stat().st_size, str(path))
    except OSError as reason:
        raise _unreadable(str(path), reason) from None


def refuse_compressed(name: str) -> None:
    """Raise SourceError if a name is that of a compressed archive, whose members have no position on disk."""
    if name.lower().endswith(_COMPRESSED_NAMES):
        raise _compressed(name)


def members(tar: TarSpan, counts: Counts) -> Iterator[Member]:
    """The regular files of a tar in the order of the tar; counts the members left out.

    Raises SourceError if the file is not a tar. A tar that is truncated or damaged later yields the members before
    the damage, which is counted with the name of the tar.
    """
    try:
        with tar.path.open("rb", buffering=0) as file:
            blocks = _Blocks(file, tar)
            _require_tar(blocks)
            try:
                yield from _members(blocks, counts)
            except TarDamage as found:
                counts.leave_out(f"{tar.name}: {DAMAGED_ARCHIVE}: found {found}", tar.name)
    except OSError as reason:
        raise _unreadable(tar.name, reason) from None


class _Blocks:
    """The bytes of a tar by their position in the file on disk."""

    def __init__(self, file: BinaryIO, tar: TarSpan) -> None:
        self._file, self.tar = file, tar

    def read(self, position: int, size: int = BLOCK) -> bytes:
        """`size` bytes, or fewer at the end of the tar."""
        self._file.seek(position)
        return self._file.read(max(0, min(size, self.tar.end - position)))


def _require_tar(blocks: _Blocks) -> None:
    start, name = blocks.read(blocks.tar.start), blocks.tar.name
    if start.startswith(_COMPRESSED_STARTS):
        raise _compressed(name)
    try:
        parse_header(start)
    except TarDamage as found:
        raise SourceError(f"{name}: expected a tar, found {found if start else 'an empty file'}.") from None


def _members(blocks: _Blocks, counts: Counts) -> Iterator[Member]:
    position, end = blocks.tar.start, blocks.tar.end
    extension = Extension()
    while position < end:
        header = parse_header(blocks.read(position))
        position += BLOCK
        if header is None:
            # Other bytes than the usual zeros: another tar was appended to this one.
            counts["bytes after the end mark of a tar (not read)"] += any(blocks.read(position, _RECORD))
            return
        size = _size_of_data(header, extension)
        if position + size > end:
            raise TarDamage("its end within a member")
        if header.kind in EXTENSIONS:
            extension.add(header.kind, _extension_data(blocks, position, size))
        else:
            name = header.name if extension.name is None else extension.name
            if reason := _reason_to_leave_out(header.kind, name, extension):
                shown = readable_name(os.fsdecode(name))
                counts.leave_out(reason, shown, f"{blocks.tar.name}: {shown}")
            elif header.kind != FOLDER:
                yield Member(_relative_path(name), position, size)
            extension = Extension()
        position += -(-size // BLOCK) * BLOCK
    counts[f"{blocks.tar.name}: without an end mark, perhaps truncated (kept)"] += 1


def _size_of_data(header: Header, extension: Extension) -> int:
    """The number of data bytes after a header. A size in an extension is the size of the member."""
    if header.kind in WITHOUT_DATA:
        return 0
    return header.size if extension.size is None or header.kind in EXTENSIONS else extension.size


def _extension_data(blocks: _Blocks, position: int, size: int) -> bytes:
    if size > _MAX_EXTENSION:
        raise TarDamage(f"{size} bytes of names and sizes for one member")
    return blocks.read(position, size)


def _reason_to_leave_out(kind: bytes, name: bytes, extension: Extension) -> str | None:
    """The reason to leave a member out; None for a folder or a regular file."""
    if kind not in REGULAR and kind != FOLDER:
        return _LEFT_OUT.get(kind, "member of an unknown type in a tar")
    if extension.is_sparse:
        return _LEFT_OUT[SPARSE]
    if name.startswith(b"/") or b".." in name.split(b"/"):
        return "absolute or parent path in a tar"
    if b"\0" in name or len(name) > _MAX_NAME or not (kind == FOLDER or name.strip(b"./")):
        return "impossible file name in a tar"
    return None


def _relative_path(name: bytes) -> str:
    """The path without empty parts and `.`; bytes that are not UTF-8 become surrogates, as in Python's file names."""
    parts = name.decode("utf-8", "surrogateescape").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _compressed(name: str) -> SourceError:
    return SourceError(
        f"{name}: expected a plain tar, found a compressed archive, in which images cannot be read one by one. "
        "Decompress it (images hardly shrink); if it is not a class, move it elsewhere."
    )


def _unreadable(name: str, reason: OSError) -> SourceError:
    return SourceError(f"{name}: cannot be read ({os.strerror(reason.errno or 0)}).")
