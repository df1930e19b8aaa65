"""Images that cannot be read during training: reported, left out and replaced, up to a limit (decision 30)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from data_prep import DataPrepError, ShardReader
from wordtree.support.printing import counted
from yolo9000.data.pixels import UnreadableImage
from yolo9000.errors import Yolo9000Error

Result = TypeVar("Result")
TRIES = 100  # images tried for one slot of a batch before the whole source counts as damaged
READ_ERRORS = (DataPrepError, UnreadableImage, OSError)


class TooManyDamaged(Yolo9000Error):
    """More images are damaged than `data.max_damaged` allows."""


class DamagedImages:
    """The damaged images that a process has found in a run, for all its threads.

    max_count: number of damaged images that a run may leave out.
    """

    def __init__(self, reader: ShardReader, *, max_count: int) -> None:
        self._reader, self._max_count = reader, max_count
        self._found: set[int] = set()
        self._lock = Lock()

    def first_readable(
        self, image: int, read: Callable[[int], Result], draw_another: Callable[[], int]
    ) -> tuple[int, Result]:
        """The first readable image and the result of `read` for it: `image`, else one that `draw_another` returns.

        Replacements depend on the images alone, so a resumed run makes the same ones. Raises TooManyDamaged.
        """
        for _ in range(TRIES):
            result = self.read_or_none(image, read)
            if result is not None:
                return image, result
            image = draw_another()
        raise TooManyDamaged(
            f"{self._reader.folder}: none of {TRIES} images drawn for one slot of a batch can be read. {self._advice}"
        )

    def read_or_none(self, image: int, read: Callable[[int], Result]) -> Result | None:
        """The result of `read`; None, with a warning on stderr, if the image is damaged. Raises TooManyDamaged."""
        try:
            return read(image)
        except READ_ERRORS as reason:
            self._report(image, str(reason))
            return None

    def report_total(self) -> None:
        """Print the number of damaged images on stderr, if there are any."""
        if self._found:
            print(f"Left out {counted(len(self._found), 'damaged image')}. {self._advice}", file=sys.stderr)

    @property
    def _advice(self) -> str:
        return f"Run `data-prep check {self._reader.folder} --repair`, then continue the run with --resume."

    def _report(self, image: int, reason: str) -> None:
        with self._lock:
            is_new = image not in self._found
            self._found.add(image)
            if len(self._found) > self._max_count:
                raise TooManyDamaged(
                    f"{self._name(image)} cannot be read, and data.max_damaged allows {self._max_count} such images. "
                    f"{self._advice} ({reason})"
                )
            if is_new:
                print(f"{self._name(image)} cannot be read and is left out: {reason}", file=sys.stderr)

    def _name(self, image: int) -> str:
        source = self._reader.sources[int(self._reader.image_source[image])].name
        try:
            return f"Image {self._reader.source_id(image)} of {source}"
        except READ_ERRORS:  # the names are in the same damaged shard
            return f"Image {image} of {source}"
