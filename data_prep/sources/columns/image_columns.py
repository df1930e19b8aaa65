"""The images that an instances file lists, in columns."""

from array import array

import numpy as np

from data_prep.sources.columns.name_table import PackedNames
from data_prep.sources.paths import stays_inside, tidy_path
from data_prep.sources.unit_box import is_finite
from wordtree.support.arrays import BoolArray, Int32Array, Int64Array

UNLISTED = -1  # the number of an image or a class that the file does not list
_ROWS_AT_ONCE = 1 << 12


class ImageColumns:
    """Ids, names and sizes of the images that a file lists: about 24 bytes and the name for each image."""

    def __init__(self) -> None:
        self._ids, self._names = array("q"), PackedNames()
        self._width, self._height = array("i"), array("i")
        self._is_repeated: BoolArray = np.zeros(0, dtype=bool)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, key: int, name: object, width: object, height: object) -> None:
        """Append an image; an invalid size or a name that leaves the folder is stored as missing."""
        self._ids.append(key)
        is_size = is_finite(width) and is_finite(height) and width >= 1 and height >= 1  # type: ignore[operator]
        self._width.append(int(width) if is_size else 0)  # type: ignore[call-overload]
        self._height.append(int(height) if is_size else 0)  # type: ignore[call-overload]
        self._names.append(tidy_path(name) if isinstance(name, str) and stays_inside(name) else "")

    def name(self, image: int) -> str:
        """The path relative to the folder of the images; empty if it is missing."""
        return self._names[image]

    def size_px(self, image: int) -> tuple[int, int] | None:
        """Width and height; None if they are missing."""
        return (self._width[image], self._height[image]) if self._width[image] else None

    def is_repeated(self, image: int) -> bool:
        """Whether an earlier image has the same id; valid after `find`."""
        return bool(self._is_repeated[image])

    def find(self, ids: Int64Array) -> Int32Array:
        """The first image with each of these ids, or UNLISTED; call it once all images are added."""
        known = np.frombuffer(self._ids, dtype=np.int64)
        order = np.argsort(known, kind="stable")
        known = known[order]
        self._is_repeated = np.zeros(len(known), dtype=bool)
        self._is_repeated[order[1:]] = known[1:] == known[:-1]
        images = np.full(len(ids), UNLISTED, dtype=np.int32)
        for first in range(0, len(ids) if len(known) else 0, _ROWS_AT_ONCE):
            part = ids[first : first + _ROWS_AT_ONCE]
            row = np.searchsorted(known, part).clip(max=len(known) - 1)
            images[first : first + _ROWS_AT_ONCE] = np.where(known[row] == part, order[row], UNLISTED)
        return images
