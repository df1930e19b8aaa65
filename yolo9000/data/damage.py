"""Images that cannot be read in mid-training: told, left out, replaced, up to a limit (decision 30)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from data_prep import DataPrepError, ShardReader
from yolo9000.data.image import UnreadableImage
from yolo9000.errors import Yolo9000Error

Made = TypeVar("Made")
TRIES = 100  # images drawn for one place before the whole source is taken for damaged
TROUBLES = (DataPrepError, UnreadableImage, OSError)


class TooManyDamaged(Yolo9000Error):
    """More images cannot be read than a run may leave out."""


class Damage:
    """The damaged images that a process has met in a run, for all its threads.

    at_most: how many it leaves out before it stops.
    """

    def __init__(self, reader: ShardReader, *, at_most: int) -> None:
        self._reader, self._at_most = reader, at_most
        self._met: set[int] = set()
        self._lock = Lock()

    def first_readable(
        self, image: int, read: Callable[[int], Made], another: Callable[[], int]
    ) -> tuple[int, Made]:
        """The image, or the first readable one that `another` draws in its place, and what `read` makes of it.

        A resumed run makes the same replacements, for they depend on the images alone. Raises TooManyDamaged.
        """
        for _ in range(TRIES):
            made = self.unless_damaged(image, read)
            if made is not None:
                return image, made
            image = another()
        raise TooManyDamaged(
            f"{self._reader.folder}: none of {TRIES} images drawn for one place can be read. {self._advice}"
        )

    def unless_damaged(self, image: int, read: Callable[[int], Made]) -> Made | None:
        """What `read` makes of the image; None, once it is told, where it cannot be read. Raises TooManyDamaged."""
        try:
            return read(image)
        except TROUBLES as reason:
            self._meet(image, str(reason))
            return None

    def report_total(self) -> None:
        """After a run: how many images took no part in it, if any."""
        if self._met:
            images = f"{len(self._met)} image{'s'[: len(self._met) > 1]}"
            print(f"Left out, since damaged: {images}. {self._advice}", file=sys.stderr)

    @property
    def _advice(self) -> str:
        return f"Run `data-prep check {self._reader.folder} --repair`; a run then goes on with --resume."

    def _meet(self, image: int, reason: str) -> None:
        with self._lock:
            is_new = image not in self._met
            self._met.add(image)
            if len(self._met) > self._at_most:
                raise TooManyDamaged(
                    f"{self._name(image)} cannot be read, and data.max_damaged allows {self._at_most} such images. "
                    f"{self._advice} ({reason})"
                )
            if is_new:
                print(f"{self._name(image)} cannot be read and is left out: {reason}", file=sys.stderr)

    def _name(self, image: int) -> str:
        source = self._reader.sources[int(self._reader.image_source[image])].name
        try:
            return f"Image {self._reader.source_id(image)} of {source}"
        except TROUBLES:  # the names stand in the same shard
            return f"Image {image} of {source}"
