"""OpenImages: boxes, and for each image the classes that people looked for and found, or did not find.

Nobody looked for everything in every image, so the set is federated. What is known of an image: each class that it
has a box of was boxed completely, groups being ignore regions (decision 15); each class with a negative label is
absent; of any other class nothing is known.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from data_prep.config import OpenImagesSource
from data_prep.records import ImageLabel, ImageRecord
from data_prep.sources.columns.label_table import (
    BoxRow,
    ImageLabelTable,
    LabelTable,
    box_labels,
    labels_beside_boxes,
)
from data_prep.sources.columns.name_table import ClassNames, NameTable
from data_prep.sources.contents import (
    BOX_OF_LOST_IMAGE,
    FILE_MISSING,
    LABEL_OF_LOST_IMAGE,
    UNIT_ROUNDING,
    OpenSource,
    SourceError,
    counts_in_words,
    readable_name,
    require_folder,
)
from data_prep.sources.files.csv_table import csv_rows, open_table
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, walk
from data_prep.sources.files.text_lines import number, text_lines
from wordtree.support.arrays import Int32Array

_JPG: Final = ".jpg"
_POSITIVE_OF: Final = {"1": True, "0": False, "1.0": True, "0.0": False}


def open_source(config: OpenImagesSource) -> OpenSource:
    """All boxes and labels, read once; raises SourceError where a file is not what it is said to be."""
    require_folder(config.images, config.name)
    contents = _Contents(config.images)
    contents.list_images()
    if config.boxes is not None:
        contents.read_boxes(config.boxes)
    if config.labels is not None:
        contents.read_labels(config.labels)
    ids = contents.finish()
    if not ids:
        found = counts_in_words(contents.counts) or "no line"
        raise SourceError(f"source {config.name!r}: expected boxes or labels of OpenImages, found {found}.")
    names = _class_names(config.class_names) if config.class_names else {}
    return OpenSource(
        config.name,
        has_boxes=config.boxes is not None,
        classes=_displayed(ids, names),
        stream=contents.records,
        aliases=tuple(map(readable_name, ids)),
        is_federated=True,
    )


@dataclass
class _Contents:
    """What files and tables say, in columns; an image is the number of its first mention.

    The images that exist are mentioned first, folder by folder; what is mentioned after them is missing.
    folder_ends: for each folder the number of mentions up to its end.
    Once all is read: image, the first mention of the same name for each mention; classes, for each class index the
    number of the class in the source.
    """

    images: Path
    ids: NameTable = field(default_factory=NameTable)
    folders: list[str] = field(default_factory=list)
    folder_ends: list[int] = field(default_factory=list)
    boxes: LabelTable = field(default_factory=LabelTable)
    labels: ImageLabelTable = field(default_factory=ImageLabelTable)
    class_ids: ClassNames = field(default_factory=ClassNames)
    counts: Counter[str] = field(default_factory=Counter)
    files: int = 0
    picture: Int32Array = field(init=False)
    classes: list[int] = field(init=False)

    def list_images(self) -> None:
        """Mention every image below the folder: ID.jpg."""
        for folder, files in walk(self.images, self.counts):
            for file in files:
                if file.endswith(_JPG):
                    self.ids.mention(file[: -len(_JPG)])
                    self.files += 1
                else:
                    self.counts["file that is no image of OpenImages by its name"] += 1
            self.folders.append(folder)
            self.folder_ends.append(len(self.ids))

    def read_boxes(self, path: Path) -> None:
        """Add the boxes of a file: ImageID, LabelName, XMin, XMax, YMin, YMax, IsGroupOf and more."""
        table = open_table(path, self.counts)
        names = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")
        image, label, left, right, top, bottom, group = table.places(names)
        mention, class_index, add = self.ids.mention, self.class_ids.number, self.boxes.add
        for row in table.rows:
            corners = number(row[left]), number(row[top]), number(row[right]), number(row[bottom])
            add(mention(row[image]), class_index(row[label]), corners, is_ignored=row[group] == "1")

    def read_labels(self, path: Path) -> None:
        """Add the image labels of a file that people verified: ImageID, LabelName, Confidence, perhaps Source."""
        table = open_table(path, self.counts)
        image, label, confidence = table.places(("ImageID", "LabelName", "Confidence"))
        source = table.place("Source")
        for row in table.rows:
            is_positive = _POSITIVE_OF.get(row[confidence])
            if is_positive is None or (source is not None and row[source] == "machine"):
                self.counts["image label that nobody verified"] += 1
            else:
                picture, class_index = self.ids.mention(row[image]), self.class_ids.number(row[label])
                self.labels.add(picture, class_index, is_positive=is_positive)

    def finish(self) -> tuple[str, ...]:
        """The ids of the classes, once all files have been read."""
        self.picture = self.ids.settle()
        listed = self.picture[: self.folder_ends[-1]]
        is_first = listed == np.arange(len(listed))
        self.counts["image that lies in another folder too"] += self.files - int(is_first.sum())
        self.boxes.sort(self.picture)
        self.labels.sort(self.picture)
        ids, self.classes = self.class_ids.in_order()
        return ids

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counts)
        folder = ImageFolder(self.images)
        for image in map(int, np.flatnonzero(self.picture == np.arange(len(self.ids)))):
            boxes, labels = self.boxes.boxes(image), self.labels.labels(image)
            place = bisect_right(self.folder_ends, image)
            name = f"{self.folders[place]}{self.ids[image]}{_JPG}" if place < len(self.folders) else ""
            found = folder.find(name) if name else FILE_MISSING
            if isinstance(found, str):
                counts[found] += 1
                counts[BOX_OF_LOST_IMAGE] += len(boxes)
                counts[LABEL_OF_LOST_IMAGE] += len(labels)
            elif boxes or labels:
                yield self._record(readable_name(name), found, boxes, labels, counts)
            else:
                counts["image of which no line tells"] += 1

    def _record(
        self,
        name: str,
        found: FoundImage,
        rows: list[BoxRow],
        labels: list[ImageLabel],
        counts: Counter[str],
    ) -> ImageRecord:
        boxes = box_labels(rows, (1, 1), self.classes, counts, rounding=UNIT_ROUNDING)
        counts["group kept as an ignore region"] += sum(box.is_ignored for box in boxes)
        said = labels_beside_boxes(labels, rows, boxes, self.classes, counts)
        return ImageRecord(
            name, found.path, found.size_bytes, None, boxes if rows else None, tuple(said.values())
        )


def _class_names(path: Path) -> dict[str, str]:
    """The display name of each class id in a file of `id,name` lines, with or without a header."""
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


def _displayed(ids: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the classes; those that several share have their id behind them."""
    shown = [readable_name(names.get(class_id, class_id)) for class_id in ids]
    times = Counter(shown)
    return tuple(
        f"{name} ({class_id})" if times[name] > 1 else name for name, class_id in zip(shown, ids, strict=True)
    )
