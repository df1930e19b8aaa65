"""Boxes of images that lie in class folders: FOLDER/CLASS/PICTURE.xml for each image that somebody annotated.

So come the boxes of ILSVRC CLS-LOC and of the full ImageNet. In an annotated image everything of the image's
own class has its box; nobody looked for other things.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from data_prep.records import BoxLabel
from data_prep.sources.columns.label_table import BoxRow, box_labels
from data_prep.sources.contents import NO_SIZE
from data_prep.sources.imagenet_images import entries_of
from data_prep.sources.voc_xml import AnnotationError, XmlObject, read_annotation


class Annotated(NamedTuple):
    """What is known of the things in an image; boxes None: nobody looked.

    has_all_of_its_class: everything of the image's class has its box, and there is one.
    """

    size_px: tuple[int, int] | None = None
    boxes: tuple[BoxLabel, ...] | None = None
    has_all_of_its_class: bool = False


class ClassBoxes:
    """The annotations of one class's images."""

    def __init__(self, folder: Path, class_index: int, classes: Mapping[str, int]) -> None:
        entries = entries_of(folder) if folder.is_dir() else []
        self._paths = {path.stem: path for path in map(Path, entries) if path.suffix.lower() == ".xml"}
        self._class_index, self._classes = class_index, classes
        self.unused = set(self._paths)  # names of annotations whose images have not been asked for

    def of_image(self, name: str, counts: Counter[str]) -> Annotated:
        """The boxes of an image of the class; counts what cannot be used."""
        stem = PurePosixPath(name).stem
        self.unused.discard(stem)
        if stem not in self._paths:
            return Annotated()
        try:
            found = read_annotation(self._paths[stem])
        except AnnotationError as reason:
            counts[str(reason)] += 1
            return Annotated()
        if found.size_px is None:
            counts[NO_SIZE] += 1
            return Annotated()
        rows = self._rows(found.objects, counts)
        boxes = box_labels(rows, found.size_px, range(len(self._classes)), counts)
        counts["difficult object kept as an ignore region"] += sum(box.is_ignored for box in boxes)
        wanted = sum(row.class_index == self._class_index for row in rows)
        kept = sum(box.class_index == self._class_index for box in boxes)
        return Annotated(found.size_px, boxes, has_all_of_its_class=kept == wanted > 0)

    def _rows(self, objects: Iterable[XmlObject], counts: Counter[str]) -> list[BoxRow]:
        rows = []
        for one in objects:
            class_index = self._classes.get(one.name)
            if class_index is None:
                counts["box of a class that is not among the folders"] += 1
            else:
                rows.append(BoxRow(class_index, one.xyxy_px, one.is_difficult))
        return rows
