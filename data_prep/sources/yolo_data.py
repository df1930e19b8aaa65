"""The class names of a YOLO data set, and the images of each split in Ultralytics' data.yaml."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.config import OWN_SPLITS
from data_prep.sources.files.text_lines import text_lines
from data_prep.sources.paths import readable_name
from data_prep.sources.source import SourceError
from wordtree.support.config_files import read_yaml
from wordtree.support.files import exists
from wordtree.support.lines import shortened

_KEYS_OF_SPLIT = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
assert _KEYS_OF_SPLIT.keys() == OWN_SPLITS.keys()


class YoloNames(NamedTuple):
    """The class names in the order of their numbers, and the count of keypoint numbers after each box."""

    classes: tuple[str, ...]
    keypoint_numbers: int = 0


def read_names(path: Path) -> YoloNames:
    """The names in Ultralytics' data.yaml, or in a text file with one name per line; raises SourceError."""
    names = (
        _names_in_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else YoloNames(_names_in_text(path))
    )
    if not names.classes:
        raise SourceError(f"{path}: expected class names, found none.")
    known: set[str] = set()
    for index, name in enumerate(names.classes):
        if not name or name in known:
            found = f"{name!r} again" if name else "an empty name"
            raise SourceError(f"{path}: expected a unique name for class {index}, found {found}.")
        known.add(name)
    return names


def _names_in_text(path: Path) -> tuple[str, ...]:
    lines = [readable_name(line.strip()) for line in text_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _names_in_yaml(path: Path) -> YoloNames:
    values = read_yaml(path, SourceError)
    classes = _numbered_names(values.get("names"), path)
    count, shape = values.get("nc", len(classes)), values.get("kpt_shape", [0])
    if not isinstance(count, int) or count > len(classes):
        found = count if isinstance(count, int) else f"a {type(count).__name__}"
        raise SourceError(f"{path}: expected {len(classes)} as `nc`, the number of `names`, found {found}.")
    if not isinstance(shape, list) or not all(isinstance(length, int) for length in shape):
        raise SourceError(f"{path}: `kpt_shape`: expected a list of integers, such as [17, 3].")
    return YoloNames(classes, math.prod(shape))


def _numbered_names(names: Any, path: Path) -> tuple[str, ...]:
    """The names in the order of their numbers, from a list or from a mapping of numbers to names."""
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise SourceError(f"{path}: `names`: expected a name for each number from 0 to {len(names) - 1}.")
        by_number = {int(number): name for number, name in names.items()}
        names = [by_number[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise SourceError(f"{path}: expected `names`, a list or `number: name` lines.")
    for index, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise SourceError(
                f"{path}: class {index}: expected a name, found a {type(name).__name__}; write it in quotes."
            )
    return tuple(readable_name(str(name).strip()) for name in names)


class ListedImages(NamedTuple):
    """Images of one split: a folder, or a text file with one path a line."""

    split: str
    path: Path


def read_splits(path: Path) -> tuple[Path, list[ListedImages]]:
    """The folder of the data set, and the images of each split in a data.yaml; raises SourceError.

    The folders of other splits than `train` may be missing: Roboflow names three splits even where it exports one.
    Relative paths begin at `path:` in the file, which begins at the folder of the file, as in Ultralytics' loader.
    """
    values = read_yaml(path, SourceError)
    root = values.get("path") or "."
    if not isinstance(root, str):
        raise SourceError(f"{path}: `path`: expected a folder, found a {type(root).__name__}.")
    try:
        folder = path.parent / Path(root).expanduser()
    except RuntimeError:  # no such user here
        folder = path.parent
    if not (exists(folder) and folder.is_dir()):  # a path on the machine that wrote the file
        folder = path.parent
    listed = [
        ListedImages(split, _listed_path(folder, entry, path))
        for split, keys in _KEYS_OF_SPLIT.items()
        for entry in _entries(values, keys, path)
    ]
    if not listed:
        raise SourceError(f"{path}: expected the images of a split, as in `train: images/train`, found none.")
    for split, images in listed:
        if not exists(images) and (split == "train" or not any(exists(other.path) for other in listed)):
            raise SourceError(
                f"{path}: expected images at {shortened(str(images), 300)}, found nothing; correct `path` or the split."
            )
    return folder, listed


def _entries(values: dict[str, Any], keys: tuple[str, ...], path: Path) -> Iterator[str]:
    for key in keys:
        entries = values.get(key) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            if not isinstance(entry, str):
                raise SourceError(f"{path}: `{key}`: expected a folder or text file, or a list of them.")
            yield entry


def _listed_path(folder: Path, entry: str, path: Path) -> Path:
    """The folder or list of an entry; Roboflow writes `../train/images` for train/images beside the file."""
    if not exists(folder / entry):
        entry = entry.replace("\\", "/")
    candidates = [folder / entry, path.parent / entry]
    if entry.startswith("../"):
        candidates += [folder / entry[3:], path.parent / entry[3:]]
    found = next((candidate for candidate in candidates if exists(candidate)), candidates[0])
    return Path(*found.absolute().parts) if exists(found) else found
