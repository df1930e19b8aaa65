"""Cells that a spreadsheet shows instead of computing them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtree.support.csv_cells import cell_text, csv_cell, csv_row

FORMULAS = [
    "=1+1",
    "+x",
    "-x",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    '=HYPERLINK("http://a")',
    "-1+cmd|' /C calc'!A0",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_starts_like_a_formula(text: str) -> None:
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize(
    "value", [-0.5, 3, None, True, "-0.5", "+1", "-1e-05", "", "dog", "'twas", "a=b", "n02084071"]
)
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert csv_cell(value) is value


@given(st.text() | st.sampled_from(FORMULAS).map("'{}".format) | st.text("'=-5", max_size=6))
def test_every_text_survives_a_file(text: str) -> None:
    out = io.StringIO(newline="")
    csv.DictWriter(out, ["a", "b"]).writerow(csv_row({"a": text, "b": "x"}))
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert cell_text(row[0]) == text
    assert row[0][:1] not in tuple("=@\t\r\n") + (("+", "-") if cell_text(row[0]) != row[0] else ())
