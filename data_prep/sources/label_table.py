"""Labels as a reader meets them, in any order and in columns; handed out picture by picture."""

from array import array
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class BoxRow(NamedTuple):
    """A box as the file states it: four numbers in the file's own unit and order."""

    class_index: int
    corners: tuple[float, float, float, float]
    is_ignored: bool


class LabelTable:
    """The boxes of many pictures, 41 bytes each while they are read, at most 57 once they are sorted.

    A picture is a number that the reader gives it. `add` first, then `sort`, then `boxes`.
    """

    def __init__(self) -> None:
        self._picture, self._class_index = array("i"), array("i")
        self._corners, self._is_ignored = array("d"), array("B")
        self._order: npt.NDArray[np.int64] | None = None
        self._sorted_picture: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self._picture)

    def add(
        self,
        picture: int,
        class_index: int,
        corners: tuple[float, float, float, float],
        *,
        is_ignored: bool = False,
    ) -> None:
        """One box of a picture, in the order of the file."""
        self._picture.append(picture)
        self._class_index.append(class_index)
        self._corners.extend(corners)
        self._is_ignored.append(is_ignored)

    def sort(self) -> None:
        """Bring the boxes of each picture together; the boxes of one keep their order."""
        picture = np.frombuffer(self._picture, dtype=np.int32)
        self._order = np.argsort(picture, kind="stable")
        self._sorted_picture = picture[self._order]

    def boxes(self, picture: int) -> list[BoxRow]:
        """The boxes of a picture; empty where it has none."""
        assert self._order is not None, "sort first"
        assert self._sorted_picture is not None
        first, end = np.searchsorted(self._sorted_picture, [picture, picture + 1])
        return [self._row(int(place)) for place in self._order[first:end]]

    def _row(self, place: int) -> BoxRow:
        x1, y1, x2, y2 = self._corners[4 * place : 4 * place + 4]
        return BoxRow(self._class_index[place], (x1, y1, x2, y2), bool(self._is_ignored[place]))
