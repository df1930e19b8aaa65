"""The data of never_boxed.py from any merge: boxes for some classes, image labels for the others, and all boxes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from data_prep import MergeConfig, ShardReader, load_config, merge
from data_prep.dataset.label_counts import LabelCounts
from wordtree.support.files import write_atomically
from wordtree.tree.lookup import node_of
from yolo9000.errors import Yolo9000Error

BOXES, LABELS, TEST = "boxes", "labels", "test"
MERGED, IMAGES = "merged", "images"
TREE = "classes.json"
SUFFIX_OF_MAGIC = {b"\xff\xd8": ".jpg", b"\x89P": ".png"}


class WithheldError(Yolo9000Error):
    """A merge whose boxes cannot be withheld as asked: it lacks boxes, a split, or a class."""


@dataclass(frozen=True)
class Withheld:
    """A merge and the classes that keep their boxes in training.

    merge: the MERGE.yaml. boxed: names or ids of these classes; empty: half of the classes, drawn by the seed.
    """

    merge: Path
    boxed: tuple[str, ...] = ()


def merged(setting: Withheld, folder: Path, workers: int) -> ShardReader:
    """The images with all labels, merged into `folder` and written to `folder`/images as files; kept if finished."""
    shards = folder / MERGED
    merge(load_config(setting.merge, MergeConfig), shards, workers=workers)
    reader = ShardReader(shards)
    reader.tree.save(folder / TREE)
    (folder / IMAGES).mkdir(exist_ok=True)
    for image in range(len(reader)):
        path = folder / IMAGES / file_name(reader, image)
        if not path.exists():
            write_atomically(path, reader.encoded(image).tobytes())
    return reader


def withhold(setting: Withheld, reader: ShardReader, folder: Path, *, seed: int, test_split: str) -> None:
    """Write merge.yaml and merge_oracle.yaml with their annotations into `folder`.

    An image of the training split with an object of a boxed class, or without any object, is a *scene*: it keeps
    the boxes of boxed classes. Every other one becomes an image with image labels. The oracle has all boxes.
    """
    boxed = boxed_nodes(setting, reader, seed)
    train = [image for image in reader.split("train").tolist() if has_labels(reader, image)]
    test = [image for image in reader.split(test_split).tolist() if reader.image_boxed[image]]
    scenes = [image for image in train if is_scene(reader, image, boxed)]
    labelled = sorted(set(train) - set(scenes))
    if not scenes or not labelled or not test:
        raise WithheldError(
            f"{setting.merge}: expected training images with boxes, others with image labels only, and boxes in the "
            f"split {test_split}; found {len(scenes)}, {len(labelled)} and {len(test)} images."
        )
    nodes = set(nodes_with_boxes(reader))
    folder.mkdir(parents=True, exist_ok=True)
    for name, images, kept in (
        ("boxes.json", scenes, boxed),
        ("oracle_boxes.json", scenes, nodes),
        ("oracle_labels.json", labelled, nodes),
        ("test.json", test, nodes),
    ):
        write_atomically(folder / name, json.dumps(coco_instances(reader, images, kept)))
    write_atomically(folder / "labels.csv", label_table(reader, labelled))
    exhaustive = exhaustive_ids(reader, boxed, nodes - boxed)
    for name, sources in (
        (
            "merge.yaml",
            [
                coco(BOXES, "boxes.json", exhaustive=exhaustive),
                {"name": LABELS, "format": "csv", "images": "../../images", "annotations": "labels.csv"},
                coco(TEST, "test.json", split=test_split),
            ],
        ),
        (
            "merge_oracle.yaml",
            [
                coco(BOXES, "oracle_boxes.json"),
                coco(LABELS, "oracle_labels.json"),
                coco(TEST, "test.json", split=test_split),
            ],
        ),
    ):
        settings = {
            "sources": sources,
            "tree": f"../../{TREE}",
            "duplicates": "keep",
            "quality": 95,
            "seed": seed,
        }
        write_atomically(folder / name, yaml.safe_dump(settings, sort_keys=False))


def boxed_nodes(setting: Withheld, reader: ShardReader, seed: int) -> set[int]:
    """The classes that keep their boxes. Raises WithheldError, UnknownNode."""
    nodes = nodes_with_boxes(reader)
    if not setting.boxed:
        if len(nodes) < 2:
            raise WithheldError(f"{setting.merge}: expected boxes of at least 2 classes, found {len(nodes)}.")
        order = np.random.default_rng(seed).permutation(nodes)
        return set(order[: len(nodes) // 2].tolist())
    chosen = {node_of(name, reader.tree) for name in setting.boxed}
    names = ", ".join(reader.tree.names[node] for node in nodes)
    if missing := [reader.tree.names[node] for node in sorted(chosen - set(nodes))]:
        raise WithheldError(
            f"--boxed {', '.join(missing)}: no boxes in training; classes with boxes: {names}."
        )
    if chosen == set(nodes):
        raise WithheldError(f"--boxed names all classes with boxes ({names}); leave some out.")
    return chosen


def nodes_with_boxes(reader: ShardReader) -> list[int]:
    """Nodes with boxes of exactly this class in the training split, ascending."""
    counts: LabelCounts = reader.label_counts
    return [int(node) for node in np.flatnonzero(counts.boxes)]


def is_scene(reader: ShardReader, image: int, boxed: set[int]) -> bool:
    nodes = box_nodes(reader, image)
    return bool(boxed & nodes) or (bool(reader.image_boxed[image]) and not nodes)


def has_labels(reader: ShardReader, image: int) -> bool:
    return bool(reader.image_boxed[image]) or reader.label_offsets[image] < reader.label_offsets[image + 1]


def box_nodes(reader: ShardReader, image: int) -> set[int]:
    """Classes of the objects with boxes in the image, without ignore regions."""
    rows = slice(reader.box_offsets[image], reader.box_offsets[image + 1])
    return set(reader.box_nodes[rows][~reader.box_ignored[rows]].tolist())


def exhaustive_ids(reader: ShardReader, boxed: set[int], withheld: set[int]) -> list[str]:
    """Boxed classes of which every object has its box in every source with boxes; none above a withheld class."""
    by_source = [
        row
        for row, source in zip(reader.exhaustive_by_source, reader.sources, strict=True)
        if source.has_boxes
    ]
    above = {ancestor for node in withheld for ancestor in reader.tree.ancestors(node)}
    return [reader.tree.ids[node] for node in sorted(boxed - above) if all(row[node] for row in by_source)]


def coco_instances(reader: ShardReader, images: Sequence[int], kept: set[int]) -> dict[str, Any]:
    """A COCO instances file with the boxes of the kept classes in the images."""
    annotations = []
    for image in images:
        side = np.tile([reader.image_width[image], reader.image_height[image]], 2).astype(float)
        for row in range(reader.box_offsets[image], reader.box_offsets[image + 1]):
            node = int(reader.box_nodes[row])
            if node in kept:
                left, top, right, bottom = (reader.boxes_xyxy_unit[row] * side).tolist()
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image,
                        "category_id": node + 1,
                        "bbox": [left, top, right - left, bottom - top],
                        "area": (right - left) * (bottom - top),
                        "iscrowd": int(reader.box_ignored[row]),
                    }
                )
    return {
        "images": [
            {
                "id": image,
                "file_name": file_name(reader, image),
                "width": int(reader.image_width[image]),
                "height": int(reader.image_height[image]),
            }
            for image in images
        ],
        "annotations": annotations,
        "categories": [{"id": node + 1, "name": reader.tree.ids[node]} for node in sorted(kept)],
    }


def label_table(reader: ShardReader, images: Sequence[int]) -> str:
    """A CSV table with the classes of the objects in each image, and its own image labels."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("image", "class", "positive"))
    for image in images:
        rows = slice(reader.label_offsets[image], reader.label_offsets[image + 1])
        labels = dict(
            zip(reader.label_nodes[rows].tolist(), reader.label_positive[rows].tolist(), strict=True)
        )
        labels |= dict.fromkeys(box_nodes(reader, image), True)
        for node, is_positive in sorted(labels.items()):
            table.writerow((file_name(reader, image), reader.tree.ids[node], int(is_positive)))
    return text.getvalue()


def file_name(reader: ShardReader, image: int) -> str:
    suffix = SUFFIX_OF_MAGIC[reader.encoded(image)[:2].tobytes()]
    return f"{image:06}{suffix}"


def coco(name: str, annotations: str, **settings: Any) -> dict[str, Any]:
    """A source of MERGE.yaml."""
    return {"name": name, "format": "coco", "images": "../../images", "annotations": annotations, **settings}
