"""What a class without a node may mean: senses of WordNet, each with the kind that it is, the likeliest first.

Nothing is chosen here: whoever reviews the label map copies an id.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import HypernymPaths, WordNet
from wordtree.wordnet.resolve import Resolution, resolve

PHYSICAL = "physical_entity.n.01"


class Candidate(NamedTuple):
    """An id, and in words what it is: `car, auto, automobile (motor vehicle; so in COCO, VOC)`."""

    id: str
    text: str

    def __str__(self) -> str:
        return f"{self.id} {self.text}"


class Candidates:
    """The senses that a class may have; is_possible tells which ids there are."""

    def __init__(self, wordnet: WordNet, is_possible: Callable[[str], bool]) -> None:
        self._wordnet = wordnet
        self._is_possible = is_possible

    def senses(self, resolution: Resolution) -> list[str]:
        """The wnids of the possible senses, in WordNet's order."""
        return [wnid for wnid in map(self._wordnet.wnid, resolution.senses) if self._is_possible(wnid)]

    def of(self, resolution: Resolution) -> tuple[Candidate, ...]:
        """What a data set means by its class of that name, then senses that can be seen, then the others."""
        known = dict.fromkeys(wnid for _, wnid in resolution.classes if self._is_possible(wnid))
        senses = [wnid for wnid in self.senses(resolution) if wnid not in known]
        senses.sort(key=lambda wnid: not self._is_physical(self._wordnet.synset(wnid)))
        return tuple(Candidate(wnid, self._text(wnid, resolution)) for wnid in [*known, *senses])

    def of_shorter(self, name: str) -> tuple[str, tuple[Candidate, ...]]:
        """A part of an unknown name that WordNet knows, and its senses; both empty where there is none."""
        for word in filter(self._wordnet.senses, _shorter(name)):
            if candidates := self.of(resolve(word, self._wordnet)):
                return word, candidates
        return "", ()

    def _text(self, wnid: str, resolution: Resolution) -> str:
        synset = self._wordnet.synset(wnid)
        words = ", ".join(self._wordnet.lemmas(synset)[:3])
        kinds = ", ".join(self._wordnet.lemmas(kind)[0] for kind in self._wordnet.hypernyms(synset)[:2])
        data_sets = [data_set for data_set, meant in resolution.classes if meant == wnid]
        notes = [kinds, f"so in {', '.join(data_sets)}" if data_sets else ""]
        return f"{words} ({'; '.join(filter(None, notes))})"

    def _is_physical(self, synset: Synset) -> bool:
        return bool(self._paths.of(synset))

    @cached_property
    def _paths(self) -> HypernymPaths:
        root = self._wordnet.named(PHYSICAL)
        assert root is not None
        return HypernymPaths(self._wordnet, root)


def _shorter(name: str) -> Iterator[str]:
    """`Jaguar` of `Jaguar (Animal)`, `switch` of `Light switch`: the last word of an English name tells the kind."""
    bare = name.replace("_", " ").partition("(")[0].strip()
    if bare and bare != name:
        yield bare
    last = bare.rpartition(" ")[2]
    if last != bare and last.isalpha():
        yield last
