"""A table of one's own: a line for each box, or for each class that a whole image shows or does not show."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from data_prep.config import CsvSource
from data_prep.records import BoxLabel, ImageRecord
from data_prep.shards.images import upright_size_px
from data_prep.sources.columns.label_table import ImageLabelTable, LabelTable, box_labels, resolved_labels
from data_prep.sources.columns.name_table import ClassNames, NameTable
from data_prep.sources.contents import (
    BOX_OF_LOST_IMAGE,
    LABEL_OF_LOST_IMAGE,
    NO_SIZE,
    UNIT_ROUNDING,
    Corners,
    OpenSource,
    SourceError,
    counts_in_words,
    readable_name,
    require_folder,
    tidy_path,
)
from data_prep.sources.files.csv_table import CsvTable, open_table
from data_prep.sources.files.image_folder import FoundImage, ImageFolder
from data_prep.sources.files.text_lines import number
from wordtree.support.arrays import BoolArray, Int32Array

_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_SIDES: Final = ("x", "y", "width", "height")
_FLAGS: Final = ("positive", "ignored")
_YES: Final = frozenset({"1", "1.0", "true", "yes"})
_NO: Final = frozenset({"0", "0.0", "false", "no"})


_ADVICE: Final = " Name yours under `columns`, as in `columns: {image: filename}`."


def open_source(config: CsvSource) -> OpenSource:
    """The table, read once, and its images; raises SourceError where it lacks a column or is no table."""
    require_folder(config.images, config.name)
    contents = _Contents(config)
    table = open_table(config.annotations, contents.counts)
    contents.read(table, _Columns.of(table, config.columns))
    if not len(contents.names):
        found = counts_in_words(contents.counts) or "no line"
        raise SourceError(
            f"{config.annotations}: expected a line for each box or image label, found {found}."
        )
    classes = contents.finish()
    return OpenSource(config.name, contents.has_boxes, classes, contents.records)


@dataclass(frozen=True)
class _Columns:
    """Where the cells of a row are that we read."""

    image: int
    class_name: int
    box: tuple[int, ...]  # empty: the table has no boxes
    has_sides: bool  # the box is left, top, width, height
    positive: int | None
    ignored: int | None

    @classmethod
    def of(cls, table: CsvTable, theirs: Mapping[Any, str]) -> Self:
        """The columns of a table by its own names for ours; raises SourceError where it lacks one."""
        table.places(theirs.values(), _ADVICE)
        known = {name: theirs.get(name, name) for name in ("image", "class", *_CORNERS, *_SIDES, *_FLAGS)}
        box: tuple[str, ...] = ()
        if any(table.place(known[name]) is not None for name in _CORNERS):
            box = _CORNERS
        elif any(
            table.place(known[name]) is not None for name in ("x", "y")
        ):  # width and height alone are the image's
            box = _SIDES
        image, class_name, *corners = table.places(
            [known[name] for name in ("image", "class", *box)], _ADVICE
        )
        flags = [table.place(known[name]) for name in _FLAGS]
        return cls(image, class_name, tuple(corners), box == _SIDES, *flags)

    def corners(self, row: Sequence[str]) -> Corners | None:
        """Left, top, right, bottom as the row states them, NaN for what is no number; None where it has no box."""
        cells = [row[place] for place in self.box]
        if not any(map(str.strip, cells)):
            return None
        left, top, right, bottom = map(number, cells)
        return (left, top, left + right, top + bottom) if self.has_sides else (left, top, right, bottom)


@dataclass
class _Contents:
    """What the table says, in columns; an image is the number of its first mention.

    empty: mentions of images of which a line says that nothing is in them.
    Once all is read: image, the first mention of the same name for each mention; is_empty, whether nothing is in
    it; classes, for each class index the number of the class in the source.
    """

    config: CsvSource
    names: NameTable = field(default_factory=NameTable)
    boxes: LabelTable = field(default_factory=LabelTable)
    labels: ImageLabelTable = field(default_factory=ImageLabelTable)
    empty: "array[int]" = field(default_factory=lambda: array("i"))
    class_names: ClassNames = field(default_factory=ClassNames)
    picture: Int32Array = field(init=False)
    is_empty: BoolArray = field(init=False)
    classes: list[int] = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def has_boxes(self) -> bool:
        """Whether somebody looked for things to box in some image."""
        return bool(len(self.boxes) or len(self.empty))

    def read(self, table: CsvTable, columns: _Columns) -> None:
        """Add every row, or count why not."""
        for row in table.rows:
            trouble = self._add(row, columns)
            if trouble is not None:
                self.counts[trouble] += 1

    def _add(self, row: Sequence[str], columns: _Columns) -> str | None:
        """Add a row; or the reason why it cannot be used."""
        image, class_name, corners = (
            row[columns.image].strip(),
            row[columns.class_name].strip(),
            columns.corners(row),
        )
        if not image:
            return "line without an image"
        if not class_name:
            if corners is not None or not columns.box:
                return "line without a class"
            self.empty.append(self._mention(image))
            return None
        is_positive = _flag(row, columns.positive, default=True)
        is_ignored = _flag(row, columns.ignored, default=False)
        if is_positive is None or is_ignored is None:
            return "line whose 'positive' or 'ignored' is neither 1 nor 0"
        if corners is not None and not is_positive:
            return "box of something that is said to be absent"
        if corners is None and is_ignored:
            return "image label to be ignored"
        class_index = self.class_names.number(
            class_name if class_name.isascii() else readable_name(class_name)
        )
        if corners is None:
            self.labels.add(self._mention(image), class_index, is_positive=is_positive)
        else:
            self.boxes.add(self._mention(image), class_index, corners, is_ignored=is_ignored)
        return None

    def _mention(self, image: str) -> int:
        if "\\" in image or "./" in image or "//" in image:  # a.jpg, ./a.jpg and .\a.jpg are one image
            image = tidy_path(image)
        return self.names.mention(image)

    def finish(self) -> tuple[str, ...]:
        """The classes, once all rows have been read."""
        names, self.classes = self.class_names.in_order()
        self.picture = self.names.settle()
        self.boxes.sort(self.picture)
        self.labels.sort(self.picture)
        self.is_empty = np.zeros(len(self.names), dtype=bool)
        self.is_empty[self.picture[self.empty]] = True
        return names

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counts)
        folder = ImageFolder(self.config.images)
        for image in map(int, np.flatnonzero(self.picture == np.arange(len(self.names)))):
            found = folder.find(self.names[image])
            record = self._record(image, found, counts) if isinstance(found, FoundImage) else found
            if isinstance(record, ImageRecord):
                yield record
            else:
                counts[record] += 1
                counts[BOX_OF_LOST_IMAGE] += self.boxes.count(image)
                counts[LABEL_OF_LOST_IMAGE] += self.labels.count(image)

    def _record(self, picture: int, found: FoundImage, counts: Counter[str]) -> ImageRecord | str:
        """The image with what is said of it, or the reason why it cannot be used."""
        rows = self.boxes.boxes(picture)
        boxes: tuple[BoxLabel, ...] | None = () if self.is_empty[picture] else None
        if rows and self.config.unit == "unit":
            boxes = box_labels(rows, (1, 1), self.classes, counts, rounding=UNIT_ROUNDING)
        elif rows:
            size_px = upright_size_px(found.path)
            if size_px is None:
                return NO_SIZE
            boxes = box_labels(rows, size_px, self.classes, counts)
        counts["box kept as an ignore region"] += sum(box.is_ignored for box in boxes or ())
        boxed = {box.class_index for box in boxes or ()}
        labels = resolved_labels(self.labels.labels(picture), self.classes, boxed, counts)
        source_id = readable_name(self.names[picture])
        return ImageRecord(source_id, found.path, found.size_bytes, None, boxes, tuple(labels.values()))


def _flag(row: Sequence[str], place: int | None, *, default: bool) -> bool | None:
    """Whether a cell says yes; where it is empty or absent, the default; None where it says something else."""
    text = "" if place is None else row[place].strip().casefold()
    if text in _YES:
        return True
    return False if text in _NO else (None if text else default)
