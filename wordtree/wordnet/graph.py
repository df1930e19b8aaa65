"""The noun graph of WordNet 3.0 (ImageNet's version): shipped, or read from an installed WordNet.

A synset is an index into the graph; its wnid is `n` and the synset's offset in WordNet 3.0, eight digits.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np

from wordtree.support.arrays import UInt8Array
from wordtree.support.suggest import Spellings
from wordtree.wordnet.columns import HypernymPath, NounColumns, Synset, WordNetError
from wordtree.wordnet.names import name_key, plain_name_keys

SHIPPED = Path(__file__).parents[1] / "assets" / "wordnet-3.0-nouns.npz"

_SYNSET_NAME = re.compile(r"(.+)\.n\.([0-9]{1,2})")


class WordNet:
    """The noun synsets with their words, in order of sense, and their hypernyms."""

    def __init__(self, columns: NounColumns, glosses: tuple[str, ...] | None = None) -> None:
        self._columns = columns
        self._glosses = glosses
        self._lemmas = columns.lemma_text.tobytes().decode().splitlines()
        self._lemma_start = _starts(columns.lemma_count)
        self._sense: list[int] = columns.sense.tolist()
        self._hypernym: list[Synset] = columns.hypernym.tolist()
        self._hypernym_start = _starts(columns.hypernym_count)

    @classmethod
    def shipped(cls) -> "WordNet":
        """The graph that ships with the package, without glosses; read once per process."""
        return _shipped()

    @classmethod
    def installed(cls, folder: Path | str) -> Self:
        """The graph and glosses of an installed WordNet 3.0: its folder (with `data.noun`), or NLTK's zip.

        Takes about ten seconds. Raises WordNetError if there is no WordNet 3.0.
        """
        from wordtree.wordnet.installed import read_nouns

        return cls(*read_nouns(Path(folder)))

    def __len__(self) -> int:
        return len(self._columns.offset)

    def __contains__(self, wnid: object) -> bool:
        return wnid in self._synset_of_wnid

    @cached_property
    def wnids(self) -> tuple[str, ...]:
        """The wnid of each synset, ascending."""
        return tuple([f"n{offset:08d}" for offset in self._columns.offset.tolist()])

    def wnid(self, synset: Synset) -> str:
        """`n` and the synset's offset in WordNet 3.0."""
        return f"n{self._columns.offset[synset]:08d}"

    def synset(self, wnid: str) -> Synset:
        """The synset of a wnid; WordNetError if WordNet 3.0 has no such noun."""
        try:
            return self._synset_of_wnid[wnid]
        except KeyError:
            raise WordNetError(f"WordNet 3.0 has no noun synset '{wnid}'.") from None

    def lemmas(self, synset: Synset) -> tuple[str, ...]:
        """The words of the synset with blanks instead of `_`, the most frequent first."""
        words = self._lemmas[self._lemma_start[synset] : self._lemma_start[synset + 1]]
        return tuple(word.replace("_", " ") for word in words)

    def name(self, synset: Synset) -> str:
        """The synset's name: `dog.n.01` is the first sense of *dog*."""
        first = self._lemma_start[synset]
        return f"{self._lemmas[first].lower()}.n.{self._sense[first]:02d}"

    def named(self, name: str) -> Synset | None:
        """The synset of a name such as `dog.n.01`, by any of its lemmas; None if there is no such sense."""
        match = _SYNSET_NAME.fullmatch(name)
        if match is None:
            return None
        senses, number = self.senses(match[1]), int(match[2])
        return senses[number - 1] if 1 <= number <= len(senses) else None

    def senses(self, word: str) -> tuple[Synset, ...]:
        """The synsets of a word, the most frequent sense first; ignores case, and `_` means a blank."""
        return tuple(self._senses.get(_key(word), ()))

    def respelled(self, word: str) -> list[str]:
        """The words that differ from `word` only in case, blanks, hyphens, full stops, apostrophes or accents."""
        return self._words_of_key.get(name_key(word), [])

    @property
    def words(self) -> list[str]:
        """All words that `senses` knows: lower case, with blanks."""
        return [key.replace("_", " ") for key in self._senses]

    def near(self, word: str) -> list[str]:
        """Words that look like a misspelling of `word`, the most similar first."""
        return self._spellings.near(word)

    def hypernyms(self, synset: Synset) -> list[Synset]:
        """The synsets that this one is a kind or an instance of, by offset."""
        return self._hypernym[self._hypernym_start[synset] : self._hypernym_start[synset + 1]]

    def upwards(self, synset: Synset) -> Iterator[Synset]:
        """The synset itself and all synsets above it, each once."""
        seen, waiting = {synset}, [synset]
        while waiting:
            current = waiting.pop()
            yield current
            further = [above for above in self.hypernyms(current) if above not in seen]
            seen.update(further)
            waiting.extend(further)

    def instance_hypernyms(self, synset: Synset) -> list[Synset]:
        """The synsets that this one is an instance of: *Danube* is an instance of *river*."""
        edges = slice(self._hypernym_start[synset], self._hypernym_start[synset + 1])
        return [
            above
            for above, instance in zip(self._hypernym[edges], self._columns.is_instance[edges], strict=True)
            if instance
        ]

    def gloss(self, synset: Synset) -> str | None:
        """The definition and examples; None in the shipped graph, which has no glosses."""
        return None if self._glosses is None else self._glosses[synset]

    @cached_property
    def _synset_of_wnid(self) -> dict[str, Synset]:
        return {wnid: Synset(synset) for synset, wnid in enumerate(self.wnids)}

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self.words)

    @cached_property
    def _words_of_key(self) -> dict[str, list[str]]:
        words_of_key: defaultdict[str, list[str]] = defaultdict(list)
        words = self.words
        for key, word in zip(plain_name_keys(words), words, strict=True):
            words_of_key[key].append(word)
        return dict(words_of_key)

    @cached_property
    def _senses(self) -> dict[str, list[Synset]]:
        synset_of_lemma = np.repeat(np.arange(len(self)), self._columns.lemma_count).tolist()
        senses: defaultdict[str, list[Synset]] = defaultdict(list)
        for lemma in np.argsort(self._columns.sense, kind="stable").tolist():
            known = senses[self._lemmas[lemma].lower()]
            if synset_of_lemma[lemma] not in known:  # a synset may hold a word in two spellings: Bible, bible
                known.append(synset_of_lemma[lemma])
        return dict(senses)


