"""ImageNet: a folder or a tar for each class, or one tar of such folders or tars; each image shows its class.

Tars are read without unpacking: ILSVRC's tar of tars, the 21,841 tars of the full release, any tar of class folders.
Names, order and labels of the images do not depend on the layout. With `boxes`, annotated images (ILSVRC CLS-LOC:
CLASS/IMAGE.xml) have boxes besides their label.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from data_prep.config import ImageNetSource
from data_prep.records import ImageLabel, ImageRecord
from data_prep.sources.files.tar import refuse_compressed, whole_tar
from data_prep.sources.imagenet_boxes import NOT_ANNOTATED, ClassBoxes
from data_prep.sources.imagenet_images import FILE_BESIDE_CLASSES, ImageClass, entries_of, images_of_folder
from data_prep.sources.imagenet_tars import class_of_tar, classes_in_tar
from data_prep.sources.paths import readable_name, require_folder
from data_prep.sources.source import OpenSource, SourceError, counts_in_words

_NO_CLASS_FOR_BOXES = "folder of boxes without a class of images"


def open_source(config: ImageNetSource) -> OpenSource:
    """The classes, sorted by name, and their images; raises SourceError if there is no class."""
    counts: Counter[str] = Counter()
    if config.images.is_file():
        classes = classes_in_tar(config.images, counts)
    else:
        require_folder(config.images, config.name)
        classes = _classes_in_folder(config.images, counts)
    classes.sort(key=lambda image_class: image_class.name)
    _check(classes, counts, config)
    names = tuple(readable_name(image_class.name) for image_class in classes)
    if config.boxes is not None:
        require_folder(config.boxes, config.name, "boxes")
        counts[_NO_CLASS_FOR_BOXES] += _folders_without_class(config.boxes, classes)
    contents = _Contents(classes, counts, config.boxes)
    has_boxes = config.boxes is not None
    return OpenSource(config.name, has_boxes, names, contents.records, is_federated=has_boxes)


@dataclass(frozen=True)
class _Contents:
    classes: list[ImageClass]
    counted_before: Counter[str]
    boxes: Path | None

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts.update(self.counted_before)
        number_of = {
            readable_name(image_class.name): number for number, image_class in enumerate(self.classes)
        }
        for class_index, image_class in enumerate(self.classes):
            boxes = None
            if self.boxes is not None:
                boxes = ClassBoxes(self.boxes / image_class.name, class_index, number_of)
            is_empty = True
            for image in image_class.images(counts):
                is_empty = False
                annotation = NOT_ANNOTATED if boxes is None else boxes.of_image(image.name, counts)
                yield ImageRecord(
                    readable_name(f"{image_class.name}/{image.name}"),
                    image.path,
                    image.size_bytes,
                    annotation.size_px,
                    annotation.boxes,
                    (ImageLabel(class_index, is_exhaustive=annotation.is_exhaustive),),
                    image.offset,
                )
            counts["class without an image"] += is_empty
            counts["annotation file without an image"] += len(boxes.unused) if boxes else 0


def _classes_in_folder(folder: Path, counts: Counter[str]) -> list[ImageClass]:
    """A class for each folder and each tar; counts the files beside them."""
    classes = []
    for entry in entries_of(folder):
        path = Path(entry.path)
        if entry.is_dir() and not entry.name.startswith("."):
            classes.append(ImageClass(entry.name, partial(images_of_folder, path)))
        elif entry.is_file() and path.suffix == ".tar":
            classes.append(class_of_tar(path.stem, whole_tar(path)))
        else:
            refuse_compressed(entry.path)
            counts[FILE_BESIDE_CLASSES] += 1
    return classes


def _folders_without_class(folder: Path, classes: list[ImageClass]) -> int:
    names = {image_class.name for image_class in classes}
    return sum(entry.is_dir() and entry.name not in names for entry in entries_of(folder))


def _check(classes: list[ImageClass], counts: Counter[str], config: ImageNetSource) -> None:
    if not classes:
        found = counts_in_words(counts) or "nothing"
        raise SourceError(
            f"source {config.name!r}: expected a folder or a tar for each class (n02084071/… or n02084071.tar) in "
            f"{config.images}, found {found}. If a list states the classes of the images, use format csv or voc."
        )
    for image_class, following in pairwise(classes):
        if image_class.name == following.name:
            raise SourceError(
                f"source {config.name!r}: class {readable_name(image_class.name)} is both a folder and a tar in "
                f"{config.images}; remove one of them."
            )
