"""The page about a comparison: values, drawn intervals, and the images with both models' boxes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from data_prep import ShardReader
from tests.yolo9000.comparison.test_compare import FEW, both, with_other_weights, with_settings
from tests.yolo9000.evaluation.test_calibrate import checkpoint_of
from yolo9000.comparison.compare import compare
from yolo9000.comparison.comparison import Comparison
from yolo9000.comparison.resampling import Difference
from yolo9000.reports.comparison_page import (
    IntervalScale,
    image_pair,
    render_comparison,
    write_comparison_page,
)


@pytest.fixture(scope="module")
def reader(shards: Path) -> ShardReader:
    return ShardReader(shards)


@pytest.fixture(scope="module")
def comparison(shards: Path, reader: ShardReader) -> Comparison:
    one = with_settings(checkpoint_of(shards), evaluate={"split": "train"})
    return compare(both(one, with_other_weights(one)), reader, FEW, listed_images=2)


def test_the_page_has_each_value_and_two_figures_for_each_image(
    comparison: Comparison, reader: ShardReader, tmp_path: Path
) -> None:
    write_comparison_page(tmp_path / "new" / "page.html", comparison, reader)
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 4
    assert f"{comparison.groups[0].ap50.a:.1f}" in page
    assert [name for name in comparison.predictions if f"<td>{name}</td>" not in page] == []
    assert page.count('class="interval') == 2 * len(comparison.groups) + 6 + len(comparison.levels)
    assert comparison.disagreements[0].image in page


def test_the_intervals_of_a_table_lie_on_one_scale_with_zero_in_the_middle() -> None:
    scale = IntervalScale([Difference(1, 2, 1, -20, 5, 0.5), Difference(1, None, None)])
    places = [scale.position(value) for value in (-20, -10, 0, 5)]
    assert places == ["0.00", "25.00", "50.00", "62.50"]


def test_a_page_without_differences_or_images_is_whole(shards: Path, reader: ShardReader) -> None:
    one = checkpoint_of(shards)
    page = render_comparison(compare(both(one, one), reader, FEW), reader)
    assert "<img" not in page
    assert len(re.findall(r"--low:50\.00;--high:50\.00;--at:50\.00", page)) >= 8


def test_shared_detections_are_grey_and_the_others_coloured(
    comparison: Comparison, reader: ShardReader
) -> None:
    row = comparison.disagreements[0]
    a, b = image_pair(comparison, row, reader)
    assert max(a.pixels.size) == 560
    assert a.pixels.size == b.pixels.size
    assert a.caption == f"A: {row.correct_a} correct, {row.wrong_a} wrong"
    colours = {tuple(pixel) for pixel in np.asarray(a.pixels).reshape(-1, 3).tolist()}
    assert (64, 160, 255) in colours
    assert (255, 150, 30) not in colours
