"""Helpers for tests of readers: read a source, merge it, and read its shards back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from data_prep import MergeConfig, ShardReader, load_config, merge
from data_prep.config import Source
from data_prep.records import Boxes, Corners, ImageRecord
from data_prep.sources import OpenSource, open_source
from tests.data_prep.conftest import encoded_image


class Read(NamedTuple):
    source: OpenSource
    records: list[ImageRecord]
    counts: dict[str, int]


def read(config: Source) -> Read:
    """The records and counts of a source; streaming it twice gives the same."""
    source = open_source(config)
    records, counts = list(source.records()), dict(+source.counts)
    assert list(source.records()) == records
    assert dict(+source.counts) == counts
    return Read(source, records, counts)


def write_images(folder: Path, names: Sequence[str], size: tuple[int, int] = (40, 30)) -> None:
    """Write a JPEG of one colour for each name."""
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded_image(index, size))


def make_boxes(*rows: tuple[int, Corners] | tuple[int, Corners, bool]) -> Boxes:
    """Boxes from rows of class, corners and perhaps is_ignored."""
    made = Boxes()
    for class_index, xyxy_unit, *is_ignored in rows:
        made.add(class_index, xyxy_unit, is_ignored=is_ignored == [True])
    return made


def box_rows(record: ImageRecord) -> list[tuple[int, Corners, bool]]:
    """Class, corners and is_ignored of each box of a record."""
    columns = record.boxes or Boxes()
    return list(zip(columns.class_index, columns.xyxy_unit, columns.is_ignored, strict=True))


def labels_of_record(record: ImageRecord, classes: Sequence[str]) -> dict[str, Any]:
    """Boxes and image labels of a record, with class names."""
    return {
        "boxes": [(classes[class_index], *rest) for class_index, *rest in box_rows(record)],
        "is_boxed": record.boxes is not None,
        "labels": [
            (classes[label.class_index], label.is_positive, label.is_exhaustive) for label in record.labels
        ],
    }


def merged(folder: Path, **source: Any) -> ShardReader:
    """A reader of the shards of one merged source."""
    path = folder / "merge.yaml"
    path.write_text(yaml.safe_dump({"sources": [{"name": "own"} | source]}), encoding="utf-8")
    merge(load_config(path, MergeConfig), folder / "shards")
    return ShardReader(folder / "shards")


def labels_in_shards(reader: ShardReader) -> dict[str, dict[str, Any]]:
    """Boxes and image labels for each source id of a reader, in the form of `labels_of_record`."""
    name_of = {row.node: row.name for row in reader.classes}
    labels_by_id = {}
    for image in range(len(reader)):
        box_range = range(*reader.box_offsets[image : image + 2].tolist())
        label_range = range(*reader.label_offsets[image : image + 2].tolist())
        labels_by_id[reader.source_id(image)] = {
            "boxes": [
                (
                    name_of[reader.box_nodes[box]],
                    tuple(reader.boxes_xyxy_unit[box].tolist()),
                    bool(reader.box_ignored[box]),
                )
                for box in box_range
            ],
            "is_boxed": bool(reader.image_boxed[image]),
            "labels": [
                (
                    name_of[reader.label_nodes[label]],
                    bool(reader.label_positive[label]),
                    bool(reader.label_exhaustive[label]),
                )
                for label in label_range
            ],
        }
    return labels_by_id
