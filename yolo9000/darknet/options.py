"""Darknet's text files: sections of `key=value` (`.cfg`) and bare `key=value` (`.data`), by option_list.c and parser.c.

Every blank and tab inside a line is deleted first. A line that begins with `#` or `;` is a comment. The first of
repeated keys counts. A number is read from the prefix of its value. Text is latin-1: one character per byte.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wordtree.support.lines import quoted
from yolo9000.errors import Yolo9000Error

MAX_BYTES = 1 << 20  # the largest published cfg has 60 KB
_DELETED = str.maketrans("", "", " \t\r\n")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class DarknetError(Yolo9000Error):
    """A Darknet file is malformed, belongs to another network, or needs an unsupported feature."""


@dataclass(frozen=True)
class Option:
    """One `key=value` and its line number."""

    key: str
    value: str
    line: int


@dataclass
class Section:
    """A `[name]` with its options; `read_keys` collects the keys that were looked up."""

    name: str
    line: int
    source: str  # the file as error messages name it
    options: dict[str, Option] = field(default_factory=dict)
    read_keys: set[str] = field(default_factory=set)

    def error(self, key: str | None, text: str) -> DarknetError:
        """An error at the line of the option, or at the section's line where the key is absent."""
        option = self.options.get(key) if key is not None else None
        line = option.line if option else self.line
        return DarknetError(f"{self.source}: line {line}: [{self.name}] {text}")

    def text(self, key: str) -> str | None:
        """The unparsed value; None if the key is absent."""
        self.read_keys.add(key)
        option = self.options.get(key)
        return option.value if option else None

    def integer(self, key: str, default: int, *, low: int, high: int) -> int:
        """The integer at the start of the value; DarknetError outside low … high."""
        value = self.text(key)
        return default if value is None else self._integer(key, value, low, high)

    def flag(self, key: str) -> bool:
        """Whether the option is present and not 0."""
        return self.integer(key, 0, low=-(2**31), high=2**31 - 1) != 0

    def number(self, key: str, default: float) -> float:
        """The finite number at the start of the value."""
        value = self.text(key)
        return default if value is None else self._number(key, value)

    def numbers(self, key: str) -> tuple[float, ...]:
        """The comma-separated numbers; empty where the key is absent."""
        value = self.text(key)
        return () if value is None else tuple(self._number(key, part) for part in value.split(","))

    def integers(self, key: str, *, low: int, high: int) -> tuple[int, ...]:
        """The comma-separated integers; empty where the key is absent."""
        value = self.text(key)
        return (
            () if value is None else tuple(self._integer(key, part, low, high) for part in value.split(","))
        )

    def _integer(self, key: str, text: str, low: int, high: int) -> int:
        match = _INTEGER.match(text)
        if not match:
            raise self.error(key, f"{key}: expected an integer, found {quoted(text)}.")
        number = int(match[0]) if len(match[0]) < 20 else high + 1
        if not low <= number <= high:
            raise self.error(key, f"{key}: expected {low} to {high}, found {quoted(text)}.")
        return number

    def _number(self, key: str, text: str) -> float:
        match = _NUMBER.match(text)
        number = float(match[0]) if match else math.nan
        if not math.isfinite(number):
            raise self.error(key, f"{key}: expected a number, found {quoted(text)}.")
        return number


def read_text(path: Path) -> str:
    """The text of a Darknet file, one character per byte; DarknetError if it is missing or too long."""
    if not path.is_file():
        raise DarknetError(f"{path}: no such file.")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DarknetError(
            f"{path}: expected a Darknet text file of at most {MAX_BYTES} bytes, found a longer file."
        )
    text = content.removeprefix(codecs.BOM_UTF8).decode("latin-1")
    return text if "\n" in text else text.replace("\r", "\n")  # line ends of old Macs


def parse_sections(text: str, source: str) -> tuple[list[Section], list[str]]:
    """The sections of a `.cfg`, and one note for each line that Darknet ignores."""
    sections: list[Section] = []
    notes: list[str] = []
    for number, line in _lines(text, source):
        if line.startswith("["):
            if not line.endswith("]"):
                raise DarknetError(f"{source}: line {number}: expected ']' at the end of {quoted(line)}.")
            sections.append(Section(line[1:-1], number, source))
        elif not sections:
            raise DarknetError(
                f"{source}: line {number}: expected a section such as [net] first, found {quoted(line)}."
            )
        else:
            _add(sections[-1], number, line, notes)
    return sections, notes


def parse_options(text: str, source: str, name: str) -> tuple[Section, list[str]]:
    """The options of a file without sections, such as a `.data`, and one note for each line that is ignored."""
    section, notes = Section(name, 1, source), list[str]()
    for number, line in _lines(text, source):
        _add(section, number, line, notes)
    return section, notes


def unknown_keys(section: Section, known: Sequence[str]) -> Iterator[str]:
    """Yield a note for each key that was never read and is not in `known`, the keys that have no effect here."""
    for option in section.options.values():
        if option.key not in section.read_keys and option.key not in known:
            yield f"line {option.line}: unknown key {quoted(option.key)} in [{section.name}] has no effect"


def _lines(text: str, source: str) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.split("\n"), start=1):
        if "\0" in raw:
            raise DarknetError(f"{source}: line {number}: expected a Darknet text file, found a NUL byte.")
        line = raw.translate(_DELETED)
        if line and line[0] not in "#;":
            yield number, line


def _add(section: Section, number: int, line: str, notes: list[str]) -> None:
    key, equals, value = line.partition("=")
    if not equals or not key:
        raise DarknetError(f"{section.source}: line {number}: expected key=value, found {quoted(line)}.")
    if not value:
        notes.append(f"line {number}: {quoted(key)} has no value and is ignored")
    elif key in section.options:
        first = section.options[key].line
        notes.append(f"line {number}: {quoted(key)} is repeated; line {first} counts")
    else:
        section.options[key] = Option(key, value, number)
