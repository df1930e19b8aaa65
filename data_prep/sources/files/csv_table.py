"""CSV files: a header and rows, separated by commas, semicolons, tabs or bars."""

import csv
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from data_prep.sources.files.text_lines import text_lines
from data_prep.sources.source import Counts, SourceError
from wordtree.support.lines import one_line
from wordtree.support.suggest import did_you_mean_inside, near

_SEPARATORS: Final = ",;\t|"
_MAX_SHOWN: Final = 30  # columns of a header in a message
_EXCEL: Final = re.compile(r"sep=.\s*$")
_WRONG_LENGTH: Final = "row with more or fewer cells than the header"


@dataclass(frozen=True)
class CsvTable:
    """The column names in the header, and the rows after it.

    has_decimal_commas: numbers may have a decimal comma, as another character separates the cells.
    """

    path: Path
    columns: tuple[str, ...]
    has_decimal_commas: bool
    _rows: Iterator[list[str]]
    _counts: Counts

    def rows(self, spoilt: Callable[[list[str]], None]) -> Iterator[list[str]]:
        """The rows that are as long as the header, once; counts the others, and calls `spoilt` with each."""
        for number, row in enumerate(self._rows, start=1):
            if len(row) == len(self.columns):
                yield row
            elif row:  # not a blank line
                where = f"{self.path}, row {number}: {', '.join(row)[:60]}"
                self._counts.leave_out_box(_WRONG_LENGTH, ", ".join(row)[:100], where)
                spoilt(row)

    def indices(self, names: Iterable[str], advice: str = "") -> list[int]:
        """The indices of the named columns, ignoring case; a missing column raises SourceError with the advice."""
        header = [_normalised(column) for column in self.columns]
        missing = [name for name in names if _normalised(name) not in header]
        if missing:
            hints = ", ".join(
                f"{name!r}{did_you_mean_inside(near(_normalised(name), header[:_MAX_SHOWN], limit=1))}"
                for name in missing
            )
            raise SourceError(
                f"{self.path}, line 1: no column {hints}; the header has {self._header()}.{advice}"
            )
        return [header.index(_normalised(name)) for name in names]

    def index(self, name: str) -> int | None:
        """The index of the named column, ignoring case; None if there is no such column."""
        header = [_normalised(column) for column in self.columns]
        return header.index(_normalised(name)) if _normalised(name) in header else None

    def first_of(self, sets: Iterable[Sequence[str]]) -> list[int] | None:
        """The indices of the first set of columns that the table has; case, `_`, `-` and blanks do not count."""
        header = [plain_name(column) for column in self.columns]
        for names in sets:
            if all(name in header for name in names):
                return [header.index(name) for name in names]
        return None

    def _header(self) -> str:
        shown = [column if len(column) <= 40 else f"{column[:37]}..." for column in self.columns[:_MAX_SHOWN]]
        more = len(self.columns) - len(shown)
        return ", ".join(map(repr, shown)) + (f" and {more} more" if more else "")


def open_table(path: Path, counts: Counts) -> CsvTable:
    """The table in a file; it counts into `counts`. Raises SourceError, also while rows are read.

    Excel states the separator in a first line `sep=;`.
    """
    lines = text_lines(path)
    header = next(lines, "")
    if _EXCEL.match(header):
        header = next(lines, "")
    if not header.strip():
        raise SourceError(f"{path}, line 1: expected a header with column names, found nothing.")
    separator = max(_SEPARATORS, key=header.count)
    rows = csv_rows(itertools.chain([header], lines), path, separator)
    columns = tuple(column.strip() for column in next(rows))
    return CsvTable(path, columns, separator != ",", rows, counts)


def csv_rows(lines: Iterator[str], path: Path, separator: str = ",") -> Iterator[list[str]]:
    """The rows of a CSV file that is read line by line; raises SourceError if it is not CSV."""
    reader = csv.reader(lines, delimiter=separator, strict=True)
    first_line = 1
    try:
        for row in reader:
            first_line = reader.line_num + 1
            yield row
    except csv.Error as reason:
        raise SourceError(
            f"{path}, line {first_line}: not CSV: {one_line(reason)}. A quote at the start of a cell must be closed at "
            "its end; a quote inside is written twice."
        ) from None


def plain_name(column: str) -> str:
    """The name of a column in lower case, with letters and digits only."""
    return "".join(filter(str.isalnum, column.casefold()))


def _normalised(column: str) -> str:
    return column.strip().casefold()
