"""The classes of a data set and their synsets in WordNet.

Reads LVIS and COCO (annotation JSON), OpenImages (`class-descriptions*.csv`), or a text file with one label on each
line. Nothing is guessed: ambiguous and unknown classes stay open, with candidates, for a person to fill in.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

from wordtree.hierarchies.csv_columns import ID_COLUMNS, NAME_COLUMNS, Header
from wordtree.hierarchies.labels import read_labels
from wordtree.support.csv_cells import cell_text, csv_row
from wordtree.support.lines import one_line
from wordtree.wordnet.class_lists import data_set_of, is_whole_list, listed_wnid
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import LabelError, Resolution, class_notes, resolve


@dataclass(frozen=True)
class NamedClass:
    """A class of a data set; `words` are its names there, the most likely to be in WordNet first."""

    id: str
    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class ClassResolution:
    """A line of the report: a class and its synset, or the reason why there is none, with candidates."""

    id: str
    name: str
    wnid: str
    synset: str
    reason: str
    note: str


def read_dataset_classes(path: Path) -> list[NamedClass]:
    """The classes in a file of LVIS, COCO or OpenImages, or in a list of labels; LabelError if there are none."""
    if path.suffix.lower() == ".json":
        return _categories(path)
    if path.suffix.lower() == ".csv":
        return _descriptions(path)
    return [NamedClass(label, label, (label,)) for label in read_labels(path)]


def resolve_classes(classes: Sequence[NamedClass], wordnet: WordNet) -> list[ClassResolution]:
    """The resolution of each class, in order: the synset of its first word that has exactly one sense.

    Exactly the classes of COCO, or of VOC, get the synsets of our hand-made tables.
    """
    names = [named.name for named in classes]
    data_set = data_set_of(names)
    if data_set is None or not is_whole_list(names, data_set):
        return [_resolve_class(named, wordnet) for named in classes]
    wnids = [listed_wnid(name, data_set) for name in names]
    return [
        ClassResolution(
            named.id, named.name, wnid, wordnet.name(wordnet.synset(wnid)), f"{data_set} class", ""
        )
        for named, wnid in zip(classes, wnids, strict=True)
    ]


def resolutions_csv(lines: Sequence[ClassResolution]) -> str:
    """The report as a CSV table for review; an open class has no wnid, which can be filled in by hand."""
    text = StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ClassResolution)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_row(asdict(line)) for line in lines)
    return text.getvalue()


def _resolve_class(named: NamedClass, wordnet: WordNet) -> ClassResolution:
    resolutions = [resolve(word, wordnet) for word in named.words]
    resolved = next((item for item in resolutions if item.synset is not None), None)
    if resolved is None:
        best = next((item for item in resolutions if item.senses), resolutions[-1])
        return ClassResolution(named.id, named.name, "", "", best.reason, _open_note(best, wordnet))
    assert resolved.synset is not None
    wnid, synset = wordnet.wnid(resolved.synset), wordnet.name(resolved.synset)
    read_as = resolved.read_as or (() if resolved is resolutions[0] else (resolved.label,))
    note = f"as {', '.join(map(repr, read_as))}" if read_as else ""
    return ClassResolution(named.id, named.name, wnid, synset, resolved.reason, note)


def _open_note(resolution: Resolution, wordnet: WordNet) -> str:
    """The candidates for an open class."""
    if resolution.senses:
        senses = ", ".join(map(wordnet.name, resolution.senses))
        notes = class_notes(resolution, wordnet)
        return f"{senses}. {' '.join(notes)}" if notes else senses
    return f"perhaps {' or '.join(resolution.suggestions)}" if resolution.suggestions else ""


def _categories(path: Path) -> list[NamedClass]:
    """The classes of LVIS (with a synset, and synonyms with `_` for blanks) or of COCO (names only)."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not JSON ({one_line(error)}).") from None
    rows = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise LabelError(f'{path}: expected annotations of COCO or LVIS, found no list "categories".')
    return [_category(row, number, path) for number, row in enumerate(rows)]


def _category(row: Any, number: int, path: Path) -> NamedClass:
    name = row.get("name") if isinstance(row, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise LabelError(f"{path}: category {number} has no name.")
    others = row.get("synonyms")
    synonyms = [other for other in others if isinstance(other, str)] if isinstance(others, list) else []
    synset = [row["synset"]] if isinstance(row.get("synset"), str) else []
    words = [word.replace("_", " ") for word in (name, *synonyms)]
    return NamedClass(str(row.get("id", number)), name, tuple(dict.fromkeys([*synset, *words])))


def _descriptions(path: Path) -> list[NamedClass]:
    """The classes of OpenImages: rows `/m/0k4j,Car`, or a header with another order of these columns."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [row for row in csv.reader(StringIO(text, newline="")) if row]
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: expected text in UTF-8; byte {error.start} is invalid.") from None
    except csv.Error as error:
        raise LabelError(f"{path}: not a CSV file ({error}).") from None
    header = Header(tuple(rows[0])) if rows else Header()
    columns = (header.position(ID_COLUMNS), header.position(NAME_COLUMNS))
    body = rows[1:] if rows and not rows[0][0].startswith("/") else rows
    if columns == (1, 0):
        body = [row[::-1] for row in body]
    for row in body:
        if len(row) != 2 or not row[1].strip():
            found = ",".join(row)[:60]
            raise LabelError(f"{path}: expected lines such as '/m/0k4j,Car', found '{found}'.")
    if not body:
        raise LabelError(f"{path}: found no classes; expected lines such as '/m/0k4j,Car'.")
    texts = ([cell_text(cell) for cell in row] for row in body)
    return [NamedClass(id_, name, (name,)) for id_, name in texts]
