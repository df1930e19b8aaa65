"""Boxes and image labels of many images, read in any order into columns and returned image by image."""

import math
from array import array
from collections import Counter
from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from data_prep.records import Boxes, Corners, ImageLabel, ImageRecord
from data_prep.sources.source import Counts
from data_prep.sources.unit_box import UNIT_ROUNDING, unit_box
from wordtree.support.arrays import IntegerArray


@dataclass(slots=True)
class StatedBoxes:
    """Boxes of one image as its file states them, in columns; corners in the unit of the file."""

    class_index: list[int] = field(default_factory=list)
    corners: list[Corners] = field(default_factory=list)
    is_ignored: list[bool] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.class_index)

    def add(self, class_index: int, corners: Corners, *, is_ignored: bool = False) -> None:
        """Append one box."""
        self.class_index.append(class_index)
        self.corners.append(corners)
        self.is_ignored.append(is_ignored)

    def without(self, class_index: int) -> "StatedBoxes":
        """The boxes of all other classes."""
        stays = [other != class_index for other in self.class_index]
        columns: tuple[list[Any], ...] = (self.class_index, self.corners, self.is_ignored)
        return StatedBoxes(*(list(compress(column, stays)) for column in columns))


def unit_boxes(stated: StatedBoxes, size: tuple[float, float] | None, counts: Counts, image: str) -> Boxes:
    """The usable boxes in the unit square; counts the boxes left out, with the name of the image, and boxes clipped.

    size: of the image in pixels, for corners in pixels; None: corners are shares of width and height.
    """
    rounding = 1.0 if size else UNIT_ROUNDING
    size = size or (1, 1)
    boxes = Boxes()
    for class_index, corners, is_ignored in zip(
        stated.class_index, stated.corners, stated.is_ignored, strict=True
    ):
        box = unit_box(corners, size, rounding)
        if isinstance(box, str):
            counts.leave_out_box(box, image, f"{image}: {_in_words(corners)}")
            continue
        xyxy_unit, is_clipped = box
        if is_clipped:
            counts["box clipped to the image (kept)"] += 1
        boxes.add(class_index, xyxy_unit, is_ignored=is_ignored)
    return boxes


def _in_words(corners: Corners) -> str:
    if all(map(math.isnan, corners)):
        return "no box in numbers"
    return f"left, top, right, bottom = {', '.join(f'{corner:.6g}' for corner in corners)}"


def lost_labels(stated: StatedBoxes, boxes: Boxes, also_lost: Collection[int] = ()) -> tuple[ImageLabel, ...]:
    """A label for each class of which a box was left out: the image shows it, and is not exhaustively annotated for it.

    stated, boxes: the boxes in the file, and the boxes that are usable. also_lost: classes of further boxes.
    """
    if len(stated) == len(boxes) and not also_lost:
        return ()
    lost = Counter(stated.class_index)
    lost.subtract(boxes.class_index)
    lost.update(also_lost)
    return tuple(ImageLabel(class_index) for class_index in sorted(+lost))


def consistent_labels(
    labels: Iterable[ImageLabel], boxed: Container[int], counts: Counts, image: str
) -> dict[int, ImageLabel]:
    """One label for each class; leaves out and counts labels that contradict the boxes or another label.

    boxed: the classes that have a box in the image. image: its name.
    """
    by_class: dict[int, ImageLabel] = {}
    disputed = set()
    for label in labels:
        if not label.is_positive and label.class_index in boxed:
            counts.leave_out("negative image label of a class that has a box", image)
        elif label.class_index not in by_class:
            by_class[label.class_index] = label
        elif by_class[label.class_index].is_positive == label.is_positive:
            counts["repeated image label"] += 1
        else:
            counts.leave_out("image label that contradicts another", image)
            disputed.add(label.class_index)
    for _ in disputed:
        counts.leave_out("image label that contradicts another", image)
    return {class_index: label for class_index, label in by_class.items() if class_index not in disputed}


def exhaustive_labels(
    labels: Iterable[ImageLabel], stated: StatedBoxes, boxes: Boxes, counts: Counts, image: str
) -> dict[int, ImageLabel]:
    """One label for each class, where the annotators boxed every object of a class that has boxes.

    stated, boxes: the boxes in the file, and the boxes that are usable. A class is exhaustively annotated if
    all its boxes are usable; otherwise some object has no box.
    """
    lost = Counter(stated.class_index)
    lost.subtract(boxes.class_index)
    by_class = consistent_labels(labels, lost, counts, image)
    for class_index, number in lost.items():
        by_class[class_index] = ImageLabel(class_index, is_exhaustive=number == 0)
    return by_class


