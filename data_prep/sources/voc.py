"""PASCAL VOC and ILSVRC: one XML file for each image, with the name of the image, at any depth."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from data_prep.config import VocSource
from data_prep.records import ImageRecord
from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.shards.images import upright_size_px
from data_prep.sources.columns.label_table import BoxTable, unit_boxes
from data_prep.sources.columns.name_table import ClassNames, NameTable, PackedNames
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, walk
from data_prep.sources.files.text_lines import text_lines
from data_prep.sources.paths import file_size, readable_name, require_folder, stays_inside
from data_prep.sources.source import (
    FILE_MISSING,
    NO_NAME_INSIDE,
    NO_SIZE,
    OpenSource,
    SourceError,
    count_lost_image,
    counts_in_words,
)
from data_prep.sources.voc_xml import AnnotationError, read_annotation

_XML: Final = ".xml"
_COMMON_SUFFIXES: Final = (".jpg", ".JPEG", ".jpeg", ".png", ".JPG", ".PNG")
_SUFFIXES: Final = (*_COMMON_SUFFIXES, *sorted(IMAGE_SUFFIXES.difference(_COMMON_SUFFIXES)))


def open_source(config: VocSource) -> OpenSource:
    """All annotations, read once; raises SourceError if no file is an annotation."""
    require_folder(config.images, config.name)
    require_folder(config.annotations, config.name, "XML files")
    contents = _Contents(config.images)
    for file in _xml_files(config, contents.counts):
        contents.read(config.annotations, file)
    if not contents.sizes_px:
        found = counts_in_words(contents.counts) or "no XML file"
        raise SourceError(
            f"source {config.name!r}: expected annotations of PASCAL VOC in {config.annotations}, found {found}"
            f"{contents.first_problem}."
        )
    return OpenSource(config.name, has_boxes=True, classes=contents.finish(), stream=contents.records)


@dataclass
class _Contents:
    """The XML files in columns: names and sizes of the images, and their boxes.

    names: the path of a file without `.xml`; then a null and the name of the image, if it is another.
    sizes_px: width and height of each image in turn; 0, 0 if the file states none.
    """

    images: Path
    names: PackedNames = field(default_factory=PackedNames)
    sizes_px: "array[int]" = field(default_factory=lambda: array("i"))
    boxes: BoxTable = field(default_factory=BoxTable)
    class_names: ClassNames = field(default_factory=ClassNames)
    counts: Counter[str] = field(default_factory=Counter)
    first_problem: str = ""

    def read(self, folder: Path, file: str) -> None:
        """Add the annotation of a file in the folder, or count the reason why it cannot be used."""
        try:
            annotation = read_annotation(folder / file)
        except AnnotationError as reason:
            self.counts[str(reason)] += 1
            self.first_problem = self.first_problem or f" (the first: {folder / file}, line {reason.line})"
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
                self.counts["object without a name"] += 1

    def finish(self) -> tuple[str, ...]:
        """Sort the boxes by image; returns the class names. Call it once all files are read."""
        names, class_of = self.class_names.in_order()
        self.boxes.sort(class_of=class_of)
        return names

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counts)
        finder = _Finder(self.images)
        for image in range(len(self.names)):
            name, _, filename = self.names[image].partition("\0")
            found = finder.find(name, filename)
            record = self._record(image, found, counts) if isinstance(found, FoundImage) else found
            if isinstance(record, ImageRecord):
                yield record
            else:
                count_lost_image(record, counts, boxes=self.boxes.count(image))

    def _record(self, image: int, found: FoundImage, counts: Counter[str]) -> ImageRecord | str:
        """The image with its boxes, or the reason why it cannot be used."""
        width, height = self.sizes_px[2 * image : 2 * image + 2]
        stated_px = (width, height) if width else None
        size_px = stated_px or upright_size_px(found.path)
        if size_px is None:
            return NO_SIZE
        boxes = unit_boxes(self.boxes.boxes(image), size_px, counts)
        counts["difficult object kept as an ignore region"] += sum(boxes.is_ignored)
        source_id = readable_name(found.path.relative_to(self.images).as_posix())
        return ImageRecord(source_id, found.path, found.size_bytes, stated_px, boxes)


class _Finder:
    """Finds the image of an XML file, by the name of the XML file or else by the name that it states."""

    def __init__(self, images: Path) -> None:
        self._folder = ImageFolder(images)
        self._suffix = _SUFFIXES[0]  # of the last image, as the next image likely has the same suffix

    def find(self, name: str, filename: str) -> FoundImage | str:
        """The image of `name.xml`, which states `filename` (perhaps empty); or the reason why there is none."""
        reason = FILE_MISSING
        for path in self._possible_paths(name, filename):
            found = self._folder.find(path)
            if isinstance(found, FoundImage):
                self._suffix = found.path.suffix
                return found
            reason = found if reason == FILE_MISSING else reason
        return reason

    def _possible_paths(self, name: str, filename: str) -> Iterator[str]:
        folder, stem = PurePosixPath(name).parent, PurePosixPath(name).name
        suffixes = (self._suffix, *(suffix for suffix in _SUFFIXES if suffix != self._suffix))
        yield from (f"{name}{suffix}" for suffix in suffixes)
        if PurePosixPath(filename).suffix.lower() in IMAGE_SUFFIXES:
            yield str(folder / filename)
            yield filename
        if name != stem:  # all images in one folder
            yield from (f"{stem}{suffix}" for suffix in suffixes)


def _xml_files(config: VocSource, counts: Counter[str]) -> Iterator[str]:
    """The paths of the XML files below their folder, in a fixed order."""
    if config.image_list is not None:
        yield from _listed_files(config.image_list, config.annotations, counts)
        return
    for prefix, files in walk(config.annotations, counts):
        yield from (f"{prefix}{file}" for file in files if file.lower().endswith(_XML))


def _listed_files(path: Path, folder: Path, counts: Counter[str]) -> Iterator[str]:
    """The XML files of a list with one name per line; a number may follow: 1 if the image shows a class, else -1."""
    names, lines = NameTable(), 0
    for line in filter(None, map(str.strip, text_lines(path))):
        name, *rest = line.rsplit(maxsplit=1)
        has_number = rest and rest[0].removeprefix("-").isdigit()
        lines += 1
        names.mention(name if has_number and file_size(folder / f"{line}{_XML}") is None else line)
    first_mentions = names.first_mentions().tolist()
    numbers = [number for number, first in enumerate(first_mentions) if number == first]
    counts["name that occurred before in the list"] += lines - len(numbers)
    for number in numbers:
        if stays_inside(name := names[number]):
            yield f"{name}{_XML}"
        else:
            counts[NO_NAME_INSIDE] += 1
