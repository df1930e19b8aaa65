"""Text files line by line in bounded memory; what cannot be read is told with file and line."""

from collections.abc import Iterator
from pathlib import Path

from wordtree.errors import TreeFileError

MAX_NODES = 1_000_000  # twelve times WordNet; a longer file is not a label hierarchy
MAX_LINE_BYTES = 4096


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(1, first line), …, blank ones too, without line ends.

    Raises TreeFileError for a line that is not UTF-8 or too long, and for too many lines.
    """
    with path.open("rb") as file:
        for number in range(1, MAX_NODES + 2):
            line = file.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if number > MAX_NODES:
                raise TreeFileError(f"{path}: line {number}: a tree has at most {MAX_NODES} nodes.")
            if len(line) > MAX_LINE_BYTES:
                raise TreeFileError(f"{path}: line {number}: longer than {MAX_LINE_BYTES} bytes.")
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError:
                raise TreeFileError(f"{path}: line {number}: not UTF-8.") from None


def full_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The same for files whose every line is a node: blank ones are an error, except at the end of the file."""
    blank_from = 0
    for number, line in numbered_lines(path):
        if not line.strip():
            blank_from = blank_from or number
            continue
        if blank_from:
            raise TreeFileError(f"{path}: line {blank_from}: is empty; each line is one node.")
        yield number, line


def quoted(text: str) -> str:
    """What was found, quoted, and cut where it is long."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
