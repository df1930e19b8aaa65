"""LVIS JSON: COCO's instances, and the classes that were annotated in each image.

A class with boxes in an image is present, and exhaustively annotated unless `not_exhaustive_category_ids` lists it.
A class in `neg_category_ids` is absent. Nothing is known about any other class.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from data_prep.config import LvisSource
from data_prep.records import Boxes, ImageLabel, ImageRecord
from data_prep.sources.coco import InstanceImages, path_tails
from data_prep.sources.coco_instances import read_instances
from data_prep.sources.columns.image_columns import UNKNOWN, UNLISTED
from data_prep.sources.columns.label_table import exhaustive_labels, incomplete
from data_prep.sources.paths import readable_name, require_folder
from data_prep.sources.source import Counts, OpenSource


def open_source(config: LvisSource) -> OpenSource:
    """The LVIS file and COCO's images (`train2017/….jpg`); raises SourceError if the JSON is not in LVIS's format.

    The synset of each class in WordNet (`aerosol.n.02`) is its alias.
    """
    require_folder(config.images, config.name)
    instances = read_instances(config.annotations, config.name, _file_name)
    contents = _Contents(InstanceImages(instances, config, path_tails))
    synsets = (category.get("synset") for category in instances.categories)
    return OpenSource(
        config.name,
        has_boxes=instances.has_boxes,
        classes=instances.classes,
        stream=contents.records,
        aliases=tuple(readable_name(synset) if isinstance(synset, str) else "" for synset in synsets),
        is_federated=True,
    )


@dataclass(frozen=True)
class _Contents:
    images: InstanceImages

    def records(self, counts: Counts) -> Iterator[ImageRecord]:
        for image, record in self.images.numbered(counts):
            labels = self._labels(image, record.boxes or Boxes(), counts)
            record = replace(record, labels=labels)
            yield incomplete(record) if record.is_incomplete else record

    def _labels(self, image: int, boxes: Boxes, counts: Counts) -> tuple[ImageLabel, ...]:
        instances = self.images.instances
        name = instances.images.name(image)
        labels = instances.labels.labels(image)
        listed = [label for label in labels if label.class_index >= 0]
        for _ in range(len(labels) - len(listed)):
            counts.leave_out("image label of a category that the file does not list", name)
        listed += [label for label in instances.unboxed.labels(image) if label.class_index >= 0]
        stated = instances.boxes.boxes(image).without(UNLISTED).without(UNKNOWN)
        by_class = exhaustive_labels(listed, stated, boxes, counts, name)
        for label in listed:  # a positive label: not exhaustively annotated, or an annotation without a box
            # A class that another label states as absent is not in `by_class`.
            if label.is_positive and label.class_index in by_class:
                by_class[label.class_index] = ImageLabel(label.class_index)
        return tuple(sorted(by_class.values()))


def _file_name(image: dict[str, Any]) -> object:
    """The path in `coco_url` (http://images.cocodataset.org/train2017/….jpg); without a URL, the file name."""
    url = image.get("coco_url")
    return url.partition("://")[2].partition("/")[2] if isinstance(url, str) else image.get("file_name")
