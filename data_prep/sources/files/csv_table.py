"""A table in a CSV file: a header, then a line for each row; separated by commas, semicolons or tabs."""

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_prep.sources.contents import SourceError
from data_prep.sources.files.text_lines import text_lines
from wordtree.support.suggest import did_you_mean_inside, near

_SEPARATORS: Final = ",;\t"
_SHOWN: Final = 30  # columns of a header in a message


@dataclass(frozen=True)
class CsvTable:
    """The names of the columns, as they stand in the header, and the rows behind it, as long as the header."""

    path: Path
    columns: tuple[str, ...]
    rows: Iterator[list[str]]

    def places(self, names: Iterable[str], advice: str = "") -> list[int]:
        """Where the columns of these names are, whatever their case; SourceError, with advice, where one is missing."""
        own = [_plain(column) for column in self.columns]
        missing = [name for name in names if _plain(name) not in own]
        if missing:
            hints = ", ".join(
                f"{name!r}{did_you_mean_inside(near(_plain(name), own[:_SHOWN], limit=1))}"
                for name in missing
            )
            raise SourceError(
                f"{self.path}, line 1: no column {hints}; the header has {self._header()}.{advice}"
            )
        return [own.index(_plain(name)) for name in names]

    def place(self, name: str) -> int | None:
        """Where the column of this name is, whatever its case; None where there is none."""
        own = [_plain(column) for column in self.columns]
        return own.index(_plain(name)) if _plain(name) in own else None

    def _header(self) -> str:
        shown = [column if len(column) <= 40 else f"{column[:37]}..." for column in self.columns[:_SHOWN]]
        more = len(self.columns) - len(shown)
        return ", ".join(map(repr, shown)) + (f" and {more} more" if more else "")


def open_table(path: Path, counts: Counter[str]) -> CsvTable:
    """The table of a file; rows with too few or too many cells are counted. Raises SourceError, here or later."""
    lines = text_lines(path)
    header = next(lines, "")
    if not header.strip():
        raise SourceError(f"{path}, line 1: expected a header with the names of the columns, found nothing.")
    separator = max(_SEPARATORS, key=header.count)
    rows = csv_rows(itertools.chain([header], lines), path, separator)
    columns = tuple(column.strip() for column in next(rows))
    return CsvTable(path, columns, _complete(rows, len(columns), counts))


def csv_rows(lines: Iterator[str], path: Path, separator: str = ",") -> Iterator[list[str]]:
    """The rows of a CSV file that is read line by line; raises SourceError where it is none."""
    reader = csv.reader(lines, delimiter=separator)
    try:
        yield from reader
    except csv.Error as reason:
        raise SourceError(f"{path}, line {reader.line_num}: not CSV: {reason}.") from None


def _complete(rows: Iterator[list[str]], cells: int, counts: Counter[str]) -> Iterator[list[str]]:
    for row in rows:
        if len(row) == cells:
            yield row
        elif row:  # a blank line says nothing
            counts["line with more or fewer cells than the header"] += 1


def _plain(column: str) -> str:
    return column.strip().casefold()
