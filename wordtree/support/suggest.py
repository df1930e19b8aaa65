"""Similar words, for suggestions in messages about unknown words."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from string import ascii_lowercase, digits

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import Int64Array
from wordtree.support.lines import shortened

_LETTERS = ascii_lowercase + digits + " -'_."
_MIN_RATIO = 0.75  # of difflib: twice the letters in common blocks, over the letters of both words
_BINS = 32  # letters are counted by their code modulo this number
_MAX_LETTERS = (
    100  # of a word that is searched; the longest word in WordNet has 71, and the time grows with the square
)
_MAX_LENGTH_GAP = 2  # letters
_MAX_COMPARED = 1000  # words that difflib compares


def near(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """At most `limit` of the known words that are similar to `word`, the most similar first.

    None for a word without letters or of more than 100: the search takes bounded time and memory.
    """
    if not 0 < len(word) <= _MAX_LETTERS:
        return []
    return Spellings(other for other in known if abs(len(other) - len(word)) <= _MAX_LENGTH_GAP).near(
        word, limit=limit
    )


class Spellings:
    """A fast search for similar words among many.

    Two words have at most as many letters in common blocks as letters in common. So counts of letters rule out nearly
    all words before difflib compares them.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._words = sorted({word for word in known if len(word) <= _MAX_LETTERS + _MAX_LENGTH_GAP})
        self._known = frozenset(self._words)
        self._lengths = np.array([len(word) for word in self._words], dtype=np.int64)
        self._counts = _letter_counts(self._words, self._lengths)

    def near(self, word: str, *, limit: int = 3) -> list[str]:
        """At most `limit` of the words that are similar to `word`, the most similar first; see the function `near`."""
        if not 0 < len(word) <= _MAX_LETTERS:
            return []
        one_edit_away = [other for other in _edits(word) if other in self._known and other != word]
        similar = get_close_matches(word, self._possible(word), n=limit, cutoff=_MIN_RATIO)
        return list(dict.fromkeys([*one_edit_away[:limit], *similar]))[:limit]

    def _possible(self, word: str) -> list[str]:
        """The words of similar length that have enough letters in common with `word`; of very many, the likeliest."""
        rows = np.flatnonzero(np.abs(self._lengths - len(word)) <= _MAX_LENGTH_GAP)
        (counts,) = _letter_counts([word], np.array([len(word)]))
        common = np.minimum(self._counts[rows], counts).sum(axis=1, dtype=np.int64)
        ratio = 2 * common / (self._lengths[rows] + len(word))  # at least difflib's ratio
        rows, ratio = rows[ratio >= _MIN_RATIO], ratio[ratio >= _MIN_RATIO]
        likeliest = np.sort(np.argsort(-ratio, kind="stable")[:_MAX_COMPARED])
        return [self._words[row] for row in rows[likeliest].tolist()]


def _letter_counts(words: list[str], lengths: Int64Array) -> npt.NDArray[np.uint16]:
    """The number of letters of each word in each bin, shape (words, bins)."""
    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    bins = np.repeat(np.arange(len(words)), lengths) * _BINS + codes % _BINS
    counts = np.bincount(bins, minlength=len(words) * _BINS)
    return counts.reshape(len(words), _BINS).astype(np.uint16)


def did_you_mean(words: list[str]) -> str:
    """' Did you mean a, b or c?'; empty without words."""
    return f" Did you mean {_listed(words)}?" if words else ""


def did_you_mean_inside(words: list[str]) -> str:
    """' (did you mean a, b or c?)', for the middle of a sentence; empty without words."""
    return f" (did you mean {_listed(words)}?)" if words else ""


def _listed(words: list[str]) -> str:
    quoted = [f"'{shortened(word)}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _edits(word: str) -> Iterator[str]:
    """The word after one edit (two letters swapped, one removed, inserted, replaced), the likeliest edits first."""
    halves = [(word[:index], word[index:]) for index in range(len(word) + 1)]
    yield from (left + right[1] + right[0] + right[2:] for left, right in halves if len(right) > 1)
    yield from (left + right[1:] for left, right in reversed(halves) if right and len(word) > 3)
    yield from (left + letter + right for left, right in halves for letter in _LETTERS)
    yield from (left + letter + right[1:] for left, right in halves if right for letter in _LETTERS)
