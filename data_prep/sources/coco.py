"""COCO instances JSON: pictures, categories, boxes as x, y, width, height in pixels, crowds."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.config import CocoSource
from data_prep.records import BoxLabel, ImageRecord
from data_prep.sources.contents import (
    Corners,
    OpenSource,
    SourceError,
    is_finite,
    require_folder,
    stays_inside,
    unit_box,
)

# Polygons and masks are nine tenths of COCO's files: dropped while parsing, they never fill the memory.
_HEAVY_KEYS = ("segmentation", "rle", "caption", "coco_url", "flickr_url")


def open_source(config: CocoSource) -> OpenSource:
    """The instances file and its pictures; raises SourceError where the JSON is not COCO's."""
    document = _read_json(config.annotations, config.name)
    _check_is_instances(document, config)
    require_folder(config.images, config.name)
    class_of_id = _class_numbers(document["categories"], config)
    by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for annotation in document["annotations"]:
        by_image[_key(annotation, "image_id")].append(annotation)
    contents = _Contents(document["images"], by_image, class_of_id, config.images)
    names = tuple(str(category["name"]) for category in document["categories"])
    return OpenSource(config.name, has_boxes=True, classes=names, stream=contents.records)


@dataclass(frozen=True)
class _Contents:
    images: list[Any]
    by_image: dict[Any, list[dict[str, Any]]]
    class_of_id: dict[Any, int]
    folder: Path

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        seen: set[Any] = set()
        for image in self.images:
            image_id = _key(image, "id")
            if image_id is None:
                counts["image without an id"] += 1
            elif image_id in seen:
                counts["image id that occurred before"] += 1
            else:
                seen.add(image_id)
                record = self._record(image, self.by_image.get(image_id, []), counts)
                if record is not None:
                    yield record
        counts["box of an image that the file does not list"] += sum(
            len(boxes) for image_id, boxes in self.by_image.items() if image_id not in seen
        )

    def _record(
        self, image: dict[str, Any], annotations: list[dict[str, Any]], counts: Counter[str]
    ) -> ImageRecord | None:
        name, size_px = image.get("file_name"), _size_px(image)
        trouble = "image without a file name inside the folder"
        if isinstance(name, str) and stays_inside(name):
            path = self.folder / name
            try:
                size_bytes = path.stat().st_size if path.is_file() else None
            except (OSError, ValueError):  # ValueError: a null character in the name
                size_bytes = None
            if size_px is None:
                trouble = "image without width and height"
            elif size_bytes is None:
                trouble = "picture file missing"
            else:
                boxes = self._boxes(annotations, size_px, counts)
                return ImageRecord(name, path, size_bytes, size_px, boxes=boxes)
        counts[trouble] += 1
        counts["box of an image left out"] += len(annotations)
        return None

    def _boxes(
        self, annotations: list[dict[str, Any]], size_px: tuple[int, int], counts: Counter[str]
    ) -> tuple[BoxLabel, ...]:
        boxes = []
        for annotation in annotations:
            class_index = self.class_of_id.get(_key(annotation, "category_id"))
            box = _unit_box(annotation.get("bbox"), size_px)
            if class_index is None:
                counts["box of a category that the file does not list"] += 1
            elif isinstance(box, str):
                counts[box] += 1
            else:
                xyxy_unit, is_clipped = box
                is_crowd = bool(annotation.get("iscrowd"))
                counts["box clipped to the picture (kept)"] += is_clipped
                counts["crowd kept as an ignore region"] += is_crowd
                boxes.append(BoxLabel(class_index, xyxy_unit, is_ignored=is_crowd))
        return tuple(boxes)


def _unit_box(xywh_px: Any, size_px: tuple[int, int]) -> tuple[Corners, bool] | str:
    """Corners in the unit square and whether more than a pixel was clipped; or why it is no box."""
    if not isinstance(xywh_px, list) or len(xywh_px) != 4 or not all(map(is_finite, xywh_px)):
        return "box that is not four finite numbers"
    x, y, width, height = xywh_px
    if width < 0 or height < 0:
        return "box with negative width or height"
    if width == 0 or height == 0:
        return "box of zero area"
    return unit_box((x, y, x + width, y + height), size_px)


def _size_px(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    if not is_finite(width) or not is_finite(height) or width < 1 or height < 1:  # type: ignore[operator]
        return None
    return int(width), int(height)  # type: ignore[arg-type]


def _key(entry: dict[str, Any], name: str) -> Any:
    """An id that can be looked up; None where there is none."""
    value = entry.get(name)
    return value if isinstance(value, (int, str)) else None


def _class_numbers(categories: list[dict[str, Any]], config: CocoSource) -> dict[Any, int]:
    numbers: dict[Any, int] = {}
    names: set[str] = set()
    for number, category in enumerate(categories):
        category_id, name = _key(category, "id"), category.get("name")
        if category_id is None or not isinstance(name, str):
            raise SourceError(f"{config.annotations}: category {number + 1} has no id or no name.")
        if category_id in numbers or name in names:
            raise SourceError(f"{config.annotations}: category {name!r} (id {category_id}) is listed twice.")
        numbers[category_id] = number
        names.add(name)
    return numbers


def _drop_heavy_keys(entry: dict[str, Any]) -> dict[str, Any]:
    for key in _HEAVY_KEYS:
        entry.pop(key, None)
    return entry


def _read_json(path: Path, source: str) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file, object_hook=_drop_heavy_keys)
    except OSError as reason:
        problem = os.strerror(reason.errno or 0)
        raise SourceError(f"source {source!r}: cannot read its annotations {path} ({problem}).") from None
    except json.JSONDecodeError as reason:
        raise SourceError(f"{path}: not JSON: {reason.msg} at line {reason.lineno}.") from None
    except (UnicodeDecodeError, RecursionError):
        raise SourceError(f"{path}: not JSON: not UTF-8 text, or nested too deeply.") from None


def _check_is_instances(document: Any, config: CocoSource) -> None:
    problem = None
    if not isinstance(document, dict):
        problem = f"found a {type(document).__name__}"
    else:
        for key in ("images", "annotations", "categories"):
            entries = document.get(key)
            if not isinstance(entries, list):
                problem = problem or f"found no list {key!r}"
            elif not all(isinstance(entry, dict) for entry in entries):
                problem = problem or f"{key!r} holds entries that are no objects"
        annotations = document.get("annotations") or [{}]
        if problem is None and isinstance(annotations[0], dict) and "segments_info" in annotations[0]:
            problem = "found panoptic annotations"
    if problem:
        raise SourceError(
            f"{config.annotations}: not a COCO instances file: {problem}; expected an object with the lists "
            "'images', 'annotations' (each with 'bbox') and 'categories'."
        )
