"""Candidates for a class without a node: its senses in WordNet, each with its hypernyms, the likeliest first.

Nothing is chosen here: the reviewer of the label map copies an id.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from wordtree.wordnet.graph import HypernymPaths, WordNet
from wordtree.wordnet.resolve import Resolution, resolve

PHYSICAL = "physical_entity.n.01"


class Candidate(NamedTuple):
    """An id and its description: `car, auto, automobile (motor vehicle; used by COCO, VOC)`."""

    id: str
    text: str

    def __str__(self) -> str:
        return f"{self.id} {self.text}"


class CandidateSenses:
    """Finds the senses of a class name; is_possible: whether an id may be the node of a class."""

    def __init__(self, wordnet: WordNet, is_possible: Callable[[str], bool]) -> None:
        self._wordnet = wordnet
        self._is_possible = is_possible

    def senses(self, resolution: Resolution) -> list[str]:
        """The wnids of the possible senses, in the order of WordNet."""
        return [wnid for wnid in map(self._wordnet.wnid, resolution.senses) if self._is_possible(wnid)]

    def of(self, resolution: Resolution) -> tuple[Candidate, ...]:
        """The senses that data sets give the name, then physical senses, then the others."""
        in_data_sets = dict.fromkeys(wnid for _, wnid in resolution.classes if self._is_possible(wnid))
        senses = [wnid for wnid in self.senses(resolution) if wnid not in in_data_sets]
        senses.sort(key=lambda wnid: not self._physical_paths.of(self._wordnet.synset(wnid)))
        return tuple(
            Candidate(wnid, self._description(wnid, resolution)) for wnid in [*in_data_sets, *senses]
        )

    def of_shorter(self, name: str) -> tuple[str, tuple[Candidate, ...]]:
        """A part of an unknown name that WordNet knows, and its senses; both empty if there is none."""
        for word in filter(self._wordnet.senses, _shorter_names(name)):
            if candidates := self.of(resolve(word, self._wordnet)):
                return word, candidates
        return "", ()

    def _description(self, wnid: str, resolution: Resolution) -> str:
        synset = self._wordnet.synset(wnid)
        lemmas = ", ".join(self._wordnet.lemmas(synset)[:3])
        hypernyms = ", ".join(self._wordnet.lemmas(above)[0] for above in self._wordnet.hypernyms(synset)[:2])
        data_sets = [data_set for data_set, used in resolution.classes if used == wnid]
        notes = [hypernyms, f"used by {', '.join(data_sets)}" if data_sets else ""]
        return f"{lemmas} ({'; '.join(filter(None, notes))})"

    @cached_property
    def _physical_paths(self) -> HypernymPaths:
        root = self._wordnet.named(PHYSICAL)
        assert root is not None
        return HypernymPaths(self._wordnet, root)


def _shorter_names(name: str) -> Iterator[str]:
    """`Jaguar` for `Jaguar (Animal)`, `switch` for `Light switch`: the head of an English compound comes last."""
    without_note = name.replace("_", " ").partition("(")[0].strip()
    if without_note and without_note != name:
        yield without_note
    last_word = without_note.rpartition(" ")[2]
    if last_word != without_note and last_word.isalpha():
        yield last_word
