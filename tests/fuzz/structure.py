"""Mutations that know a format: values of JSON and YAML, elements of XML, members of a zip, datasets of HDF5."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any
from xml.etree import ElementTree

import yaml

_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2,
        0.5,
        1e308,
        float("nan"),
        float("inf"),
        2**31,
        2**53,
        2**63,
        2**64,
        -(2**63),
        10**400,
    ),
    *(
        "",
        " ",
        "a",
        "x" * 200,
        "x" * 5000,
        "\0",
        "\ud800",
        "\n",
        "\u2028",
        "\x1b[31m",
        "../../x",
        "~nobody/x",
        "1",
        "İ",
    ),
    *([], {}, [[]], [{}], {"": None}, [1, 2], ["a", "b"], {"name": "a"}, {"id": 1}),
)


def json_value(rng: Random, data: bytes) -> bytes:
    """Change one value or key in a JSON text; each line of JSON lines counts as a text."""
    rows = data.split(b"\n")
    at = rng.randrange(len(rows))
    try:
        return json.dumps(changed(rng, json.loads(data))).encode()
    except (ValueError, RecursionError):
        pass
    try:
        rows[at] = json.dumps(changed(rng, json.loads(rows[at]))).encode()
    except (ValueError, RecursionError):
        return data
    return b"\n".join(rows)


def yaml_value(rng: Random, data: bytes) -> bytes:
    """Change one value or key in a YAML text."""
    try:
        return yaml.dump(
            changed(rng, yaml.safe_load(data)), sort_keys=False, allow_unicode=rng.random() < 0.5
        ).encode("utf-8", "surrogatepass")
    except (yaml.YAMLError, ValueError, RecursionError):
        return data


def deep(rng: Random, data: bytes) -> bytes:
    """Insert thousands of opening brackets, or of nested values."""
    depth = rng.choice((20, 60, 200, 1000, 5000, 50_000))
    opening, closing = rng.choice(
        ((b"[", b"]"), (b"{", b"}"), (b'{"a":', b"}"), (b"- ", b""), (b"(", b")"), (b"!", b""))
    )
    at = rng.randint(0, len(data))
    text = opening * depth + rng.choice((b"", b"1" + closing * depth))
    return data[:at] + text + data[at + rng.choice((0, 1)) :]


def changed(rng: Random, value: Any) -> Any:
    """The value with one part changed, at any depth; the value itself is changed in place where it can be."""
    holders = list(_holders(value))
    if not holders or rng.random() < 0.02:
        return rng.choice(_ODD)
    holder = rng.choice(holders)
    if isinstance(holder, list):
        _change_list(rng, holder, holders)
    else:
        _change_object(rng, holder, holders)
    return value


def _holders(value: Any) -> Any:
    """The lists and objects in a value that have an element."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, (list, dict)) and part:
            yield part
            waiting.extend(part if isinstance(part, list) else part.values())


def _change_list(rng: Random, holder: list[Any], holders: list[Any]) -> None:
    at = rng.randrange(len(holder))
    match rng.randrange(5):
        case 0:
            del holder[at]
        case 1:
            holder.insert(at, rng.choice(_ODD))
        case 2:
            holder.extend([holder[at]] * rng.choice((1, 2, 50)))
        case 3:
            holder[at] = _copy(rng.choice(holders))
        case _:
            holder[at] = rng.choice(_ODD)


def _change_object(rng: Random, holder: dict[Any, Any], holders: list[Any]) -> None:
    key = rng.choice(list(holder))
    match rng.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[rng.choice(("", "a", "id", "name", "x" * 300, "\n", "\ud800", "0", "é"))] = holder.pop(key)
        case 2:
            holder[key] = _copy(rng.choice(holders))
        case 3:
            holder[key] = [holder[key]] if rng.random() < 0.5 else {"a": holder[key]}
        case 4:
            holder[key] = str(holder[key])
        case _:
            holder[key] = rng.choice(_ODD)


