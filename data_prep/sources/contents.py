"""What every reader gives, and what readers share."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.errors import DataPrepError
from data_prep.records import ImageRecord

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


class SourceError(DataPrepError):
    """A data set that cannot be read as what it is said to be."""


@dataclass(frozen=True)
class OpenSource:
    """A data set whose classes are known and whose pictures can be streamed.

    has_boxes: some of its pictures are annotated with boxes (its records say which).
    aliases: for each class another name, tried first as an id of the tree (a wnid, an OpenImages id); or none.
    is_federated: what was looked for differs from picture to picture, and only its image labels say what; else every
        thing of its classes has its box in every picture that has been annotated.
    counts: what was left out or changed, by reason; complete once the pictures have been streamed.
    """

    name: str
    has_boxes: bool
    classes: tuple[str, ...]
    stream: Callable[[Counter[str]], Iterator[ImageRecord]]
    counts: Counter[str] = field(default_factory=Counter)
    aliases: tuple[str, ...] = ()
    is_federated: bool = False

    def records(self) -> Iterator[ImageRecord]:
        """The pictures in a fixed order; counts what it leaves out afresh."""
        self.counts.clear()
        yield from self.stream(self.counts)


def require_folder(folder: Path, source: str) -> None:
    """Raise SourceError unless the folder is there and can be listed."""
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise SourceError(
            f"source {source!r}: expected the folder of its pictures at {folder}, found {found}."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(f"source {source!r}: the folder {folder} cannot be listed; check its permissions.")


def readable_name(name: str) -> str:
    """A file name as text that UTF-8 can hold: bytes that are no UTF-8 appear as `\\xNN`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
