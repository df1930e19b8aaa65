"""JSON files of any size, read in pieces. A position moves forward through the text; the text before it is dropped.

The standard library's decoder decodes one element at a time. Polygons (`"segmentation"`) fill nine tenths of the
annotation files of COCO; blanks replace them before decoding, which is five times faster, except where the caller
needs them.
"""

import codecs
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn

from data_prep.sources.source import SourceError

MAX_VALUE = 1 << 22  # characters of one element; the largest masks in public data sets take a few 100,000
_DECODE = json.JSONDecoder().raw_decode
_BLANKS, _COMMA = re.compile(r"[ \t\n\r]*+"), re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+")
# Lists of flat lists of numbers, at least one number. A string cannot contain this: the quote before the colon would be
# escaped. Python before 3.11.5 mistakes possessive groups, so only characters are repeated possessively.
_POLYGONS = re.compile(
    r'"segmentation"\s*+:\s*+\[\s*+(?:\[\s*+\][, \t\n\r]*+)*\[\s*+[-+.0-9]'
    r"[-+.,0-9eE \t\n\r]*+\][, \t\n\r]*+(?:\[[-+.,0-9eE \t\n\r]*+\][, \t\n\r]*+)*\]"
)
POLYGONS_NOT_KEPT = 0  # the value of `segmentation` in place of polygons
_GZIP = b"\x1f\x8b"  # the first bytes of a compressed file
_NO_POLYGONS = f'"segmentation":{POLYGONS_NOT_KEPT}'


class JsonText:
    """A JSON text and the position that is read next.

    `next_char` looks ahead; `value`, `elements`, `members` and `skip` read on. Invalid JSON raises SourceError with
    line and byte. path: for messages. keep_polygons: whether to decode polygons, too.
    """

    def __init__(
        self, file: BufferedIOBase, path: Path, piece_bytes: int = 1 << 18, *, keep_polygons: bool = False
    ) -> None:
        self._file, self._path, self._piece_bytes = file, path, piece_bytes
        self._keep_polygons = keep_polygons
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._position = "", 0
        self._lines_before, self._bytes_read = 0, 0  # of the dropped text; of the file
        self._is_whole = False

    def next_char(self) -> str:
        """Move to the next character that is not blank and return it; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._position)
            assert blanks is not None  # it also matches no blanks
            self._position = blanks.end()
            if self._position < len(self._text):
                return self._text[self._position]
            if not self._read_on():
                return ""

    def value(self) -> Any:
        """The value at the position, decoded."""
        while True:
            problem, position = "", self._position
            try:
                value, end = _DECODE(self._text, self._position)
            except RecursionError:
                self._fail("nested too deeply", position)
            except json.JSONDecodeError as reason:
                problem, position = reason.msg.removesuffix(" at"), reason.pos
            except ValueError:
                problem = "a number of too many digits"
            else:
                # At the end of the text, `1` may be the start of `1.5` or `1e+5`.
                if self._is_whole or end + 2 < len(self._text):
                    self._position = end
                    return value
            if not self._read_on():
                self._fail(problem, position)

    def elements(self) -> Iterator[Any]:
        """The elements of the list whose `[` is at the position, each decoded on demand."""
        self._position += 1
        if self.next_char() == "]":
            self._position += 1
            return
        while True:
            yield self.value()
            # Faster than `_is_last`, which reads on if needed.
            comma = _COMMA.match(self._text, self._position)
            if comma is not None and comma.end() < len(self._text):
                self._position = comma.end()
            elif self._is_last("]"):
                return

    def members(self) -> Iterator[str]:
        """The keys of the object whose `{` is at the position. The caller reads or skips the value after each key."""
        self._position += 1
        if self.next_char() == "}":
            self._position += 1
            return
        while True:
            if self.next_char() != '"':
                self._fail("Expecting property name enclosed in double quotes", self._position)
            key = str(self.value())
            if self.next_char() != ":":
                self._fail("Expecting ':' delimiter", self._position)
            self._position += 1
            self.next_char()
            yield key
            if self._is_last("}"):
                return

    def skip(self) -> None:
        """Move past the value at the position; a list may be of any length."""
        if self.next_char() == "[":
            for _ in self.elements():
                pass
        else:
            self.value()

    def require_end(self) -> None:
        """Raise SourceError if anything except blanks follows."""
        if self.next_char():
            self._fail("Extra data", self._position)

    def _is_last(self, closing: str) -> bool:
        """Move past the comma or the closing bracket after an element; returns whether it was the bracket."""
        char = self.next_char()
        if char not in (",", closing):
            self._fail("Expecting ',' delimiter", self._position)
        self._position += 1
        if char == ",":
            self.next_char()
        return char == closing

    def _read_on(self) -> bool:
        """Drop the text before the position and read at least as much as is left; False at the end of the file."""
        if self._is_whole:
            return False
        self._lines_before += self._text.count("\n", 0, self._position)
        rest = self._text[self._position :]
        if len(rest) > MAX_VALUE:
            self._fail(f"one value of more than {MAX_VALUE} characters", self._position, "")
        piece = self._piece(max(self._piece_bytes, len(rest)))
        self._is_whole = not piece
        try:
            rest += self._decoder.decode(piece, final=self._is_whole)
        except UnicodeDecodeError as reason:
            byte = self._bytes_read - len(reason.object) + reason.start
            raise SourceError(
                f"{self._path}: not JSON: not UTF-8 text at byte {byte}; save it as UTF-8."
            ) from None
        self._text = rest if self._keep_polygons else _POLYGONS.sub(_blanked, rest)
        self._position = 0
        return True

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as reason:
            raise SourceError(f"{self._path}: damaged gzip file: {reason}.") from None
        except OSError as reason:
            problem = os.strerror(reason.errno or 0)
            raise SourceError(
                f"{self._path}: reading stopped at byte {self._bytes_read} ({problem})."
            ) from None
        self._bytes_read += len(piece)
        return piece

    def _fail(self, problem: str, position: int, verdict: str = "not JSON: ") -> NoReturn:
        line = self._lines_before + self._text.count("\n", 0, position) + 1
        byte = self._bytes_read - len(self._text[position:].encode())
        at_end = (
            "; the file ends there and may be truncated"
            if self._is_whole and position >= len(self._text)
            else ""
        )
        raise SourceError(f"{self._path}: {verdict}{problem} at line {line}, byte {byte}{at_end}.")


@contextmanager
def open_json(path: Path, source: str, *, keep_polygons: bool = False) -> Iterator[JsonText]:
    """The JSON text of a file, which may be compressed by gzip; raises SourceError if it cannot be opened."""
    try:
        file = path.open("rb")
    except OSError as reason:
        problem = os.strerror(reason.errno or 0)
        raise SourceError(f"source {source!r}: cannot read its annotations {path} ({problem}).") from None
    with file:
        is_compressed = file.peek(2)[:2] == _GZIP
        text = gzip.GzipFile(fileobj=file) if is_compressed else file
        yield JsonText(text, path, keep_polygons=keep_polygons)


def _blanked(polygons: re.Match[str]) -> str:
    """Blanks of the same length and with the same line breaks, so that positions in messages stay correct."""
    lines = polygons[0].count("\n")
    blanks = len(polygons[0]) - len(_NO_POLYGONS) - lines
    return _NO_POLYGONS + "\n" * lines + " " * blanks
