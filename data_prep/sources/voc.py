"""PASCAL VOC and ILSVRC: one XML file for each image, with the name of the image, at any depth."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from data_prep.config import VocSource
from data_prep.records import ImageRecord
from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.columns.label_table import BoxTable, lost_labels, unit_boxes
from data_prep.sources.columns.name_table import ClassNames, NameTable, PackedNames
from data_prep.sources.files.image_folder import SUFFIXES, FoundImage, ImageFolder, NotFound, spellings, walk
from data_prep.sources.files.text_lines import text_lines
from data_prep.sources.image_size import header_size_px
from data_prep.sources.paths import file_size, readable_name, require_folder, stays_inside
from data_prep.sources.source import (
    FILE_MISSING,
    NO_NAME_INSIDE,
    UNREADABLE,
    Counts,
    OpenSource,
    SourceError,
    counts_in_words,
    leave_out_image,
)
from data_prep.sources.voc_xml import SECOND_BOX, AnnotationError, read_annotation

_XML: Final = ".xml"
_WITHOUT_FILE: Final = "image without an annotation file"


def open_source(config: VocSource) -> OpenSource:
    """All annotations, read once; raises SourceError if no file is an annotation."""
    require_folder(config.images, config.name)
    require_folder(config.annotations, config.name, "XML files")
    contents = _Contents(config)
    for file in _xml_files(config, contents.counts):
        contents.read(config.annotations, file)
    if not contents.sizes_px:
        found = counts_in_words(contents.counts) or "no XML file"
        raise SourceError(
            f"source {config.name!r}: expected annotations of PASCAL VOC in {config.annotations}, found {found}."
        )
    return OpenSource(config.name, has_boxes=True, classes=contents.finish(), stream=contents.records)


@dataclass
class _Contents:
    """The XML files in columns: names and sizes of the images, and their boxes.

    names: the path of a file without `.xml`; then a null and the name of the image, if it is another.
    sizes_px: width and height of each image in turn; 0, 0 if the file states none.
    """

    config: VocSource
    names: PackedNames = field(default_factory=PackedNames)
    sizes_px: "array[int]" = field(default_factory=lambda: array("i"))
    boxes: BoxTable = field(default_factory=BoxTable)
    class_names: ClassNames = field(default_factory=ClassNames)
    counts: Counts = field(default_factory=Counts)
    failed: list[str] = field(default_factory=list)  # files that cannot be used, without `.xml`
    incomplete: set[int] = field(
        default_factory=set
    )  # images with an object without a name, or with two boxes

    def read(self, folder: Path, file: str) -> None:
        """Add the annotation of a file in the folder, or count the reason why it cannot be used."""
        try:
            annotation = read_annotation(folder / file, self.config.first_pixel)
        except AnnotationError as reason:
            self.counts.leave_out_box(str(reason), file, f"{folder / file}, {reason.place}")
            self.failed.append(file[: -len(_XML)])
            return
        name = file[: -len(_XML)]
        has_same_name = PurePosixPath(annotation.filename).stem in ("", PurePosixPath(name).name)
        image = len(self.names)
        self.names.append(name if has_same_name else f"{name}\0{annotation.filename}")
        self.sizes_px.extend(annotation.size_px or (0, 0))
        for xml_object in annotation.objects:
            if xml_object.name:
                class_index = self.class_names.number(xml_object.name)
                self.boxes.add(image, class_index, xml_object.xyxy_px, is_ignored=xml_object.is_difficult)
            else:
                self.counts.leave_out_box("object without a name", file)
            if xml_object.has_more:
                self.counts.leave_out_box(SECOND_BOX, file, f"{folder / file}: {xml_object.name}")
            if xml_object.has_more or not xml_object.name:
                self.incomplete.add(image)

    def finish(self) -> tuple[str, ...]:
        """Sort the boxes by image; returns the class names. Call it once all files are read."""
        names, class_of = self.class_names.in_order()
        self.boxes.sort(class_of=class_of)
        return names

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        counts.add_all(self.counts)
        finder = _Finder(self.config.images)
        are_shares = self.boxes.are_shares()
        paths_found = array("q")  # hashes
        for image in range(len(self.names)):
            name, _, filename = self.names[image].partition("\0")
            found = finder.find(name, filename)
            record: ImageRecord | NotFound
            if isinstance(found, FoundImage):
                paths_found.append(hash(str(found.path)))
                record = self._record(image, found, counts, are_shares=are_shares)
            else:
                record = found
            if isinstance(record, ImageRecord):
                yield record
            else:
                leave_out_image(counts, record.reason, name, record.path, boxes=self.boxes.count(image))
        for name in self.failed:
            found = finder.find(name, "")
            paths_found.append(hash(str(found.path)))
        if self.config.image_list is None:
            self._leave_out_others(paths_found, counts)

    def _record(
        self, image: int, found: FoundImage, counts: Counts, *, are_shares: bool
    ) -> ImageRecord | NotFound:
        """The image with its boxes, or the reason why it cannot be used."""
        width, height = self.sizes_px[2 * image : 2 * image + 2]
        stated_px = (width, height) if width else None
        size_px = stated_px or header_size_px(found.path, self.config.exif)
        if size_px is None:
            return NotFound(UNREADABLE, str(found.path))
        stated = self.boxes.boxes(image)
        source_id = readable_name(found.path.relative_to(self.config.images).as_posix())
        boxes = unit_boxes(stated, None if are_shares else size_px, counts, source_id)
        counts["difficult object kept as an ignore region"] += sum(boxes.is_ignored)
        labels = lost_labels(stated, boxes)
        is_incomplete = image in self.incomplete
        return ImageRecord(
            source_id, found.path, found.size_bytes, stated_px, boxes, labels, is_incomplete=is_incomplete
        )

    def _leave_out_others(self, paths_found: "array[int]", counts: Counts) -> None:
        """Count the images without an annotation file; whether they show objects is not known."""
        images, suffixes = self.config.images, tuple(IMAGE_SUFFIXES)
        known = np.sort(np.frombuffer(paths_found, dtype=np.int64))
        for prefix, files in walk(images, Counts()):
            folder = images / prefix
            start = f"{folder}/" if folder.parts else ""
            paths = [f"{start}{file}" for file in files if file.lower().endswith(suffixes)]
            hashes = np.fromiter(map(hash, paths), dtype=np.int64, count=len(paths))
            for position in np.flatnonzero(~np.isin(hashes, known)).tolist():
                path = readable_name(paths[position])
                counts.leave_out(_WITHOUT_FILE, f"{readable_name(prefix)}{path.rpartition('/')[2]}", path)


class _Finder:
    """Finds the image of an XML file, by the name of the XML file or else by the name that it states."""

    def __init__(self, images: Path) -> None:
        self._images, self._folder = images, ImageFolder(images)
        self._suffix = SUFFIXES[0]  # of the last image, as the next image likely has the same suffix

    def find(self, name: str, filename: str) -> FoundImage | NotFound:
        """The image of `name.xml`, which states `filename` (perhaps empty); or the reason why there is none."""
        for path in self._possible_paths(name, filename):
            found = next(filter(None, map(self._folder.at, spellings(path))), None)
            if found is not None:
                self._suffix = found.path.suffix
                return found
        if filename:
            other = self._folder.find(filename)
            if isinstance(other, FoundImage) or other.reason == NO_NAME_INSIDE:
                return other
        return NotFound(FILE_MISSING, str(self._images / f"{name}{self._suffix}"))

    def _possible_paths(self, name: str, filename: str) -> Iterator[str]:
        folder, stem = PurePosixPath(name).parent, PurePosixPath(name).name
        suffixes = (self._suffix, *(suffix for suffix in SUFFIXES if suffix != self._suffix))
        yield from (f"{name}{suffix}" for suffix in suffixes)
        if PurePosixPath(filename).suffix.lower() in IMAGE_SUFFIXES:
            yield str(folder / filename)
            yield filename
        if name != stem:  # all images in one folder
            yield from (f"{stem}{suffix}" for suffix in suffixes)


def _xml_files(config: VocSource, counts: Counts) -> Iterator[str]:
    """The paths of the XML files below their folder, in a fixed order."""
    if config.image_list is not None:
        yield from _listed_files(config.image_list, config.annotations, counts)
        return
    for prefix, files in walk(config.annotations, counts):
        yield from (f"{prefix}{file}" for file in files if file.lower().endswith(_XML))


def _listed_files(path: Path, folder: Path, counts: Counts) -> Iterator[str]:
    """The XML files of a list with one name per line, perhaps with the suffix of the image.

    A number may follow: 1 if the image shows a class, else -1.
    """
    names, lines = NameTable(), 0
    for line in filter(None, map(str.strip, text_lines(path))):
        name, *rest = line.rsplit(maxsplit=1)
        has_number = rest and rest[0].removeprefix("-").isdigit()
        lines += 1
        if not has_number or file_size(folder / f"{line}{_XML}") is not None:
            name = line
        stem, _, suffix = name.rpartition(".")
        is_image = f".{suffix.lower()}" in IMAGE_SUFFIXES and file_size(folder / f"{name}{_XML}") is None
        names.mention(stem if is_image else name)
    first_mentions = names.first_mentions().tolist()
    numbers = [number for number, first in enumerate(first_mentions) if number == first]
    counts["name that occurred before in the list"] += lines - len(numbers)
    for number in numbers:
        if stays_inside(name := names[number]):
            yield f"{name}{_XML}"
        else:
            counts.leave_out(NO_NAME_INSIDE, name, f"{path}: {name}")
