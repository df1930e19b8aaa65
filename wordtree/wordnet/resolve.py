"""The synsets that a label means: a class name, a synset name, a wnid, or a class name of COCO or VOC.

Nothing is guessed: a name with several senses gives all of them.
"""

import re
from dataclasses import dataclass
from typing import Literal

from wordtree.errors import WordTreeError
from wordtree.support.suggest import did_you_mean
from wordtree.wordnet.class_lists import classes_named
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import plain, wnid_of
from wordtree.wordnet.reading import HowRead, read_name

Reason = HowRead | Literal["wnid", "synset name", "COCO class", "VOC class", "ambiguous", "unknown"]

_SYNSET_NAME = re.compile(r"(.+)\.([nvasr])\.[0-9]{1,2}")


class LabelError(WordTreeError):
    """WordNet does not know a label, or knows several senses of it."""


@dataclass(frozen=True)
class Resolution:
    """The synset of a label, or the reason why there is none.

    reason       how the synset was found, or "ambiguous" or "unknown":
                 "exact"      a word of WordNet with one sense
                 "spelling"   up to blanks, hyphens, full stops, apostrophes and accents
                 "plural"     the plural of such a word
                 "list"       the sense that all words share: `tench, Tinca tinca`
                 "brackets"   the sense under the text in brackets: `bat (animal)`
    synset, wnid None unless there is exactly one
    senses       the senses of an ambiguous name, the most frequent first; otherwise the one synset, if there is one
    suggestions  words similar to an unknown word, or the known words of an unknown list
    classes      the data sets with a class of this name, and its wnid: "mouse" -> (("COCO", "n03793489"),)
    read_as      the words of WordNet that the name was read as, where they differ from it
    """

    label: str
    reason: Reason
    synset: Synset | None
    wnid: str | None
    senses: tuple[Synset, ...]
    suggestions: tuple[str, ...] = ()
    classes: tuple[tuple[str, str], ...] = ()
    read_as: tuple[str, ...] = ()


def resolve(label: str, wordnet: WordNet) -> Resolution:
    """The meaning of a label in WordNet; class names of COCO and VOC count where WordNet lacks the word."""
    label = label.strip()
    if wnid := wnid_of(label):
        return _found(label, "wnid", wordnet.synset(wnid), wordnet) if wnid in wordnet else _unknown(label)
    if _SYNSET_NAME.fullmatch(label):
        named = wordnet.named(label)
        return _unknown(label) if named is None else _found(label, "synset name", named, wordnet)
    reading, classes = read_name(label, wordnet), classes_named(label)
    if classes and not (reading.senses and reading.how == "exact"):
        data_set, wnid = classes[0]
        reason: Reason = "COCO class" if data_set == "COCO" else "VOC class"
        return _found(label, reason, wordnet.synset(wnid), wordnet, classes)
    if not reading.senses:
        return _unknown(label, reading.words or tuple(wordnet.near(plain(label))))
    is_one, (first, *_) = len(reading.senses) == 1, reading.senses
    read_as = () if reading.how == "exact" else reading.words
    if not classes and reading.how in ("spelling", "plural"):
        classes = tuple(named for word in read_as for named in classes_named(word))
    return Resolution(
        label,
        reading.how if is_one else "ambiguous",
        first if is_one else None,
        wordnet.wnid(first) if is_one else None,
        reading.senses,
        classes=classes,
        read_as=read_as,
    )


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
    if not label:
        return "Expected a word, a synset name or a wnid, found an empty label."
    if wnid := wnid_of(label):
        return f"WordNet 3.0 has no noun '{wnid}'; ids of other versions differ."
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


def _found(
    label: str, reason: Reason, synset: Synset, wordnet: WordNet, classes: tuple[tuple[str, str], ...] = ()
) -> Resolution:
    return Resolution(label, reason, synset, wordnet.wnid(synset), (synset,), classes=classes)


def _unknown(label: str, suggestions: tuple[str, ...] = ()) -> Resolution:
    return Resolution(label, "unknown", None, None, (), suggestions)
