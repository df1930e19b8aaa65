from difflib import get_close_matches

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtree.support.suggest import Spellings, _edits, near
from wordtree.wordnet.graph import WordNet


def near_slowly(word: str, known: list[str], limit: int = 3) -> list[str]:
    """The similar words, by difflib over every word of similar length."""
    words = set(known)
    similar = sorted(other for other in words if abs(len(other) - len(word)) <= 2)
    alike = get_close_matches(word, similar, n=limit, cutoff=0.75)
    one_edit_away = [other for other in _edits(word) if other in words and other != word]
    return list(dict.fromkeys([*one_edit_away[:limit], *alike]))[:limit]


texts = st.text(alphabet="abcdAB é\U0001f600\ud800", max_size=9)


@given(texts, st.lists(texts, max_size=20), st.integers(1, 4))
def test_the_fast_search_agrees_with_difflib(word, words, limit):
    assert near(word, words, limit=limit) == near_slowly(word, words, limit)


@pytest.mark.parametrize("word", ["light switch", "zebrra"])
def test_the_fast_search_agrees_with_difflib_on_all_words_of_wordnet(word):
    words = WordNet.shipped().words
    assert Spellings(words).near(word) == near_slowly(word, words) != []


def test_the_most_similar_word_comes_first():
    assert near("zebrra", ["cobra", "zebras", "zebra"]) == ["zebra", "zebras"]
    assert near("wingnut", ["nut", "wing_nut", "wing nut"]) == ["wing nut", "wing_nut"]
    assert near("word", []) == []
