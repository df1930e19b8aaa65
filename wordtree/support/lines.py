"""Lines of text: files read line by line in bounded memory, and text on one line for messages."""

import io
import os
from collections.abc import Iterator
from pathlib import Path
from unicodedata import category

from wordtree.errors import TreeFileError

MAX_NODES = 1_000_000  # twelve times WordNet; more are not a label hierarchy
MAX_LINES = 4 * MAX_NODES  # a node may have several parents, each in a line of its own
MAX_LINE_BYTES = 1 << 16


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers from 1, without line ends; blank lines included.

    Raises TreeFileError for a line that is not UTF-8 or too long, and for too many lines.
    """
    with path.open("rb") as file:
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline=_line_end(file))
        for number in range(1, MAX_LINES + 2):
            line = text.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if number > MAX_LINES:
                raise TreeFileError(f"{path}: line {number}: expected at most {MAX_LINES} lines.")
            if len(line) > MAX_LINE_BYTES:
                raise TreeFileError(f"{path}: line {number}: longer than {MAX_LINE_BYTES} bytes.")
            if not (line.isascii() or _is_utf8(line)):
                raise TreeFileError(f"{path}: line {number}: not UTF-8; save the file as UTF-8.")
            yield number, line.rstrip("\r\n")


def _line_end(file: io.BufferedReader) -> str:
    """`\\r` for a file of old Macs, whose first bytes have this line end only; else `\\n`, perhaps after `\\r`."""
    start = file.peek()
    return "\r" if b"\r" in start[:-1] and b"\n" not in start else "\n"


def _is_utf8(line: str) -> bool:
    """Whether no byte of a line has been escaped as half a surrogate pair."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def full_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with one node on each line; a blank line is an error, except at the end."""
    blank_from = 0
    for number, line in numbered_lines(path):
        if not line.strip():
            blank_from = blank_from or number
            continue
        if blank_from:
            raise TreeFileError(f"{path}: line {blank_from}: empty, expected one node on each line.")
        if number > MAX_NODES:
            raise TreeFileError(f"{path}: line {number}: a tree has at most {MAX_NODES} nodes.")
        yield number, line


def is_comment(line: str) -> bool:
    """True for `#` alone or before a blank; `#1 fan` is a name."""
    return line.startswith("#") and (len(line) == 1 or line[1].isspace())


def plain_blanks(text: str) -> str:
    """The text with ordinary blanks for all Unicode spaces, such as web pages' no-break space; none at its ends."""
    return "".join(" " if category(char) == "Zs" else char for char in text).strip(" ")


def shortened(text: str, limit: int = 60) -> str:
    """The text, cut to `limit` characters, for messages."""
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def quoted(text: str) -> str:
    """The text in quotes, cut to about 60 characters."""
    return repr(shortened(text))


def valid_text(text: str) -> str:
    """The text as valid UTF-8; other bytes, as in a file name, appear as `\\xNN`."""
    if text.isascii():
        return text
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:  # half a surrogate pair, from an escape in JSON
        encoded = text.encode("utf-8", "surrogatepass")
    return encoded.decode("utf-8", "backslashreplace")


def one_line(text: object) -> str:
    """The text, such as an error of another library, without line breaks."""
    return " ".join(str(text).split())


def printable(text: str) -> str:
    """The text with control characters escaped, so that a terminal does not obey them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
