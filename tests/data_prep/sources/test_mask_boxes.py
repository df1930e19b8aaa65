"""Boxes of masks agree with those of pycocotools."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.sources.mask_boxes import box_of_mask

COORDINATES = st.floats(0, 99, allow_nan=False).map(lambda number: round(number, 2))
POLYGONS = st.lists(
    st.lists(COORDINATES, min_size=6, max_size=12).filter(lambda polygon: len(polygon) % 2 == 0),
    min_size=1,
    max_size=3,
)


@st.composite
def masks(draw):
    """A mask of bits with at least one pixel of the object."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    mask = np.random.default_rng(draw(st.integers(0, 999))).random((height, width)) < draw(st.floats(0, 1))
    mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = True
    return mask


@given(mask=masks())
def test_the_box_of_run_lengths_is_that_of_pycocotools(mask):
    coco = pytest.importorskip("pycocotools.mask")
    compressed = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    x, y, width, height = coco.toBbox(compressed)
    expected = (x, y, x + width, y + height)
    size = list(mask.shape)
    assert box_of_mask({"size": size, "counts": compressed["counts"].decode()}) == expected
    pixels = mask.T.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=False))
    counts = np.diff([0, *starts, pixels.size]).tolist()
    assert box_of_mask({"size": size, "counts": counts}) == expected


@given(polygons=POLYGONS)
def test_the_box_of_polygons_is_that_of_all_their_corners(polygons):
    x = [value for polygon in polygons for value in polygon[::2]]
    y = [value for polygon in polygons for value in polygon[1::2]]
    assert box_of_mask(polygons) == (min(x), min(y), max(x), max(y))
    assert box_of_mask(polygons[0]) == box_of_mask(polygons[:1])


@pytest.mark.parametrize(
    "mask",
    [
        *(
            None,
            0,
            "text",
            [],
            [[]],
            {},
            [[1, 2, 3]],
            [[1, 2, None, 4]],
            [[1, 2], 3],
            [[1, 2, float("nan"), 4]],
        ),
        {"size": [2, 3], "counts": [6]},
        {"size": [2, 3], "counts": [2, 3]},
        {"size": [2, 3], "counts": [-2, 8]},
        {"size": [2, 3], "counts": [2, 10**30]},
        {"size": [2], "counts": [2, 4]},
        {"size": [0, 3], "counts": []},
        {"size": [10**9, 10**9], "counts": [1, 10**18 - 1]},
        {"size": [2, 3], "counts": "~~~~~~~~~~~~"},
        {"size": [2, 3], "counts": "\U0001f600" * 50},
        {"size": [2, 3], "counts": ""},
    ],
)
def test_an_invalid_mask_has_no_box(mask):
    assert all(map(isnan, box_of_mask(mask)))
