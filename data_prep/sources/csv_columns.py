"""The columns of a user's table: by their names, by common synonyms, or as the settings name them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Final, Self

from data_prep.records import Corners
from data_prep.sources.files.csv_table import CsvTable, plain_name
from data_prep.sources.files.text_lines import number

CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
SIDES: Final = ("x", "y", "width", "height")
BOX: Final = ("bbox",)
_FLAGS: Final = ("positive", "ignored")
_ADVICE: Final = " State the name of your column under `columns`, as in `columns: {image: filename}`."
_IMAGE: Final = (
    "image",
    "filename",
    "imagename",
    "imagepath",
    "filepath",
    "path",
    "imageid",
    "imagefile",
    "imagefilename",
    "file",
    "fname",
    "img",
    "imgname",
    "imgpath",
)
_CLASS: Final = ("class", "label", "classname", "labelname", "category", "categoryname", "species")
_PREFIXES: Final = ("", "bbox", "box")  # bbox_x1, box_xmin

# Sets of column names by the meaning of their four numbers, in lower case without `_`; the first that is there counts.
_CORNER_SETS: Final = (
    CORNERS,
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("minx", "miny", "maxx", "maxy"),
    ("left", "upper", "right", "lower"),
    ("xleft", "ytop", "xright", "ybottom"),
    ("xtopleft", "ytopleft", "xbottomright", "ybottomright"),
    ("topleftx", "toplefty", "bottomrightx", "bottomrighty"),
    ("startx", "starty", "endx", "endy"),
    ("xstart", "ystart", "xend", "yend"),
)
_SIDE_SETS: Final = (
    SIDES,
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("xmin", "ymin", "w", "h"),
    ("left", "top", "w", "h"),
    ("x1", "y1", "w", "h"),
    ("x1", "y1", "width", "height"),
    ("topleftx", "toplefty", "width", "height"),
)
_CENTRE_SETS: Final = (
    ("xcenter", "ycenter", "width", "height"),
    ("xcentre", "ycentre", "width", "height"),
    ("xcenter", "ycenter", "w", "h"),
    ("cx", "cy", "width", "height"),
    ("cx", "cy", "w", "h"),
    ("xc", "yc", "w", "h"),
    ("xc", "yc", "width", "height"),
    ("centerx", "centery", "width", "height"),
    ("centrex", "centrey", "width", "height"),
)
_POLYGON: Final = tuple(f"{axis}{corner}" for corner in (1, 2, 3, 4) for axis in "xy")
_NUMBERS: Final = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


_BoxKind = tuple[Sequence[str], Callable[[Sequence[float]], Corners]]


def _from_sides(numbers: Sequence[float]) -> Corners:
    left, top, width, height = numbers
    return left, top, left + width, top + height


def _from_centre(numbers: Sequence[float]) -> Corners:
    x, y, width, height = numbers
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _from_polygon(numbers: Sequence[float]) -> Corners:
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])


def _from_corners(numbers: Sequence[float]) -> Corners:
    left, top, right, bottom = numbers
    return left, top, right, bottom


@dataclass(frozen=True)
class CsvColumns:
    """The indices of the columns that are read, and the names of the others.

    box: four columns, the eight of a polygon, or one with a list of left, top, width and height; empty: no boxes.
    """

    image: int
    class_name: int
    box: tuple[int, ...]
    positive: int | None
    ignored: int | None
    unread: tuple[str, ...]
    has_decimal_commas: bool
    _corners_of: Callable[[Sequence[float]], Corners]

    @classmethod
    def of(cls, table: CsvTable, header_names: Mapping[Any, str]) -> Self:
        """The columns of a table; raises SourceError if one is missing.

        header_names: the name in the header for each column that has another name than ours.
        """
        table.indices(header_names.values(), _ADVICE)
        image = _single(table, "image", _IMAGE, header_names)
        class_name = _single(table, "class", _CLASS, header_names)
        box, corners_of = _box_columns(table, header_names)
        positive, ignored = (table.index(header_names.get(name, name)) for name in _FLAGS)
        read = {image, class_name, *box, positive, ignored}
        unread = tuple(name for index, name in enumerate(table.columns) if index not in read)
        commas = table.has_decimal_commas
        return cls(image, class_name, tuple(box), positive, ignored, unread, commas, corners_of)

    def corners(self, row: Sequence[str]) -> Corners | None:
        """Left, top, right, bottom of the box in a row, NaN if not numbers; None if the row has no box."""
        cells = [row[index] for index in self.box]
        if not any(map(str.strip, cells)):
            return None
        if len(cells) > 1:
            if self.has_decimal_commas:
                cells = [cell.replace(",", ".") for cell in cells]
            return self._corners_of([*map(number, cells)])
        numbers = [float(text) for text in _NUMBERS.findall(cells[0])]
        return _from_sides(numbers) if len(numbers) == 4 else (nan, nan, nan, nan)


def _single(table: CsvTable, name: str, synonyms: Sequence[str], header_names: Mapping[Any, str]) -> int:
    """The column of the image or the class; a synonym counts where our name is absent."""
    if name not in header_names and table.index(name) is None:
        found = table.first_of((synonym,) for synonym in synonyms)
        if found is not None:
            return found[0]
    return table.indices([header_names.get(name, name)], _ADVICE)[0]


def _box_columns(
    table: CsvTable, header_names: Mapping[Any, str]
) -> tuple[list[int], Callable[[Sequence[float]], Corners]]:
    """The columns of the box, and the function from their numbers to corners; our own names come first."""
    ours: Sequence[_BoxKind] = ((CORNERS, _from_corners), (SIDES, _from_sides), (BOX, _from_sides))
    for names, corners_of in ours:
        if any(name in header_names for name in names):
            return table.indices([header_names.get(name, name) for name in names], _ADVICE), corners_of
    kinds = (
        ((_POLYGON,), _from_polygon),
        (_CORNER_SETS, _from_corners),
        (_CENTRE_SETS, _from_centre),
        (_SIDE_SETS, _from_sides),
    )
    for sets, corners_of in kinds:
        with_prefix = (tuple(f"{prefix}{name}" for name in names) for names in sets for prefix in _PREFIXES)
        found = table.first_of(with_prefix)
        if found is not None:
            return found, corners_of
    found = table.first_of([BOX, ("boundingbox",), ("bboxes",)])
    if found is not None:
        return found, _from_sides
    present = {plain_name(column) for column in table.columns}
    if present.intersection(CORNERS):  # a box that lacks a column
        return table.indices(CORNERS, _ADVICE), _from_corners
    if present.intersection(SIDES[:2]):  # width and height alone are those of the image
        return table.indices(SIDES, _ADVICE), _from_sides
    return [], _from_corners
