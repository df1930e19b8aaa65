"""The columns of a CSV file with or without a header: names in any order, ignoring case, and the separator."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wordtree.errors import TreeFileError
from wordtree.support.csv_cells import cell_text
from wordtree.support.lines import is_comment, numbered_lines, quoted

ID_COLUMNS = ("id", "labelname", "label_name", "child", "wnid")  # of tables of names, such as OpenImages'
NAME_COLUMNS = ("name", "displayname", "display_name")
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class Header:
    """The first row of a table.

    names      as they are written; empty where the file has no header
    separator  between the fields of a row
    """

    names: tuple[str, ...] = ()
    separator: str = ","

    def position(self, synonyms: Sequence[str]) -> int | None:
        """The position of the first of these columns that the header has, ignoring case; None if it has none."""
        folded = [folded_name(name) for name in self.names]
        return next((folded.index(name) for name in synonyms if name in folded), None)


def folded_name(name: str) -> str:
    """A column name without regard to case and blanks: `Common Name` is `common_name`."""
    return "_".join(name.casefold().split())


def possible_headers(line: str) -> Iterator[Header]:
    """The fields of the first line of a table, by each separator that may be between them."""
    for separator in _SEPARATORS:
        with suppress(csv.Error, ValueError):
            yield Header(tuple(_split(line, separator)), separator)


def table_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a table with their numbers, without blank lines and comments."""
    return ((number, line) for number, line in numbered_lines(path) if line.strip() and not is_comment(line))


def fields_of(line: str, separator: str, path: Path, number: int) -> list[str]:
    """The fields of a line without blanks around them; TreeFileError for an unclosed quote."""
    try:
        return _split(line, separator)
    except (csv.Error, ValueError) as error:
        raise TreeFileError(f"{path}: line {number}: not CSV ({error}).") from None


def checked_fields(line: str, header: Header, path: Path, number: int) -> list[str]:
    """One field for each name in the header; fields that are missing at the end are empty."""
    fields = fields_of(line, header.separator, path, number)
    if len(fields) > len(header.names):
        raise TreeFileError(
            f"{path}: line {number}: has {len(fields)} fields, but the header has {len(header.names)} "
            f"({quoted(line)})."
        )
    return [*fields, *[""] * (len(header.names) - len(fields))]


def _split(line: str, separator: str) -> list[str]:
    (fields,) = csv.reader([line], delimiter=separator, strict=True)
    return [cell_text(field.strip()) for field in fields]
