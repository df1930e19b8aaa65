"""Labels as a reader meets them, in any order and in columns; handed out image by image."""

from array import array
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from data_prep.records import BoxLabel, ImageLabel
from data_prep.sources.contents import Corners, unit_box
from wordtree.support.arrays import IntegerArray


class BoxRow(NamedTuple):
    """A box as the file states it: four numbers in the file's own unit and order."""

    class_index: int
    corners: Corners
    is_ignored: bool


def box_labels(
    rows: Iterable[BoxRow],
    size: tuple[float, float],
    classes: Sequence[int],
    counts: Counter[str],
    *,
    rounding: float = 1.0,
) -> tuple[BoxLabel, ...]:
    """The rows (left, top, right, bottom) that are boxes; counts the others, and what is clipped.

    size (of the image), rounding: in the unit of the corners, as `unit_box` takes them.
    classes: for the class index of each row the number of the class in its source.
    """
    boxes = []
    for row in rows:
        box = unit_box(row.corners, size, rounding)
        if isinstance(box, str):
            counts[box] += 1
        else:
            xyxy_unit, is_clipped = box
            counts["box clipped to the image (kept)"] += is_clipped
            boxes.append(BoxLabel(classes[row.class_index], xyxy_unit, row.is_ignored))
    return tuple(boxes)


def resolved_labels(
    labels: Iterable[ImageLabel], classes: Sequence[int], boxed: Container[int], counts: Counter[str]
) -> dict[int, ImageLabel]:
    """What is said of each class; what contradicts the boxes or another label is left out and counted.

    classes: for the class index of each label the number of the class in its source.
    boxed: the numbers of the classes that have a box in the image.
    """
    said: dict[int, ImageLabel] = {}
    disputed = set()
    for label in labels:
        class_index = classes[label.class_index]
        if not label.is_positive and class_index in boxed:
            counts["image label that says absent what has a box"] += 1
        elif class_index not in said:
            said[class_index] = label._replace(class_index=class_index)
        elif said[class_index].is_positive == label.is_positive:
            counts["image label said before"] += 1
        else:
            counts["image label that contradicts another"] += 1
            disputed.add(class_index)
    counts["image label that contradicts another"] += len(disputed)
    return {class_index: label for class_index, label in said.items() if class_index not in disputed}


def labels_beside_boxes(
    labels: Iterable[ImageLabel],
    rows: Iterable[BoxRow],
    boxes: Iterable[BoxLabel],
    classes: Sequence[int],
    counts: Counter[str],
) -> dict[int, ImageLabel]:
    """What an image's labels and boxes say of each class, where every class that has boxes was boxed completely.

    rows, boxes: as the file has them, and those that could be used. A row that could not is a thing without a box,
    so the class is not exhaustively boxed. classes: as for `settled_labels`.
    """
    lost = Counter(classes[row.class_index] for row in rows)
    lost.subtract(box.class_index for box in boxes)
    said = resolved_labels(labels, classes, lost, counts)
    for class_index, number in lost.items():
        said[class_index] = ImageLabel(class_index, is_exhaustive=number == 0)
    return said


class _Rows:
    """Rows that belong to images and tell of classes: both numbers that the reader gives them."""

    def __init__(self) -> None:
        self._picture, self._class_index = array("i"), array("i")
        self._order: IntegerArray | None = None  # None: the rows came sorted, as those of most files do
        self._sorted_picture: IntegerArray | None = None

    def __len__(self) -> int:
        return len(self._picture)

    def sort(self, renumber: IntegerArray | None = None) -> None:
        """Bring the rows of each image together; those of one keep their order.

        renumber: for each number that an image was added under, the number that it is asked for by.
        """
        image: IntegerArray = np.frombuffer(self._picture, dtype=np.int32)
        if renumber is not None:
            image = renumber[image]
        if np.any(image[1:] < image[:-1]):
            self._order = np.argsort(image, kind="stable")
            image = image[self._order]
        self._sorted_picture = image

    def count(self, picture: int) -> int:
        """How many rows an image has."""
        return len(self._places(picture))

    def _places(self, picture: int) -> list[int] | range:
        assert self._sorted_picture is not None, "sort first"
        # Of the column's own type, for else NumPy converts the whole column at every call.
        bounds = np.array([picture, picture + 1], dtype=self._sorted_picture.dtype)
        first, end = self._sorted_picture.searchsorted(bounds).tolist()
        return range(first, end) if self._order is None else self._order[first:end].tolist()


class LabelTable(_Rows):
    """The boxes of many images, 41 bytes each while they are read, at most 57 once they are sorted.

    `add` first, then `sort`, then `boxes`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._corners, self._is_ignored = array("d"), array("B")

    def add(
        self,
        picture: int,
        class_index: int,
        corners: Corners,
        *,
        is_ignored: bool = False,
    ) -> None:
        """One box of an image, in the order of the file."""
        self._picture.append(picture)
        self._class_index.append(class_index)
        self._corners.extend(corners)
        self._is_ignored.append(is_ignored)

    def boxes(self, picture: int) -> list[BoxRow]:
        """The boxes of an image; empty where it has none."""
        return [self._row(place) for place in self._places(picture)]

    def _row(self, place: int) -> BoxRow:
        x1, y1, x2, y2 = self._corners[4 * place : 4 * place + 4]
        return BoxRow(self._class_index[place], (x1, y1, x2, y2), bool(self._is_ignored[place]))


class ImageLabelTable(_Rows):
    """The image labels of many images, 9 bytes each while they are read, at most 21 once they are sorted."""

    def __init__(self) -> None:
        super().__init__()
        self._is_positive = array("B")

    def add(self, picture: int, class_index: int, *, is_positive: bool = True) -> None:
        """One statement about an image, in the order of the file."""
        self._picture.append(picture)
        self._class_index.append(class_index)
        self._is_positive.append(is_positive)

    def labels(self, picture: int) -> list[ImageLabel]:
        """What is said of an image; empty where nothing is."""
        return [
            ImageLabel(self._class_index[place], bool(self._is_positive[place]))
            for place in self._places(picture)
        ]
