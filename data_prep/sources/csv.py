"""A user's own table: one row for each box, or for each class that a whole image shows or does not show."""

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np

from data_prep.config import CsvSource
from data_prep.records import Boxes, Corners, ImageRecord
from data_prep.shards.images import upright_size_px
from data_prep.sources.columns.label_table import BoxTable, ImageLabelTable, consistent_labels, unit_boxes
from data_prep.sources.columns.name_table import ClassNames, NameTable
from data_prep.sources.files.csv_table import CsvTable, open_table
from data_prep.sources.files.image_folder import FoundImage, ImageFolder
from data_prep.sources.files.text_lines import number
from data_prep.sources.paths import readable_name, require_folder, tidy_path
from data_prep.sources.source import NO_SIZE, OpenSource, SourceError, count_lost_image, counts_in_words
from data_prep.sources.unit_box import UNIT_ROUNDING
from wordtree.support.arrays import BoolArray, Int32Array

_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_SIDES: Final = ("x", "y", "width", "height")
_FLAGS: Final = ("positive", "ignored")
_YES: Final = frozenset({"1", "1.0", "true", "yes"})
_NO: Final = frozenset({"0", "0.0", "false", "no"})
_ADVICE: Final = " State the name of your column under `columns`, as in `columns: {image: filename}`."


def open_source(config: CsvSource) -> OpenSource:
    """The table, read once, and its images; raises SourceError if it lacks a column or is not a table."""
    require_folder(config.images, config.name)
    contents = _Contents(config)
    table = open_table(config.annotations, contents.counts)
    contents.read(table, _Columns.of(table, config.columns))
    if not len(contents.names):
        found = counts_in_words(contents.counts) or "no row"
        raise SourceError(f"{config.annotations}: expected a row for each box or image label, found {found}.")
    classes = contents.finish()
    return OpenSource(config.name, contents.has_boxes, classes, contents.records)


@dataclass(frozen=True)
class _Columns:
    """The indices of the columns that are read."""

    image: int
    class_name: int
    box: tuple[int, ...]  # empty: the table has no boxes
    has_sides: bool  # the box is left, top, width, height
    positive: int | None
    ignored: int | None

    @classmethod
    def of(cls, table: CsvTable, header_names: Mapping[Any, str]) -> Self:
        """The columns of a table; raises SourceError if one is missing.

        header_names: the name in the header for each column that has another name than ours.
        """
        table.indices(header_names.values(), _ADVICE)
        in_header = {
            name: header_names.get(name, name) for name in ("image", "class", *_CORNERS, *_SIDES, *_FLAGS)
        }
        box: tuple[str, ...] = ()
        if any(table.index(in_header[name]) is not None for name in _CORNERS):
            box = _CORNERS
        elif any(table.index(in_header[name]) is not None for name in ("x", "y")):
            box = _SIDES  # width and height without x or y would be the size of the image
        image, class_name, *corners = table.indices(
            [in_header[name] for name in ("image", "class", *box)], _ADVICE
        )
        flags = [table.index(in_header[name]) for name in _FLAGS]
        return cls(image, class_name, tuple(corners), box == _SIDES, *flags)

    def corners(self, row: Sequence[str]) -> Corners | None:
        """Left, top, right, bottom of the box in a row, NaN if not a number; None if the row has no box."""
        cells = [row[index] for index in self.box]
        if not any(map(str.strip, cells)):
            return None
        left, top, right, bottom = map(number, cells)
        return (left, top, left + right, top + bottom) if self.has_sides else (left, top, right, bottom)


@dataclass
class _Contents:
    """The table in columns; the number of an image is the number of its first mention.

    empty: mentions of images in rows without class and box: an annotator found no object.
    first_mention: the first mention of the same name for each mention; known after `finish`.
    is_empty: whether an image has a row without class and box; known after `finish`.
    """

    config: CsvSource
    names: NameTable = field(default_factory=NameTable)
    boxes: BoxTable = field(default_factory=BoxTable)
    labels: ImageLabelTable = field(default_factory=ImageLabelTable)
    empty: "array[int]" = field(default_factory=lambda: array("i"))
    class_names: ClassNames = field(default_factory=ClassNames)
    first_mention: Int32Array = field(init=False)
    is_empty: BoolArray = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def has_boxes(self) -> bool:
        """Whether an annotator looked for objects in some image."""
        return bool(len(self.boxes) or len(self.empty))

    def read(self, table: CsvTable, columns: _Columns) -> None:
        """Add every row, or count the reason why it cannot be used."""
        for row in table.rows:
            reason = self._add(row, columns)
            if reason is not None:
                self.counts[reason] += 1

    def _add(self, row: Sequence[str], columns: _Columns) -> str | None:
        """Add a row; returns the reason if it cannot be used."""
        image, class_name = row[columns.image].strip(), row[columns.class_name].strip()
        corners = columns.corners(row)
        if not image:
            return "row without an image"
        if not class_name:
            if corners is not None or not columns.box:
                return "row without a class"
            self.empty.append(self._mention(image))
            return None
        is_positive = _flag(row, columns.positive, default=True)
        is_ignored = _flag(row, columns.ignored, default=False)
        if is_positive is None or is_ignored is None:
            return "row whose 'positive' or 'ignored' is neither 1 nor 0"
        if corners is not None and not is_positive:
            return "box in a row with a negative label"
        if corners is None and is_ignored:
            return "image label marked as ignored"
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
        """Sort all labels by image; returns the class names. Call it once all rows are read."""
        names, class_of = self.class_names.in_order()
        self.first_mention = self.names.first_mentions()
        self.boxes.sort(self.first_mention, class_of)
        self.labels.sort(self.first_mention, class_of)
        self.is_empty = np.zeros(len(self.names), dtype=bool)
        self.is_empty[self.first_mention[self.empty]] = True
        return names

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counts)
        folder = ImageFolder(self.config.images)
        for image in map(int, np.flatnonzero(self.first_mention == np.arange(len(self.names)))):
            found = folder.find(self.names[image])
            record = self._record(image, found, counts) if isinstance(found, FoundImage) else found
            if isinstance(record, ImageRecord):
                yield record
            else:
                boxes, labels = self.boxes.count(image), self.labels.count(image)
                count_lost_image(record, counts, boxes=boxes, labels=labels)

    def _record(self, image: int, found: FoundImage, counts: Counter[str]) -> ImageRecord | str:
        """The image with its labels, or the reason why it cannot be used."""
        stated = self.boxes.boxes(image)
        boxes = Boxes()
        if stated and self.config.unit == "unit":
            boxes = unit_boxes(stated, (1, 1), counts, rounding=UNIT_ROUNDING)
        elif stated:
            size_px = upright_size_px(found.path)
            if size_px is None:
                return NO_SIZE
            boxes = unit_boxes(stated, size_px, counts)
        counts["box kept as an ignore region"] += sum(boxes.is_ignored)
        labels = tuple(consistent_labels(self.labels.labels(image), boxes.class_index, counts).values())
        is_boxed = bool(stated) or self.is_empty[image]
        source_id = readable_name(self.names[image])
        return ImageRecord(source_id, found.path, found.size_bytes, None, boxes if is_boxed else None, labels)


def _flag(row: Sequence[str], index: int | None, *, default: bool) -> bool | None:
    """The value of a yes-or-no cell; the default if it is empty or absent; None if it has another value."""
    text = "" if index is None else row[index].strip().casefold()
    if text in _YES:
        return True
    return False if text in _NO else (None if text else default)
