"""What tests of readers share: a source read whole, and the way through shards and back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from data_prep import MergeConfig, ShardReader, load_config, merge
from data_prep.config import Source
from data_prep.records import ImageRecord
from data_prep.sources import OpenSource, open_source
from tests.data_prep.conftest import picture


class Read(NamedTuple):
    source: OpenSource
    records: list[ImageRecord]
    counts: dict[str, int]


def read(config: Source) -> Read:
    """The records and counts of a source; streamed twice, to the same end."""
    source = open_source(config)
    records, counts = list(source.records()), dict(+source.counts)
    assert list(source.records()) == records
    assert dict(+source.counts) == counts
    return Read(source, records, counts)


def write_images(folder: Path, names: Sequence[str], size: tuple[int, int] = (40, 30)) -> None:
    """A JPEG of one colour for each name."""
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(index, size))


def said_of(record: ImageRecord, classes: Sequence[str]) -> dict[str, Any]:
    """All that a record says of its image, by names of classes."""
    return {
        "boxes": [(classes[box.class_index], box.xyxy_unit, box.is_ignored) for box in record.boxes or ()],
        "is_boxed": record.boxes is not None,
        "labels": [
            (classes[label.class_index], label.is_positive, label.is_exhaustive) for label in record.labels
        ],
    }


def merged(folder: Path, **source: Any) -> ShardReader:
    """The shards of one source, read back."""
    path = folder / "merge.yaml"
    path.write_text(yaml.safe_dump({"sources": [{"name": "own"} | source]}), encoding="utf-8")
    merge(load_config(path, MergeConfig), folder / "shards")
    return ShardReader(folder / "shards")


def said_in_shards(reader: ShardReader) -> dict[str, dict[str, Any]]:
    """The same as `said_of`, for each source id of a reader."""
    name_of = {row.node: row.name for row in reader.classes}
    said = {}
    for image in range(len(reader)):
        boxes = range(*reader.box_offsets[image : image + 2].tolist())
        labels = range(*reader.label_offsets[image : image + 2].tolist())
        said[reader.source_id(image)] = {
            "boxes": [
                (
                    name_of[reader.box_nodes[box]],
                    tuple(reader.boxes_xyxy_unit[box].tolist()),
                    bool(reader.box_ignored[box]),
                )
                for box in boxes
            ],
            "is_boxed": bool(reader.image_boxed[image]),
            "labels": [
                (
                    name_of[reader.label_nodes[label]],
                    bool(reader.label_positive[label]),
                    bool(reader.label_exhaustive[label]),
                )
                for label in labels
            ],
        }
    return said
