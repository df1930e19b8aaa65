"""`.data` files, and the search for files that Darknet's files name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wordtree.support.lines import quoted
from yolo9000.darknet.options import DarknetError, parse_options, read_text, unknown_keys

_PATHS = ("train", "valid", "names", "labels", "backup", "results", "map", "leaves", "tree")


@dataclass(frozen=True)
class DataFile:
    """A `.data` file: the lists, names and maps that Darknet's commands read besides the network."""

    path: Path
    classes: int | None
    top: int
    eval: str
    paths: dict[str, str]  # as written, by key: only the keys of _PATHS that are present
    notes: tuple[str, ...]

    def find(self, key: str) -> Path | None:
        """The file that a key names; None if the key is absent. Raises DarknetError if the file is missing."""
        named = self.paths.get(key)
        return None if named is None else find_named(named, key, self.path)


def read_data(path: Path) -> DataFile:
    """The settings of a `.data` file; DarknetError names the first malformed line."""
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


def find_named(text: str, key: str, referrer: Path) -> Path:
    """The path of a file that the Darknet file `referrer` names.

    Darknet resolves names from the working directory. Usually `referrer` lies in `cfg/` and the named file in `data/`
    beside it, or both lie in one folder, so these locations are tried too. DarknetError if none of them has the file.
    """
    named = Path(text.encode("latin-1").decode("utf-8", "surrogateescape"))
    candidates = [
        named,
        referrer.parent / named,
        referrer.parent.parent / named,
        referrer.parent / named.name,
    ]
    for path in candidates:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError):  # not a possible file name
            break
    raise DarknetError(
        f"{referrer}: {key}={quoted(str(named))} is neither in the working directory nor near this file. "
        "Give the named file on the command line."
    )
