"""Files of a generated data set beside its images: COCO JSON, merge configurations, labels, attribution."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from data_prep.errors import DataPrepError
from data_prep.synthetic.emoji_plan import PlannedImage
from data_prep.synthetic.emoji_scene import VisibleObject
from wordtree.support.files import part_folder
from wordtree.support.lines import shortened


class WorldError(DataPrepError):
    """A world cannot be generated: its folder is in use, or drawings or photographs are missing or damaged."""


class WorldClass(Protocol):
    """One class: a WordNet synset, with boxes or with image labels only."""

    @property
    def wnid(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def boxed(self) -> bool: ...


class DrawnImage(NamedTuple):
    """A finished image and its visible objects; the number of an object is a position in `planned.classes`."""

    planned: PlannedImage
    wh_px: tuple[int, int]
    objects: tuple[VisibleObject, ...]


class WorldTexts(NamedTuple):
    """The texts that are written beside the images of a world."""

    description: dict[str, Any]  # of world.json; equal descriptions mean equal worlds
    maker: str  # the command that generated the world
    attribution: str


def write_world(out: Path, description: dict[str, Any], write: Callable[[Path], None]) -> None:
    """Fill the folder `out` with `write`, atomically; a finished world of this description is kept.

    Raises WorldError if `out` holds anything else.
    """
    if is_finished(out, description):
        return
    with part_folder(out.absolute(), error=WorldError) as part:
        write(part)


def is_finished(out: Path, description: dict[str, Any]) -> bool:
    """Whether `out` holds this world; raises WorldError if it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = json.loads((out / "world.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WorldError(
            f"{out}: expected a new or empty folder, found other content. Choose another folder."
        )
    if found != description:
        raise WorldError(
            f"{out}: holds a generated world with other settings ({first_change(found, description)}). "
            "Choose another folder, or remove this one."
        )
    return True


def first_change(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first setting that differs between two descriptions, for messages."""
    before, after = found.get("settings"), wanted["settings"]
    if not isinstance(before, dict):
        return "no settings"
    for name in after:
        if before.get(name) != after[name]:
            return f"{name} {shortened(str(before.get(name)))} instead of {after[name]}"
    return "another version or other drawings"


def write_tables(
    folder: Path,
    drawn: Sequence[DrawnImage],
    classes: Sequence[WorldClass],
    texts: WorldTexts,
    *,
    seed: int,
) -> None:
    """Write all files but the images."""
    train, test, labels = (
        [image for image in drawn if image.planned.split == split] for split in ("train", "test", "labels")
    )
    boxed = [index for index, world_class in enumerate(classes) if world_class.boxed]
    all_classes = list(range(len(classes)))
    (folder / "oracle").mkdir()
    for name, images, categories in (
        ("scenes/instances_train.json", train, boxed),
        ("scenes/instances_test.json", test, all_classes),
        ("oracle/instances_train.json", train, all_classes),
        ("oracle/instances_labels.json", labels, all_classes),
    ):
        write_json(folder / name, coco_instances(images, categories, classes, maker=texts.maker))
    for name, merge in merge_settings(seed=seed, has_labels=bool(labels)).items():
        (folder / name).write_text(yaml.safe_dump(merge, sort_keys=False), encoding="utf-8")
    (folder / "labels.txt").write_text(
        "".join(f"{world_class.wnid}\n" for world_class in classes), encoding="utf-8"
    )
    (folder / "ATTRIBUTION.txt").write_text(texts.attribution, encoding="utf-8")
    write_json(folder / "world.json", texts.description, indent=1)


def coco_instances(
    drawn: Iterable[DrawnImage], categories: Sequence[int], classes: Sequence[WorldClass], *, maker: str
) -> dict[str, Any]:
    """A COCO instances file with the objects of these categories; file names are relative to the split's folder."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    wanted = set(categories)
    for image_id, (planned, (width, height), objects) in enumerate(drawn, start=1):
        file_name = planned.file.removeprefix(f"scenes/{planned.split}/").removeprefix("labels/")
        images.append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for visible in objects:
            category = planned.classes[visible.number]
            if category in wanted:
                annotations.append(annotation(len(annotations) + 1, image_id, category + 1, visible))
    return {
        "info": {"description": f"generated by {maker}; see ATTRIBUTION.txt"},
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": index + 1, "name": classes[index].wnid, "display_name": classes[index].name}
            for index in categories
        ],
    }


def annotation(number: int, image_id: int, category: int, visible: VisibleObject) -> dict[str, Any]:
    """The COCO annotation of an object."""
    left, top, right, bottom = visible.xyxy_px
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category,
        "bbox": [left, top, right - left, bottom - top],
        "area": visible.visible_px,
        "iscrowd": 0,
    }


def merge_settings(*, seed: int, has_labels: bool) -> dict[str, dict[str, Any]]:
    """Merge configurations by file name: with the given boxes, and with the boxes of all classes (the oracle)."""

    def scenes(name: str, split: str, annotations: str) -> dict[str, Any]:
        images = f"scenes/{split}"
        return {"name": name, "format": "coco", "images": images, "annotations": annotations, "split": split}

    test = scenes("test", "test", "scenes/instances_test.json")
    given = [scenes("scenes", "train", "scenes/instances_train.json")]
    oracle = [scenes("scenes", "train", "oracle/instances_train.json")]
    if has_labels:
        given.append({"name": "labels", "format": "imagenet", "images": "labels"})
        oracle.append(
            {
                "name": "labels",
                "format": "coco",
                "images": "labels",
                "annotations": "oracle/instances_labels.json",
            }
        )
    tree = {"from_sources": True, "labels": "labels.txt"}
    return {
        "merge.yaml": {"sources": [*given, test], "tree": tree, "seed": seed},
        "merge_oracle.yaml": {"sources": [*oracle, test], "tree": tree, "seed": seed},
    }


def write_json(file: Path, value: dict[str, Any], indent: int | None = None) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")
