"""The bounding box of a COCO mask, for annotations without `bbox`: polygons, or run lengths of pixels by column."""

from collections.abc import Iterator
from math import nan
from typing import Any, Final

import numpy as np

from data_prep.records import Corners
from data_prep.sources.unit_box import is_finite

NO_CORNERS: Final[Corners] = (nan, nan, nan, nan)
_MAX_SIDE_PX: Final = 1 << 20


def box_of_mask(segmentation: object) -> Corners:
    """Left, top, right, bottom of the `segmentation` of an annotation in pixels; NaN if it is empty or no mask."""
    if isinstance(segmentation, dict):
        return _box_of_runs(segmentation.get("size"), segmentation.get("counts"))
    if not isinstance(segmentation, list):
        return NO_CORNERS
    polygons = segmentation if isinstance(next(iter(segmentation), None), list) else [segmentation]
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) % 2 or not all(map(is_finite, polygon)):
            return NO_CORNERS
    x = [number for polygon in polygons for number in polygon[::2]]
    y = [number for polygon in polygons for number in polygon[1::2]]
    return (min(x), min(y), max(x), max(y)) if x else NO_CORNERS


def _box_of_runs(size: Any, counts: Any) -> Corners:
    """The box of run lengths of background and object in turn, which fill the columns of an image of height, width.

    counts: a list of integers, or COCO's compressed text.
    """
    is_size = isinstance(size, list) and len(size) == 2
    if not is_size or not all(type(side) is int and 0 < side <= _MAX_SIDE_PX for side in size):
        return NO_CORNERS
    height, width = size
    if isinstance(counts, str):
        counts = list(_run_lengths(counts))
    if not isinstance(counts, list):
        return NO_CORNERS
    if not all(type(count) is int and 0 <= count <= height * width for count in counts):
        return NO_CORNERS
    ends = np.cumsum(counts, dtype=np.int64)
    is_object = (np.arange(len(counts)) % 2 == 1) & (np.diff(ends, prepend=0) > 0)
    if not is_object.any() or ends[-1] != height * width:
        return NO_CORNERS
    first, last = (ends - counts)[is_object], ends[is_object] - 1  # pixels of each run, down the columns
    is_one_column = first // height == last // height
    top = np.where(is_one_column, first % height, 0).min()
    bottom = np.where(is_one_column, last % height + 1, height).max()
    return float(first[0] // height), float(top), float(last[-1] // height + 1), float(bottom)


def _run_lengths(text: str) -> Iterator[int]:
    """The run lengths in COCO's text (pycocotools, rleFrString): 5 bits a character, the lowest first.

    From the fourth on, a number is the difference from the last but one.
    """
    lengths = [0, 0]
    number = shift = place = 0
    for char in text:
        bits = ord(char) - 48
        number |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            number -= 1 << shift
        lengths.append(number + (lengths[-2] if place > 2 else 0))
        yield lengths[-1]
        number, shift, place = 0, 0, place + 1
