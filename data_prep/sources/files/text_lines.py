"""Untrusted text files, read line by line, and the numbers in them."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_prep.sources.source import SourceError

YES: Final = frozenset({"1", "1.0", "true", "yes", "y", "t"})
NO: Final = frozenset({"0", "0.0", "false", "no", "n", "f"})
_MAX_LINE: Final = 1 << 20  # characters: a file without line breaks must not fill the memory


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their line ends and without byte order mark; raises SourceError.

    Bytes that are not UTF-8 become half surrogate pairs, as in file names.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            number = 0
            while line := file.readline(_MAX_LINE):
                number += 1
                if "\0" in line:
                    raise SourceError(
                        f"{path}, line {number}: expected text in UTF-8, found a null character; "
                        "save the file as UTF-8 text."
                    )
                if len(line) == _MAX_LINE:
                    raise SourceError(f"{path}, line {number}: longer than {_MAX_LINE} characters.")
                yield line
    except OSError as reason:
        raise SourceError(f"{path}: cannot read this file ({os.strerror(reason.errno or 0)}).") from None


def number(text: str) -> float:
    """The number in a text; NaN if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def is_yes(value: object) -> bool:
    """Whether a flag is set: true, a number other than 0, or a text such as `1`, `true` or `yes`."""
    if isinstance(value, str):
        return value.strip().casefold() in YES
    return bool(value)
