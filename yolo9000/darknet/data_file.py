"""`.data` files, and where the files lie that Darknet's own files name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordtree.support.lines import quoted
from yolo9000.darknet.options import DarknetError, parse_options, read_text, unknown_keys

_PATHS = ("train", "valid", "names", "labels", "backup", "results", "map", "leaves", "tree")


@dataclass(frozen=True)
class DataFile:
    """A `.data` file: what Darknet's commands take beside the network. Paths are as they stand there."""

    path: Path
    classes: int | None
    top: int
    eval: str
    paths: dict[
        str, str
    ]  # train, valid, names, labels, backup, results, map, leaves, tree: those that are there
    notes: tuple[str, ...]

    def find(self, key: str) -> Path | None:
        """The file that a key names; None where the key is absent. DarknetError where there is no such file."""
        named = self.paths.get(key)
        return None if named is None else find_named(named, key, self.path)


def read_data(path: Path) -> DataFile:
    """The settings of a `.data` file; DarknetError, with the line, for what is malformed."""
    section, notes = parse_options(read_text(path), str(path), "data")
    classes = section.integer("classes", 0, low=1, high=2**31 - 1)
    found = {key: section.text(key) for key in _PATHS}
    return DataFile(
        path=path,
        classes=classes or None,
        top=section.integer("top", 1, low=1, high=2**31 - 1),
        eval=section.text("eval") or "voc",
        paths={key: value for key, value in found.items() if value is not None},
        notes=(*notes, *unknown_keys(section, ())),
    )


def find_named(text: str, key: str, by: Path) -> Path:
    """The file that one of Darknet's files (`by`) names.

    Darknet looks from the working directory. People keep the naming file in a folder (`cfg/`) beside that of the named
    one (`data/`), or both in one folder, so these are tried too. DarknetError if it is nowhere.
    """
    named = Path(text.encode("latin-1").decode("utf-8", "surrogateescape"))
    places = [named, by.parent / named, by.parent.parent / named, by.parent / named.name]
    for place in places:
        try:
            if place.is_file():
                return place
        except (OSError, ValueError):  # a name that no file can have
            break
    raise DarknetError(
        f"{by}: names {key}={quoted(str(named))}, which is neither in the working folder nor near this file; "
        "give that file on the command line."
    )
