"""The names of YOLO's classes, which its text files know by number only."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.config import read_yaml
from data_prep.sources.contents import SourceError, readable_name
from data_prep.sources.text_lines import text_lines


class YoloNames(NamedTuple):
    """The name of each class by its number, and how many numbers of a line behind the box are keypoints."""

    classes: tuple[str, ...]
    keypoint_numbers: int = 0


def read_names(path: Path) -> YoloNames:
    """The names in a data.yaml of Ultralytics, or in a text file with a name on each line; raises SourceError."""
    names = _of_yaml(path) if path.suffix.lower() in (".yaml", ".yml") else YoloNames(_of_text(path))
    if not names.classes:
        raise SourceError(f"{path}: expected the names of the classes, found none.")
    known: set[str] = set()
    for number, name in enumerate(names.classes):
        if not name or name in known:
            found = f"{name!r} again" if name else "an empty name"
            raise SourceError(f"{path}: expected a name of its own for class {number}, found {found}.")
        known.add(name)
    return names


def _of_text(path: Path) -> tuple[str, ...]:
    lines = [readable_name(line.strip()) for line in text_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    return tuple(lines)


def _of_yaml(path: Path) -> YoloNames:
    values = read_yaml(path, SourceError)
    classes = _listed(values.get("names"), path)
    count, shape = values.get("nc", len(classes)), values.get("kpt_shape", [0])
    if not isinstance(count, int) or count != len(classes):
        found = count if isinstance(count, int) else f"a {type(count).__name__}"
        raise SourceError(f"{path}: expected {len(classes)} as `nc`, the number of `names`, found {found}.")
    if not isinstance(shape, list) or not all(isinstance(length, int) for length in shape):
        raise SourceError(f"{path}: `kpt_shape`: expected a list of whole numbers, such as [17, 3].")
    return YoloNames(classes, math.prod(shape))


def _listed(names: Any, path: Path) -> tuple[str, ...]:
    """The names in the order of their numbers; the file has them as a list, or by number."""
    if isinstance(names, dict):
        if sorted(map(str, names)) != sorted(map(str, range(len(names)))):
            raise SourceError(
                f"{path}: `names`: expected the numbers 0 to {len(names) - 1}, each with its name."
            )
        by_number = {int(number): name for number, name in names.items()}
        names = [by_number[number] for number in range(len(names))]
    if not isinstance(names, list):
        raise SourceError(f"{path}: expected `names`, a list or `number: name` lines.")
    for number, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise SourceError(
                f"{path}: class {number}: expected a name, found a {type(name).__name__}; write it in quotes."
            )
    return tuple(readable_name(str(name).strip()) for name in names)
