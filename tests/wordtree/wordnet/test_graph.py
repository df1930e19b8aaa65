"""The shipped noun graph: complete, small, fast, and equal to an installed WordNet read by NLTK."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wordtree.wordnet import graph as wordnet_module
from wordtree.wordnet import installed as wordnet_installed
from wordtree.wordnet.columns import WordNetError
from wordtree.wordnet.graph import SHIPPED, HypernymPaths, WordNet
from wordtree.wordnet.installed import nltk_wordnet


def test_all_noun_synsets_are_there_in_a_small_file(wordnet: WordNet) -> None:
    assert len(wordnet) == len(set(wordnet.wnids)) == 82_115
    assert len(wordnet.words) == 117_798
    assert SHIPPED.stat().st_size < 3_000_000


def test_loading_takes_less_than_three_tenths_of_a_second() -> None:
    program = (
        "import numpy; from time import process_time as now; from wordtree.wordnet.graph import WordNet;"
        "start = now(); WordNet.shipped(); print(now() - start)"
    )
    seconds = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(seconds) < 0.3


def test_a_synset_knows_its_id_name_words_and_hypernyms(wordnet: WordNet) -> None:
    dog = wordnet.synset("n02084071")
    assert wordnet.wnid(dog) == "n02084071"
    assert wordnet.name(dog) == "dog.n.01"
    assert wordnet.lemmas(dog) == ("dog", "domestic dog", "Canis familiaris")
    assert [wordnet.name(above) for above in wordnet.hypernyms(dog)] == [
        "domestic_animal.n.01",
        "canine.n.02",
    ]
    assert wordnet.instance_hypernyms(dog) == []
    assert wordnet.gloss(dog) is None


def test_instances_are_distinguished_from_kinds(wordnet: WordNet) -> None:
    danube = wordnet.senses("Danube")[0]
    assert [wordnet.name(above) for above in wordnet.instance_hypernyms(danube)] == ["river.n.01"]
    assert wordnet.hypernyms(danube) == wordnet.instance_hypernyms(danube)


def test_senses_are_in_wordnets_order(wordnet: WordNet) -> None:
    names = [wordnet.name(sense) for sense in wordnet.senses("dog")]
    assert names[:4] == ["dog.n.01", "frump.n.01", "dog.n.03", "cad.n.01"]
    assert wordnet.senses("hot  Dog") == wordnet.senses("hot_dog")
    assert wordnet.senses("dgo") == ()


@pytest.mark.parametrize(
    ("name", "wnid"),
    [
        pytest.param("car.n.01", "n02958343", id="first word"),
        pytest.param("auto.n.1", "n02958343", id="another word, one digit"),
        pytest.param("St._Andrew's_cross.n.01", "n04302598", id="dots and capitals"),
        pytest.param("car.n.06", None, id="too few senses"),
        pytest.param("car.n.00", None, id="no sense zero"),
        pytest.param("car", None, id="no synset name"),
    ],
)
def test_synset_names_are_looked_up(name: str, wnid: str | None, wordnet: WordNet) -> None:
    synset = wordnet.named(name)
    assert (None if synset is None else wordnet.wnid(synset)) == wnid


def test_ids_of_other_versions_are_refused(wordnet: WordNet) -> None:
    assert "n02084071" in wordnet
    assert "n02086723" not in wordnet  # dog in WordNet 3.1
    with pytest.raises(WordNetError, match="no noun synset 'n02086723'"):
        wordnet.synset("n02086723")


def test_every_synset_has_a_path_to_entity(wordnet: WordNet) -> None:
    paths = HypernymPaths(wordnet, wordnet.senses("entity")[0])
    counted = 0
    for wnid in wordnet.wnids:
        synset = wordnet.synset(wnid)
        assert paths.of(synset)
        assert all(path[-1:] == (synset,) or synset == paths.root for path in paths.of(synset))
        counted += 1
    assert counted == 82_115


@pytest.mark.parametrize(
    "content", [b"", b"no archive", SHIPPED.read_bytes()[:100_000]], ids=["empty", "text", "truncated"]
)
def test_a_damaged_file_is_refused_in_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wordnet_module, "SHIPPED", tmp_path / "nouns.npz")
    for message in ("absent", "damaged"):
        wordnet_module._shipped.cache_clear()
        with pytest.raises(WordNetError, match=f"{message}; install the package again"):
            WordNet.shipped()
        (tmp_path / "nouns.npz").write_bytes(content)
    wordnet_module._shipped.cache_clear()


@pytest.fixture(scope="module")
def reader(installed_wordnet: Path) -> Iterator[Any]:
    with nltk_wordnet(installed_wordnet) as reader:
        yield reader


def test_all_shipped_synsets_are_those_that_nltk_sees(wordnet: WordNet, reader: Any) -> None:
    seen = 0
    for synset in reader.all_synsets("n"):
        ours = wordnet.synset(f"n{synset.offset():08d}")
        assert wordnet.name(ours) == synset.name()
        assert wordnet.lemmas(ours) == tuple(name.replace("_", " ") for name in synset.lemma_names())
        instances = {above.offset() for above in synset.instance_hypernyms()}
        kinds = {above.offset() for above in synset.hypernyms()}
        assert {int(wordnet.wnid(above)[1:]) for above in wordnet.hypernyms(ours)} == kinds | instances
        assert {int(wordnet.wnid(above)[1:]) for above in wordnet.instance_hypernyms(ours)} == instances
        seen += 1
    assert seen == 82_115


@pytest.mark.parametrize("word", ["dog", "car", "ram", "mouse", "entity"])
def test_senses_are_in_the_order_that_nltk_sees(word: str, wordnet: WordNet, reader: Any) -> None:
    assert [wordnet.name(sense) for sense in wordnet.senses(word)] == [
        synset.name() for synset in reader.synsets(word, "n")
    ]


def test_an_installed_wordnet_equals_the_shipped_file_and_has_glosses(
    reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wordnet_installed, "nltk_wordnet", lambda folder: nullcontext(reader))
    installed = WordNet.installed("read already")
    with np.load(SHIPPED) as shipped:
        assert set(shipped) == set(vars(installed._columns))
        for name, column in vars(installed._columns).items():
            assert np.array_equal(shipped[name], column)
            assert shipped[name].dtype == column.dtype
    gloss = installed.gloss(installed.synset("n02084071"))
    assert gloss is not None
    assert gloss.startswith("a member of the genus Canis")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({}, "found no data.noun", id="empty folder"),
        pytest.param({"data.noun": "  14 WordNet 3.0 Copyright\n"}, "found no index.noun", id="no index"),
        pytest.param(
            {"data.noun": "  14 WordNet 3.1 Copyright\n", "index.noun": ""},
            "expected WordNet 3.0, .* found another version in data.noun",
            id="3.1",
        ),
        pytest.param(
            {"data.noun": "  14 WordNet 3.0 Copyright\n", "index.noun": "  14 WordNet 3.0 Copyright\n"},
            "expected the 82115 noun synsets of WordNet 3.0, found 0",
            id="truncated",
        ),
    ],
)
def test_a_folder_without_wordnet_3_0_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(WordNetError, match=message):
        WordNet.installed(tmp_path)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # NLTK leaves a file open when it fails
def test_a_damaged_wordnet_is_refused_with_the_message_of_nltk(tmp_path: Path) -> None:
    for name in ("data.noun", "index.noun"):
        (tmp_path / name).write_text("  14 WordNet 3.0 Copyright\ndog n x\n")
    with pytest.raises(WordNetError, match=f"{tmp_path}: damaged, NLTK reports: ") as caught:
        WordNet.installed(tmp_path)
    del caught
    gc.collect()


def test_the_search_path_of_nltk_is_restored(tmp_path: Path) -> None:
    import nltk

    before = list(nltk.data.path)
    with pytest.raises(WordNetError):
        WordNet.installed(tmp_path)
    assert nltk.data.path == before
