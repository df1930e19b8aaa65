"""The images that an instances file lists, in columns."""

from array import array

import numpy as np

from data_prep.sources.columns.name_table import PackedNames
from data_prep.sources.contents import is_finite, stays_inside, tidy_path
from wordtree.support.arrays import BoolArray, Int32Array, Int64Array

UNLISTED = -1  # the number of an image or a class that the file does not list
_ROWS_AT_ONCE = 1 << 12


class ImageColumns:
    """The images that a file lists: their ids, names and sizes, about 24 bytes each and the name."""

    def __init__(self) -> None:
        self._ids, self._names = array("q"), PackedNames()
        self._width, self._height = array("i"), array("i")
        self._is_repeated: BoolArray = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, key: int, name: object, width: object, height: object) -> None:
        """One image; what is no name within a folder, or no size, is stored as none."""
        self._ids.append(key)
        is_size = is_finite(width) and is_finite(height) and width >= 1 and height >= 1  # type: ignore[operator]
        self._width.append(int(width) if is_size else 0)  # type: ignore[call-overload]
        self._height.append(int(height) if is_size else 0)  # type: ignore[call-overload]
        self._names.append(tidy_path(name) if isinstance(name, str) and stays_inside(name) else "")

    def name(self, image: int) -> str:
        """The relative path; empty where there is none that stays within a folder."""
        return self._names[image]

    def size_px(self, image: int) -> tuple[int, int] | None:
        """Width and height; None where they are not stated."""
        return (self._width[image], self._height[image]) if self._width[image] else None

    def is_repeated(self, image: int) -> bool:
        """Whether an image before it has the same id; known once settled."""
        return bool(self._is_repeated[image])

    def settle(self, wanted: Int64Array) -> Int32Array:
        """For each of the ids the first image that has it, or UNLISTED."""
        ids = np.frombuffer(self._ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        self._is_repeated = np.zeros(len(ids), dtype=bool)
        self._is_repeated[order[1:]] = ids[1:] == ids[:-1]
        images = np.full(len(wanted), UNLISTED, dtype=np.int32)
        for first in range(0, len(wanted) if len(ids) else 0, _ROWS_AT_ONCE):
            part = wanted[first : first + _ROWS_AT_ONCE]
            place = np.searchsorted(ids, part).clip(max=len(ids) - 1)
            images[first : first + _ROWS_AT_ONCE] = np.where(ids[place] == part, order[place], UNLISTED)
        return images
