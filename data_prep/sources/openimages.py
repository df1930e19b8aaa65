"""OpenImages: boxes, and image labels for the classes that annotators verified in each image.

The data set is federated: annotators looked for different classes in each image. A class with a box in an image is
exhaustively annotated there, groups being ignore regions (decision 15). A class with a negative label is absent.
Nothing is known about any other class.
"""

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from data_prep.config import OpenImagesSource
from data_prep.records import ImageLabel, ImageRecord
from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.columns.label_table import (
    BoxTable,
    ImageLabelTable,
    StatedBoxes,
    exhaustive_labels,
    incomplete,
    unit_boxes,
)
from data_prep.sources.columns.name_table import ClassNames, NameTable
from data_prep.sources.files.csv_table import csv_rows, open_table
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, NotFound, walk
from data_prep.sources.files.text_lines import is_yes, number, text_lines
from data_prep.sources.paths import readable_name, require_folder
from data_prep.sources.source import (
    FILE_MISSING,
    Counts,
    OpenSource,
    SourceError,
    counts_in_words,
    leave_out_image,
)
from wordtree.support.arrays import Int32Array

_POSITIVE_OF: Final = {"1": True, "0": False, "1.0": True, "0.0": False}


def open_source(config: OpenImagesSource) -> OpenSource:
    """All boxes and labels, read once; raises SourceError if a file has another format."""
    require_folder(config.images, config.name)
    contents = _Contents(config.images)
    contents.list_images()
    if config.boxes is not None:
        contents.read_boxes(config.boxes)
    if config.labels is not None:
        contents.read_labels(config.labels)
    ids = contents.finish()
    if not ids:
        found = counts_in_words(contents.counts) or "no row"
        raise SourceError(f"source {config.name!r}: expected boxes or labels of OpenImages, found {found}.")
    names = _class_names(config.class_names) if config.class_names else {}
    return OpenSource(
        config.name,
        has_boxes=config.boxes is not None,
        classes=_unique_names(ids, names),
        stream=contents.records,
        aliases=tuple(map(readable_name, ids)),
        is_federated=True,
    )


