"""Reads the HDF5 files of this project without the HDF5 library, which damaged or hostile files can crash or stall.

Such a file uses a small part of HDF5 (docs/shard_format.md): one group, contiguous datasets of numbers or texts, and a
few attributes, as h5py writes them by default. Everything else is refused: chunks, filters, links, external storage,
virtual datasets, other groups. A dataset can be no larger than the file, and each step of reading is bounded.
Source: HDF5 File Format Specification, version 3.0; its section is named at each function.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from data_prep.errors import DataPrepError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
USER_BLOCK_BYTES = (0, 512)  # the file begins with HDF5's data, or with 512 other bytes
MAX_DATASETS = 256
MAX_NODES = 64  # of the tree of names
MAX_HEADER_BYTES = 1 << 16
MAX_RANK = 4
_UNDEFINED = 2**64 - 1  # an address
_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 0x01, 0x03, 0x08, 0x0C, 0x10, 0x11
# Messages that say nothing about where data lies: none, fill values, comment, times, free space of B-trees.
_HARMLESS = {0x00, 0x04, 0x05, 0x0D, 0x0E, 0x12, 0x13}
_NUMBERS = {  # (class, size, is signed): type
    (0, 1, False): "u1",
    (0, 4, False): "<u4",
    (0, 8, False): "<u8",
    (0, 1, True): "i1",
    (0, 4, True): "<i4",
    (0, 8, True): "<i8",
}
_FLOATS = {  # properties of IEEE numbers: bit offset, precision, exponent and mantissa, bias
    struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127): "<f4",
    struct.pack("<HHBBBBI", 0, 64, 52, 11, 0, 52, 1023): "<f8",
}
TEXT = "text"  # the type of variable-length texts, which former versions wrote


class Hdf5Error(DataPrepError, ValueError):
    """A file is not one of the HDF5 files that this module reads."""


@dataclass(frozen=True)
class Column:
    """A dataset: its type (of NumPy, or TEXT), its shape, and its span in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int


