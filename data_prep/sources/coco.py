"""COCO instances JSON: images, categories, boxes as x, y, width, height in pixels, crowds; also of Objects365.

A file in which no annotation has a box has image labels (iNaturalist, COCO Camera Traps).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from data_prep.config import CocoSource, LvisSource
from data_prep.records import Boxes, ImageLabel, ImageRecord
from data_prep.sources.coco_instances import Instances, read_instances
from data_prep.sources.columns.image_columns import UNKNOWN, UNLISTED
from data_prep.sources.columns.label_table import StatedBoxes, consistent_labels, lost_labels, unit_boxes
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, NotFound
from data_prep.sources.image_size import header_size_px
from data_prep.sources.paths import MAX_NAME, readable_name, require_folder
from data_prep.sources.source import NO_NAME_INSIDE, UNREADABLE, Counts, OpenSource, leave_out_image

_SHARES: Final = (
    "image whose boxes are read as shares of width and height, as all numbers of the file lie in 0..1"
)


def open_source(config: CocoSource) -> OpenSource:
    """The instances file and its images; raises SourceError if the JSON is not in COCO's format."""
    require_folder(config.images, config.name)
    instances = read_instances(config.annotations, config.name, lambda image: image.get("file_name"))
    paths_of = path_tails if config.format == "objects365" else as_listed
    images = InstanceImages(instances, config, paths_of)
    return OpenSource(config.name, instances.has_boxes, instances.classes, images.records)


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
    config: CocoSource | LvisSource
    paths_of: Callable[[str], list[str]]

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        """The images in the order of the file."""
        return (record for _, record in self.numbered(counts))

    def numbered(self, counts: Counts) -> Iterator[tuple[int, ImageRecord]]:
        """The images in the order of the file, each with its number in the file."""
        instances, folder = self.instances, ImageFolder(self.config.images)
        counts.add_all(instances.counts)
        are_shares = instances.boxes.are_shares()
        for image in range(len(instances.images)):
            if instances.images.is_repeated(image):
                _count_repeated(instances, image, counts)
                continue
            record = self._record(image, folder, counts, are_shares=are_shares)
            if isinstance(record, ImageRecord):
                yield image, record
            else:
                boxes = instances.boxes.count(image)
                labels = instances.labels.count(image) + instances.unboxed.count(image)
                name = instances.images.name(image)
                leave_out_image(counts, record.reason, name, record.path, boxes=boxes, labels=labels)

    def _record(
        self, image: int, folder: ImageFolder, counts: Counts, *, are_shares: bool
    ) -> ImageRecord | NotFound:
        """The image, or the reason why it cannot be used."""
        name, size_px = self.instances.images.name(image), self.instances.images.size_px(image)
        if not name:
            return NotFound(NO_NAME_INSIDE, f"{self.config.annotations}, entry {image + 1} of `images`")
        found = self._find(name, folder)
        if isinstance(found, NotFound):
            return found
        if image in self.instances.images.has_other_size:
            return NotFound("image listed again with another size", f"{found.path}: {size_px}")
        stated = self.instances.boxes.boxes(image)
        size = size_px
        if are_shares:
            size = None
            counts[_SHARES] += 1
        elif size_px is None and stated:
            size = header_size_px(found.path, self.config.exif)
            if size is None:
                return NotFound(UNREADABLE, str(found.path))
        source_id = readable_name(name)
        if not self.instances.has_boxes:
            labels = tuple(consistent_labels(self._unboxed(image, counts), (), counts, name).values())
            if not labels:
                return NotFound("image without an annotation", name)
            return ImageRecord(source_id, found.path, found.size_bytes, size_px, None, labels)
        boxes, lost = self._boxes(image, stated, size, counts)
        is_incomplete = UNKNOWN in stated.class_index
        return ImageRecord(
            source_id, found.path, found.size_bytes, size_px, boxes, lost, is_incomplete=is_incomplete
        )

    def _find(self, name: str, folder: ImageFolder) -> FoundImage | NotFound:
        paths = self.paths_of(name) if len(name) <= MAX_NAME else []
        for path in paths:
            found = folder.at(path)
            if found is not None:
                return found
        return folder.find(name)

    def _boxes(
        self, image: int, stated: StatedBoxes, size: tuple[int, int] | None, counts: Counts
    ) -> tuple[Boxes, tuple[ImageLabel, ...]]:
        """The usable boxes, and a label of each class that has lost one."""
        name = self.instances.images.name(image)
        listed = stated
        if stated.class_index and min(stated.class_index) < 0:
            listed = stated.without(UNLISTED).without(UNKNOWN)
            for _ in range(len(stated) - len(listed)):
                counts.leave_out_box("box of a category that the file does not list", name)
        unboxed = [label.class_index for label in self._unboxed(image, counts)]
        for class_index in unboxed:
            # The other annotations of the file have boxes.
            counts.leave_out_box(
                "box that is not four finite numbers", name, f"{name}: {self.instances.classes[class_index]}"
            )
        boxes = unit_boxes(listed, size, counts, name)
        counts["crowd kept as an ignore region"] += sum(boxes.is_ignored)
        return boxes, lost_labels(listed, boxes, unboxed)

    def _unboxed(self, image: int, counts: Counts) -> list[ImageLabel]:
        """The labels of the annotations without a box."""
        labels = self.instances.unboxed.labels(image) if len(self.instances.unboxed) else []
        listed = [label for label in labels if label.class_index >= 0]
        for _ in range(len(labels) - len(listed)):
            reason = "image label of a category that the file does not list"
            counts.leave_out(reason, self.instances.images.name(image))
        return listed


def _count_repeated(instances: Instances, image: int, counts: Counts) -> None:
    if instances.images.has_repeated_id(image):
        counts.leave_out("image id that occurred before", instances.images.name(image))
    else:
        counts["image listed again under another id (read as one image)"] += 1
