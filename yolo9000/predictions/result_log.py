"""detections.jsonl: one line of JSON for each image, appended while the run goes on.

Every complete line survives any end of the run. An incomplete last line is removed when the run is resumed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, model_validator

from wordtree.support.files import path_in_errors
from yolo9000.errors import Yolo9000Error
from yolo9000.inference.detections import ROUNDING

Record: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, int | None]


class ResultsError(Yolo9000Error):
    """Results cannot be written or read: another run's files are there, or a file is damaged."""


def key_of(record: Record) -> Key:
    """The identity of the image of a record: its name, and the frame of a video."""
    return record["image"], record.get("frame")


class ResultLog:
    """The lines of a run, to which records are appended; a context manager.

    failures: the reasons why images failed, of the lines that the file had.

    The file is created if it is missing. Raises ResultsError if it is damaged, and OSError with the name of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = 0
        self._done: Counter[Key] = Counter()
        self.failures: dict[Key, str] = {}
        with path_in_errors(path):
            self._file = path.open("r+b" if path.exists() else "x+b", buffering=0)
        try:
            self._keep_complete_lines()
        except BaseException:
            self._file.close()
            raise
        self.images = self._done.total()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with path_in_errors(self.path):
            os.fsync(self._file.fileno())
        self._file.close()

    def take_earlier_result(self, key: Key) -> bool:
        """Count off one earlier record of this image; False if none is left. An image given twice has two."""
        if not self._done[key]:
            return False
        self._done[key] -= 1
        return True

    def add(self, record: Record) -> None:
        """Append a record as a whole line, or nothing if the disk is full (OSError)."""
        line = json.dumps(record).encode() + b"\n"
        try:
            with path_in_errors(self.path):
                written = self._file.write(line) or 0
                while written < len(line):
                    written += self._file.write(line[written:]) or 0
        except OSError:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end += len(line)
        self.images += 1

    def flush(self) -> None:
        """Do nothing: lines are not buffered."""

    def _keep_complete_lines(self) -> None:
        """Count the images of complete lines, and cut off an incomplete last line."""
        with self.path.open("rb") as file:
            for line in file:
                record = _parsed(line)
                if record is None:
                    if file.readline():
                        number = 1 + self._lines_before(self._end)
                        raise ResultsError(f"{self.path}: line {number} is damaged; expected a JSON object.")
                    break
                self._done[key_of(record)] += 1
                if "failure" in record:
                    self.failures[key_of(record)] = record["failure"]
                self._end += len(line)
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def _lines_before(self, offset: int) -> int:
        with self.path.open("rb") as file:
            return file.read(offset).count(b"\n")


def result_records(path: Path) -> Iterator[Record]:
    """The records of a file of JSON lines, without an incomplete last line. Raises ResultsError."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            record = _parsed(line)
            if record is None:
                if file.readline():
                    raise ResultsError(f"{path}: line {number} is damaged; expected a JSON object.")
                return
            yield record


def _parsed(line: bytes) -> Record | None:
    """The record of a line; None if the line is incomplete or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        return parsed_record(line)
    except ValueError:
        return None


def parsed_record(text: str | bytes) -> Record:
    """The record in a JSON text; ValueError if an entry is missing or has another type or range."""
    try:
        record: Record = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _Record.model_validate(record)
    return record


_Share = Annotated[float, Field(ge=-ROUNDING, le=1 + ROUNDING)]
_Pixels = Annotated[float, Field(ge=-1e9, le=1e9)]


def _text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value


_Text = Annotated[
    Any, PlainValidator(_text)
]  # also with bytes of file names that are not UTF-8, unlike pydantic's


def file_name(value: object) -> str:
    """The value, a name that a file can have, or the address of an image; ValueError for anything else."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("expected the name of a file")
    os.fsencode(value)  # UnicodeEncodeError is a ValueError
    return value


class _Entry(BaseModel):
    """A JSON object; other keys are allowed."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Leaf(_Entry):
    id: _Text
    absolute: _Share
    conditional_below: list[_Share]


class _Detection(_Entry):
    id: _Text
    name: _Text
    xyxy_px: Annotated[list[_Pixels], Field(min_length=4, max_length=4)]
    objectness: _Share
    absolute: _Share
    score: _Share
    conditional: Annotated[list[_Share], Field(min_length=1)]
    best_leaf: _Leaf = Field(default=None)  # type: ignore[assignment]
    stopped: _Text = ""


class _Record(_Entry):
    """A line of detections.jsonl, as strangers may have written it."""

    image: Annotated[Any, PlainValidator(file_name)]
    frame: Annotated[int, Field(ge=0, lt=2**53)] = 0
    time_s: Annotated[float, Field(ge=0, le=1e9)] | None = None
    failure: _Text = ""
    width_px: Annotated[int, Field(ge=1, lt=2**31)] = 1
    height_px: Annotated[int, Field(ge=1, lt=2**31)] = 1
    detections: list[_Detection] = []
    almost_detected: list[_Detection] = []

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        has_boxes = bool(self.detections or self.almost_detected)
        needed = {"width_px", "height_px"} if has_boxes else {"detections"}
        if "failure" in self.model_fields_set:
            needed = set()
        if (
            not self.image
            or needed - self.model_fields_set
            or ("frame" in self.model_fields_set) != ("time_s" in self.model_fields_set)
        ):
            raise ValueError("an entry is missing")
        return self
