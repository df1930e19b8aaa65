"""Line charts and stacked bars: scales, shapes, and text."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import ShardReader
from data_prep.tables.charts import (
    Axis,
    Histogram,
    Series,
    histogram_svg,
    line_chart,
    page_frame,
    short_count,
    sweep_svg,
    three_digits,
)
from data_prep.tables.histograms import histograms_of

SVG = "{http://www.w3.org/2000/svg}"

finite = st.floats(-1e6, 1e6)


def points(figure: str) -> list[tuple[float, float]]:
    """Every point of every curve of a figure."""
    found = re.findall(r'points="([^"]*)"', figure)
    return [(float(x), float(y)) for line in found for x, y in (pair.split(",") for pair in line.split())]


@given(st.lists(finite, min_size=2, max_size=80))
def test_every_point_of_a_curve_lies_inside_the_frame(values):
    figure = line_chart([Series("loss", range(1, len(values) + 1), values)], title="x", height=200)
    drawn, frame = points(figure), page_frame(200)
    assert len(drawn) >= len(values)
    for x, y in drawn:
        assert frame.left <= x <= frame.width - frame.right
        assert frame.top - 0.1 <= y <= 200 - frame.bottom + 0.1


@given(finite, st.floats(1e-3, 1e6))
def test_ticks_are_few_ascending_and_within_the_axis(low, extent):
    axis = Axis(low, low + extent, 0, 100)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    slack = 0.01 * extent + 0.001 * max(abs(low), abs(low + extent))
    assert all(low - slack <= tick <= low + extent + slack for tick in ticks)


@given(st.floats(1e-6, 1e3), st.floats(10, 1e6))
def test_ticks_of_a_logarithmic_axis_are_spread_over_it(low, factor):
    ticks = Axis(low, low * factor, 0, 100, logarithmic=True).ticks()
    assert 1 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))


def test_an_axis_maps_its_range_to_its_coordinates():
    assert [Axis(2, 4, 10, 30).position(value) for value in (2, 3, 4)] == [10, 20, 30]
    assert Axis(1, 100, 0, 2, logarithmic=True).position(10) == pytest.approx(1)
    assert Axis(3, 3, 5, 9).position(3) == 5


def test_the_legend_names_every_curve_with_its_last_value():
    figure = line_chart([Series("a & b", [1, 2], [5, 0.125]), Series("c", [2], [7])], title="Two <curves>")
    assert "a &amp; b <b>0.125</b>" in figure
    assert "c <b>7</b>" in figure
    assert "Two &lt;curves&gt;" in figure
    assert figure.count("<polyline") == 1
    assert figure.count("<circle") == 1  # a single point is a dot


def test_long_curves_are_smoothed_with_their_points_behind_them():
    zigzag = Series("loss", range(100), [number % 2 for number in range(100)])
    figure = line_chart([zigzag], title="x")
    assert figure.count('class="faint"') == 1
    faint, smooth = (points(line) for line in re.findall(r"<polyline[^>]*>", figure))
    swing = [max(y for _, y in line[10:-10]) - min(y for _, y in line[10:-10]) for line in (faint, smooth)]
    assert swing[1] < swing[0] / 3


def test_values_that_cannot_be_drawn_are_left_out():
    assert line_chart([], title="x") == ""
    assert line_chart([Series("zero", [1, 2], [0, 0])], title="x", logarithmic=True) == ""
    figure = line_chart([Series("a", [1, 2, 3], [float("nan"), 2, 3])], title="x")
    assert len(points(figure)) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.5, "0.5"),
        (12.345, "12.3"),
        (12345, "12,345"),
        (8.22e-7, "8.22e-7"),
        (2e6, "2e6"),
        (-0.25, "-0.25"),
    ],
)
def test_three_significant_digits_are_shown(value, text):
    assert three_digits(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1k"), (1500, "1.5k"), (12_345, "12k"), (2_000_000, "2M")],
)
def test_large_counts_are_abbreviated(number, text):
    assert short_count(number) == text


# --- files with stacked bars


def made(counts, series=("boxes",), bins=None):
    counts = np.array(counts)
    names = bins or [str(number) for number in range(counts.shape[1])]
    return Histogram("made.svg", "Made <up> & shown", "a fact", "x", "y", names, series, counts)


def bars(svg):
    root = ElementTree.fromstring(svg)
    return [rect for rect in root.iter(f"{SVG}rect") if rect.find(f"{SVG}title") is not None]


def test_a_chart_is_one_file_that_needs_nothing_else(shards):
    for histogram in histograms_of(ShardReader(shards), "train"):
        text = histogram_svg(histogram)
        assert ElementTree.fromstring(text).get("viewBox") == "0 0 760 420"
        assert not re.search(r"(href|src|url\(|@import)", text)
        assert histogram.fact.replace("'", "&#x27;") in text


@settings(max_examples=50)
@given(
    counts=st.integers(1, 30).flatmap(
        lambda bins: st.lists(
            st.lists(st.integers(0, 10**7), min_size=bins, max_size=bins), min_size=1, max_size=3
        )
    )
)
def test_bars_are_as_high_as_their_counts_and_stay_inside(counts):
    series = ("boxes", "image labels", "none")[: len(counts)]
    found = bars(histogram_svg(made(counts, series)))
    assert len(found) == sum(count > 0 for row in counts for count in row)
    counts_shown = [
        int(bar.find(f"{SVG}title").text.split(": ")[1].split()[0].replace(",", "")) for bar in found
    ]
    heights = [float(bar.get("height")) for bar in found]
    for bar in found:
        left, top = float(bar.get("x")), float(bar.get("y"))
        assert 60 <= left <= left + float(bar.get("width")) <= 740
        assert 100 <= top <= top + float(bar.get("height")) <= 349
    if counts_shown and max(counts_shown) > 0:
        scale = max(heights) / max(counts_shown)
        assert heights == pytest.approx([max(count * scale, 1) for count in counts_shown], abs=1.1)


def test_names_of_bins_do_not_overlap():
    root = ElementTree.fromstring(histogram_svg(made([[1] * 30], bins=[f"{n}000–{n}999" for n in range(30)])))
    places = sorted(float(text.get("x")) for text in root.iter(f"{SVG}text") if text.text.endswith("999"))
    assert len(places) >= 5
    assert min(np.diff(places)) > 9 * 6.7


def test_titles_are_text_and_no_markup():
    assert "Made &lt;up&gt; &amp; shown" in histogram_svg(made([[1]]))


def test_the_elbow_of_a_sweep_is_marked():
    svg = sweep_svg({1: 0.4, 2: 0.6, 3: 0.65}, elbow=2)
    root = ElementTree.fromstring(svg)
    (marked,) = [circle for circle in root.iter(f"{SVG}circle") if circle.get("r") == "7"]
    others = [circle for circle in root.iter(f"{SVG}circle") if circle.get("r") == "3.5"]
    assert len(others) == 3
    assert marked.get("cx") == others[1].get("cx")
    assert "the elbow is at 2: 60.0 %; 3 anchors: 65.0 %" in svg
