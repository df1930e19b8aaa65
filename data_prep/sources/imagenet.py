"""ImageNet: a folder or a tar for each class, or one tar of such folders or tars; each image shows its class.

Tars are read where they are: ILSVRC's tar of tars, the 21,841 tars of the full release, or any tar of class folders.
The same images have the same names, order and labels in all of these. With `boxes`, images whose boxes somebody
drew (ILSVRC CLS-LOC: CLASS/PICTURE.xml) carry them besides their label.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from data_prep.config import ImageNetSource
from data_prep.records import ImageLabel, ImageRecord
from data_prep.sources.contents import (
    OpenSource,
    SourceError,
    counts_in_words,
    readable_name,
    require_folder,
)
from data_prep.sources.files.tar import refuse_compressed, tar_file
from data_prep.sources.imagenet_boxes import Annotated, ClassBoxes
from data_prep.sources.imagenet_images import BESIDE, ImageClass, entries_of, images_of_folder
from data_prep.sources.imagenet_tars import class_of_tar, classes_in_tar

_NO_CLASS_FOR_BOXES = "folder of boxes whose class is not there"


def open_source(config: ImageNetSource) -> OpenSource:
    """The classes, sorted by name; raises SourceError where there are none."""
    beside: Counter[str] = Counter()
    if config.images.is_file():
        classes = classes_in_tar(config.images, beside)
    else:
        require_folder(config.images, config.name)
        classes = _classes_in_folder(config.images, beside)
    classes.sort(key=lambda one: one.name)
    _check(classes, beside, config)
    names = tuple(readable_name(one.name) for one in classes)
    if config.boxes is not None:
        require_folder(config.boxes, config.name, "boxes")
        beside[_NO_CLASS_FOR_BOXES] += _folders_without_class(config.boxes, classes)
    contents = _Contents(classes, beside, config.boxes)
    has_boxes = config.boxes is not None
    return OpenSource(config.name, has_boxes, names, contents.records, is_federated=has_boxes)


@dataclass(frozen=True)
class _Contents:
    classes: list[ImageClass]
    counted_before: Counter[str]
    boxes: Path | None

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counted_before)
        number_of = {readable_name(one.name): number for number, one in enumerate(self.classes)}
        for class_index, one in enumerate(self.classes):
            boxes = None if self.boxes is None else ClassBoxes(self.boxes / one.name, class_index, number_of)
            is_empty = True
            for image in one.pictures(counts):
                is_empty = False
                found = Annotated() if boxes is None else boxes.of_image(image.name, counts)
                yield ImageRecord(
                    readable_name(f"{one.name}/{image.name}"),
                    image.path,
                    image.size_bytes,
                    found.size_px,
                    found.boxes,
                    (ImageLabel(class_index, is_exhaustive=found.has_all_of_its_class),),
                    image.offset,
                )
            counts["class without an image"] += is_empty
            counts["annotation file whose image is not there"] += len(boxes.unused) if boxes else 0


def _classes_in_folder(folder: Path, counts: Counter[str]) -> list[ImageClass]:
    """A class for each folder and each tar; counts what lies beside them."""
    classes = []
    for entry in entries_of(folder):
        path = Path(entry.path)
        if entry.is_dir() and not entry.name.startswith("."):
            classes.append(ImageClass(entry.name, partial(images_of_folder, path)))
        elif entry.is_file() and path.suffix == ".tar":
            classes.append(class_of_tar(path.stem, tar_file(path)))
        else:
            refuse_compressed(entry.path)
            counts[BESIDE] += 1
    return classes


def _folders_without_class(folder: Path, classes: list[ImageClass]) -> int:
    names = {one.name for one in classes}
    return sum(entry.is_dir() and entry.name not in names for entry in entries_of(folder))


def _check(classes: list[ImageClass], beside: Counter[str], config: ImageNetSource) -> None:
    if not classes:
        found = counts_in_words(beside) or "nothing"
        raise SourceError(
            f"source {config.name!r}: expected a folder or a tar for each class (n02084071/… or n02084071.tar) in "
            f"{config.images}, found {found}. Images whose classes stand in a list are read by format csv or voc."
        )
    for one, other in pairwise(classes):
        if one.name == other.name:
            raise SourceError(
                f"source {config.name!r}: class {readable_name(one.name)} is both a folder and a tar in "
                f"{config.images}; remove one of them."
            )
