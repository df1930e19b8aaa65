"""PASCAL VOC and ILSVRC: one XML file for each image, named as the image is, at any depth."""

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from data_prep.config import VocSource
from data_prep.records import ImageRecord
from data_prep.shards.images import upright_size_px
from data_prep.sources.columns.label_table import LabelTable, box_labels
from data_prep.sources.columns.name_table import ClassNames, NameTable, PackedNames
from data_prep.sources.contents import (
    BOX_OF_LOST_IMAGE,
    FILE_MISSING,
    IMAGE_SUFFIXES,
    NO_NAME_INSIDE,
    NO_SIZE,
    OpenSource,
    SourceError,
    counts_in_words,
    file_size,
    readable_name,
    require_folder,
    stays_inside,
)
from data_prep.sources.files.image_folder import FoundImage, ImageFolder, walk
from data_prep.sources.files.text_lines import text_lines
from data_prep.sources.voc_xml import AnnotationError, read_annotation

_XML: Final = ".xml"
_USUAL: Final = (".jpg", ".JPEG", ".jpeg", ".png", ".JPG", ".PNG")
_SUFFIXES: Final = (*_USUAL, *sorted(IMAGE_SUFFIXES.difference(_USUAL)))


def open_source(config: VocSource) -> OpenSource:
    """All annotations, read once; raises SourceError where none of the files is one."""
    require_folder(config.images, config.name)
    require_folder(config.annotations, config.name, "XML files")
    contents = _Contents(config.images)
    for file in _xml_files(config, contents.counts):
        contents.read(config.annotations, file)
    if not contents.sizes_px:
        found = counts_in_words(contents.counts) or "no XML file"
        raise SourceError(
            f"source {config.name!r}: expected annotations of PASCAL VOC in {config.annotations}, found {found}"
            f"{contents.first_trouble}."
        )
    return OpenSource(config.name, has_boxes=True, classes=contents.finish(), stream=contents.records)


@dataclass
class _Contents:
    """What the XML files say, in columns: of each image its name and size, of all images the boxes.

    names: a file's path without `.xml`, and after a null the image's name where that is another.
    sizes_px: width, height; 0, 0 where the file states none.
    classes: for the class index of each box the number of its class in the source, once all is read.
    """

    images: Path
    names: PackedNames = field(default_factory=PackedNames)
    sizes_px: "array[int]" = field(default_factory=lambda: array("i"))
    boxes: LabelTable = field(default_factory=LabelTable)
    class_names: ClassNames = field(default_factory=ClassNames)
    classes: list[int] = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    first_trouble: str = ""

    def read(self, folder: Path, file: str) -> None:
        """Add the annotation of a file in the folder, or count why not."""
        try:
            annotation = read_annotation(folder / file)
        except AnnotationError as reason:
            self.counts[str(reason)] += 1
            self.first_trouble = self.first_trouble or f" (the first: {folder / file}, line {reason.line})"
            return
        name = file[: -len(_XML)]
        is_named_alike = PurePosixPath(annotation.filename).stem in ("", PurePosixPath(name).name)
        number = len(self.names)
        self.names.append(name if is_named_alike else f"{name}\0{annotation.filename}")
        self.sizes_px.extend(annotation.size_px or (0, 0))
        for one in annotation.objects:
            if one.name:
                class_index = self.class_names.number(one.name)
                self.boxes.add(number, class_index, one.xyxy_px, is_ignored=one.is_difficult)
            else:
                self.counts["object without a name"] += 1

    def finish(self) -> tuple[str, ...]:
        """The classes, once all files have been read."""
        self.boxes.sort()
        names, self.classes = self.class_names.in_order()
        return names

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counts)
        finder = _Finder(self.images)
        for number in range(len(self.names)):
            name, _, filename = self.names[number].partition("\0")
            found = finder.find(name, filename)
            record = self._record(number, found, counts) if isinstance(found, FoundImage) else found
            if isinstance(record, ImageRecord):
                yield record
            else:
                counts[record] += 1
                counts[BOX_OF_LOST_IMAGE] += self.boxes.count(number)

    def _record(self, number: int, found: FoundImage, counts: Counter[str]) -> ImageRecord | str:
        """The image with its boxes, or the reason why it cannot be used."""
        width, height = self.sizes_px[2 * number : 2 * number + 2]
        stated = (width, height) if width else None
        size_px = stated or upright_size_px(found.path)
        if size_px is None:
            return NO_SIZE
        boxes = box_labels(self.boxes.boxes(number), size_px, self.classes, counts)
        counts["difficult object kept as an ignore region"] += sum(box.is_ignored for box in boxes)
        source_id = readable_name(found.path.relative_to(self.images).as_posix())
        return ImageRecord(source_id, found.path, found.size_bytes, stated, boxes)


class _Finder:
    """Finds the image of an XML file: as it is named itself, or else as it says."""

    def __init__(self, images: Path) -> None:
        self._folder = ImageFolder(images)
        self._suffix = _SUFFIXES[0]  # of the image found last: the next one's is likely the same

    def find(self, name: str, filename: str) -> FoundImage | str:
        """The image of `name.xml`, which calls it `filename` (empty: the same); or why there is none."""
        reason = FILE_MISSING
        for candidate in self._candidates(name, filename):
            found = self._folder.find(candidate)
            if isinstance(found, FoundImage):
                self._suffix = found.path.suffix
                return found
            reason = found if reason == FILE_MISSING else reason
        return reason

    def _candidates(self, name: str, filename: str) -> Iterator[str]:
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
        yield from _listed(config.image_list, config.annotations, counts)
        return
    for place, files in walk(config.annotations, counts):
        yield from (f"{place}{file}" for file in files if file.lower().endswith(_XML))


def _listed(path: Path, folder: Path, counts: Counter[str]) -> Iterator[str]:
    """The files of a list of names, each on a line and perhaps with a number behind it: 1 shows a class, -1 not."""
    names, lines = NameTable(), 0
    for line in filter(None, map(str.strip, text_lines(path))):
        name, *behind = line.rsplit(maxsplit=1)
        has_number = behind and behind[0].removeprefix("-").isdigit()
        lines += 1
        names.mention(name if has_number and file_size(folder / f"{line}{_XML}") is None else line)
    first_mention = names.settle().tolist()
    numbers = [number for number, first in enumerate(first_mention) if number == first]
    counts["name that occurred before in the list"] += lines - len(numbers)
    for number in numbers:
        if stays_inside(name := names[number]):
            yield f"{name}{_XML}"
        else:
            counts[NO_NAME_INSIDE] += 1
