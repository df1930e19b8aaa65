"""`Harness`: a reader as a function of bytes, which may only raise its package's error, in one line."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from data_prep.errors import DataPrepError
from tests.fuzz import mutations
from tests.fuzz.mutations import Mutator
from wordtree.errors import MAX_MESSAGE, WordTreeError
from yolo9000.errors import Yolo9000Error

ERRORS = {"wordtree": (WordTreeError,), "data_prep": (DataPrepError, WordTreeError)}
ERRORS["yolo9000"] = (Yolo9000Error, *ERRORS["data_prep"])
"""The errors that the commands of a package turn into one line (`run_app`)."""


class Fault(AssertionError):
    """A reader raised the right error with a message that people cannot use."""


@dataclass(frozen=True)
class Harness:
    """One reader under test.

    prepare: writes what the reader needs beside its input into a folder; returns the seeds, which the reader accepts.
    read: writes the input into the folder, if the reader wants a file, and reads all of it.
    mutators: further mutations, which know the format. tokens: texts of the format to insert.
    repair: makes checksums right again, so that inputs get past them.
    named: the message of every error contains this text, the place of the problem.
    """

    name: str
    package: str
    prepare: Callable[[Path], Sequence[bytes]]
    read: Callable[[Path, bytes], object]
    mutators: tuple[Mutator, ...] = ()
    tokens: tuple[bytes, ...] = ()
    repair: Callable[[bytes], bytes] | None = None
    named: str = ""

    def input(self, seeds: Sequence[bytes], seed: int, number: int) -> bytes:
        """Input `number` of the sequence with this seed; the seeds themselves come first."""
        if number < len(seeds):
            return seeds[number]
        rng = Random(f"{seed} {self.name} {number}")
        data = mutations.mutated(rng, seeds, self.mutators, self.tokens)
        return self.repair(data) if self.repair is not None and rng.random() < 0.7 else data

    def check(self, folder: Path, data: bytes) -> bool:
        """Read an input; True if the reader accepts it, False if it raises its own error.

        Any other exception passes through. Raises Fault for a message that is not one line or does not tell the place.
        """
        try:
            self.read(folder, data)
        except ERRORS[self.package] as error:
            self._check_message(str(error))
            return False
        return True

    def _check_message(self, message: str) -> None:
        if not message or len(message) > MAX_MESSAGE:
            raise Fault(f"a message of {len(message)} letters: {message[:200]!r}")
        if not message.isprintable():
            odd = next(char for char in message if not char.isprintable())
            raise Fault(f"the message contains {odd!r}: {message[:1000]!r}")
        if self.named not in message:
            raise Fault(f"the message does not name {self.named!r}: {message!r}")


@contextmanager
def strict_warnings() -> Iterator[None]:
    """Ignore warnings, as the commands do for Pillow's, but make errors of overflows and of files left open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for kind in (RuntimeWarning, ResourceWarning, BytesWarning, SyntaxWarning):
            warnings.simplefilter("error", kind)
        yield


def write(folder: Path, name: str, data: bytes) -> Path:
    """Write an input to a file of the folder; returns its path."""
    path = folder / name
    path.write_bytes(data)
    return path
