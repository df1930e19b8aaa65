import time
import tracemalloc
from difflib import get_close_matches
from itertools import islice, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wordtree.support.suggest import Spellings, _edits, near
from wordtree.wordnet.graph import WordNet


def near_slowly(word: str, known: list[str], limit: int = 3) -> list[str]:
    """The similar words, by difflib over every word of similar length."""
    if not word:
        return []
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


def test_the_search_takes_little_time_and_memory_for_any_word_and_any_list():
    """Before, a word of 64,000 letters took 4 GB, and a list of anagrams minutes."""
    long = "dog" * 30_000
    anagrams = ["".join(letters) for letters in islice(permutations("abcdefgh" * 12), 5000)]
    tracemalloc.start()
    started = time.process_time()
    assert near(long, [f"{long}s", "dog"]) == Spellings([f"{long}s", "dog"]).near(long) == []
    assert len(near("abcdefgh" * 12, anagrams)) == 3
    assert near("dgo", ["dog", long]) == ["dog"]
    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
