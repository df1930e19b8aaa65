"""Text files read line by line, and numbers read from them, whatever they turn out to be."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_prep.sources.contents import SourceError

_LONGEST: Final = 1 << 20  # characters of a line: a file without line breaks is not read into memory


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file with their ends, without byte order mark; raises SourceError.

    Bytes that are no UTF-8 come as half surrogate pairs, as they do in names of files.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            number = 0
            while line := file.readline(_LONGEST):
                number += 1
                if "\0" in line:
                    raise SourceError(
                        f"{path}, line {number}: expected text in UTF-8, found a null character; "
                        "save the file as UTF-8 text."
                    )
                if len(line) == _LONGEST:
                    raise SourceError(f"{path}, line {number}: longer than {_LONGEST} characters.")
                yield line
    except OSError as reason:
        raise SourceError(f"{path}: cannot read this file ({os.strerror(reason.errno or 0)}).") from None


def number(text: str) -> float:
    """The number that a text is; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
