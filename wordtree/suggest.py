"""Near spellings, for messages about words that nobody knows."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from string import ascii_lowercase, digits

_LETTERS = ascii_lowercase + digits + " -'_."


def near(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """At most `limit` of the known words that look like a misspelling of `word`, likeliest first."""
    words = set(known)
    one_edit_away = [other for other in _edits(word) if other in words and other != word]
    similar_length = sorted(other for other in words if abs(len(other) - len(word)) <= 2)
    alike = get_close_matches(word, similar_length, n=limit, cutoff=0.75)
    return list(dict.fromkeys([*one_edit_away[:limit], *alike]))[:limit]


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