class HypernymPaths:
    """All hypernym paths (kinds and instances) between synsets and a root.

    overrides: parents of a synset that replace its hypernyms.
    """

    def __init__(
        self, wordnet: WordNet, root: Synset, overrides: Mapping[Synset, list[Synset]] | None = None
    ) -> None:
        self.root = root
        self.overrides = dict(overrides or {})
        self._wordnet = wordnet
        self._known: dict[Synset, list[HypernymPath]] = {root: [()]}

    def of(self, synset: Synset) -> list[HypernymPath]:
        """Paths from below the root down to the synset itself; empty for a synset that is not below the root."""
        if synset not in self._known:
            above = self.overrides.get(synset) or self._wordnet.hypernyms(synset)
            self._known[synset] = [(*path, synset) for parent in above for path in self.of(parent)]
        return self._known[synset]


@cache
def _shipped() -> WordNet:
    try:
        content = BytesIO(SHIPPED.read_bytes())  # np.load leaves a damaged file open
        with np.load(content, allow_pickle=False) as archive:
            columns: dict[str, Any] = {name: archive[name] for name in NounColumns.__dataclass_fields__}
    except FileNotFoundError:
        raise WordNetError(f"{SHIPPED} is absent; install the package again.") from None
    except (BadZipFile, KeyError, ValueError, EOFError):
        raise WordNetError(f"{SHIPPED} is damaged; install the package again.") from None
    return WordNet(NounColumns(**columns))


def _starts(counts: UInt8Array) -> list[int]:
    starts: list[int] = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).tolist()
    return starts


def _key(word: str) -> str:
    return "_".join(word.lower().replace("_", " ").split())
