"""JSON files of any size, read in pieces: a place in the text moves forward, what lies behind it is forgotten.

The standard library's decoder does the work, one element at a time. Polygons (`"segmentation"`), nine tenths of
the annotation files of COCO and its like, are overwritten by blanks before they are decoded: five times faster.
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

from data_prep.sources.contents import SourceError

LARGEST_VALUE = 1 << 22  # characters of one element; the largest masks in public sets take a few 100,000
_DECODE = json.JSONDecoder().raw_decode
_BLANKS, _COMMA = re.compile(r"[ \t\n\r]*+"), re.compile(r"[ \t\n\r]*+,[ \t\n\r]*+")
# Lists of flat lists of numbers. A string cannot hold this: the quote before the colon would be escaped.
_POLYGONS = re.compile(r'"segmentation"\s*+:\s*+\[\s*+(?:\[[-+.,0-9eE \t\n\r]*+\][, \t\n\r]*+)*+\]')
_NO_POLYGONS = '"segmentation":0'


class JsonText:
    """A JSON text and the place in it that is read next.

    `next_char` tells what stands there; `value`, `elements`, `members` and `skip` read on. What is not JSON raises
    SourceError with line and byte. path: for messages.
    """

    def __init__(self, file: BufferedIOBase, path: Path, piece_bytes: int = 1 << 18) -> None:
        self._file, self._path, self._piece_bytes = file, path, piece_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._place = "", 0
        self._lines_before, self._bytes_read = 0, 0  # of the text that is forgotten; of the file
        self._is_whole = False

    def next_char(self) -> str:
        """The character that is not blank at or behind the place, which moves there; empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._place)
            assert blanks is not None  # it matches none, too
            self._place = blanks.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._read_on():
                return ""

    def value(self) -> Any:
        """What stands at the place, decoded whole."""
        while True:
            problem, place = "", self._place
            try:
                value, end = _DECODE(self._text, self._place)
            except RecursionError:
                self._fail("nested too deeply", place)
            except json.JSONDecodeError as reason:
                problem, place = reason.msg.removesuffix(" at"), reason.pos
            except ValueError:
                problem = "a number of too many digits"
            else:
                if self._is_whole or end + 2 < len(
                    self._text
                ):  # else `1` may be the start of `1.5` or `1e+5`
                    self._place = end
                    return value
            if not self._read_on():
                self._fail(problem, place)

    def elements(self) -> Iterator[Any]:
        """The elements of the list whose `[` stands at the place, each decoded as it is asked for."""
        self._place += 1
        if self.next_char() == "]":
            self._place += 1
            return
        while True:
            yield self.value()
            comma = _COMMA.match(self._text, self._place)
            if comma is not None and comma.end() < len(
                self._text
            ):  # mostly; the rest is for the ends of pieces
                self._place = comma.end()
            elif self._is_last("]"):
                return

    def members(self) -> Iterator[str]:
        """The keys of the object whose `{` stands at the place. After each, its value must be read or skipped."""
        self._place += 1
        if self.next_char() == "}":
            self._place += 1
            return
        while True:
            if self.next_char() != '"':
                self._fail("Expecting property name enclosed in double quotes", self._place)
            key = str(self.value())
            if self.next_char() != ":":
                self._fail("Expecting ':' delimiter", self._place)
            self._place += 1
            self.next_char()
            yield key
            if self._is_last("}"):
                return

    def skip(self) -> None:
        """Read over what stands at the place; a list at the top may be of any length."""
        if self.next_char() == "[":
            for _ in self.elements():
                pass
        else:
            self.value()

    def require_end(self) -> None:
        """Raise SourceError if anything but blanks follows."""
        if self.next_char():
            self._fail("Extra data", self._place)

    def _is_last(self, closing: str) -> bool:
        """Step over the comma or the closing bracket behind an element."""
        char = self.next_char()
        if char not in (",", closing):
            self._fail("Expecting ',' delimiter", self._place)
        self._place += 1
        if char == ",":
            self.next_char()
        return char == closing

    def _read_on(self) -> bool:
        """Forget what lies behind the place and read at least as much as is left; False at the end of the file."""
        if self._is_whole:
            return False
        self._lines_before += self._text.count("\n", 0, self._place)
        rest = self._text[self._place :]
        if len(rest) > LARGEST_VALUE:
            self._fail(f"one value of more than {LARGEST_VALUE} characters", self._place, "")
        piece = self._piece(max(self._piece_bytes, len(rest)))
        self._is_whole = not piece
        try:
            rest += self._decoder.decode(piece, final=self._is_whole)
        except UnicodeDecodeError as reason:
            byte = self._bytes_read - len(reason.object) + reason.start
            raise SourceError(f"{self._path}: not JSON: not UTF-8 text at byte {byte}.") from None
        self._text, self._place = _POLYGONS.sub(_blanked, rest), 0
        return True

    def _piece(self, size: int) -> bytes:
        try:
            piece = self._file.read(size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as reason:
            raise SourceError(f"{self._path}: damaged gzip file: {reason}.") from None
        except OSError as reason:
            problem = os.strerror(reason.errno or 0)
            raise SourceError(
                f"{self._path}: cannot be read on at byte {self._bytes_read} ({problem})."
            ) from None
        self._bytes_read += len(piece)
        return piece

    def _fail(self, problem: str, place: int, verdict: str = "not JSON: ") -> NoReturn:
        line = self._lines_before + self._text.count("\n", 0, place) + 1
        byte = self._bytes_read - len(self._text[place:].encode())
        cut = "; the file ends there: is it whole?" if self._is_whole and place >= len(self._text) else ""
        raise SourceError(f"{self._path}: {verdict}{problem} at line {line}, byte {byte}{cut}.")


@contextmanager
def open_json(path: Path, source: str) -> Iterator[JsonText]:
    """The JSON text of a file, which may be compressed (`.gz`); raises SourceError where it cannot be opened."""
    try:
        file: BufferedIOBase = gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")
    except OSError as reason:
        problem = os.strerror(reason.errno or 0)
        raise SourceError(f"source {source!r}: cannot read its annotations {path} ({problem}).") from None
    with file:
        yield JsonText(file, path)


def _blanked(polygons: re.Match[str]) -> str:
    """Blanks of the same length and with the same lines, so that places in the text stay true."""
    lines = polygons[0].count("\n")
    blanks = len(polygons[0]) - len(_NO_POLYGONS) - lines
    return _NO_POLYGONS + "\n" * lines + " " * blanks
