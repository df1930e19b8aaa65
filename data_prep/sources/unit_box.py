"""Untrusted boxes in the unit square of their image, and the checks of their numbers."""

from data_prep.records import Corners

UNIT_ROUNDING = 0.002  # rounding may push a corner in the unit square this far over the edge: a pixel of 500
_FAR = 1e9  # larger numbers are no coordinates, and arithmetic on the largest would overflow
_THINNEST_UNIT = 2.0**-22  # float32 cannot tell the two sides of a thinner box apart


def unit_box(xyxy: Corners, size: tuple[float, float], rounding: float = 1.0) -> tuple[Corners, bool] | str:
    """Corners in the unit square, and whether the box was clipped by more than rounding; or the reason to reject it.

    xyxy, size of the image, rounding: all in one unit, either pixels or width and height of the image.
    """
    x1, y1, x2, y2 = xyxy
    if not are_finite(x1, y1, x2, y2):
        return "box that is not four finite numbers"
    if x2 < x1 or y2 < y1:
        return "box with negative width or height"
    if x1 == x2 or y1 == y2:
        return "box of zero area"
    width, height = size
    left, right = max(x1, 0), min(x2, width)
    top, bottom = max(y1, 0), min(y2, height)
    if left >= right or top >= bottom:
        return "box outside its image"
    if (right - left) / width < _THINNEST_UNIT or (bottom - top) / height < _THINNEST_UNIT:
        return "box of zero area"
    outside = max(left - x1, top - y1, x2 - right, y2 - bottom)
    return (left / width, top / height, right / width, bottom / height), outside > rounding


def are_finite(a: float, b: float, c: float, d: float) -> bool:
    """Whether none of four numbers is NaN, infinite or too large for arithmetic."""
    return -_FAR < a < _FAR and -_FAR < b < _FAR and -_FAR < c < _FAR and -_FAR < d < _FAR


def is_finite(value: object) -> bool:
    """Whether a value is a number that is neither NaN, infinite nor too large for arithmetic."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_FAR < value < _FAR
