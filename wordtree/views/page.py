"""A tree as one HTML page without network access: search, open and close, path, counts, synonyms, glosses, numbers."""

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined

from wordtree.errors import WordTreeError
from wordtree.support.csv_cells import cell_text
from wordtree.support.lines import quoted
from wordtree.tree.tree import WordTree
from wordtree.tree.tree_files import wordnet_notice
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.graph import WordNet

Numbers = Mapping[str, Sequence[float | None] | npt.NDArray[np.number]]

# Text columns in tables of `data-prep info --csv`; "evidence" is the former name of "supervision".
_TEXT_COLUMNS = frozenset({"id", "name", "supervision", "evidence", "nearest_boxed_ancestor"})
_ID = "id"
_PAGES = Environment(loader=PackageLoader("wordtree", "assets"), autoescape=True, undefined=StrictUndefined)
_PAGES.policies["json.dumps_kwargs"] = {
    "ensure_ascii": False,
    "separators": (",", ":"),
    "allow_nan": False,
}


class NumbersError(WordTreeError):
    """Numbers do not fit the nodes of the tree."""


@dataclass(frozen=True)
class PageContent:
    """The content of a page beside the tree.

    glosses  the definition of each id that has one
    numbers  named columns of N numbers (None: unknown), such as counts of boxes and image labels; the page shows
             them for each node, with the sum over its descendants
    start    the node shown first
    level    the number of levels open at first; None: the children of the only root, or the roots
    """

    title: str
    glosses: Mapping[str, str] = field(default_factory=dict)
    numbers: Numbers = field(default_factory=dict)
    start: int | None = None
    level: int | None = None


def tree_page(tree: WordTree, content: PageContent) -> str:
    """The HTML text of the page; its colours follow the light or dark setting of the reader."""
    data: dict[str, Any] = {
        "ids": tree.ids,
        "names": tree.names,
        "parents": tree.parent.tolist(),
        "relations": tree.relations.tolist(),
        "synonyms": _synonyms(tree),
        "glosses": [content.glosses.get(id_) for id_ in tree.ids] if content.glosses else None,
        "numbers": {name: _checked(name, column, tree) for name, column in content.numbers.items()},
        "start": -1 if content.start is None else content.start,
        "level": int(tree.group_size[0] == 1) if content.level is None else content.level,
    }
    page = _PAGES.get_template("page.html")
    return page.render(title=content.title, tree=data, notice=wordnet_notice(tree.ids))


def _synonyms(tree: WordTree) -> list[list[str] | None] | None:
    """For each node of WordNet the other words for it, and its class names in COCO and VOC; None without any."""
    wordnet = WordNet.shipped()
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for name, wnid in (*coco_classes().items(), *voc_classes().items()):
        classes[wnid].append(name)
    synonyms: list[list[str] | None] = []
    for id_, name in zip(tree.ids, tree.names, strict=True):
        words = [*wordnet.lemmas(wordnet.synset(id_)), *classes[id_]] if id_ in wordnet else []
        others = [word for word in dict.fromkeys(words) if word.casefold() != name.casefold()]
        synonyms.append(others or None)
    return synonyms if any(synonyms) else None


def read_numbers(path: Path, tree: WordTree) -> dict[str, list[float | None]]:
    """The columns of numbers in a CSV file with a column `id`, one value for each node, None if a row is missing.

    Skips text columns of `data-prep info --csv`, and its sums over descendants, which the page computes itself.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            named = [_ID if name.strip().casefold() == _ID else name for name in reader.fieldnames or ()]
            reader.fieldnames = named
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise NumbersError(f"{path}: expected a CSV file in UTF-8 ({error}).") from None
    names = [name for name in named if name not in _TEXT_COLUMNS and not name.endswith("_rolled_up")]
    if not (names and all(named) and rows and "id" in named):
        raise NumbersError(
            f"{path}: expected a header with 'id' in it, then a line of numbers for each node."
        )
    columns: dict[str, list[float | None]] = {name: [None] * len(tree) for name in names}
    for line, row in enumerate(rows, start=2):
        row["id"] = cell_text(row["id"] or "")
        if row["id"] not in tree:
            raise NumbersError(f"{path}: line {line}: the tree has no node {quoted(row['id'] or '')}.")
        if None in row:
            raise NumbersError(f"{path}: line {line}: has more fields than the {len(named)} in the header.")
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
        raise NumbersError(f"{where}: expected a number, found {text!r}.")
    return int(value) if value.is_integer() else value


def _checked(
    name: str, column: Sequence[float | None] | npt.NDArray[np.number], tree: WordTree
) -> list[float | None]:
    values: list[float | None] = column.tolist() if isinstance(column, np.ndarray) else list(column)
    if len(values) != len(tree):
        raise NumbersError(
            f"{quoted(name)}: expected {len(tree)} numbers, one for each node, found {len(values)}."
        )
    if any(value is not None and not math.isfinite(value) for value in values):
        raise NumbersError(f"{quoted(name)}: expected finite numbers; use None if a number is unknown.")
    return values
