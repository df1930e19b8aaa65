"""The types that every reader of a source yields: an image with its boxes and image labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# Reasons under which readers, writer and repair count the labels of an image that is left out.
BOX_OF_LOST_IMAGE = "box of an image left out"
LABEL_OF_LOST_IMAGE = "image label of an image left out"

Corners = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(slots=True)
class Boxes:
    """The boxes of one image in three columns with one entry per box.

    class_index: the number of the class in its source.
    xyxy_unit: corners in the unit square of the image as annotated.
    is_ignored: the box is an ignore region (a crowd), neither object nor background.
    """

    class_index: list[int] = field(default_factory=list)
    xyxy_unit: list[Corners] = field(default_factory=list)
    is_ignored: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.class_index)

    def add(self, class_index: int, xyxy_unit: Corners, *, is_ignored: bool = False) -> None:
        """Append one box."""
        self.class_index.append(class_index)
        self.xyxy_unit.append(xyxy_unit)
        self.is_ignored.append(is_ignored)


class ImageLabel(NamedTuple):
    """One statement about a whole image: the image shows the class or, if not positive, does not show it.

    is_exhaustive: every object of the class in this image has a box (LVIS, OpenImages). A negative label needs
    no such flag: the image has no object of the class.
    """

    class_index: int
    is_positive: bool = True
    is_exhaustive: bool = False


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image file and everything that its source states about the image.

    source_id: the name within the source, with `/` between folders.
    path, offset, size_bytes: the file and the position of the image in it; offset None: the image is the whole file.
    size_px: width and height that the annotations state, if they state any.
    boxes: no entries if an annotator looked for objects and found none; None if nobody looked.
    is_incomplete: boxes whose class cannot be read have been left out, so no class is exhaustively annotated.
    """

    source_id: str
    path: Path
    size_bytes: int
    size_px: tuple[int, int] | None = None
    boxes: Boxes | None = None
    labels: tuple[ImageLabel, ...] = ()
    offset: int | None = None
    is_incomplete: bool = False
