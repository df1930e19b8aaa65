"""What every reader gives, and what readers share."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data_prep.errors import DataPrepError
from data_prep.records import ImageRecord

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Reasons that several readers count: one wording for one thing.
NO_NAME_INSIDE = "image without a file name inside the folder"
NO_SIZE = "image without width and height"
FILE_MISSING = "image file missing"
BOX_OF_LOST_IMAGE = "box of an image left out"
LABEL_OF_LOST_IMAGE = "image label of an image left out"
DAMAGED_ARCHIVE = "damaged, nothing behind it is read"  # behind the archive's name

UNIT_ROUNDING = 0.002  # what rounding may push a corner in the unit square over its edge: a pixel of 500
_FAR = 1e9  # larger numbers are no places; arithmetic on the largest would overflow
_THINNEST_UNIT = 2.0**-22  # float32 cannot tell the two sides of a thinner box apart

Corners = tuple[float, float, float, float]  # left, top, right, bottom


class SourceError(DataPrepError):
    """A data set that cannot be read as what it is said to be."""


@dataclass(frozen=True)
class OpenSource:
    """A data set whose classes are known and whose images can be streamed.

    has_boxes: some of its images are annotated with boxes (its records say which).
    aliases: for each class another name, tried first as an id of the tree (a wnid, an OpenImages id); or none.
    is_federated: what was looked for differs from image to image, and only its image labels say what; else every
        thing of its classes has its box in every image that has been annotated.
    counts: what was left out or changed, by reason; complete once the images have been streamed.
    """

    name: str
    has_boxes: bool
    classes: tuple[str, ...]
    stream: Callable[[Counter[str]], Iterator[ImageRecord]]
    counts: Counter[str] = field(default_factory=Counter)
    aliases: tuple[str, ...] = ()
    is_federated: bool = False

    def records(self) -> Iterator[ImageRecord]:
        """The images in a fixed order; counts what it leaves out afresh."""
        self.counts.clear()
        yield from self.stream(self.counts)


def unit_box(xyxy: Corners, size: tuple[float, float], rounding: float = 1.0) -> tuple[Corners, bool] | str:
    """Corners in the unit square, and whether more than rounding was clipped; or the reason why it is no box.

    xyxy, size (of the image), rounding: in one unit: pixels, or 1 is the image's width and height.
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
    cut = max(left - x1, top - y1, x2 - right, y2 - bottom)
    return (left / width, top / height, right / width, bottom / height), cut > rounding


def are_finite(a: float, b: float, c: float, d: float) -> bool:
    """Whether four numbers are none of them NaN, infinite or so large that arithmetic on them would overflow."""
    return -_FAR < a < _FAR and -_FAR < b < _FAR and -_FAR < c < _FAR and -_FAR < d < _FAR


def is_finite(value: object) -> bool:
    """Whether it is a number; also false for numbers so large that arithmetic on them would overflow."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_FAR < value < _FAR


def stays_inside(name: str) -> bool:
    """Whether a relative path leads to something within its folder, on any system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


def tidy_path(name: str) -> str:
    """The relative path with `/` between its parts: `.\\a\\b.jpg` and `a//b.jpg` are a/b.jpg."""
    return str(PurePosixPath(name.replace("\\", "/")))


def require_folder(folder: Path, source: str, what: str = "pictures") -> None:
    """Raise SourceError unless the folder is there and can be listed; `what` is what it holds."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise SourceError(f"source {source!r}: expected the folder of its {what} at {folder}, found {found}.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"source {source!r}: the folder {folder} cannot be listed; check its permissions.")


def cannot_list(folder: object, reason: OSError) -> SourceError:
    """What to raise where the system will not say what lies in a folder."""
    return SourceError(f"{folder}: cannot list this folder ({os.strerror(reason.errno or 0)}).")


def counts_in_words(counts: Counter[str]) -> str:
    """`reason: count; …`; empty where nothing was counted."""
    return "; ".join(f"{reason}: {count}" for reason, count in (+counts).items())


def readable_name(name: str) -> str:
    """A name as text that UTF-8 can hold: bytes that are no UTF-8 appear as `\\xNN`."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape in JSON can write
        encoded = name.encode("utf-8", "surrogatepass")
    return encoded.decode("utf-8", "backslashreplace")


def file_size(path: Path) -> int | None:
    """The bytes of a file; None where there is none, or none that can be looked at."""
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
