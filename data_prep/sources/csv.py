"""A user's own table: one row for each box, or for each class that a whole image shows or does not show."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_prep.config import CsvSource
from data_prep.records import Boxes, ImageRecord
from data_prep.sources.columns.label_table import (
    BoxTable,
    ImageLabelTable,
    consistent_labels,
    lost_labels,
    unit_boxes,
)
from data_prep.sources.columns.name_table import ClassNames, NameTable
from data_prep.sources.csv_columns import CsvColumns
from data_prep.sources.files.csv_table import CsvTable, open_table
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, NotFound
from data_prep.sources.files.text_lines import NO, YES
from data_prep.sources.image_size import header_size_px
from data_prep.sources.paths import readable_name, require_folder, tidy_path
from data_prep.sources.source import (
    UNREADABLE,
    Counts,
    OpenSource,
    SourceError,
    counts_in_words,
    leave_out_image,
)
from wordtree.support.arrays import BoolArray, Int32Array
from wordtree.support.csv_cells import cell_text


def open_source(config: CsvSource) -> OpenSource:
    """The table, read once, and its images; raises SourceError if it lacks a column or is not a table."""
    require_folder(config.images, config.name)
    contents = _Contents(config)
    table = open_table(config.annotations, contents.counts)
    contents.read(table, CsvColumns.of(table, config.columns))
    if not len(contents.names):
        found = counts_in_words(contents.counts) or "no row"
        raise SourceError(f"{config.annotations}: expected a row for each box or image label, found {found}.")
    classes = contents.finish()
    return OpenSource(config.name, contents.has_boxes, classes, contents.records)


@dataclass
class _Contents:
    """The table in columns; the number of an image is the number of its first mention.

    empty: mentions of images in rows without class and box: an annotator found no object.
    incomplete: mentions of images in rows with a box that cannot be used.
    first_mention: the first mention of the same name for each mention; known after `finish`.
    is_empty, is_incomplete: whether an image is among `empty` or `incomplete`; known after `finish`.
    """

    config: CsvSource
    names: NameTable = field(default_factory=NameTable)
    boxes: BoxTable = field(default_factory=BoxTable)
    labels: ImageLabelTable = field(default_factory=ImageLabelTable)
    empty: "array[int]" = field(default_factory=lambda: array("i"))
    class_names: ClassNames = field(default_factory=ClassNames)
    first_mention: Int32Array = field(init=False)
    is_empty: BoolArray = field(init=False)
    is_incomplete: BoolArray = field(init=False)
    counts: Counts = field(default_factory=Counts)
    incomplete: "array[int]" = field(default_factory=lambda: array("i"))

    @property
    def has_boxes(self) -> bool:
        """Whether an annotator looked for objects in some image."""
        return bool(len(self.boxes) or len(self.empty))

    def read(self, table: CsvTable, columns: CsvColumns) -> None:
        """Add every row, or count the reason why it cannot be used."""
        for name in columns.unread:
            self.counts.leave_out("column that is not read", name)

        def spoil(row: list[str]) -> None:
            if columns.box and columns.image < len(row):
                self.incomplete.append(self._mention(row[columns.image].strip()))

        for row in table.rows(spoil):
            reason = self._add(row, columns)
            if reason is not None:
                text, image = ", ".join(row)[:200], row[columns.image].strip()
                if columns.corners(row) is None:
                    self.counts.leave_out(reason, image or text, f"{table.path}: {text}")
                    continue
                self.counts.leave_out_box(reason, image or text, f"{table.path}: {text}")
                if image:
                    self.incomplete.append(self._mention(image))

    def _add(self, row: Sequence[str], columns: CsvColumns) -> str | None:
        """Add a row; returns the reason if it cannot be used."""
        image, class_name = (cell_text(row[column].strip()) for column in (columns.image, columns.class_name))
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
        if "://" not in image and (
            "\\" in image or "./" in image or "//" in image
        ):  # a.jpg, ./a.jpg and .\a.jpg are one image
            image = tidy_path(image)
        return self.names.mention(image)

    def finish(self) -> tuple[str, ...]:
        """Sort all labels by image; returns the class names. Call it once all rows are read."""
        names, class_of = self.class_names.in_order()
        self.first_mention = self.names.first_mentions()
        self.boxes.sort(self.first_mention, class_of)
        self.labels.sort(self.first_mention, class_of)
        self.is_empty, self.is_incomplete = np.zeros((2, len(self.names)), dtype=bool)
        self.is_empty[self.first_mention[self.empty]] = True
        self.is_incomplete[self.first_mention[self.incomplete]] = True
        return names

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        counts.add_all(self.counts)
        folder, unit = ImageFolder(self.config.images), self.config.unit
        are_shares = unit == "unit" or (unit is None and self.boxes.are_shares())
        if are_shares and unit is None:
            counts["box read as shares of width and height, as all numbers lie in 0..1"] += len(self.boxes)
        for image in map(int, np.flatnonzero(self.first_mention == np.arange(len(self.names)))):
            if not (self.boxes.count(image) or self.labels.count(image) or self.is_empty[image]):
                continue  # its rows have been left out
            found = folder.find(self.names[image])
            record: ImageRecord | NotFound
            if isinstance(found, FoundImage):
                record = self._record(image, found, counts, are_shares=are_shares)
            else:
                record = found
            if isinstance(record, ImageRecord):
                yield record
            else:
                boxes, labels = self.boxes.count(image), self.labels.count(image)
                leave_out_image(
                    counts, record.reason, self.names[image], record.path, boxes=boxes, labels=labels
                )

    def _record(
        self, image: int, found: FoundImage, counts: Counts, *, are_shares: bool
    ) -> ImageRecord | NotFound:
        """The image with its labels, or the reason why it cannot be used."""
        stated, name = self.boxes.boxes(image), self.names[image]
        boxes, size_px = Boxes(), None
        if stated and not are_shares:
            size_px = header_size_px(found.path, self.config.exif)
            if size_px is None:
                return NotFound(UNREADABLE, str(found.path))
        boxes = unit_boxes(stated, size_px, counts, name)
        counts["box kept as an ignore region"] += sum(boxes.is_ignored)
        stated_labels = [*self.labels.labels(image), *lost_labels(stated, boxes)]
        labels = tuple(consistent_labels(stated_labels, boxes.class_index, counts, name).values())
        is_boxed = bool(stated) or self.is_empty[image]
        is_incomplete = bool(self.is_incomplete[image])
        return ImageRecord(
            readable_name(name),
            found.path,
            found.size_bytes,
            None,
            boxes if is_boxed else None,
            labels,
            is_incomplete=is_incomplete,
        )


def _flag(row: Sequence[str], index: int | None, *, default: bool) -> bool | None:
    """The value of a yes-or-no cell; the default if it is empty or absent; None if it has another value."""
    text = "" if index is None else row[index].strip().casefold()
    if text in YES:
        return True
    return False if text in NO else (None if text else default)
