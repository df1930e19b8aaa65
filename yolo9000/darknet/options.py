"""Darknet's text files: sections of `key=value` (`.cfg`) and bare `key=value` (`.data`), by option_list.c and parser.c.

Every blank and tab inside a line is deleted first. Lines that begin with `#` or `;` are remarks; there are no others.
Of a repeated key the first counts. Numbers are read by their prefix. Text is latin-1: one character a byte.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wordtree.support.lines import quoted
from yolo9000.errors import Yolo9000Error

MAX_BYTES = 1 << 20  # the longest published cfg has 60 KB
_DELETED = str.maketrans("", "", " \t\r\n")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class DarknetError(Yolo9000Error):
    """A Darknet file that cannot be used: malformed, of another network, or asking for what is not supported."""


@dataclass(frozen=True)
class Option:
    """One `key=value`, and the line it stands on."""

    key: str
    value: str
    line: int


@dataclass
class Section:
    """A `[name]` with its options; remembers which keys were asked for."""

    name: str
    line: int
    place: str  # what errors call the file
    options: dict[str, Option] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def error(self, key: str | None, text: str) -> DarknetError:
        """The error about an option, or about the section where it has none of that key."""
        found = self.options.get(key) if key is not None else None
        line = found.line if found else self.line
        return DarknetError(f"{self.place}: line {line}: [{self.name}] {text}")

    def text(self, key: str) -> str | None:
        """The value as it stands."""
        self.asked.add(key)
        found = self.options.get(key)
        return found.value if found else None

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """The whole number that the value begins with; DarknetError outside low … high."""
        value = self.text(key)
        return default if value is None else self._integer(key, value, low, high)

    def flag(self, key: str) -> bool:
        """Whether the option is there and not 0."""
        return self.integer(key, 0, low=-(2**31), high=2**31 - 1) != 0

    def number(self, key: str, default: float) -> float:
        """The finite number that the value begins with."""
        value = self.text(key)
        return default if value is None else self._number(key, value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers, separated by commas; empty where the key is absent."""
        value = self.text(key)
        return () if value is None else tuple(self._number(key, part) for part in value.split(","))

    def integers(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers, separated by commas; empty where the key is absent."""
        value = self.text(key)
        return (
            () if value is None else tuple(self._integer(key, part, low, high) for part in value.split(","))
        )

    def _integer(self, key: str, text: str, low: int, high: int) -> int:
        match = _INTEGER.match(text)
        if not match:
            raise self.error(key, f"{key}: {quoted(text)} is no whole number.")
        number = int(match[0]) if len(match[0]) < 20 else high + 1
        if not low <= number <= high:
            raise self.error(key, f"{key}: expected {low} to {high}, found {quoted(text)}.")
        return number

    def _number(self, key: str, text: str) -> float:
        match = _NUMBER.match(text)
        number = float(match[0]) if match else math.nan
        if not math.isfinite(number):
            raise self.error(key, f"{key}: {quoted(text)} is no number.")
        return number


def read_text(path: Path) -> str:
    """The text of a Darknet file, one character a byte; DarknetError for what is none."""
    if not path.is_file():
        raise DarknetError(f"{path}: no such file.")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DarknetError(f"{path}: longer than {MAX_BYTES} bytes; expected a text file of Darknet.")
    return content.decode("latin-1")


def parse_sections(text: str, place: str) -> tuple[list[Section], list[str]]:
    """The sections of a `.cfg`, and remarks on what Darknet passes over."""
    sections: list[Section] = []
    notes: list[str] = []
    for number, line in _lines(text, place):
        if line.startswith("["):
            if not line.endswith("]"):
                raise DarknetError(f"{place}: line {number}: {quoted(line)} is no section: ']' is missing.")
            sections.append(Section(line[1:-1], number, place))
        elif not sections:
            raise DarknetError(
                f"{place}: line {number}: expected a section such as [net] first, found {quoted(line)}."
            )
        else:
            _add(sections[-1], number, line, notes)
    return sections, notes


def parse_options(text: str, place: str, name: str) -> tuple[Section, list[str]]:
    """The options of a file without sections, such as a `.data`, and remarks on what is passed over."""
    section, notes = Section(name, 1, place), list[str]()
    for number, line in _lines(text, place):
        _add(section, number, line, notes)
    return section, notes


def unknown_keys(section: Section, known: Sequence[str]) -> Iterator[str]:
    """A remark for each key that nobody asked for and that is not among the known ones without effect here."""
    for option in section.options.values():
        if option.key not in section.asked and option.key not in known:
            yield f"line {option.line}: unknown key {quoted(option.key)} of [{section.name}] is kept, without effect"


def _lines(text: str, place: str) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.split("\n"), start=1):
        if "\0" in raw:
            raise DarknetError(f"{place}: line {number}: holds a NUL byte; expected a text file of Darknet.")
        line = raw.translate(_DELETED)
        if line and line[0] not in "#;":
            yield number, line


def _add(section: Section, number: int, line: str, notes: list[str]) -> None:
    key, equals, value = line.partition("=")
    if not equals or not key:
        raise DarknetError(f"{section.place}: line {number}: expected key=value, found {quoted(line)}.")
    if not value:
        notes.append(f"line {number}: {quoted(key)} has no value and is passed over")
    elif key in section.options:
        first = section.options[key].line
        notes.append(f"line {number}: {quoted(key)} is there again; line {first} counts")
    else:
        section.options[key] = Option(key, value, number)
