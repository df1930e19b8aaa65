"""ImageNet: a folder or a tar for each class, or one tar of such folders or tars; each image shows its class.

Tars are read without unpacking: ILSVRC's tar of tars, the 21,841 tars of the full release, any tar of class folders.
Names, order and labels of the images do not depend on the layout. With `boxes`, annotated images (ILSVRC CLS-LOC:
CLASS/IMAGE.xml) have boxes besides their label.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from data_prep.config import ImageNetSource
from data_prep.records import ImageLabel, ImageRecord
from data_prep.sources.files.image_folder import HIDDEN, is_hidden
from data_prep.sources.files.tar import refuse_compressed, whole_tar
from data_prep.sources.imagenet_boxes import NOT_ANNOTATED, ClassBoxes
from data_prep.sources.imagenet_images import (
    FILE_BESIDE_CLASSES,
    ClassImage,
    ImageClass,
    entries_of,
    images_of_folder,
)
from data_prep.sources.imagenet_tars import class_of_tar, classes_in_tar
from data_prep.sources.paths import readable_name, require_folder
from data_prep.sources.source import Counts, OpenSource, SourceError, counts_in_words

_BELOW = "image in a folder below its class (for the deepest folder as class, set `class_folder: deepest`)"
_BOXES_BESIDE_FOLDERS = "annotation file beside the folders of the classes (CLASS/IMAGE.xml)"
_NO_CLASS_FOR_BOXES = "folder of boxes without a class of images"


def open_source(config: ImageNetSource) -> OpenSource:
    """The classes, sorted by name, and their images; raises SourceError if there is no class."""
    counts = Counts()
    if config.images.is_file():
        classes = classes_in_tar(config.images, counts)
    else:
        require_folder(config.images, config.name)
        classes = _classes_in_folder(config.images, counts)
    if config.class_folder == "deepest":
        classes = _deepest_folders(classes, counts)
    classes.sort(key=lambda image_class: image_class.name)
    _check(classes, counts, config)
    names = tuple(readable_name(image_class.name) for image_class in classes)
    if config.boxes is not None:
        require_folder(config.boxes, config.name, "boxes")
        for folder in _folders_without_class(config.boxes, classes):
            counts.leave_out_box(_NO_CLASS_FOR_BOXES, folder, str(config.boxes / folder))
        for file in entries_of(config.boxes):
            if file.name.lower().endswith(".xml"):
                counts.leave_out_box(
                    _BOXES_BESIDE_FOLDERS, readable_name(file.name), readable_name(file.path)
                )
    contents = _Contents(classes, counts, config.boxes)
    has_boxes = config.boxes is not None
    return OpenSource(config.name, has_boxes, names, contents.records, is_federated=has_boxes)


@dataclass(frozen=True)
class _Contents:
    classes: list[ImageClass]
    counted_before: Counts
    boxes: Path | None

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        counts.add_all(self.counted_before)
        number_of = {
            readable_name(image_class.name): number for number, image_class in enumerate(self.classes)
        }
        images = below = 0
        for class_index, image_class in enumerate(self.classes):
            boxes = None
            if self.boxes is not None:
                boxes = ClassBoxes(self.boxes / image_class.name, class_index, number_of)
            is_empty = True
            for image in image_class.images(counts):
                is_empty = False
                images += 1
                below += "/" in image.name and not image_class.is_whole_path
                annotation = NOT_ANNOTATED if boxes is None else boxes.of_image(image.name, counts)
                yield ImageRecord(
                    readable_name(
                        image.name if image_class.is_whole_path else f"{image_class.name}/{image.name}"
                    ),
                    image.path,
                    image.size_bytes,
                    annotation.size_px,
                    annotation.boxes,
                    (ImageLabel(class_index, is_exhaustive=annotation.is_exhaustive),),
                    image.offset,
                )
            if is_empty:
                counts.leave_out("class without an image", readable_name(image_class.name))
            for name in sorted(boxes.unused) if boxes else ():
                counts.leave_out_box("annotation file without an image", f"{image_class.name}/{name}.xml")
        counts[_BELOW] += below if below == images else 0


def _classes_in_folder(folder: Path, counts: Counts) -> list[ImageClass]:
    """A class for each folder and each tar; counts the files beside them."""
    classes = []
    for entry in entries_of(folder):
        path = Path(entry.path)
        if entry.is_dir() and is_hidden(entry.name):
            counts.leave_out(HIDDEN, readable_name(entry.name), readable_name(entry.path))
        elif entry.is_dir():
            classes.append(ImageClass(entry.name, partial(images_of_folder, path)))
        elif entry.is_file() and path.suffix.lower() == ".tar":
            classes.append(class_of_tar(path.stem, whole_tar(path)))
        else:
            refuse_compressed(entry.path)
            counts.leave_out(FILE_BESIDE_CLASSES, readable_name(entry.name), readable_name(entry.path))
    return classes


def _deepest_folders(classes: list[ImageClass], counts: Counts) -> list[ImageClass]:
    """A class for each folder that holds images; folders of one name are one class."""
    images_of: dict[str, list[ClassImage]] = {}
    for image_class in classes:
        for image in image_class.images(counts):
            folder, _, file = f"{image_class.name}/{image.name}".rpartition("/")
            name = folder.rpartition("/")[2]
            images_of.setdefault(name, []).append(image._replace(name=f"{folder}/{file}"))
    return [
        ImageClass(name, partial(_listed, images), is_whole_path=True) for name, images in images_of.items()
    ]


def _listed(images: list[ClassImage], _: Counts) -> list[ClassImage]:
    return images


def _folders_without_class(folder: Path, classes: list[ImageClass]) -> list[str]:
    names = {image_class.name for image_class in classes}
    return [entry.name for entry in entries_of(folder) if entry.is_dir() and entry.name not in names]


def _check(classes: list[ImageClass], counts: Counts, config: ImageNetSource) -> None:
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
