"""The shipped lists of the classes of COCO and VOC, with the wnid of each, and of ImageNet's 1000 classes."""

import csv
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from wordtree.wordnet.names import name_key

_FILES = {"COCO": "coco_classes.csv", "VOC": "voc_classes.csv"}


def coco_classes() -> dict[str, str]:
    """The wnid of each of COCO's 80 classes, in COCO's order; from `assets/coco_classes.csv`."""
    return dict(_wnids("COCO"))


def voc_classes() -> dict[str, str]:
    """The wnid of each of PASCAL VOC's 20 classes, in VOC's order; from `assets/voc_classes.csv`."""
    return dict(_wnids("VOC"))


@cache
def imagenet_wnids() -> frozenset[str]:
    """The wnids of the 1000 classes of ILSVRC 2012; from `assets/imagenet_1k.txt`."""
    path = Path(__file__).parents[1] / "assets" / "imagenet_1k.txt"
    return frozenset(path.read_text(encoding="utf-8").split())


def classes_named(name: str) -> tuple[tuple[str, str], ...]:
    """The data sets with a class of this name, in any spelling, each with the wnid: (("COCO", "n03793489"),)."""
    key = name_key(name)
    return tuple(
        (data_set, _wnids_by_key(data_set)[key]) for data_set in _FILES if key in _wnids_by_key(data_set)
    )


def data_set_of(names: Iterable[str]) -> str | None:
    """The data set, COCO before VOC, whose list has all the names in any spelling; None if neither has."""
    keys = set(map(name_key, names))
    return next((data_set for data_set in _FILES if keys and keys <= _wnids_by_key(data_set).keys()), None)


def is_whole_list(names: Iterable[str], data_set: str) -> bool:
    """Whether the names, in any spelling, are exactly the classes of the data set."""
    return set(map(name_key, names)) == _wnids_by_key(data_set).keys()


def listed_wnid(name: str, data_set: str) -> str:
    """The wnid of a class of the data set, by its name in any spelling."""
    return _wnids_by_key(data_set)[name_key(name)]


@cache
def _wnids(data_set: str) -> dict[str, str]:
    path = Path(__file__).parents[1] / "assets" / _FILES[data_set]
    with path.open(encoding="utf-8", newline="") as file:
        return {row["class"]: row["wnid"] for row in csv.DictReader(file)}


@cache
def _wnids_by_key(data_set: str) -> dict[str, str]:
    return {name_key(name): wnid for name, wnid in _wnids(data_set).items()}
