"""Candidates for a class without a node, the likeliest first, and the proposal of one of them with its reason.

A proposal is only accepted by `proposals: accept` in MERGE.yaml, or by a person who writes it into the label map.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from wordtree.wordnet.categories import category_of, category_text
from wordtree.wordnet.class_lists import imagenet_wnids
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import alternatives, plain
from wordtree.wordnet.resolve import Resolution, resolve


class Candidate(NamedTuple):
    """An id and its description: `car, auto, automobile (motor vehicle; used by COCO, VOC)`.

    because: why it may be the likeliest; empty where nothing speaks for it.
    """

    id: str
    text: str
    because: str = ""

    def __str__(self) -> str:
        return f"{self.id} {self.text}"


class Proposal(NamedTuple):
    """The likeliest candidate of a class: its node, or the parent of a new node."""

    id: str
    because: str
    is_parent: bool = False


class CandidateSenses:
    """Finds the senses of a class name; is_possible: whether an id may be the node of a class."""

    def __init__(self, wordnet: WordNet, is_possible: Callable[[str], bool]) -> None:
        self._wordnet = wordnet
        self._is_possible = is_possible

    def senses(self, resolution: Resolution) -> list[str]:
        """The wnids of the possible senses, in the order of WordNet."""
        return [wnid for wnid in map(self._wordnet.wnid, resolution.senses) if self._is_possible(wnid)]

    def of(self, resolution: Resolution) -> tuple[Candidate, ...]:
        """The senses that data sets give the name, then classes of ImageNet, then by category."""
        in_data_sets = [wnid for _, wnid in resolution.classes if self._is_possible(wnid)]
        wnids = list(dict.fromkeys([*in_data_sets, *self.senses(resolution)]))
        wnids.sort(key=lambda wnid: self._rank(wnid, in_data_sets))
        return tuple(
            Candidate(wnid, self._description(wnid, resolution), self._because(wnid, resolution))
            for wnid in wnids
        )

    def of_shorter(self, name: str) -> tuple[str, tuple[Candidate, ...]]:
        """A part of an unknown name that WordNet knows, and its senses; both empty if there is none."""
        for word in filter(self._wordnet.senses, _shorter_names(name)):
            if candidates := self.of(resolve(word, self._wordnet)):
                return word, candidates
        return "", ()

    def is_likeliest(self, name: str, wnid: str) -> bool:
        """Whether a wnid is the likeliest sense of a name, or below it: of the first category, the most frequent."""
        senses = resolve(name, self._wordnet).senses
        if len(senses) < 2:
            return True
        likeliest = min(senses, key=lambda sense: category_of(sense, self._wordnet))
        return likeliest in self._wordnet.upwards(self._wordnet.synset(wnid))

    def _rank(self, wnid: str, in_data_sets: Sequence[str]) -> tuple[bool, bool, int]:
        category = category_of(self._wordnet.synset(wnid), self._wordnet)
        return wnid not in in_data_sets, wnid not in imagenet_wnids(), category

    def _because(self, wnid: str, resolution: Resolution) -> str:
        if data_sets := [data_set for data_set, used in resolution.classes if used == wnid]:
            return f"as in {', '.join(data_sets)}"
        if wnid in imagenet_wnids():
            return "a class of ImageNet"
        return category_text(self._wordnet.synset(wnid), self._wordnet)

    def _description(self, wnid: str, resolution: Resolution) -> str:
        synset = self._wordnet.synset(wnid)
        lemmas = ", ".join(self._wordnet.lemmas(synset)[:3])
        hypernyms = ", ".join(self._wordnet.lemmas(above)[0] for above in self._wordnet.hypernyms(synset)[:2])
        data_sets = [data_set for data_set, used in resolution.classes if used == wnid]
        notes = [hypernyms, f"used by {', '.join(data_sets)}" if data_sets else ""]
        return f"{lemmas} ({'; '.join(filter(None, notes))})"


class UsedNodes:
    """The nodes that the classes of a merge have, for proposals to the classes of other sources."""

    def __init__(self, nodes: Sequence[tuple[str, str]]) -> None:
        """nodes: source and id of each class that has a node."""
        self._sources_of: defaultdict[str, list[str]] = defaultdict(list)
        for source, id_ in dict.fromkeys(nodes):
            self._sources_of[id_].append(source)

    def propose(self, candidates: Sequence[Candidate], source: str) -> Proposal | None:
        """The first candidate that another source uses, or else the first one if it has a reason; otherwise None."""
        for candidate in candidates:
            if others := [other for other in self._sources_of.get(candidate.id, ()) if other != source]:
                return Proposal(candidate.id, f"used by source {', '.join(others[:3])}")
        first = next(iter(candidates), None)
        return Proposal(first.id, first.because) if first is not None and first.because else None


def propose_parent(head: str, candidates: Sequence[Candidate]) -> Proposal | None:
    """The likeliest sense of a part of the name, as the parent of a new node; None without candidates."""
    return Proposal(candidates[0].id, f"the name contains {head!r}", is_parent=True) if candidates else None


def proposed_first(candidates: Sequence[Candidate], proposal: Proposal | None) -> tuple[Candidate, ...]:
    """The candidates, the proposed one first."""
    return tuple(sorted(candidates, key=lambda candidate: proposal is None or candidate.id != proposal.id))


def _shorter_names(name: str) -> Iterator[str]:
    """`Jaguar` for `Jaguar (Animal)`, `switch` for `Light switch`: the head of an English compound comes last."""
    words = [alternative.word for alternative in alternatives(name) if alternative.word]
    if len(words) > 1 or words[:1] != [plain(name)]:
        yield from words
    for word in words:
        last_word = word.rpartition(" ")[2]
        if last_word != word and last_word.isalpha():
            yield last_word