def incomplete(record: ImageRecord) -> ImageRecord:
    """The image of a federated source, exhaustively annotated for no class, as boxes of unknown class are lost."""
    labels = tuple(label._replace(is_exhaustive=False) for label in record.labels)
    return replace(record, labels=labels, is_incomplete=True)


class _LabelRows:
    """Rows with the numbers of an image and of a class, in columns; `sort` them before asking for an image's."""

    def __init__(self, **columns: str) -> None:
        """columns: the type code of each further column."""
        self._growing: dict[str, array[Any]] = {
            name: array(code) for name, code in {"image": "i", "class_index": "i", **columns}.items()
        }
        self._sorted: dict[str, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._sorted["image"] if self._sorted else self._growing["image"])

    def sort(self, image_of: IntegerArray | None = None, class_of: IntegerArray | None = None) -> None:
        """Sort the rows by image; the rows of one image keep their order.

        image_of, class_of: the final number for each number under which images and classes were added.
        """
        columns: dict[str, npt.NDArray[Any]] = {
            name: np.frombuffer(column, dtype=bool if name.startswith("is_") else column.typecode)
            for name, column in self._growing.items()
        }
        self._growing.clear()
        for name, final in (("image", image_of), ("class_index", class_of)):
            if final is not None:
                columns[name] = final[columns[name]]
        image = columns["image"]
        if np.any(image[1:] < image[:-1]):
            order = np.argsort(image, kind="stable")
            del image
            for name in columns:  # one after the other, so that only one column exists twice
                columns[name] = columns[name][order]
        self._sorted = columns

    def count(self, image: int) -> int:
        """The number of rows of an image."""
        rows = self._rows(image)
        return rows.stop - rows.start  # type: ignore[no-any-return]

    def _rows(self, image: int) -> slice:
        column = self._sorted["image"]
        # NumPy would convert the whole column at every call if the bounds had another type.
        first, end = column.searchsorted(np.array([image, image + 1], dtype=column.dtype)).tolist()
        return slice(first, end)


class BoxTable(_LabelRows):
    """The boxes of many images, 41 bytes each; up to 57 while they are sorted.

    Call `add` for each box, then `sort` once, then `boxes`.
    """

    def __init__(self) -> None:
        super().__init__(left="d", top="d", right="d", bottom="d", is_ignored="B")

    def add(self, image: int, class_index: int, corners: Corners, *, is_ignored: bool = False) -> None:
        """Append one box of an image, in the order of the file."""
        columns = self._growing
        columns["image"].append(image)
        columns["class_index"].append(class_index)
        columns["left"].append(corners[0])
        columns["top"].append(corners[1])
        columns["right"].append(corners[2])
        columns["bottom"].append(corners[3])
        columns["is_ignored"].append(is_ignored)

    def are_shares(self) -> bool:
        """Whether there are boxes, and all corners lie in 0..1: shares of width and height, not pixels."""
        sides = [self._sorted[name] for name in ("left", "top", "right", "bottom")]
        sides = [side[np.isfinite(side)] for side in sides]
        least, most = -UNIT_ROUNDING, 1 + UNIT_ROUNDING
        return bool(sides[0].size) and all(
            least <= side.min() and side.max() <= most for side in sides if side.size
        )

    def boxes(self, image: int) -> StatedBoxes:
        """The boxes of an image in the order of the file; none if the image has none."""
        rows = self._rows(image)
        class_index, *sides, is_ignored = (
            self._sorted[name][rows].tolist()
            for name in ("class_index", "left", "top", "right", "bottom", "is_ignored")
        )
        return StatedBoxes(class_index, list(zip(*sides, strict=True)), is_ignored)


class ImageLabelTable(_LabelRows):
    """The image labels of many images, 9 bytes each; up to 25 while they are sorted.

    Call `add` for each label, then `sort` once, then `labels`.
    """

    def __init__(self) -> None:
        super().__init__(is_positive="B")

    def add(self, image: int, class_index: int, *, is_positive: bool = True) -> None:
        """Append one label of an image, in the order of the file."""
        self._growing["image"].append(image)
        self._growing["class_index"].append(class_index)
        self._growing["is_positive"].append(is_positive)

    def labels(self, image: int) -> list[ImageLabel]:
        """The labels of an image in the order of the file; empty if the image has none."""
        rows = self._rows(image)
        columns = (self._sorted[name][rows].tolist() for name in ("class_index", "is_positive"))
        return list(map(ImageLabel, *columns))
