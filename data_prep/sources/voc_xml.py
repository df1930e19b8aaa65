"""Untrusted XML annotations of PASCAL VOC and ILSVRC, one file for each image.

The files state the first and last pixels of a box. PASCAL VOC and similar data sets number pixels from 1, ImageNet and
ILSVRC from 0; fractional numbers are edges (decision 14). The result is edges: 0 is the left or upper edge of the
image.
"""

from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Final, NamedTuple
from xml.parsers import expat

from data_prep.config import FirstPixel
from data_prep.records import Corners
from data_prep.sources.files.text_lines import is_yes, number
from data_prep.sources.source import SourceError

MAX_BYTES: Final = 4 << 20  # of a file: some ten thousand objects
_MAX_DEPTH: Final = 16  # VOC nests 5 elements
_MAX_TEXT: Final = 4096  # characters of a name or number
_MAX_PX: Final = 1 << 20  # of an image's width or height
_ZERO_BASED: Final = ("ilsvrc", "imagenet")  # first letters of the databases, in lower case
_WITH_EDGES: Final = ("roboflow",)

_OBJECT: Final = "/annotation/object"
_OBJECT_FIELDS: Final = tuple(
    f"{_OBJECT}/{name}"
    for name in ("name", "difficult", "bndbox/xmin", "bndbox/ymin", "bndbox/xmax", "bndbox/ymax")
)
_FILENAME, _DATABASE = "/annotation/filename", "/annotation/source/database"
_WIDTH, _HEIGHT = "/annotation/size/width", "/annotation/size/height"
_WANTED: Final = frozenset({_FILENAME, _DATABASE, _WIDTH, _HEIGHT, *_OBJECT_FIELDS})


class AnnotationError(SourceError):
    """An annotation file that cannot be used; the message is the reason under which the reader counts it."""

    def __init__(self, reason: str, line: int = 1) -> None:
        super().__init__(reason)
        self.line = line


class XmlObject(NamedTuple):
    """An object: its class and the edges of its box in pixels, NaN if an edge is missing or not a number."""

    name: str
    xyxy_px: Corners
    is_difficult: bool


@dataclass(frozen=True)
class XmlAnnotation:
    """The annotation of one image; size_px is None if the file states no size or, like some tools, 0."""

    filename: str
    size_px: tuple[int, int] | None
    objects: tuple[XmlObject, ...]


def read_annotation(path: Path, first_pixel: FirstPixel | None = None) -> XmlAnnotation:
    """The annotation of a file; raises AnnotationError.

    first_pixel: the number of the first pixel, or "edges"; None: inferred from the database and the numbers.
    """
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):  # reading a pipe would block
            raise AnnotationError("annotation that is not a regular file")
        if status.st_size > MAX_BYTES:
            raise AnnotationError(f"annotation file larger than {MAX_BYTES >> 20} MB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise AnnotationError("annotation file missing") from None
    except (OSError, ValueError):  # ValueError: an impossible file name
        raise AnnotationError("annotation file that cannot be read") from None
    return parse_annotation(data, first_pixel)


def parse_annotation(data: bytes, first_pixel: FirstPixel | None = None) -> XmlAnnotation:
    """The annotation in the bytes of a file; raises AnnotationError."""
    texts, objects = _Texts().read(data)
    database = texts.get(_DATABASE, "").lower()
    if first_pixel is None and database.startswith(_WITH_EDGES):
        first_pixel = "edges"
    elif first_pixel is None and database.startswith(_ZERO_BASED):
        first_pixel = 0
    size_px = _size_px(number(texts.get(_WIDTH, "")), number(texts.get(_HEIGHT, "")))
    return XmlAnnotation(
        texts.get(_FILENAME, ""), size_px, tuple(_object(fields, first_pixel) for fields in objects)
    )


class _Texts:
    """Collects the wanted texts of a file while expat parses it."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._paths = [""]  # of the open elements, from the root down
        self._text: str | None = None  # of the last open element; None: not wanted
        self._texts: dict[str, str] = {}
        self._objects: list[list[str]] = []

    def read(self, data: bytes) -> tuple[dict[str, str], list[list[str]]]:
        """The texts by path, and the texts of _OBJECT_FIELDS for each object."""
        parser = self._parser
        parser.buffer_text = True
        # A DOCTYPE without entities is harmless, and nothing is loaded from its address.
        parser.EntityDeclHandler = parser.SkippedEntityHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError):  # the last two: encodings that Python lacks
            raise self._error("annotation file that is not XML") from None
        return self._texts, self._objects

    def _error(self, reason: str) -> AnnotationError:
        return AnnotationError(reason, self._parser.CurrentLineNumber)

    def _refuse(self, *_: object) -> None:
        raise self._error("annotation file with a DOCTYPE, which may define entities")

    def _start(self, tag: str, _: dict[str, str]) -> None:
        path = f"{self._paths[-1]}/{tag}"
        self._paths.append(path)
        if len(self._paths) == 2 and path != "/annotation":
            raise self._error("XML file that is not an annotation")
        if len(self._paths) > _MAX_DEPTH:
            raise self._error("annotation file that is nested too deeply")
        self._text = "" if path in _WANTED else None

    def _end(self, _: str) -> None:
        path = self._paths.pop()
        if self._text is not None:
            self._texts.setdefault(path, self._text.strip())
        elif path == _OBJECT:
            self._objects.append([self._texts.pop(field, "") for field in _OBJECT_FIELDS])
        self._text = None

    def _add(self, text: str) -> None:
        if self._text is not None and len(self._text) < _MAX_TEXT:
            self._text += text[:_MAX_TEXT]


def _object(fields: list[str], first_pixel: FirstPixel | None) -> XmlObject:
    name, difficult, *corners = fields
    if first_pixel is None:
        first_pixel = "edges" if "." in "".join(corners) else 1
    left, top, right, bottom = map(number, corners)
    if first_pixel != "edges":
        left, top, right, bottom = (
            left - first_pixel,
            top - first_pixel,
            right - first_pixel + 1,
            bottom - first_pixel + 1,
        )
    return XmlObject(name, (left, top, right, bottom), difficult not in ("", "0") and is_yes(difficult))


def _size_px(width: float, height: float) -> tuple[int, int] | None:
    if not 1 <= width <= _MAX_PX or not 1 <= height <= _MAX_PX:  # also true for NaN
        return None
    return int(width), int(height)
