"""The normaliser of class names: spellings, plurals, lists, texts in brackets."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import (
    alternatives,
    name_key,
    plain,
    plain_name_keys,
    singular_forms,
    wnid_of,
)
from wordtree.wordnet.resolve import resolve


@pytest.mark.parametrize(
    "name",
    [
        "hot dog",
        "Hot_Dog",
        "HOT-DOG",
        " hot  dog ",
        "hot\u00a0dog",
        "hotdog",
        "hot‑dog",
        "Hot.Dog",
        "hót dog",
        "hot\u200b dog\ufeff",
        "hot\u00addog",
    ],
)
def test_spellings_of_one_name_have_one_key(name: str) -> None:
    assert name_key(name) == "hotdog"


def test_marks_that_are_letters_of_other_scripts_stay() -> None:
    assert name_key("が") != name_key("か")
    assert name_key("猫") == "猫"
    assert name_key("--") == "--"


@given(st.text(max_size=20))
@example("🄐 ㎫ ＆ ﹘ ｀")  # compatibility forms
def test_a_plain_name_and_a_key_stay_as_they_are(name: str) -> None:
    assert plain(plain(name)) == plain(name)
    if "\n" not in plain(name) and name_key(name).isascii():
        assert name_key(plain(name)) == name_key(name)


def test_the_keys_of_all_words_of_wordnet_agree_with_the_keys_of_single_names(wordnet: WordNet) -> None:
    words = wordnet.words
    assert list(map(name_key, words[::50])) == plain_name_keys(words)[::50]
    assert all(plain(word) == word for word in words)


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("dogs", "dog"),
        ("Hot Dogs", "hot dog"),
        ("boxes", "box"),
        ("knives", "knife"),
        ("berries", "berry"),
        ("women", "woman"),
        ("mice", "mouse"),
        ("buses", "bus"),
        ("tomatoes", "tomato"),
    ],
)
def test_singular_forms_have_the_singular(plural: str, singular: str) -> None:
    assert singular in singular_forms(plural)


@pytest.mark.parametrize("word", ["glass", "bus", "iris", "gas", "", "s"])
def test_words_that_end_like_a_plural_have_no_singular(word: str) -> None:
    assert list(singular_forms(word)) == []


def test_a_list_is_split_into_words_with_their_texts_in_brackets() -> None:
    assert alternatives("bow_(weapon)/Long bow, , arrow") == [
        ("bow", "weapon"),
        ("long bow", ""),
        ("arrow", ""),
    ]
    assert alternatives("(animal)") == [("", "animal")]
    assert alternatives("(") == [("(", "")]


def test_a_name_of_many_brackets_is_split_in_linear_time() -> None:
    began = time.monotonic()
    assert alternatives("(" * 100_000) == [("(" * 100_000, "")]
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("name", "wnid"),
    [
        ("n02085620", "n02085620"),
        ("n02085620-Chihuahua", "n02085620"),
        ("n02085620_Chihuahua", "n02085620"),
        ("n02085620 Chihuahua", "n02085620"),
        ("n020856201", None),
        ("n02085620x", None),
        ("dog n02085620", None),
    ],
)
def test_a_wnid_may_begin_a_name(name: str, wnid: str | None) -> None:
    assert wnid_of(name) == wnid


@pytest.mark.parametrize(
    ("name", "reason", "synset"),
    [
        pytest.param("Shih Tzu", "spelling", "shih-tzu.n.01", id="hyphen"),
        pytest.param("St. Bernard", "spelling", "saint_bernard.n.01", id="full stop"),
        pytest.param("tea pot", "spelling", "teapot.n.01", id="blank too many"),
        pytest.param("bullmastiff", "spelling", "bull_mastiff.n.01", id="blank missing"),
        pytest.param("GasPump", "spelling", "gas_pump.n.01", id="capitals instead of blanks"),
        pytest.param("n02085620-Chihuahua", "wnid", "chihuahua.n.03", id="wnid and name"),
        pytest.param("giraffes", "plural", "giraffe.n.01", id="plural"),
        pytest.param("tooth brushes", "ambiguous", None, id="plural in another spelling"),
        pytest.param("tench, Tinca tinca", "list", "tench.n.01", id="list"),
        pytest.param("mouse, computer mouse", "list", "mouse.n.04", id="list that decides a sense"),
        pytest.param("airplane/aeroplane", "list", "airplane.n.01", id="slash"),
        pytest.param("raincoat/waterproof jacket", "list", "raincoat.n.01", id="slash, one word unknown"),
        pytest.param("giraffe, stuffed", "unknown", None, id="comma, one word known"),
        pytest.param("Bat (Animal)", "brackets", "bat.n.01", id="brackets"),
        pytest.param("jaguar [animal]", "brackets", "jaguar.n.01", id="square brackets"),
        pytest.param("bus (vehicle)", "ambiguous", None, id="brackets that exclude COCO's bus"),
        pytest.param("boat/giraffe", "ambiguous", None, id="words without a common sense"),
        pytest.param("boots", "ambiguous", None, id="plural of an ambiguous word"),
        pytest.param("Sports-Ball", "COCO class", "ball.n.01", id="COCO's word with a hyphen"),
    ],
)
def test_names_as_data_sets_spell_them_resolve(
    name: str, reason: str, synset: str | None, wordnet: WordNet
) -> None:
    resolution = resolve(name, wordnet)
    found = None if resolution.synset is None else wordnet.name(resolution.synset)
    assert (resolution.reason, found) == (reason, synset)


@pytest.mark.parametrize(
    ("name", "senses"),
    [
        ("shoes", {"place.n.06", "shoe.n.01"}),
        ("bowls", {"lawn_bowling.n.01", "bowl.n.01"}),
        ("windows", {"windows.n.01", "window.n.01"}),
        ("men", {"work_force.n.01", "man.n.01"}),
    ],
)
def test_a_plural_with_senses_of_its_own_is_ambiguous(name: str, senses: set[str], wordnet: WordNet) -> None:
    resolution = resolve(name, wordnet)
    assert resolution.reason == "ambiguous"
    assert senses <= {wordnet.name(sense) for sense in resolution.senses}


def test_of_imagenets_lists_of_words_830_resolve_and_all_of_them_to_the_right_synset(
    imagenet_wnids: dict[str, list[str]], wordnet: WordNet
) -> None:
    right = 0
    for wnid in imagenet_wnids["1k"]:
        resolution = resolve(", ".join(wordnet.lemmas(wordnet.synset(wnid))), wordnet)
        assert resolution.wnid in (wnid, None)
        assert wordnet.synset(wnid) in resolution.senses
        right += resolution.wnid == wnid
    assert right >= 830
