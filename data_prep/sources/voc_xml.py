"""Untrusted XML annotations of PASCAL VOC and ILSVRC, one file for each image.

The files state the first and last pixels of a box. PASCAL VOC and similar data sets number pixels from 1, ImageNet and
ILSVRC from 0; fractional numbers are edges (decision 14). The result is edges: 0 is the left or upper edge of the
image.
"""

import codecs
import re
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

SECOND_BOX: Final = "second box or name of an object (not read)"

_OBJECT: Final = "/annotation/object"
_OBJECT_FIELDS: Final = tuple(
    f"{_OBJECT}/{name}"
    for name in ("name", "difficult", "bndbox/xmin", "bndbox/ymin", "bndbox/xmax", "bndbox/ymax")
)
_FILENAME, _DATABASE = "/annotation/filename", "/annotation/source/database"
_WIDTH, _HEIGHT = "/annotation/size/width", "/annotation/size/height"
_WANTED: Final = frozenset({_FILENAME, _DATABASE, _WIDTH, _HEIGHT, *_OBJECT_FIELDS})

# Encodings that expat lacks, by the names of Python's codecs, each with the codec that decodes it: where there is one,
# the extension that programs write under the same name. Where a declaration of UTF-16 or UTF-32 can be read byte by
# byte, a program wrote it into text that became UTF-8.
_CODECS: Final = {
    **dict.fromkeys(("gb2312", "gbk", "gb18030"), "gb18030"),
    **dict.fromkeys(("big5", "cp950"), "cp950"),
    **dict.fromkeys(("shift_jis", "cp932"), "cp932"),
    **dict.fromkeys(("euc_kr", "cp949"), "cp949"),
    **{name: name for name in ("big5hkscs", "euc_jp", "iso2022_jp")},
    **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"), "utf-8"),
}
_DECLARATION: Final = re.compile(
    rb"""\s*<\?xml\s[^>]{0,100}?\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']"""
)
_OTHER_ENCODING: Final = "annotation file that is not in the encoding that it declares (by default UTF-8)"


class AnnotationError(SourceError):
    """An annotation file that cannot be used; the message is the reason under which the reader counts it.

    place: the line, and perhaps the text that was found.
    """

    def __init__(self, reason: str, line: int = 1, found: str = "") -> None:
        super().__init__(reason)
        self.place = f"line {line}: {found}" if found else f"line {line}"


class XmlObject(NamedTuple):
    """An object: its class and the edges of its box in pixels, NaN if an edge is missing or not a number.

    has_more: the file states further boxes or names for the object; these are the first.
    """

    name: str
    xyxy_px: Corners
    is_difficult: bool
    has_more: bool = False


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
    text, encoding = _in_known_encoding(data)
    texts, objects = _Texts(encoding).read(text)
    database = texts.get(_DATABASE, "").lower()
    if first_pixel is None and database.startswith(_WITH_EDGES):
        first_pixel = "edges"
    elif first_pixel is None and database.startswith(_ZERO_BASED):
        first_pixel = 0
    size_px = _size_px(number(texts.get(_WIDTH, "")), number(texts.get(_HEIGHT, "")))
    return XmlAnnotation(
        texts.get(_FILENAME, ""), size_px, tuple(_object(fields, first_pixel) for fields in objects)
    )


def _in_known_encoding(data: bytes) -> tuple[bytes, str | None]:
    """The bytes in an encoding that expat knows, and its name; None: as declared."""
    if data.startswith(codecs.BOM_UTF8):
        return data, "utf-8"
    name = _declared_encoding(data)
    try:
        codec = _CODECS.get(codecs.lookup(name).name)
        return (data, None) if codec is None else (data.decode(codec).encode(), "utf-8")
    except LookupError:
        reason = "annotation file in an encoding that cannot be read (save it as UTF-8)"
        raise AnnotationError(reason, found=name) from None
    except UnicodeDecodeError:
        raise AnnotationError(_OTHER_ENCODING, found=name) from None


def _problem(data: bytes) -> tuple[str, str]:
    """Why expat cannot read the bytes, and the encoding if that is the reason."""
    encoding = _declared_encoding(data)
    if data.lstrip()[:1] == b"<" and encoding.lower() in ("utf-8", "utf8"):
        try:
            data.decode()
        except UnicodeDecodeError:
            return _OTHER_ENCODING, encoding
    return "annotation file that is not XML", ""


def _declared_encoding(data: bytes) -> str:
    declaration = _DECLARATION.match(data[:200])
    return declaration[1].decode() if declaration else "utf-8"


class _Texts:
    """Collects the wanted texts of a file while expat parses it.

    encoding: of the bytes, whatever the file declares.
    """

    def __init__(self, encoding: str | None = None) -> None:
        self._parser = expat.ParserCreate(encoding)
        self._paths = [""]  # of the open elements, from the root down
        self._text: str | None = None  # of the last open element; None: not wanted
        self._texts: dict[str, str] = {}
        self._objects: list[_Fields] = []
        self._has_more = False

    def read(self, data: bytes) -> tuple[dict[str, str], list["_Fields"]]:
        """The texts by path, and the fields of each object."""
        parser = self._parser
        parser.buffer_text = True
        # A DOCTYPE without entities is harmless, and nothing is loaded from its address.
        parser.EntityDeclHandler = parser.SkippedEntityHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, ValueError, LookupError):  # the last two: of Python's codecs
            raise self._error(*_problem(data)) from None
        return self._texts, self._objects

    def _error(self, reason: str, found: str = "") -> AnnotationError:
        return AnnotationError(reason, self._parser.CurrentLineNumber, found)

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
            self._has_more |= path in self._texts and path in _OBJECT_FIELDS
            self._texts.setdefault(path, self._text.strip())
        elif path == _OBJECT:
            texts = [self._texts.pop(field, "") for field in _OBJECT_FIELDS]
            self._objects.append(_Fields(texts, self._has_more))
            self._has_more = False
        self._text = None

    def _add(self, text: str) -> None:
        if self._text is not None and len(self._text) < _MAX_TEXT:
            self._text += text[:_MAX_TEXT]


class _Fields(NamedTuple):
    """The texts of _OBJECT_FIELDS of an object; has_more: whether one of them occurs again."""

    texts: list[str]
    has_more: bool


def _object(fields: _Fields, first_pixel: FirstPixel | None) -> XmlObject:
    name, difficult, *corners = fields.texts
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
    is_difficult = difficult not in ("", "0") and is_yes(difficult)
    return XmlObject(name, (left, top, right, bottom), is_difficult, fields.has_more)


def _size_px(width: float, height: float) -> tuple[int, int] | None:
    if not 1 <= width <= _MAX_PX or not 1 <= height <= _MAX_PX:  # also true for NaN
        return None
    return int(width), int(height)
