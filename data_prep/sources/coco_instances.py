"""An instances file (COCO, LVIS, Objects365) in columns: images, categories and boxes, in any order."""

import json
import re
from array import array
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from data_prep.records import Corners
from data_prep.sources.columns.image_columns import UNKNOWN, UNLISTED, ImageColumns
from data_prep.sources.columns.label_table import BoxTable, ImageLabelTable
from data_prep.sources.files.json_stream import POLYGONS_NOT_KEPT, JsonText, open_json
from data_prep.sources.files.text_lines import is_yes, number
from data_prep.sources.mask_boxes import NO_CORNERS, box_of_mask
from data_prep.sources.paths import readable_name
from data_prep.sources.source import Counts, SourceError
from data_prep.sources.unit_box import are_finite
from wordtree.support.arrays import Int32Array

_BOX_OF_UNLISTED_IMAGE = "box of an image that the file does not list"
_MOST_CLASSES = 1 << 20
_NO_BOX: tuple[object, ...] = (None, [], [0, 0, 0, 0])  # the last beside a mask only
_NUMBERS = frozenset({int, float})  # bool is neither
_INTEGER = re.compile(r"(?:0|-?[1-9][0-9]{0,17})(?:\.0)?")  # as JSON writes an integer or an integral float

FileName = Callable[[dict[str, Any]], object]


