"""Cells of CSV files that a spreadsheet shows as they are.

A spreadsheet computes a cell that starts with `=`, `+`, `-`, `@`, a tab or a line break, and a formula can send data or
start programs. Such a text gets an apostrophe in front when we write it, and loses it when we read it.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # first letters
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


def csv_cell(value: Any) -> Any:
    """The value as a cell to write: the value itself, or a text with an apostrophe before its formula."""
    if not isinstance(value, str) or not value.lstrip("'").startswith(_FORMULA) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def csv_cells(values: Iterable[Any]) -> list[Any]:
    """The values of a row as cells to write."""
    return [csv_cell(value) for value in values]


def csv_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row by column, as cells to write."""
    return {name: csv_cell(value) for name, value in row.items()}


def cell_text(cell: str) -> str:
    """The text that `csv_cell` has written as this cell."""
    if cell[:1] == "'" and cell.lstrip("'").startswith(_FORMULA):
        return cell[1:]
    return cell