def _copy(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def xml_element(rng: Random, data: bytes) -> bytes:
    """Remove, repeat, nest or fill an element of an XML text."""
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        return data
    parents = [element for element in root.iter() if len(element)]
    parent = rng.choice(parents) if parents else root
    child = rng.choice(list(parent)) if len(parent) else root
    match rng.randrange(5):
        case 0 if child is not root:
            parent.remove(child)
        case 1:
            parent.append(deepcopy(child))  # its text may be no XML once written
        case 2:
            child.text = rng.choice(
                ("", "-1", "1e999", "nan", "9" * 400, "x" * 5000, "\u2028", "0.5", " 7 ", "1,5")
            )
        case 3:
            child.tag = rng.choice(("object", "bndbox", "size", "name", "xmin", "part", "filename"))
        case _:
            for _ in range(rng.choice((2, 60, 3000))):
                inner = ElementTree.Element(child.tag)
                child.append(inner)
                child = inner
    try:
        return ElementTree.tostring(root)
    except RecursionError:
        return data


def zip_member(rng: Random, data: bytes, change: Callable[[Random, bytes], bytes] | None = None) -> bytes:
    """Change, remove, repeat or rename a member of a zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one.filename, archive.read(one), one.compress_type) for one in archive.infolist()]
            comment = archive.comment
    except Exception:  # zipfile raises every kind of exception on damaged data
        return data
    if not members:
        return data
    at = rng.randrange(len(members))
    name, content, kind = members[at]
    match rng.randrange(8):
        case 0:
            del members[at]
        case 1:
            members.append(members[at])
        case 2:
            members[at] = (
                rng.choice((name + "x", "../" + name, "a/data.pkl", "x" * 5000, name.upper())),
                content,
                kind,
            )
        case 3:
            members[at] = (name, content, zipfile.ZIP_DEFLATED)
        case _:
            members[at] = (name, (change or _byte)(rng, content), kind)
    out = io.BytesIO()
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as archive:
        warnings.simplefilter("ignore")  # of members with equal names
        for name, content, kind in members:
            archive.writestr(zipfile.ZipInfo(name), content, kind)
        archive.comment = comment
    return out.getvalue()


def _byte(rng: Random, content: bytes) -> bytes:
    if not content:
        return b"\0"
    at = rng.randrange(len(content))
    return content[:at] + rng.randbytes(rng.choice((1, 1, 4))) + content[at + rng.choice((0, 1, 4)) :]


def pickle_operation(rng: Random, content: bytes) -> bytes:
    """Change a pickle: insert or replace an operation, a text or a number."""
    operations = (
        *(
            b"(",
            b".",
            b"0",
            b"2",
            b"N",
            b"}",
            b"]",
            b")",
            b"t",
            b"R",
            b"s",
            b"u",
            b"e",
            b"a",
            b"b",
            b"Q",
            b"\x88",
            b"\x89",
        ),
        *(
            b"cposix\nsystem\n",
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ccollections\nOrderedDict\n",
            b"h\x00",
            b"q\x00",
        ),
        *(
            b"K\xff",
            b"M\xff\xff",
            b"J\xff\xff\xff\xff",
            b"\x8a\x08" + b"\xff" * 8,
            b"X\x01\x00\x00\x00a",
            b"\x85",
            b"\x86",
        ),
        *(
            b"G\x7f\xf0" + bytes(6),
            b"ctorch\nFloatStorage\n",
            b"ctorch\nLongStorage\n",
            b"r\xff\xff\xff\xff",
            b"\x87",
        ),
    )
    at = rng.randint(0, len(content))
    operation = rng.choice(operations)
    return content[:at] + operation + content[at + rng.choice((0, 1, len(operation))) :]


def hdf5_dataset(rng: Random, data: bytes) -> bytes:
    """Change values, type or shape of a dataset, or add links and attributes, with the HDF5 library."""
    import h5py
    import numpy as np

    start = 512 if data[512:520] == b"\x89HDF\r\n\x1a\n" else 0
    file = io.BytesIO(data[start:])
    try:
        with h5py.File(file, "r+") as opened:
            name = rng.choice(list(opened))
            values = opened[name][()]
            match rng.randrange(8):
                case 0:
                    del opened[name]
                case 1 | 2 | 3 if values.size:
                    flat = values.reshape(-1)
                    odd = rng.choice((0, 1, -1, 127, 255, 2**31 - 1, -(2**31), 2**62, 0.5))
                    flat[rng.randrange(flat.size)] = np.array(odd).astype(flat.dtype)
                    opened[name][()] = flat.reshape(values.shape)
                case 4:
                    _replace(
                        opened, name, np.nan_to_num(values).astype(rng.choice(("i4", "i8", "f4", "f8", "S8")))
                    )
                case 5:
                    _replace(opened, name, values[: rng.randint(0, len(values))] if values.ndim else values)
                case 6:
                    opened.attrs[rng.choice(("version", "format", "x"))] = rng.choice(
                        (0, 1, 2, 3, 4, "x", 1.5, [1, 2])
                    )
                case _:
                    opened["x" * rng.choice((1, 300))] = h5py.SoftLink("/" + name)
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        OverflowError,
        RuntimeWarning,
        IndexError,
    ):
        return data
    return data[:start] + file.getvalue()


def _replace(opened: Any, name: str, values: Any) -> None:
    del opened[name]
    opened.create_dataset(name, data=values, track_times=False)


def png_with_checksums(data: bytes) -> bytes:
    """The chunks of a PNG with right checksums; other bytes as they are."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    changed, at = bytearray(data), 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        changed[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(changed)


def tar_with_checksums(data: bytes) -> bytes:
    """The blocks of a tar that may be headers with right checksums."""
    changed = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        block = changed[at : at + 512]
        if block[257:262] == b"ustar" or block[148:156].strip(b" \0").isdigit():
            counted = block[:148] + b" " * 8 + block[156:]
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(counted)
    return bytes(changed)
