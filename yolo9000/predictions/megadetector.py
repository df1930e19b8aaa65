"""MegaDetector's batch results, format 1.6 (https://lila.science/megadetector-output-format).

MegaDetector's three classes are detection categories, with a fourth for all other objects; the nodes of the tree are
classification categories, described by their paths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

from wordtree.tree.tree import WordTree
from yolo9000.predictions.result_log import Record

CATEGORIES = {"1": "animal", "2": "person", "3": "vehicle", "4": "object"}
_WNIDS = {"n00015388": "1", "n00007846": "2", "n04524313": "3"}  # animal, person, vehicle


def megadetector_tables(tree: WordTree) -> dict[str, Any]:
    """The head of the file: everything but the images."""
    return {
        "info": {"format_version": "1.6", "detector": "yolo9000", "classifier": "yolo9000"},
        "detection_categories": CATEGORIES,
        "classification_categories": {str(node): name for node, name in enumerate(tree.names)},
        "classification_category_descriptions": {
            str(node): ";".join(tree.names[step] for step in tree.path(node)) for node in range(len(tree))
        },
    }


def megadetector_images(records: Iterable[Record], tree: WordTree) -> Iterator[Record]:
    """An entry for each image, and one for all frames of a video."""
    for (name, _), group in groupby(enumerate(records), key=_entry_key):
        entries = [record for _, record in group]
        if "frame" in entries[0]:
            yield _video(name, entries, tree)
        else:
            yield _image(entries[0], tree)


def _entry_key(numbered: tuple[int, Record]) -> tuple[str, int | None]:
    """The key that groups neighbouring frames of one video; each image has a key of its own."""
    number, record = numbered
    return record["image"], None if "frame" in record else number


def _image(record: Record, tree: WordTree) -> Record:
    if "failure" in record:
        return {"file": record["image"], "failure": record["failure"], "detections": None}
    size = {"width": record["width_px"], "height": record["height_px"]}
    return {"file": record["image"], **size, "detections": list(_detections(record, tree))}


def _video(name: str, frames: list[Record], tree: WordTree) -> Record:
    last = frames[-1]
    rate = last["frame"] / last["time_s"] if last["time_s"] else 0.0
    return {
        "file": name,
        "frame_rate": round(rate, 3),
        "frames_processed": [frame["frame"] for frame in frames],
        "detections": [
            {**detection, "frame_number": frame["frame"]}
            for frame in frames
            for detection in _detections(frame, tree)
        ],
    }


def _detections(record: Record, tree: WordTree) -> Iterator[Record]:
    width, height = record.get("width_px", 1), record.get("height_px", 1)
    for found in record.get("detections", ()):
        left, top, right, bottom = found["xyxy_px"]
        box = [left / width, top / height, (right - left) / width, (bottom - top) / height]
        node, leaf = tree.node(found["id"]), found.get("best_leaf")
        classes = [[str(node), found["absolute"]]]
        if leaf is not None and leaf["id"] != found["id"]:
            classes.append([str(tree.node(leaf["id"])), leaf["absolute"]])
        yield {
            "category": _category(node, tree),
            "conf": float(found["score"]),
            "bbox": [round(value, 4) for value in box],
            "classifications": classes,
        }


def _category(node: int, tree: WordTree) -> str:
    """The detection category of a node: the nearest of MegaDetector's classes at or above it."""
    steps = [tree.ids[step] for step in reversed(tree.path(node))]
    names = [tree.names[step] for step in reversed(tree.path(node))]
    by_wnid = next((_WNIDS[step] for step in steps if step in _WNIDS), None)
    by_name = next((number for name in names for number, known in CATEGORIES.items() if name == known), "4")
    return by_wnid or by_name
