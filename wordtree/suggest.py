"""Near spellings, for messages about words that nobody knows."""

from collections.abc import Iterable
from difflib import get_close_matches


def near(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """At most `limit` of the known words that look like a misspelling of `word`, nearest first."""
    similar_length = [other for other in known if abs(len(other) - len(word)) <= 2]
    return get_close_matches(word, similar_length, n=limit, cutoff=0.75)


def did_you_mean(words: list[str]) -> str:
    """' Did you mean a, b or c?', or nothing where there is nothing to offer."""
    if not words:
        return ""
    quoted = [f"'{word}'" for word in words]
    offer = quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
    return f" Did you mean {offer}?"