class Instances:
    """A file that has been read. Images and classes are numbered in the order of their entries.

    categories, classes: the entries and the names of the categories; categories of one name are one class.
    boxes: corners in pixels. Boxes of unlisted images belong to image UNLISTED, boxes of unlisted categories to
        class UNLISTED, boxes whose category is no id to class UNKNOWN.
    unboxed: a positive label for each annotation without a box.
    labels: the two lists of LVIS: a negative label if the class is absent, a positive label if the class is not
        exhaustively annotated.
    unlisted: the image ids of boxes whose image the file does not list; has_text_ids: whether some image id of a box
        is a text, so that a number in `unlisted` may be its hash.
    lacks_polygons: whether some box is that of polygons, which were not kept when the file was read.
    counts: the number of entries left out or irregular, by reason.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.images = ImageColumns()
        self.categories: list[dict[str, Any]] = []
        self.classes: tuple[str, ...] = ()
        self.boxes, self.labels, self.unboxed = BoxTable(), ImageLabelTable(), ImageLabelTable()
        self.unlisted: list[int] = []
        self.has_text_ids = self.lacks_polygons = False
        self.counts = Counts()
        self._class_numbers: dict[int | None, int] = {}
        self._image_of_box, self._image_of_unboxed = array("q"), array("q")
        self._annotation_ids = array("q")

    def add_image(self, image: dict[str, Any], file_name: FileName) -> None:
        """Add an entry of `images`."""
        key = _id_key(image.get("id"))
        if key is None:
            self.counts.leave_out("image without an id", str(file_name(image)))
            return
        for name, is_positive in (("neg_category_ids", False), ("not_exhaustive_category_ids", True)):
            category_ids = image.get(name)
            for category_id in category_ids if isinstance(category_ids, list) else ():
                self.labels.add(len(self.images), self._class_number(category_id), is_positive=is_positive)
        self.images.add(key, file_name(image), image.get("width"), image.get("height"))

    def add_annotation(self, annotation: dict[str, Any]) -> None:
        """Add an entry of `annotations`."""
        bbox, image_id = annotation.get("bbox"), annotation.get("image_id")
        key, corners = _id_key(image_id), _corners_px(bbox)
        if corners is NO_CORNERS and "segments_info" in annotation:
            raise_other_format(self._path, "found panoptic annotations")
        annotation_id = _id_key(annotation.get("id"))
        if annotation_id is not None:
            self._annotation_ids.append(annotation_id)
        if key is None:
            self.counts.leave_out_box(_BOX_OF_UNLISTED_IMAGE, f"annotation {annotation.get('id')}")
            return
        self.has_text_ids |= type(image_id) is str
        class_number = self._class_number(annotation.get("category_id"))
        crowd, ignore = annotation.get("iscrowd"), annotation.get("ignore")
        is_ignored = bool(crowd or ignore) and (is_yes(crowd) or is_yes(ignore))
        if (corners is NO_CORNERS or not any(corners)) and bbox in _NO_BOX:
            if _has_mask(annotation):
                corners = self._box_of_mask(annotation["segmentation"])
            elif not bbox:
                if not is_ignored:
                    self.unboxed.add(len(self.unboxed), class_number)
                    self._image_of_unboxed.append(key)
                return
        self.boxes.add(len(self.boxes), class_number, corners, is_ignored=is_ignored)
        self._image_of_box.append(key)

    def _box_of_mask(self, segmentation: object) -> Corners:
        corners = box_of_mask(segmentation)
        self.lacks_polygons |= segmentation == POLYGONS_NOT_KEPT
        if corners is not NO_CORNERS:
            self.counts["box of the mask, as the annotation has no bbox (kept)"] += 1
        return corners

    def add_category(self, category: dict[str, Any]) -> None:
        """Add an entry of `categories`."""
        self.categories.append(category)
        if len(self.categories) > _MOST_CLASSES:
            self._too_many_classes()

    def finish(self) -> None:
        """Match boxes to images and categories; call it at the end of the file."""
        self._count_repeated_annotations()
        class_of = self._match_classes()
        self.images.finish()
        for table, keys in ((self.boxes, self._image_of_box), (self.unboxed, self._image_of_unboxed)):
            ids = np.frombuffer(keys, dtype=np.int64)
            image_of = self.images.find(ids)
            table.sort(image_of, class_of)
            self.unlisted += ids[image_of == UNLISTED].tolist()
        self.labels.sort(self.images.first_of_file, class_of)
        self._image_of_box, self._image_of_unboxed = array("q"), array("q")

    @property
    def has_boxes(self) -> bool:
        """Whether some annotation has a box; otherwise the annotations are image labels."""
        return len(self.boxes) > 0 or not len(self.unboxed)

    def _class_number(self, category_id: object) -> int:
        number = self._class_numbers.setdefault(_id_key(category_id), len(self._class_numbers))
        if number >= _MOST_CLASSES:
            self._too_many_classes()
        return number

    def _too_many_classes(self) -> NoReturn:
        raise_other_format(self._path, f"found more than {_MOST_CLASSES} different category ids")

    def _count_repeated_annotations(self) -> None:
        ids = np.sort(np.frombuffer(self._annotation_ids, dtype=np.int64))
        self._annotation_ids = array("q")
        self.counts["annotation id that occurred before (kept)"] += int(np.count_nonzero(ids[1:] == ids[:-1]))

    def _groups(self) -> set[str]:
        """The names of the categories above others."""
        return {
            str(category["supercategory"])
            for category in self.categories
            if category.get("supercategory") not in (None, category.get("name"))
        }

    def _match_classes(self) -> Int32Array:
        """Name the classes; returns the class of each preliminary number, or UNLISTED."""
        classes: dict[int | None, int] = {None: UNKNOWN}
        first_of_name: dict[str, dict[str, Any]] = {}
        names: dict[str, int] = {}
        groups = self._groups()
        for position, category in enumerate(self.categories):
            key, name = _id_key(category.get("id")), category.get("name")
            if type(name) in _NUMBERS:
                name = f"{name:g}" if isinstance(name, float) else str(name)
            if key is None or not isinstance(name, str):
                raise SourceError(f"{self._path}: category {position + 1} has no id or no name.")
            if name in groups and key not in self._class_numbers:
                # Roboflow's root. As a class, it would claim that every object below it has a box.
                self.counts.leave_out("category that only groups others (not read)", name)
                continue
            name = readable_name(name)
            number = names.setdefault(name, len(names))
            if classes.setdefault(key, number) != number:
                raise SourceError(
                    f"{self._path}: category id {category['id']} is listed twice, the second time as {name!r}; "
                    "give each category an id of its own."
                )
            if first_of_name.setdefault(name, category) is not category:
                self.counts["category listed again under the same name (read as one class)"] += 1
        self.categories, self.classes = list(first_of_name.values()), tuple(names)
        return np.array([classes.get(key, UNLISTED) for key in self._class_numbers], dtype=np.int32)


def read_instances(path: Path, source: str, file_name: FileName) -> Instances:
    """The content of an instances file, read in pieces; raises SourceError if the file is something else.

    file_name: the path of an image relative to the folder of images, from its entry in `images`.
    """
    instances = Instances(path)
    _read_into(instances, path, source, file_name)
    if instances.lacks_polygons:
        instances = Instances(path)
        _read_into(instances, path, source, file_name, keep_polygons=True)
    instances.finish()
    text_of = _text_ids(path, source, instances.unlisted) if instances.has_text_ids else {}
    for image_id in instances.unlisted:
        instances.counts.leave_out_box(_BOX_OF_UNLISTED_IMAGE, f"image id {text_of.get(image_id, image_id)}")
    return instances


def _read_into(
    instances: Instances, path: Path, source: str, file_name: FileName, *, keep_polygons: bool = False
) -> None:
    add_entry: dict[str, Callable[[dict[str, Any]], None]] = {
        "images": lambda image: instances.add_image(image, file_name),
        "annotations": instances.add_annotation,
        "categories": instances.add_category,
    }
    missing = set(add_entry)
    with open_json(path, source, keep_polygons=keep_polygons) as text:
        _require_object(text, path)
        for key in text.members():
            if key not in add_entry or text.next_char() != "[":
                text.skip()
                continue
            if key not in missing:
                raise_other_format(path, f"found two lists {key!r}")
            missing.remove(key)
            for entry in text.elements():
                if not isinstance(entry, dict):
                    raise_other_format(path, f"{key!r} holds entries that are not objects")
                add_entry[key](entry)
        text.require_end()
    for key in add_entry:
        if key in missing:
            raise_other_format(path, f"found no list {key!r}")


def _text_ids(path: Path, source: str, keys: list[int]) -> dict[int, str]:
    """The texts of the image ids whose keys are given, from the annotations of a file that has been read before."""
    wanted, text_of = set(keys), {}
    with open_json(path, source) as text:
        for member in text.members() if wanted and text.next_char() == "{" else ():
            if member != "annotations" or text.next_char() != "[":
                text.skip()
                continue
            for annotation in text.elements():
                image_id = annotation.get("image_id")
                if isinstance(image_id, str) and (key := _id_key(image_id)) in wanted:
                    text_of[key] = image_id
    return text_of


def raise_other_format(path: Path, problem: str) -> NoReturn:
    """Raise the SourceError for JSON in another format."""
    raise SourceError(
        f"{path}: not a COCO instances file: {problem}; expected an object with the lists "
        "'images', 'annotations' (each with 'bbox') and 'categories'. Other annotation tools can export this format."
    )


def _require_object(text: JsonText, path: Path) -> None:
    char = text.next_char()
    if char == "{":
        return
    if char == "[":
        next(text.elements(), None)  # invalid JSON raises its own error here
        raise_other_format(path, "found a list")
    raise_other_format(path, f"found {json.dumps(text.value())[:40]}")


def _has_mask(annotation: dict[str, Any]) -> bool:
    """Whether an annotation outlines its object, so that it should have a box; JsonText reads polygons as 0."""
    return annotation.get("segmentation") not in (None, [], [[]], "", {})


def _id_key(value: object) -> int | None:
    """The id as a number of 64 bits, hashed if it is a text; None if the value is no id.

    1, 1.0 and "1" are one id: tools that pass through tables change integers into floats and texts.
    """
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and value.is_integer():
        return _id_key(int(value))
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value.partition(".")[0])
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return int.from_bytes(blake2b(repr(value).encode(), digest_size=8).digest(), "little", signed=True)
    return None


def _corners_px(xywh_px: object) -> Corners:
    """Left, top, right, bottom; NaN unless the box has four finite numbers."""
    if not isinstance(xywh_px, list) or len(xywh_px) != 4:
        return NO_CORNERS
    if not _NUMBERS.issuperset(map(type, xywh_px)):
        if not all(isinstance(value, str) or type(value) in _NUMBERS for value in xywh_px):
            return NO_CORNERS
        xywh_px = [number(value) if isinstance(value, str) else value for value in xywh_px]
    x, y, width, height = xywh_px
    return (x, y, x + width, y + height) if are_finite(x, y, width, height) else NO_CORNERS