class Hdf5File:
    """An open file: `file["name"]` reads a dataset, `file.attributes` are those of the root group.

    stream: all its bytes.

    Raises Hdf5Error, also while reading; OSError if the file cannot be read.
    """

    def __init__(self, source: Path | BinaryIO) -> None:
        self._is_own = isinstance(source, Path)
        self.stream: BinaryIO = source.open("rb") if isinstance(source, Path) else source
        try:
            self._size = self.stream.seek(0, 2)
            self._base, root = self._superblock()
            messages = list(self._messages(root))
            self.attributes = dict(map(_attribute, _contents(messages, _ATTRIBUTE)))
            self.columns = {name: self._column(header, name) for name, header in self._links(messages)}
            if sum(column.size_bytes for column in self.columns.values()) > self._size:
                _refuse("its datasets overlap")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Hdf5File":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, if this object opened it."""
        if self._is_own:
            self.stream.close()

    def __getitem__(self, name: str) -> np.ndarray[Any, Any]:
        """A fresh array with the numbers of a dataset."""
        column = self.column(name)
        if column.dtype == TEXT:
            _refuse(f"{name} holds texts instead of numbers")
        array = np.empty(column.shape, column.dtype)
        self.stream.seek(column.start)
        rest = memoryview(array.reshape(-1).view(np.uint8).data)
        while rest:
            read = self.stream.readinto(rest)  # type: ignore[attr-defined]
            if not read:
                _refuse(f"the file ends within {name}")
            rest = rest[read:]
        return array

    def column(self, name: str) -> Column:
        """The position of a dataset; Hdf5Error if there is none."""
        found = self.columns.get(name)
        return found if found is not None else _refuse(f"it has no dataset {name}")

    def texts(self, name: str) -> list[str]:
        """The texts of a dataset of variable-length texts, as former versions wrote them."""
        column = self.column(name)
        if column.dtype != TEXT:
            _refuse(f"{name} holds no texts")
        references = struct.iter_unpack("<IQI", self._read(column.start, column.size_bytes))
        heaps: dict[int, dict[int, bytes]] = {}
        texts, text_bytes, heap_bytes = [], 0, 0
        for length, address, number in references:
            if length and address not in heaps:
                heaps[address] = dict(self._heap(address))
                heap_bytes += sum(map(len, heaps[address].values()))
            content = heaps[address].get(number, b"") if length else b""
            text_bytes += length
            if length > len(content) or max(text_bytes, heap_bytes) > self._size:  # they would share bytes
                _refuse(f"a text of {name} is outside its heap")
            texts.append(content[:length].decode())
        return texts

    def _read(self, start: int, size: int) -> bytes:
        if start < 0 or start + size > self._size:
            _refuse("it points beyond its end")
        self.stream.seek(start)
        content = self.stream.read(size)
        return content if len(content) == size else _refuse("it is shorter than its size")

    def _at(self, address: int, size: int) -> bytes:
        return self._read(self._base + address, size)

    def _superblock(self) -> tuple[int, int]:
        """The base of all addresses, and the address of the root group's header. II.A, version 0."""
        base = next((at for at in USER_BLOCK_BYTES if self._starts_at(at)), None)
        if base is None:
            _refuse("it is no HDF5 file")
        version, *sizes = struct.unpack("<B4xBB", self._read(base + 8, 7))
        (driver,) = struct.unpack("<Q", self._read(base + 48, 8))
        if version != 0 or sizes != [8, 8] or driver != _UNDEFINED:
            _refuse("it has another version of HDF5's superblock")
        (root,) = struct.unpack("<Q", self._read(base + 64, 8))
        return base, root

    def _starts_at(self, start: int) -> bool:
        self.stream.seek(start)
        return self.stream.read(len(SIGNATURE)) == SIGNATURE

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Type and content of each message in an object header. IV.A.1.a, version 1."""
        version, count, size = struct.unpack("<BxHxxxxI", self._at(address, 12))
        if version != 1:
            _refuse("it has another version of object headers")
        blocks, read = [(address + 16, size)], 0
        for start, length in blocks:  # grows while it is read
            read += length
            if read > MAX_HEADER_BYTES:
                _refuse("it has an object header that is too large")
            block, at = self._at(start, length), 0
            while at + 8 <= length and count:
                kind, content_size, flags = struct.unpack_from("<HHB", block, at)
                content = block[at + 8 : at + 8 + content_size]
                at, count = at + 8 + content_size, count - 1
                if len(content) < content_size or flags & 2:  # 2: shared, stored elsewhere
                    _refuse("it has a message outside its header")
                if kind == _CONTINUATION:
                    blocks.append(_unpack("<2Q", content))  # type: ignore[arg-type]
                else:
                    yield kind, content

    def _links(self, messages: list[tuple[int, bytes]]) -> Iterator[tuple[str, int]]:
        """Name and header address of each object in the root group. III.A to III.D."""
        (symbols,) = _contents(messages, _SYMBOLS) or [b""]
        tree, heap = _unpack("<2Q", symbols)
        start, size, _, names_at = struct.unpack("<4sxxxx3Q", self._at(heap, 32))
        if start != b"HEAP":
            _refuse("its names are damaged")
        names = self._at(names_at, min(size, self._size))
        count, seen = 0, set()
        for entries in self._symbol_nodes(tree):
            for name_at, header, cached in struct.iter_unpack("<QQI20x", entries):
                name = names[name_at : names.find(b"\0", name_at)].decode() if name_at < len(names) else ""
                count += 1
                if cached == 2 or not name or name in seen or count > MAX_DATASETS:  # 2: a soft link
                    _refuse("it has links, or names that are damaged")
                seen.add(name)
                yield name, header

    def _symbol_nodes(self, root: int) -> Iterator[bytes]:
        """The entries of each leaf of the tree of names, 40 bytes for each name."""
        nodes = [root]
        for address in nodes:  # grows while it is read
            if len(nodes) > MAX_NODES:
                _refuse("it has too many names")
            kind = self._at(address, 4)
            (count,) = struct.unpack("<H", self._at(address + 6, 2))
            if kind == b"SNOD":
                yield self._at(address + 8, 40 * count)
            elif kind == b"TREE":
                keys_and_children = self._at(address + 24, 16 * count)
                nodes += [child for _, child in struct.iter_unpack("<2Q", keys_and_children)]
            else:
                _refuse("its tree of names is damaged")

    def _column(self, header: int, name: str) -> Column:
        """A dataset from its object header; everything but contiguous numbers and texts is refused."""
        messages = list(self._messages(header))
        odd = {kind for kind, _ in messages} - {_SPACE, _TYPE, _LAYOUT, _ATTRIBUTE, *_HARMLESS}
        parts = [_contents(messages, kind) for kind in (_SPACE, _TYPE, _LAYOUT)]
        if odd or any(len(part) != 1 for part in parts):
            _refuse(f"{name} is no plain dataset: it is compressed, external, virtual or a group")
        (space,), (kind,), (layout,) = parts
        shape, dtype = _shape(space), _dtype(kind)
        if len(layout) < 18 or layout[0] not in (3, 4) or layout[1] != 1:
            _refuse(f"{name} is not contiguous")
        address, size = _unpack("<2Q", layout[2:])
        items = 16 if dtype == TEXT else np.dtype(dtype).itemsize
        expected = items * int(np.prod(np.array(shape, dtype=object), initial=1))
        if expected == 0:
            return Column(dtype, shape, 0, 0)
        start = self._base + address
        if size != expected or start + size > self._size:
            _refuse(f"{name} of shape {shape} does not lie within the file")
        return Column(dtype, shape, start, size)

    def _heap(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Number and content of each object in a collection of texts. III.E, version 1."""
        start, size = struct.unpack("<5sxxxQ", self._at(address, 16))
        if start != b"GCOL\x01":
            _refuse("its texts are damaged")
        collection, at = self._at(address, size), 16
        while at + 16 <= size:
            number, length = struct.unpack_from("<HxxxxxxQ", collection, at)
            if number == 0:  # free space, to the end
                return
            yield number, collection[at + 16 : at + 16 + length]
            at += 16 + -(-length // 8) * 8


def _refuse(problem: str) -> NoReturn:
    raise Hdf5Error(problem)


def _contents(messages: list[tuple[int, bytes]], wanted: int) -> list[bytes]:
    return [content for kind, content in messages if kind == wanted]


def _unpack(layout: str, content: bytes) -> tuple[int, ...]:
    """Numbers from the start of some bytes."""
    if len(content) < struct.calcsize(layout):
        _refuse("a message is too short")
    return struct.unpack_from(layout, content)


def _shape(space: bytes) -> tuple[int, ...]:
    """IV.A.2.b, versions 1 and 2."""
    version, rank, flags, kind = _unpack("<4B", space)
    if version not in (1, 2) or rank > MAX_RANK or (version == 2 and kind == 2) or flags > 1:
        _refuse("it has a dataset of an odd shape")
    return _unpack(f"<{rank}Q", space[8 if version == 1 else 4 :])


def _dtype(kind: bytes) -> str:
    """IV.A.2.d: little-endian numbers, texts of fixed length (S…) and of variable length."""
    first, bits, _, _, size = _unpack("<4BI", kind)
    version, number_class = first >> 4, first & 15
    found = None
    if (
        version in (1, 2, 3)
        and number_class == 0
        and not bits & ~8
        and _unpack("<HH", kind[8:]) == (0, 8 * size)
    ):
        found = _NUMBERS.get((0, size, bool(bits & 8)))
    elif version in (1, 2, 3) and number_class == 1 and not bits & 1:
        found = _FLOATS.get(kind[8:20])
    elif number_class == 3 and 0 < size <= 64:
        found = f"S{size}"
    elif number_class == 9 and bits & 15 == 1 and size == 16:
        found = TEXT
    return found or _refuse("it has numbers of an unknown type")


def _attribute(message: bytes) -> tuple[str, Any]:
    """Name and value of a small attribute. IV.A.2.m, versions 1 to 3."""
    version, name_size, type_size, space_size = _unpack("<BxHHH", message)
    if version not in (1, 2, 3):
        _refuse("it has attributes of another version")
    at, parts = 9 if version == 3 else 8, []
    for size in (name_size, type_size, space_size):
        parts.append(message[at : at + size])
        at += -(-size // 8) * 8 if version == 1 else size
    name, dtype, shape = parts[0].split(b"\0")[0].decode(), _dtype(parts[1]), _shape(parts[2])
    if dtype == TEXT or shape not in ((), (1,)):
        return name, None
    value = np.frombuffer(message[at : at + np.dtype(dtype).itemsize], dtype)
    return name, value[0].item() if len(value) else _refuse("an attribute is too short")
