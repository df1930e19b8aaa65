"""The classes of a data set, read from the user's own files, and what each means in WordNet.

LVIS and COCO (annotation JSON), OpenImages (`class-descriptions*.csv`), or a text file with one label a line.
Nothing is guessed: what is ambiguous or unknown stays open, with what it may be, for a person to fill in.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from typing import Any

from wordtree.hierarchies.labels import read_labels
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import LabelError, Resolution, class_notes, coco_classes, resolve, voc_classes


@dataclass(frozen=True)
class NamedClass:
    """A class as its data set has it; `words` are what it is called there, the likeliest to be in WordNet first."""

    id: str
    name: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class ClassMeaning:
    """A line of the report: a class and its synset, or why there is none and what may be meant."""

    id: str
    name: str
    wnid: str
    synset: str
    reason: str
    note: str


def read_classes(path: Path) -> list[NamedClass]:
    """The classes in a file of LVIS, COCO or OpenImages, or in a list of labels; LabelError if there are none."""
    if path.suffix == ".json":
        return _categories(path)
    if path.suffix == ".csv":
        return _descriptions(path)
    return [NamedClass(label, label, (label,)) for label in read_labels(path)]


def meanings(classes: Sequence[NamedClass], wordnet: WordNet) -> list[ClassMeaning]:
    """What each class means, in the classes' order: by the first of its words that has one meaning.

    A list that is all of COCO's classes, or all of VOC's, is taken for that data set, whose maps are made by hand.
    """
    names = {named.name for named in classes}
    for reason, wnids in (("COCO class", coco_classes()), ("VOC class", voc_classes())):
        if names == wnids.keys():
            found = ((named, wnids[named.name]) for named in classes)
            return [
                ClassMeaning(named.id, named.name, wnid, wordnet.name(wordnet.synset(wnid)), reason, "")
                for named, wnid in found
            ]
    return [_meaning(named, wordnet) for named in classes]


def meanings_to_csv(lines: Sequence[ClassMeaning]) -> str:
    """The report as a table to be reviewed; what is open has no wnid and can be filled in by hand."""
    text = StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(ClassMeaning)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(line) for line in lines)
    return text.getvalue()


def _meaning(named: NamedClass, wordnet: WordNet) -> ClassMeaning:
    answers = [resolve(word, wordnet) for word in named.words]
    found = next((answer for answer in answers if answer.synset is not None), None)
    if found is None:
        best = next((answer for answer in answers if answer.senses), answers[-1])
        return ClassMeaning(named.id, named.name, "", "", best.reason, _open_note(best, wordnet))
    assert found.synset is not None
    wnid, synset = wordnet.wnid(found.synset), wordnet.name(found.synset)
    note = "" if found is answers[0] else f"as '{found.label}'"
    return ClassMeaning(named.id, named.name, wnid, synset, found.reason, note)


def _open_note(answer: Resolution, wordnet: WordNet) -> str:
    if answer.senses:
        return " ".join([", ".join(map(wordnet.name, answer.senses)), *class_notes(answer, wordnet)])
    return f"perhaps {' or '.join(answer.suggestions)}" if answer.suggestions else ""


def _categories(path: Path) -> list[NamedClass]:
    """LVIS gives a synset and synonyms beside the name, with `_` for blanks; COCO the name alone."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{path}: not JSON ({' '.join(str(error).split())}).") from None
    rows = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(rows, list) or not rows:
        raise LabelError(f'{path}: has no list "categories", as the annotations of COCO and LVIS have.')
    return [_category(row, number, path) for number, row in enumerate(rows)]


def _category(row: Any, number: int, path: Path) -> NamedClass:
    name = row.get("name") if isinstance(row, dict) else None
    if not isinstance(name, str) or not name.strip():
        raise LabelError(f"{path}: category {number} has no name.")
    others = row.get("synonyms")
    synonyms = [other for other in others if isinstance(other, str)] if isinstance(others, list) else []
    synset = [row["synset"]] if isinstance(row.get("synset"), str) else []
    plain = [word.replace("_", " ").partition("(")[0].strip() for word in (name, *synonyms)]
    return NamedClass(str(row.get("id", number)), name, tuple(dict.fromkeys([*synset, *plain])))


def _descriptions(path: Path) -> list[NamedClass]:
    """OpenImages: rows `/m/0k4j,Car`, with or without a header."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = [row for row in csv.reader(StringIO(text, newline="")) if row]
    except UnicodeDecodeError as error:
        raise LabelError(f"{path}: expected text in UTF-8; byte {error.start} is not.") from None
    except csv.Error as error:
        raise LabelError(f"{path}: not a CSV file ({error}).") from None
    body = rows[1:] if rows and not rows[0][0].startswith("/") else rows
    for row in body:
        if len(row) != 2 or not row[1].strip():
            found = ",".join(row)[:60]
            raise LabelError(f"{path}: expected lines such as '/m/0k4j,Car', found '{found}'.")
    if not body:
        raise LabelError(f"{path}: holds no classes; expected lines such as '/m/0k4j,Car'.")
    return [NamedClass(id_, name, (name.partition("(")[0].strip() or name,)) for id_, name in body]
