"""COCO instances JSON: images, categories, boxes as x, y, width, height in pixels, crowds. Objects365 is the same."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.config import CocoSource
from data_prep.records import Boxes, ImageRecord
from data_prep.sources.coco_instances import Instances, read_instances
from data_prep.sources.columns.image_columns import UNLISTED
from data_prep.sources.columns.label_table import unit_boxes
from data_prep.sources.paths import file_size, readable_name, require_folder
from data_prep.sources.source import FILE_MISSING, NO_NAME_INSIDE, NO_SIZE, OpenSource, count_lost_image


def open_source(config: CocoSource) -> OpenSource:
    """The instances file and its images; raises SourceError if the JSON is not in COCO's format."""
    require_folder(config.images, config.name)
    instances = read_instances(config.annotations, config.name, lambda image: image.get("file_name"))
    paths_of = path_tails if config.format == "objects365" else as_listed
    images = InstanceImages(instances, config.images, paths_of)
    return OpenSource(config.name, has_boxes=True, classes=instances.classes, stream=images.records)


def as_listed(name: str) -> list[str]:
    """The path that the file states."""
    return [name]


def path_tails(name: str) -> list[str]:
    """`a/b/c.jpg`, `b/c.jpg`, `c.jpg`: on disk, the first folders of the path may be missing."""
    parts = PurePosixPath(name).parts
    return ["/".join(parts[first:]) for first in range(len(parts))]


@dataclass(frozen=True)
class InstanceImages:
    """The images of an instances file as records.

    paths_of: the paths, relative to the folder, at which an image of a given name may lie.
    """

    instances: Instances
    folder: Path
    paths_of: Callable[[str], list[str]]

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        """The images in the order of the file."""
        return (record for _, record in self.numbered(counts))

    def numbered(self, counts: Counter[str]) -> Iterator[tuple[int, ImageRecord]]:
        """The images in the order of the file, each with its number in the file."""
        counts.update(self.instances.counts)
        for image in range(len(self.instances.images)):
            if self.instances.images.is_repeated(image):
                counts["image id that occurred before"] += 1
                continue
            record = self._record(image, counts)
            if isinstance(record, ImageRecord):
                yield image, record
            else:
                boxes, labels = self.instances.boxes.count(image), self.instances.labels.count(image)
                count_lost_image(record, counts, boxes=boxes, labels=labels)

    def _record(self, image: int, counts: Counter[str]) -> ImageRecord | str:
        """The image, or the reason why it cannot be used."""
        name, size_px = self.instances.images.name(image), self.instances.images.size_px(image)
        if not name:
            return NO_NAME_INSIDE
        if size_px is None:
            return NO_SIZE
        for relative_path in self.paths_of(name):
            path = self.folder / relative_path
            size_bytes = file_size(path)
            if size_bytes is not None:
                boxes = self._boxes(image, size_px, counts)
                return ImageRecord(readable_name(name), path, size_bytes, size_px, boxes)
        return FILE_MISSING

    def _boxes(self, image: int, size_px: tuple[int, int], counts: Counter[str]) -> Boxes:
        stated = self.instances.boxes.boxes(image)
        listed = stated.without(UNLISTED)
        counts["box of a category that the file does not list"] += len(stated) - len(listed)
        boxes = unit_boxes(listed, size_px, counts)
        counts["crowd kept as an ignore region"] += sum(boxes.is_ignored)
        return boxes
