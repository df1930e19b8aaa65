"""LVIS JSON: COCO's instances, and for each image which classes were looked for.

A class with boxes in an image is there, and all of it has boxes unless `not_exhaustive_category_ids` says otherwise;
a class in `neg_category_ids` is not there; of every other class nothing is known.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from data_prep.config import LvisSource
from data_prep.records import BoxLabel, ImageLabel, ImageRecord
from data_prep.sources.coco import InstanceRecords, tails
from data_prep.sources.coco_instances import read_instances
from data_prep.sources.columns.image_columns import UNLISTED
from data_prep.sources.columns.label_table import labels_beside_boxes
from data_prep.sources.contents import OpenSource, readable_name, require_folder


def open_source(config: LvisSource) -> OpenSource:
    """The file and its images, those of COCO (`train2017/….jpg`); raises SourceError where the JSON is not LVIS's.

    Classes go by their names, with WordNet synsets (`aerosol.n.02`) as aliases.
    """
    require_folder(config.images, config.name)
    instances = read_instances(config.annotations, config.name, _file_name)
    contents = _Contents(InstanceRecords(instances, config.images, tails))
    synsets = (category.get("synset") for category in instances.categories)
    return OpenSource(
        config.name,
        has_boxes=True,
        classes=instances.classes,
        stream=contents.records,
        aliases=tuple(readable_name(synset) if isinstance(synset, str) else "" for synset in synsets),
        is_federated=True,
    )


@dataclass(frozen=True)
class _Contents:
    pictures: InstanceRecords

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        for image, record in self.pictures.numbered(counts):
            yield replace(record, labels=self._labels(image, record.boxes or (), counts))

    def _labels(
        self, image: int, boxes: tuple[BoxLabel, ...], counts: Counter[str]
    ) -> tuple[ImageLabel, ...]:
        instances = self.pictures.instances
        class_of_number = instances.class_of_number
        stated, rows = instances.labels.labels(image), instances.boxes.boxes(image)
        listed = [label for label in stated if class_of_number[label.class_index] != UNLISTED]
        counts["image label of a category that the file does not list"] += len(stated) - len(listed)
        rows = [row for row in rows if class_of_number[row.class_index] != UNLISTED]
        said = labels_beside_boxes(listed, rows, boxes, class_of_number, counts)
        for class_index in (class_of_number[label.class_index] for label in listed if label.is_positive):
            if class_index in said:  # else it is said to be absent, too
                said[class_index] = ImageLabel(class_index)  # not exhaustively boxed
        return tuple(sorted(said.values()))


def _file_name(image: dict[str, Any]) -> object:
    """The path in `coco_url` (http://images.cocodataset.org/train2017/….jpg); without one, the file name."""
    url = image.get("coco_url")
    return url.partition("://")[2].partition("/")[2] if isinstance(url, str) else image.get("file_name")
