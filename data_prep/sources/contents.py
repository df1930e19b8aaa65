"""The value that every reader returns, and the helpers that several readers share."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from stat import S_ISREG

from data_prep.errors import DataPrepError
from data_prep.records import BOX_OF_LOST_IMAGE, LABEL_OF_LOST_IMAGE, Corners, ImageRecord

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Reasons that several readers count.
NO_NAME_INSIDE = "image without a file name inside the folder"
NO_SIZE = "image without width and height"
FILE_MISSING = "image file missing"
DAMAGED_ARCHIVE = "damaged, the rest is not read"  # follows the name of the archive

UNIT_ROUNDING = 0.002  # rounding may push a corner in the unit square this far over the edge: a pixel of 500
_FAR = 1e9  # larger numbers are no coordinates, and arithmetic on the largest would overflow
_THINNEST_UNIT = 2.0**-22  # float32 cannot tell the two sides of a thinner box apart


class SourceError(DataPrepError):
    """A data set that cannot be read in the stated format."""


@dataclass(frozen=True)
class OpenSource:
    """A data set whose classes are known and whose images can be streamed.

    has_boxes: some images are annotated with boxes; each record says whether its image is.
    aliases: another name for each class, tried first as an id of the tree (a wnid, an OpenImages id); may be empty.
    is_federated: the annotated classes differ from image to image, and the image labels of each image state them.
        In any other source every object of its classes has a box in every annotated image.
    counts: the number of images and labels left out or changed, by reason; complete after all images are streamed.
    """

    name: str
    has_boxes: bool
    classes: tuple[str, ...]
    stream: Callable[[Counter[str]], Iterator[ImageRecord]]
    counts: Counter[str] = field(default_factory=Counter)
    aliases: tuple[str, ...] = ()
    is_federated: bool = False

    def records(self) -> Iterator[ImageRecord]:
        """The images in a fixed order; counts again from zero."""
        self.counts.clear()
        yield from self.stream(self.counts)


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


def stays_inside(name: str) -> bool:
    """Whether a path is relative and stays in its folder, on any operating system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and ":" not in path.parts[0]


def tidy_path(name: str) -> str:
    """The relative path with `/` between its parts: `.\\a\\b.jpg` and `a//b.jpg` are a/b.jpg."""
    return str(PurePosixPath(name.replace("\\", "/")))


def require_folder(folder: Path, source: str, content: str = "images") -> None:
    """Raise SourceError unless the folder exists and can be listed."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise SourceError(
            f"source {source!r}: expected the folder of its {content} at {folder}, found {found}."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"source {source!r}: the folder {folder} cannot be listed; check its permissions.")


def cannot_list(folder: object, reason: OSError) -> SourceError:
    """The error for a folder that cannot be listed."""
    return SourceError(f"{folder}: cannot list this folder ({os.strerror(reason.errno or 0)}).")


def count_lost_image(reason: str, counts: Counter[str], *, boxes: int, labels: int = 0) -> None:
    """Count an image that cannot be used, and its boxes and image labels."""
    counts[reason] += 1
    counts[BOX_OF_LOST_IMAGE] += boxes
    counts[LABEL_OF_LOST_IMAGE] += labels


def counts_in_words(counts: Counter[str]) -> str:
    """`reason: count; …`; empty if nothing was counted."""
    return "; ".join(f"{reason}: {count}" for reason, count in (+counts).items())


def readable_name(name: str) -> str:
    """The name as valid UTF-8; other bytes appear as `\\xNN`."""
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:  # half a surrogate pair, from an escape in JSON
        encoded = name.encode("utf-8", "surrogatepass")
    return encoded.decode("utf-8", "backslashreplace")


def file_size(path: Path) -> int | None:
    """The size of a regular file in bytes; None if it is missing or not readable."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: an impossible file name
        return None
    return status.st_size if S_ISREG(status.st_mode) else None
