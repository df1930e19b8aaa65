"""The synsets that a label means: a word, a synset name, a wnid, or a class name of COCO or VOC.

Nothing is guessed: a word with several senses gives all of them.
"""

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from wordtree.errors import WordTreeError
from wordtree.support.suggest import did_you_mean
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet

Reason = Literal["wnid", "synset name", "exact", "COCO class", "VOC class", "ambiguous", "unknown"]

_WNID = re.compile(r"n[0-9]{8}")
_SYNSET_NAME = re.compile(r"(.+)\.([nvasr])\.[0-9]{1,2}")


class LabelError(WordTreeError):
    """WordNet does not know a label, or knows several senses of it."""


@dataclass(frozen=True)
class Resolution:
    """The synset of a label, or the reason why there is none.

    reason       how the synset was found ("exact": the word has one sense), or "ambiguous" or "unknown"
    synset, wnid None unless there is exactly one
    senses       the senses of an ambiguous word, the most frequent first; otherwise the one synset, if there is one
    suggestions  words similar to an unknown word
    classes      the data sets with a class of this name, and its wnid: "mouse" -> (("COCO", "n03793489"),)
    """

    label: str
    reason: Reason
    synset: Synset | None
    wnid: str | None
    senses: tuple[Synset, ...]
    suggestions: tuple[str, ...] = ()
    classes: tuple[tuple[str, str], ...] = ()


def resolve(label: str, wordnet: WordNet) -> Resolution:
    """The meaning of a label in WordNet; class names of COCO and VOC count where WordNet lacks the word."""
    label = label.strip()
    if _WNID.fullmatch(label):
        return _found(label, "wnid", wordnet.synset(label), wordnet) if label in wordnet else _unknown(label)
    if _SYNSET_NAME.fullmatch(label):
        named = wordnet.named(label)
        return _unknown(label) if named is None else _found(label, "synset name", named, wordnet)
    senses, classes = wordnet.senses(label), _classes_named(label)
    if len(senses) == 1:
        return _found(label, "exact", senses[0], wordnet, classes)
    if senses:
        return Resolution(label, "ambiguous", None, None, senses, classes=classes)
    for data_set, wnid in classes:
        reason: Reason = "COCO class" if data_set == "COCO" else "VOC class"
        return _found(label, reason, wordnet.synset(wnid), wordnet, classes)
    return Resolution(label, "unknown", None, None, (), tuple(wordnet.near(label.lower())))


def synset_of(label: str, wordnet: WordNet) -> Synset:
    """The one synset that a label means; LabelError, with suggestions, where it means none or several."""
    resolution = resolve(label, wordnet)
    if resolution.synset is None:
        raise LabelError(unresolved_message(resolution, wordnet))
    return resolution.synset


def unresolved_message(resolution: Resolution, wordnet: WordNet) -> str:
    """One line about a label without a synset: what is wrong with it and what to write instead."""
    label = resolution.label
    if resolution.reason == "ambiguous":
        senses = ", ".join(wordnet.name(sense) for sense in resolution.senses)
        head = f"'{label}' has {len(resolution.senses)} senses in WordNet: {senses}; name one of them."
        return " ".join([head, *class_notes(resolution, wordnet)])
    if _WNID.fullmatch(label):
        return f"WordNet 3.0 has no noun '{label}'; ids of other versions differ."
    if match := _SYNSET_NAME.fullmatch(label):
        if match[2] != "n":
            return f"'{label}' is no noun; a label is a noun such as dog.n.01."
        names = [wordnet.name(sense) for sense in wordnet.senses(match[1])[:5]]
        return f"WordNet has no sense '{label}'.{did_you_mean(names)}"
    return f"WordNet does not know '{label}'.{did_you_mean(list(resolution.suggestions))}"


def class_notes(resolution: Resolution, wordnet: WordNet) -> list[str]:
    """A sentence for each data set that has a class of this name, with the meaning there."""
    named = ((data_set, wordnet.name(wordnet.synset(wnid)), wnid) for data_set, wnid in resolution.classes)
    return [
        f"The class '{resolution.label}' of {data_set} is {name} ({wnid})." for data_set, name, wnid in named
    ]


def coco_classes() -> dict[str, str]:
    """The wnid of each of COCO's 80 classes, in COCO's order; from `assets/coco_classes.csv`."""
    return dict(_class_map("coco_classes.csv"))


def voc_classes() -> dict[str, str]:
    """The wnid of each of PASCAL VOC's 20 classes, in VOC's order; from `assets/voc_classes.csv`."""
    return dict(_class_map("voc_classes.csv"))


@cache
def _class_map(file_name: str) -> dict[str, str]:
    with (Path(__file__).parents[1] / "assets" / file_name).open(encoding="utf-8", newline="") as file:
        return {row["class"]: row["wnid"] for row in csv.DictReader(file)}


def _classes_named(label: str) -> tuple[tuple[str, str], ...]:
    """The data sets with a class of this name (ignoring case, `_` means a blank), each with the wnid."""
    name = label.lower().replace("_", " ")
    maps = (("COCO", "coco_classes.csv"), ("VOC", "voc_classes.csv"))
    return tuple((data_set, _class_map(file)[name]) for data_set, file in maps if name in _class_map(file))


def _found(
    label: str, reason: Reason, synset: Synset, wordnet: WordNet, classes: tuple[tuple[str, str], ...] = ()
) -> Resolution:
    return Resolution(label, reason, synset, wordnet.wnid(synset), (synset,), classes=classes)


def _unknown(label: str) -> Resolution:
    return Resolution(label, "unknown", None, None, ())
