"""Mutations of bytes: flips, spans cut, moved and repeated, numbers and tokens replaced, two inputs spliced."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from random import Random

Mutator = Callable[[Random, bytes], bytes]

MAX_BYTES = 1 << 18  # of an input
_NUMBERS = (0, 1, 2, 7, 8, 15, 16, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_LARGE = (*_NUMBERS, 2**53, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, 2**64 - 16)
_TEXT_NUMBERS = (
    *(
        b"0",
        b"-0",
        b"-1",
        b"1",
        b"0.5",
        b"1e308",
        b"-1e308",
        b"1e999",
        b"1e-400",
        b"NaN",
        b"nan",
        b"inf",
        b"-Infinity",
    ),
    *(
        b"2147483648",
        b"4294967296",
        b"9007199254740993",
        b"9223372036854775807",
        b"9223372036854775808",
        b"0x1f",
    ),
    *(
        b"18446744073709551616",
        b"1" + b"0" * 40,
        b"9" * 400,
        b"9" * 5000,
        b"1_000",
        b"1.",
        b".5",
        b"0b1",
        b"0o17",
    ),
    *("١٢".encode(), "²".encode(), b"true", b"null", b"1:30", b"1e5", b"+5", b"00012"),
)
_ODD_TEXTS = (
    *(
        b"\0",
        b"\r",
        b"\n",
        b"\r\n",
        b"\t",
        b" ",
        b'"',
        b"'",
        b"\\",
        b"/",
        b"..",
        b"../../x",
        b"\xff",
        b"\xed\xa0\x80",
    ),
    *(
        b"\xef\xbb\xbf",
        "\u2028".encode(),
        "\x85".encode(),
        "\u202e".encode(),
        "İ".encode(),
        "ß".encode(),
        b"\x1b[31m",
    ),
    *(
        b"\x1b]0;x\x07",
        b"[/red]",
        b"<b>",
        b"&amp;",
        b"%s",
        b"%00",
        b"{}",
        b"~nobody",
        b"*",
        b"?",
        b"#",
        b"\xc3",
        b"~",
    ),
    *(
        b"\\ud800",
        b"\\u0000",
        b"\\ud83d",
        "\U0010ffff".encode(),
        "\ufeff".encode(),
        "\xa0".encode(),
        b"=1+1",
        b"-",
    ),
)
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")


def mutated(
    rng: Random, seeds: Sequence[bytes], mutators: Sequence[Mutator], tokens: Sequence[bytes]
) -> bytes:
    """A new input from one or two of the seeds."""
    data = rng.choice(seeds)
    if rng.random() < 0.1:
        data = spliced(rng, data, rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5, 8, 20))):
        if mutators and rng.random() < 0.6:
            data = rng.choice(mutators)(rng, data)
        elif tokens and rng.random() < 0.3:
            data = with_token(rng, data, rng.choice(tokens))
        else:
            data = rng.choice(_OF_BYTES)(rng, data)
    return data[: 2 * max(MAX_BYTES, max(map(len, seeds)))]


def spliced(rng: Random, first: bytes, second: bytes) -> bytes:
    """The beginning of one input and the end of another."""
    return first[: rng.randint(0, len(first))] + second[rng.randint(0, len(second)) :]


def with_token(rng: Random, data: bytes, token: bytes) -> bytes:
    """The bytes with a token inserted, or in the place of as many bytes."""
    at = rng.randint(0, len(data))
    return data[:at] + token + data[at + rng.choice((0, len(token))) :]


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = rng.randint(0, len(data))
    return start, min(
        len(data), start + int(rng.choice((1, 2, 4, 8, 16, 64, 256, len(data))) * rng.random()) + 1
    )


def _flip(rng: Random, data: bytes) -> bytes:
    if not data:
        return b"\0"
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set_byte(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return (
        data[:at]
        + bytes([rng.choice((0, 1, 9, 10, 32, 34, 44, 58, 127, 128, 255, rng.randrange(256)))])
        + data[at + 1 :]
    )


def _set_number(rng: Random, data: bytes) -> bytes:
    layout = rng.choice("<>") + rng.choice("HIQ")
    size = struct.calcsize(layout)
    at = rng.randint(0, max(0, len(data) - size))
    number = rng.choice(_LARGE) if rng.random() < 0.8 else len(data) + rng.randint(-9, 9)
    return data[:at] + struct.pack(layout, number & (1 << 8 * size) - 1) + data[at + size :]


def _insert(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 1, 2, 4, 16, 64))) + data[at:]


def _remove(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _truncate(rng: Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _repeat(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    times = rng.choice((2, 2, 3, 10, 100, 1000, 30000))
    return (data[:end] + data[start:end] * min(times, MAX_BYTES // (end - start + 1)) + data[end:])[
        :MAX_BYTES
    ]


def _move(rng: Random, data: bytes) -> bytes:
    (start, end), rest = _span(rng, data), data
    rest = data[:start] + data[end:]
    at = rng.randint(0, len(rest))
    return rest[:at] + data[start:end] + rest[at:]


def _odd_text(rng: Random, data: bytes) -> bytes:
    return with_token(rng, data, rng.choice(_ODD_TEXTS))


def _text_number(rng: Random, data: bytes) -> bytes:
    """Replace a number in digits."""
    found = list(_NUMBER.finditer(data[: 1 << 16]))
    if not found:
        return with_token(rng, data, rng.choice(_TEXT_NUMBERS))
    position = rng.choice(found)
    return data[: position.start()] + rng.choice(_TEXT_NUMBERS) + data[position.end() :]


def lines(rng: Random, data: bytes) -> bytes:
    """Repeat, remove, join, swap or extend a line."""
    rows = data.split(b"\n")
    at, other = rng.randrange(len(rows)), rng.randrange(len(rows))
    match rng.randrange(6):
        case 0:
            rows.insert(other, rows[at])
        case 1:
            del rows[at]
        case 2:
            rows[at], rows[other] = rows[other], rows[at]
        case 3:
            rows[at] = rows[at] * min(rng.choice((2, 100, 3000)), 1 + MAX_BYTES // (len(rows[at]) + 1))
        case 4:
            rows[at : at + 2] = [b"".join(rows[at : at + 2])]
        case _:
            rows[at] = rng.choice((b"", b" ", b"\t", b"#", b"    ")) + rows[at]
    return b"\n".join(rows)[: 2 * max(MAX_BYTES, len(data))]


def fields(rng: Random, data: bytes) -> bytes:
    """Change a field of a table: repeat, remove or replace it, or change all separators."""
    if rng.random() < 0.1:
        return data.replace(
            rng.choice((b",", b"\t", b" ", b";", b"=")), rng.choice((b",", b"\t", b";", b" ", b"|"))
        )
    rows = data.split(b"\n")
    at = rng.randrange(len(rows))
    separator = rng.choice((b",", b"\t", b" ", b";", b"=", b":"))
    cells = rows[at].split(separator)
    cell = rng.randrange(len(cells))
    odd = rng.choice((*_TEXT_NUMBERS, *_ODD_TEXTS, b"x" * rng.choice((100, 5000, 140_000)), b'"', b'""'))
    match rng.randrange(4):
        case 0:
            cells[cell] = odd
        case 1:
            cells.insert(cell, cells[rng.randrange(len(cells))])
        case 2:
            del cells[cell]
        case _:
            cells[cell] += odd
    rows[at] = separator.join(cells)
    return b"\n".join(rows)[: 2 * max(MAX_BYTES, len(data))]


_OF_BYTES: tuple[Mutator, ...] = (
    *(_flip, _flip, _set_byte, _set_byte, _set_number, _insert, _remove, _truncate, _repeat, _move),
    *(_odd_text, _odd_text, _text_number, _text_number),
)
