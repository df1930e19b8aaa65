"""COCO instances JSON: images, categories, boxes as x, y, width, height in pixels, crowds. Objects365 is the same."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.config import CocoSource
from data_prep.records import BoxLabel, ImageRecord
from data_prep.sources.coco_instances import BOX_OF_UNLISTED_IMAGE, Instances, read_instances
from data_prep.sources.columns.image_columns import UNLISTED
from data_prep.sources.columns.label_table import box_labels
from data_prep.sources.contents import (
    BOX_OF_LOST_IMAGE,
    FILE_MISSING,
    LABEL_OF_LOST_IMAGE,
    NO_NAME_INSIDE,
    NO_SIZE,
    OpenSource,
    file_size,
    readable_name,
    require_folder,
)


def open_source(config: CocoSource) -> OpenSource:
    """The instances file and its images; raises SourceError where the JSON is not COCO's."""
    require_folder(config.images, config.name)
    instances = read_instances(config.annotations, config.name, _file_name)
    places = tails if config.format == "objects365" else as_listed
    contents = InstanceRecords(instances, config.images, places)
    return OpenSource(config.name, has_boxes=True, classes=instances.classes, stream=contents.records)


def as_listed(name: str) -> list[str]:
    """An image lies where the file says."""
    return [name]


def tails(name: str) -> list[str]:
    """`a/b/c.jpg`, `b/c.jpg`, `c.jpg`: it lies there, or folders at the start of its path are missing on disk."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[first:]) for first in range(len(parts))]


@dataclass(frozen=True)
class InstanceRecords:
    """The images of an instances file as records; `places` are where, below the folder, one of a name may lie."""

    instances: Instances
    folder: Path
    places: Callable[[str], list[str]]

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        """The images in the order of the file."""
        for _, record in self.numbered(counts):
            yield record

    def numbered(self, counts: Counter[str]) -> Iterator[tuple[int, ImageRecord]]:
        """Each image with its number in the file."""
        counts.update(self.instances.counts)
        for image in range(len(self.instances.images)):
            if self.instances.images.is_repeated(image):
                counts["image id that occurred before"] += 1
                continue
            record = self._record(image, counts)
            if isinstance(record, ImageRecord):
                yield image, record
            else:
                counts[record] += 1
                counts[BOX_OF_LOST_IMAGE] += self.instances.boxes.count(image)
                counts[LABEL_OF_LOST_IMAGE] += self.instances.labels.count(image)
        counts[BOX_OF_UNLISTED_IMAGE] += self.instances.boxes.count(UNLISTED)

    def _record(self, image: int, counts: Counter[str]) -> ImageRecord | str:
        """The image, or the reason why it cannot be used."""
        name, size_px = self.instances.images.name(image), self.instances.images.size_px(image)
        if not name:
            return NO_NAME_INSIDE
        if size_px is None:
            return NO_SIZE
        for place in self.places(name):
            path = self.folder / place
            size_bytes = file_size(path)
            if size_bytes is not None:
                boxes = self._boxes(image, size_px, counts)
                return ImageRecord(readable_name(name), path, size_bytes, size_px, boxes=boxes)
        return FILE_MISSING

    def _boxes(self, image: int, size_px: tuple[int, int], counts: Counter[str]) -> tuple[BoxLabel, ...]:
        class_of_number = self.instances.class_of_number
        rows = self.instances.boxes.boxes(image)
        listed = [row for row in rows if class_of_number[row.class_index] != UNLISTED]
        counts["box of a category that the file does not list"] += len(rows) - len(listed)
        boxes = box_labels(listed, size_px, class_of_number, counts)
        counts["crowd kept as an ignore region"] += sum(box.is_ignored for box in boxes)
        return boxes


def _file_name(image: dict[str, Any]) -> object:
    return image.get("file_name")