@dataclass
class _Contents:
    """The files and the tables in columns; the number of an image is the number of its first mention.

    The files are mentioned first, folder by folder; an image that is first mentioned in a table has no file.
    folder_ends: the number of mentions up to the end of each folder.
    suffixes: the suffixes of the files, numbered; suffix_of: the number of the suffix of each mention that is a file.
    first_mention: the first mention of the same name for each mention; known after `finish`.
    """

    images: Path
    image_ids: NameTable = field(default_factory=NameTable)
    folders: list[str] = field(default_factory=list)
    folder_ends: list[int] = field(default_factory=list)
    suffixes: dict[str, int] = field(default_factory=dict)
    suffix_of: "array[int]" = field(default_factory=lambda: array("H"))
    boxes: BoxTable = field(default_factory=BoxTable)
    labels: ImageLabelTable = field(default_factory=ImageLabelTable)
    class_ids: ClassNames = field(default_factory=ClassNames)
    counts: Counts = field(default_factory=Counts)
    incomplete: set[str] = field(default_factory=set)  # images in rows of boxes that cannot be read
    files: int = 0
    first_mention: Int32Array = field(init=False)

    def list_images(self) -> None:
        """Mention every image file below the folder: the id and the suffix of an image."""
        for folder, files in walk(self.images, self.counts):
            for file in files:
                image_id, _, suffix = file.rpartition(".")
                if not image_id or f".{suffix.lower()}" not in IMAGE_SUFFIXES:
                    self.counts.leave_out("file without the suffix of an image", f"{folder}{file}")
                    continue
                if self.image_ids.mention(image_id) == len(self.suffix_of):
                    self.suffix_of.append(self.suffixes.setdefault(f".{suffix}", len(self.suffixes)))
                self.files += 1
            self.folders.append(folder)
            self.folder_ends.append(len(self.image_ids))

    def read_boxes(self, path: Path) -> None:
        """Add the boxes of a table with the columns ImageID, LabelName, XMin, XMax, YMin, YMax, IsGroupOf, …."""
        table = open_table(path, self.counts)
        names = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
        image, label, left, right, top, bottom = table.indices(names)
        group = table.index("IsGroupOf")
        mention, class_index, add = self.image_ids.mention, self.class_ids.number, self.boxes.add
        for row in table.rows(lambda row: self.incomplete.update(map(_image_id, row[image : image + 1]))):
            corners = number(row[left]), number(row[top]), number(row[right]), number(row[bottom])
            is_group = group is not None and is_yes(row[group])
            add(mention(_image_id(row[image])), class_index(row[label]), corners, is_ignored=is_group)

    def read_labels(self, path: Path) -> None:
        """Add the human-verified labels of a table with the columns ImageID, LabelName, Confidence, perhaps Source."""
        table = open_table(path, self.counts)
        image, label, confidence = table.indices(("ImageID", "LabelName", "Confidence"))
        source = table.index("Source")
        for row in table.rows(lambda _: None):
            is_positive = _POSITIVE_OF.get(row[confidence])
            if is_positive is None or (source is not None and row[source] == "machine"):
                self.counts["image label that nobody verified"] += 1  # most labels: too many to list
            else:
                mention = self.image_ids.mention(_image_id(row[image]))
                self.labels.add(mention, self.class_ids.number(row[label]), is_positive=is_positive)

    def finish(self) -> tuple[str, ...]:
        """Sort all labels by image; returns the ids of the classes. Call it once all files are read."""
        self.first_mention = self.image_ids.first_mentions()
        of_files = self.first_mention[: self.folder_ends[-1]]
        is_first = of_files == np.arange(len(of_files))
        self.counts["image that has another file of the same name"] += self.files - int(is_first.sum())
        ids, class_of = self.class_ids.in_order()
        self.boxes.sort(self.first_mention, class_of)
        self.labels.sort(self.first_mention, class_of)
        return ids

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        counts.add_all(self.counts)
        folder = ImageFolder(self.images)
        for image in map(int, np.flatnonzero(self.first_mention == np.arange(len(self.image_ids)))):
            boxes, labels = self.boxes.boxes(image), self.labels.labels(image)
            name = self._file_name(image)
            tried = f"{self.images}/{self.image_ids[image]}.jpg"
            found = folder.find(name) if name else NotFound(FILE_MISSING, tried)
            if isinstance(found, NotFound):
                leave_out_image(
                    counts,
                    found.reason,
                    self.image_ids[image],
                    found.path,
                    boxes=len(boxes),
                    labels=len(labels),
                )
            elif boxes or labels:
                record = _record(readable_name(name), found, boxes, labels, counts)
                is_incomplete = self.image_ids[image] in self.incomplete
                yield incomplete(record) if is_incomplete else record
            else:
                counts.leave_out("image without a row in any table", readable_name(name))

    def _file_name(self, image: int) -> str:
        """The path below the folder of images; empty if there is no such file."""
        folder = bisect_right(self.folder_ends, image)
        if folder == len(self.folders):
            return ""
        suffix = list(self.suffixes)[self.suffix_of[image]]
        return f"{self.folders[folder]}{self.image_ids[image]}{suffix}"


def _record(
    source_id: str, found: FoundImage, stated: StatedBoxes, labels: list[ImageLabel], counts: Counts
) -> ImageRecord:
    boxes = unit_boxes(stated, None, counts, source_id)
    counts["group kept as an ignore region"] += sum(boxes.is_ignored)
    by_class = exhaustive_labels(labels, stated, boxes, counts, source_id)
    return ImageRecord(
        source_id, found.path, found.size_bytes, None, boxes if stated else None, tuple(by_class.values())
    )


def _image_id(text: str) -> str:
    """The id of an image in a table; tables of other tools state the name of the file."""
    if "." not in text:
        return text
    stem, _, suffix = text.rpartition(".")
    return stem if f".{suffix.lower()}" in IMAGE_SUFFIXES else text


def _class_names(path: Path) -> dict[str, str]:
    """The display name for each class id in a file of `id,name` lines, with or without a header."""
    names: dict[str, str] = {}
    for line, row in enumerate(csv_rows(text_lines(path), path), start=1):
        is_class = len(row) == 2 and row[0].startswith("/")
        if is_class:
            names[row[0]] = row[1].strip() or row[0]
        elif row and line > 1:
            raise SourceError(f"{path}, line {line}: expected an id and a name, as in `/m/01yrx,Cat`.")
    if not names:
        raise SourceError(f"{path}: expected lines of an id and a name, as in `/m/01yrx,Cat`, found none.")
    return names


def _unique_names(ids: tuple[str, ...], display_names: Mapping[str, str]) -> tuple[str, ...]:
    """The display names of the classes; the id follows a name that several classes share."""
    names = [readable_name(display_names.get(class_id, class_id)) for class_id in ids]
    uses = Counter(names)
    return tuple(
        f"{name} ({class_id})" if uses[name] > 1 else name for name, class_id in zip(names, ids, strict=True)
    )
