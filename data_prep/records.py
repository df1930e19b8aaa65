"""What one image and its labels look like: the one type that every source yields and the writer accepts."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class BoxLabel(NamedTuple):
    """One box: corners in the unit square of the image as annotated, class as its number in its source."""

    class_index: int
    xyxy_unit: tuple[float, float, float, float]
    is_ignored: bool = False  # a crowd: neither an object to find nor background


class ImageLabel(NamedTuple):
    """One statement about a whole image: it shows the class, or (not positive) it does not.

    is_exhaustive: everything of the class in this image has its box (LVIS, OpenImages). A negative label says
    so by itself: there is nothing to box.
    """

    class_index: int
    is_positive: bool = True
    is_exhaustive: bool = False


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image where it lies now, with all that its source says of it.

    source_id: its name within the source, with `/` between folders.
    path, offset, size_bytes: the file, and where in it the image's bytes lie (offset None: it is the whole file).
    size_px: width and height that the annotations state; None where they state none.
    boxes: empty where somebody looked for things to box and found none; None where nobody looked.
    """

    source_id: str
    path: Path
    size_bytes: int
    size_px: tuple[int, int] | None = None
    boxes: tuple[BoxLabel, ...] | None = None
    labels: tuple[ImageLabel, ...] = ()
    offset: int | None = None
