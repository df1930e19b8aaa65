"""A tree as one HTML page that needs no network: search, open and close, path, counts, glosses, figures."""

import csv
import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wordtree.errors import WordTreeError
from wordtree.tree.tree import WordTree

Figures = Mapping[str, Sequence[float | None] | npt.NDArray[np.number]]

# Columns of text in tables of `data-prep info --csv`; "evidence" is the former name of "supervision".
_NO_FIGURES = frozenset({"id", "name", "supervision", "evidence", "nearest_boxed_ancestor"})
_WNID = re.compile(r"n[0-9]{8}")


class FiguresError(WordTreeError):
    """Figures do not fit the nodes of the tree."""


@dataclass(frozen=True)
class PageContent:
    """What a page shows beside the tree.

    glosses  the meaning of each id that has one
    figures  named columns of N numbers (None: unknown), such as a ledger's boxes and image labels; shown for each
             node, and summed up from below
    start    the node that is shown first
    level    how many levels stand open at first; None: the only root's children, or the roots
    """

    title: str
    glosses: Mapping[str, str] = field(default_factory=dict)
    figures: Figures = field(default_factory=dict)
    start: int | None = None
    level: int | None = None


def tree_page(tree: WordTree, shown: PageContent) -> str:
    """The page as text; colours follow the reader's light or dark setting."""
    content = {
        "ids": tree.ids,
        "names": tree.names,
        "parents": tree.parent.tolist(),
        "relations": tree.relations.tolist(),
        "glosses": [shown.glosses.get(id_) for id_ in tree.ids] if shown.glosses else None,
        "figures": {name: _one_for_each_node(name, column, tree) for name, column in shown.figures.items()},
        "start": -1 if shown.start is None else shown.start,
        "level": int(tree.group_size[0] == 1) if shown.level is None else shown.level,
    }
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    parts = {
        "title": html.escape(shown.title),
        "style": _file("page.css"),
        "script": _file("page.js"),
        "tree": data.replace("<", "\\u003c"),  # so that no name can end the script
        "footer": _footer(tree),
    }
    return re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], _file("page.html"))


def read_figures(path: Path, tree: WordTree) -> dict[str, list[float | None]]:
    """The columns of a CSV file with the column `id` and numbers in the others; nodes it leaves out have None.

    Of a ledger (`data-prep info --csv`) the words, and the sums that the page makes itself, are passed over.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            named, rows = list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise FiguresError(f"{path}: expected a CSV file in UTF-8 ({error}).") from None
    names = [name for name in named if name not in _NO_FIGURES and not name.endswith("_rolled_up")]
    if not (names and all(named) and rows and "id" in named):
        raise FiguresError(
            f"{path}: expected a line of names with 'id' in it, then a line of numbers for each node."
        )
    columns: dict[str, list[float | None]] = {name: [None] * len(tree) for name in names}
    for line, row in enumerate(rows, start=2):
        if row["id"] not in tree:
            raise FiguresError(f"{path}: line {line}: the tree has no node '{row['id']}'.")
        if None in row:
            raise FiguresError(f"{path}: line {line}: has more fields than the {len(named)} names above.")
        for name in names:
            columns[name][tree.node(row["id"])] = _number(row[name], f"{path}: line {line}, {name}")
    return columns


def _number(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FiguresError(f"{where}: expected a number, found {text!r}.")
    return int(value) if value.is_integer() else value


def _one_for_each_node(
    name: str, column: Sequence[float | None] | npt.NDArray[np.number], tree: WordTree
) -> list[float | None]:
    values: list[float | None] = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if len(values) != len(tree):
        raise FiguresError(f"'{name}': expected {len(tree)} figures, one a node, found {len(values)}.")
    if any(value is not None and not math.isfinite(value) for value in values):
        raise FiguresError(f"'{name}': expected finite figures; leave out what is unknown.")
    return values


def _footer(tree: WordTree) -> str:
    """WordNet's notice, which goes with every copy of its ids."""
    if not any(_WNID.fullmatch(id_) for id_ in tree.ids):
        return ""
    notice = html.escape(_file("WordNet-3.0.txt"))
    return f"<details><summary>Ids and names from WordNet 3.0: its licence</summary><pre>{notice}</pre></details>"


def _file(name: str) -> str:
    return (files("wordtree") / "assets" / name).read_text(encoding="utf-8")
