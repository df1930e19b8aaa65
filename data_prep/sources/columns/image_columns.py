"""The images that an instances file lists, in columns."""

from array import array

import numpy as np

from data_prep.sources.columns.name_table import PackedNames
from data_prep.sources.files.text_lines import number
from data_prep.sources.paths import stays_inside, tidy_path
from data_prep.sources.unit_box import is_finite
from wordtree.support.arrays import BoolArray, Int32Array, Int64Array

UNLISTED = -1  # the number of an image or a class that the file does not list
UNKNOWN = -2  # the number of a class whose id is no id
_ROWS_AT_ONCE = 1 << 12


class ImageColumns:
    """Ids, names and sizes of the images that a file lists: about 24 bytes and the name for each image."""

    def __init__(self) -> None:
        self._ids, self._names = array("q"), PackedNames()
        self._name_hashes = array("q")
        self._width, self._height = array("i"), array("i")
        self._is_repeated: BoolArray = np.zeros(0, dtype=bool)
        self.first_of_file: Int32Array = np.zeros(
            0, dtype=np.int32
        )  # the first image with the same file, (n,)
        self.has_other_size: set[int] = set()  # images whose file is listed before with another size

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, key: int, name: object, width: object, height: object) -> None:
        """Append an image; an invalid size, or a name that is no text, is stored as missing."""
        self._ids.append(key)
        size = _side(width), _side(height)
        self._width.append(size[0] if all(size) else 0)
        self._height.append(size[1] if all(size) else 0)
        text = name if isinstance(name, str) else ""
        path = tidy_path(text) if stays_inside(text) and "://" not in text else text
        self._names.append(path)
        self._name_hashes.append(hash(path))

    def name(self, image: int) -> str:
        """The path relative to the folder of the images, or another text; empty if it is missing."""
        return self._names[image]

    def size_px(self, image: int) -> tuple[int, int] | None:
        """Width and height; None if they are missing."""
        return (self._width[image], self._height[image]) if self._width[image] else None

    def is_repeated(self, image: int) -> bool:
        """Whether an earlier image has the same id or file; valid after `finish`."""
        return bool(self._is_repeated[image])

    def has_repeated_id(self, image: int) -> bool:
        """Whether an earlier image has the same id; valid after `finish`."""
        return bool(self._has_repeated_id[image])

    def find(self, ids: Int64Array) -> Int32Array:
        """The first image with each of these ids, or UNLISTED; call it after `finish`.

        Of images with one file, the first stands for all.
        """
        known = np.frombuffer(self._ids, dtype=np.int64)
        order = np.argsort(known, kind="stable")
        known = known[order]
        images = np.full(len(ids), UNLISTED, dtype=np.int32)
        for first in range(0, len(ids) if len(known) else 0, _ROWS_AT_ONCE):
            part = ids[first : first + _ROWS_AT_ONCE]
            row = np.searchsorted(known, part).clip(max=len(known) - 1)
            images[first : first + _ROWS_AT_ONCE] = np.where(known[row] == part, order[row], UNLISTED)
        return np.where(images == UNLISTED, UNLISTED, self.first_of_file[images]) if len(known) else images

    def finish(self) -> None:
        """Find repeated ids and files; call it once all images are added."""
        ids = np.frombuffer(self._ids, dtype=np.int64)
        order = np.argsort(ids, kind="stable")
        self._is_repeated = np.zeros(len(ids), dtype=bool)
        self._is_repeated[order[1:]] = ids[order[1:]] == ids[order[:-1]]
        self._has_repeated_id = self._is_repeated.copy()
        self._join_equal_files()

    def _join_equal_files(self) -> None:
        self.first_of_file = np.arange(len(self), dtype=np.int32)
        hashes = np.frombuffer(self._name_hashes, dtype=np.int64)
        order = np.argsort(hashes, kind="stable")
        first_of: dict[str, int] = {}
        for row in np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]).tolist():
            for image in order[row : row + 2].tolist():
                name = self.name(image)
                first = first_of.setdefault(name, image) if name else image
                if self.size_px(first) == self.size_px(image) or not self.size_px(image):
                    self.first_of_file[image] = first
                else:
                    self.has_other_size.add(image)
        self._is_repeated |= self.first_of_file != np.arange(len(self))
        self._name_hashes = array("q")


def _side(value: object) -> int:
    """A width or height in px, perhaps from a text; 0 if it is missing or invalid."""
    if isinstance(value, str):
        value = number(value)
    return round(value) if is_finite(value) and value >= 1 else 0  # type: ignore[call-overload, operator]
