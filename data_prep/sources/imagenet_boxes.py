"""Boxes of ImageNet (ILSVRC CLS-LOC and the full release): FOLDER/CLASS/IMAGE.xml for each annotated image.

An annotated image is exhaustively annotated for its own class, and for no other class.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.records import Boxes
from data_prep.sources.columns.label_table import StatedBoxes, unit_boxes
from data_prep.sources.imagenet_images import entries_of
from data_prep.sources.source import Counts
from data_prep.sources.voc_xml import SECOND_BOX, AnnotationError, XmlObject, read_annotation


class BoxAnnotation(NamedTuple):
    """The size and the boxes of an image; both are None if the image has not been annotated.

    is_exhaustive: the image has a box for every object of its class, and for at least one.
    """

    size_px: tuple[int, int] | None = None
    boxes: Boxes | None = None
    is_exhaustive: bool = False


NOT_ANNOTATED = BoxAnnotation()


class ClassBoxes:
    """The annotations of the images of one class."""

    def __init__(self, folder: Path, class_index: int, classes: Mapping[str, int]) -> None:
        entries = entries_of(folder) if folder.is_dir() else []
        self._paths = {path.stem: path for path in map(Path, entries) if path.suffix.lower() == ".xml"}
        self._class_index, self._classes = class_index, classes
        self.unused = set(self._paths)  # names of annotations not yet requested

    def of_image(self, name: str, counts: Counts) -> BoxAnnotation:
        """The annotation of an image of the class; counts annotations and boxes that cannot be used."""
        stem = PurePosixPath(name).stem
        self.unused.discard(stem)
        if stem not in self._paths:
            return NOT_ANNOTATED
        try:
            annotation = read_annotation(self._paths[stem])
        except AnnotationError as reason:
            counts.leave_out_box(str(reason), name, f"{self._paths[stem]}, {reason.place}")
            return NOT_ANNOTATED
        if annotation.size_px is None:
            counts.leave_out_box("image without width and height", name, str(self._paths[stem]))
            return NOT_ANNOTATED
        stated = self._stated_boxes(annotation.objects, self._paths[stem], counts)
        is_complete = all(one.name and not one.has_more for one in annotation.objects)
        boxes = unit_boxes(stated, annotation.size_px, counts, f"{self._paths[stem]}")
        counts["difficult object kept as an ignore region"] += sum(boxes.is_ignored)
        objects = stated.class_index.count(self._class_index)
        kept = boxes.class_index.count(self._class_index)
        return BoxAnnotation(annotation.size_px, boxes, is_exhaustive=kept == objects > 0 and is_complete)

    def _stated_boxes(self, objects: Iterable[XmlObject], path: Path, counts: Counts) -> StatedBoxes:
        stated = StatedBoxes()
        for xml_object in objects:
            if xml_object.has_more:
                counts.leave_out_box(SECOND_BOX, str(path), f"{path}: {xml_object.name}")
            class_index = self._classes.get(xml_object.name)
            if class_index is None:
                reason = "box of a class that is not among the folders"
                counts.leave_out_box(reason, str(path), f"{path}: {xml_object.name}")
            else:
                stated.add(class_index, xml_object.xyxy_px, is_ignored=xml_object.is_difficult)
        return stated
