"""The senses in WordNet of a class name in the spelling of a data set.

A name may differ from WordNet's word in blanks and hyphens (`tea pot`), be a plural (`sneakers`), list several words
for one class (`tench, Tinca tinca`), add a text in brackets that names something above it (`bat (animal)`), or begin
with the index of the class (`001.Zebra`).
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from wordtree.wordnet.class_lists import classes_named
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import Alternative, alternatives, plain, singular_forms, without_index

HowRead = Literal["exact", "spelling", "plural", "list", "brackets"]


@dataclass(frozen=True)
class Reading:
    """The senses of a name, and how they were found.

    how     "exact": a word of WordNet, up to capitals and underscores; otherwise the difference from one
    senses  none for an unknown name; those of a word begin with its most frequent sense
    words   the words of WordNet that were found; not empty for a list of which other words are unknown
    """

    how: HowRead
    senses: tuple[Synset, ...] = ()
    words: tuple[str, ...] = ()


def read_name(name: str, wordnet: WordNet) -> Reading:
    """The senses of a name; of a list, the senses that all its words share, or those of any word if they share none."""
    as_word = read_word(name, wordnet)
    if not as_word.senses and (rest := without_index(name)) != plain(name):
        reading = read_name(rest, wordnet)
        return Reading("spelling" if reading.how == "exact" else reading.how, reading.senses, reading.words)
    listed = alternatives(name)
    if as_word.senses or not listed or (len(listed) == 1 and not listed[0].qualifier):
        return as_word
    readings = [_read_alternative(alternative, wordnet) for alternative in listed]
    known = [reading for reading in readings if reading.senses]
    words = tuple(word for reading in known for word in reading.words)
    how: HowRead = "list" if len(listed) > 1 else "brackets"
    senses = _shared(known)
    if len(known) == len(listed):
        return Reading(how, senses or _most_shared(known), words)
    # A slash means *or*; behind a comma may be a remark on the word before it: "giraffe, stuffed".
    is_sure = len(known) > 1 or len(senses) > 1 or "/" in name
    return Reading(how, senses if is_sure else (), words)


def read_word(word: str, wordnet: WordNet) -> Reading:
    """The senses of a word; a plural that has senses of its own has those of its singular too."""
    word = plain(word)
    if own := wordnet.senses(word):
        of_singular = (sense for form in singular_forms(word) for sense in wordnet.senses(form))
        return Reading("exact", tuple(dict.fromkeys([*own, *of_singular])), (word,))
    how: HowRead
    for how, forms in (("spelling", [word]), ("plural", singular_forms(word))):
        words = tuple(known for form in forms for known in wordnet.respelled(form))
        if words:
            senses = (sense for known in words for sense in wordnet.senses(known))
            return Reading(how, tuple(dict.fromkeys(senses)), words)
    return Reading("exact")


def _read_alternative(alternative: Alternative, wordnet: WordNet) -> Reading:
    """The senses of a word that are at or under a sense of the text in brackets; all its senses if none is."""
    reading = read_word(alternative.word, wordnet)
    above = set(read_word(alternative.qualifier, wordnet).senses)
    matching = tuple(sense for sense in reading.senses if not above.isdisjoint(wordnet.upwards(sense)))
    # WordNet has the common sense of *bus* outside *vehicle*, but a rare one under it.
    common = {wordnet.synset(wnid) for _, wnid in classes_named(alternative.word)}
    if not matching or (common and common.isdisjoint(matching)):
        return reading
    return Reading(reading.how, matching, reading.words)


def _shared(readings: list[Reading]) -> tuple[Synset, ...]:
    """The senses of the first word that all others have."""
    return tuple(
        sense
        for sense in (readings[0].senses if readings else ())
        if all(sense in reading.senses for reading in readings)
    )


def _most_shared(readings: list[Reading]) -> tuple[Synset, ...]:
    """The senses of all words, those of most words first."""
    words_of = Counter(sense for reading in readings for sense in reading.senses)
    return tuple(sense for sense, _ in words_of.most_common())
