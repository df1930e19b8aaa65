"""Near spellings, for messages about words that nobody knows."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from string import ascii_lowercase, digits

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import Int64Array

_LETTERS = ascii_lowercase + digits + " -'_."
_ALIKE = 0.75  # difflib's ratio: twice the letters in common blocks, over the letters of both
_BINS = 32  # letters are counted by their code modulo this


def near(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """At most `limit` of the known words that look like a misspelling of `word`, likeliest first."""
    return Spellings(known).near(word, limit=limit)


class Spellings:
    """Words prepared so that misspellings of them are found quickly, however many there are.

    Letters in common blocks cannot be more than the letters in common: by counts of letters nearly all words are
    ruled out before difflib compares them.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._words = sorted(set(known))
        self._known = frozenset(self._words)
        self._lengths = np.array([len(word) for word in self._words], dtype=np.int64)
        self._counts = _letter_counts(self._words, self._lengths)

    def near(self, word: str, *, limit: int = 3) -> list[str]:
        """At most `limit` of the words that look like a misspelling of `word`, likeliest first."""
        one_edit_away = [other for other in _edits(word) if other in self._known and other != word]
        alike = get_close_matches(word, self._possible(word), n=limit, cutoff=_ALIKE)
        return list(dict.fromkeys([*one_edit_away[:limit], *alike]))[:limit]

    def _possible(self, word: str) -> list[str]:
        """The words of similar length that have enough letters in common with this one."""
        rows = np.flatnonzero(np.abs(self._lengths - len(word)) <= 2)
        (own,) = _letter_counts([word], np.array([len(word)]))
        common = np.minimum(self._counts[rows], own).sum(axis=1, dtype=np.int64)
        enough = 2 * common >= _ALIKE * (self._lengths[rows] + len(word))
        return [self._words[row] for row in rows[enough].tolist()]


def _letter_counts(words: list[str], lengths: Int64Array) -> npt.NDArray[np.uint16]:
    """(words, bins) how often each kind of letter occurs."""
    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    places = np.repeat(np.arange(len(words)), lengths) * _BINS + codes % _BINS
    counts = np.bincount(places, minlength=len(words) * _BINS)
    return counts.reshape(len(words), _BINS).astype(np.uint16)


def did_you_mean(words: list[str]) -> str:
    """' Did you mean a, b or c?', or nothing where there is nothing to offer."""
    return f" Did you mean {_offer(words)}?" if words else ""


def did_you_mean_inside(words: list[str]) -> str:
    """The same for the middle of a sentence: ' (did you mean a, b or c?)'."""
    return f" (did you mean {_offer(words)}?)" if words else ""


def _offer(words: list[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _edits(word: str) -> Iterator[str]:
    """The word with two letters swapped, one too many, one missing, one wrong: in the order of how likely."""
    halves = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    yield from (left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1)
    yield from (left + right[1:] for left, right in reversed(halves) if right and len(word) > 3)
    yield from (left + letter + right for left, right in halves for letter in _LETTERS)
    yield from (left + letter + right[1:] for left, right in halves if right for letter in _LETTERS)
