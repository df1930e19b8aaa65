"""Steps in ranges that end at given steps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from yolo9000.data.prefetch import split_after


@given(st.integers(1, 20), st.integers(0, 20), st.lists(st.integers(-3, 30), max_size=5))
def test_ranges_between_stops_hold_all_numbers_in_order(first: int, more: int, stops: list[int]) -> None:
    pieces = list(split_after(first, first + more, stops))
    assert [number for piece in pieces for number in piece] == list(range(first, first + more + 1))
    ends = {piece.stop - 1 for piece in pieces}
    assert {stop for stop in stops if first <= stop < first + more} | {first + more} == ends
