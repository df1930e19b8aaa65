"""What labels mean: one answer, several, or near spellings; never a guess."""

import csv
from pathlib import Path

import pytest

from wordtree.errors import UnknownNode
from wordtree.support.suggest import near
from wordtree.tree.lookup import node_of, nodes_of
from wordtree.tree.tree import WordTree
from wordtree.wordnet import resolve as resolve_module
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import (
    LabelError,
    class_notes,
    coco_classes,
    resolve,
    synset_of,
    unresolved_message,
    voc_classes,
)


@pytest.mark.parametrize(
    ("label", "reason", "wnid"),
    [
        pytest.param("n02084071", "wnid", "n02084071", id="wnid"),
        pytest.param("dog.n.01", "synset name", "n02084071", id="synset name"),
        pytest.param("giraffe", "exact", "n02439033", id="word of one sense"),
        pytest.param(" Fire_Hydrant ", "exact", "n03346898", id="capitals, blanks, underscores"),
        pytest.param("sports ball", "COCO class", "n02778669", id="COCO's own word"),
        pytest.param("Sports_Ball", "COCO class", "n02778669", id="COCO's own word with capitals"),
        pytest.param("tvmonitor", "VOC class", "n04405907", id="VOC's own word"),
        pytest.param("mouse", "ambiguous", None, id="word of several senses"),
        pytest.param("dgo", "unknown", None, id="misspelt word"),
        pytest.param("n99999999", "unknown", None, id="no such wnid"),
        pytest.param("dog.n.09", "unknown", None, id="no such sense"),
        pytest.param("run.v.01", "unknown", None, id="a verb"),
        pytest.param("", "unknown", None, id="nothing"),
    ],
)
def test_labels_resolve_with_their_reason(
    label: str, reason: str, wnid: str | None, wordnet: WordNet
) -> None:
    answer = resolve(label, wordnet)
    assert (answer.reason, answer.wnid) == (reason, wnid)
    assert (answer.synset is None) == (wnid is None)


def test_ambiguity_lists_the_senses_most_usual_first(wordnet: WordNet) -> None:
    names = [wordnet.name(sense) for sense in resolve("mouse", wordnet).senses]
    assert names == ["mouse.n.01", "shiner.n.01", "mouse.n.03", "mouse.n.04"]


def test_a_word_that_is_also_a_class_of_a_data_set_says_so(wordnet: WordNet) -> None:
    assert resolve("mouse", wordnet).classes == (("COCO", "n03793489"),)
    assert unresolved_message(resolve("Mouse", wordnet), wordnet).endswith(
        "name one of them. The class 'Mouse' of COCO is mouse.n.04 (n03793489)."
    )
    motorbike = resolve("motorbike", wordnet)  # one sense, a minibike; VOC means all motorcycles
    assert (motorbike.reason, motorbike.wnid) == ("exact", "n03769722")
    assert class_notes(motorbike, wordnet) == ["The class 'motorbike' of VOC is motorcycle.n.01 (n03790512)."]
    assert [data_set for data_set, _ in resolve("dog", wordnet).classes] == ["COCO", "VOC"]
    assert resolve("dog.n.01", wordnet).classes == ()


@pytest.mark.parametrize(
    ("label", "message"),
    [
        pytest.param(
            "mouse", "'mouse' has 4 senses in WordNet: mouse.n.01, shiner.n.01, mouse.n.03,", id="several"
        ),
        pytest.param("dgo", "WordNet does not know 'dgo'. Did you mean 'dog', ", id="misspelt"),
        pytest.param("xqzzy", "WordNet does not know 'xqzzy'.", id="nothing like it"),
        pytest.param(
            "n99999999", "WordNet 3.0 has no noun 'n99999999'; ids of other versions differ.", id="wnid"
        ),
        pytest.param("dog.n.09", "WordNet has no sense 'dog.n.09'. Did you mean 'dog.n.01'", id="sense"),
        pytest.param("run.v.01", "'run.v.01' is no noun", id="verb"),
    ],
)
def test_labels_without_an_answer_say_what_to_write(label: str, message: str, wordnet: WordNet) -> None:
    assert unresolved_message(resolve(label, wordnet), wordnet).startswith(message)
    with pytest.raises(LabelError) as caught:
        synset_of(label, wordnet)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        pytest.param("dgo", "dog", id="swapped letters"),
        pytest.param("dogs", "dog", id="plural"),
        pytest.param("ambulence", "ambulance", id="wrong letter"),
        pytest.param("firehydrant", "fire hydrant", id="blank missing"),
        pytest.param("racoon", "raccoon", id="letter missing"),
        pytest.param("elefant", "elephant", id="two slips"),
    ],
)
def test_misspellings_are_answered_with_the_word_meant(word: str, expected: str, wordnet: WordNet) -> None:
    assert expected in near(word, wordnet.words)


@pytest.mark.parametrize(
    ("name", "classes", "number"), [("coco", coco_classes, 80), ("voc", voc_classes, 20)]
)
def test_class_maps_are_complete_and_agree_with_their_reviewed_names(
    name: str, classes: object, number: int, wordnet: WordNet
) -> None:
    assert callable(classes)
    assert len(classes()) == len(set(classes().values())) == number
    path = Path(resolve_module.__file__).parents[1] / "assets" / f"{name}_classes.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == number
    for row in rows:
        assert wordnet.name(wordnet.synset(row["wnid"])) == row["synset"]


def test_coco_and_voc_agree_where_they_mean_the_same() -> None:
    other_words = {
        "aeroplane": "airplane",
        "diningtable": "dining table",
        "motorbike": "motorcycle",
        "pottedplant": "potted plant",
        "sofa": "couch",
        "tvmonitor": "tv",
    }
    coco = coco_classes()
    assert voc_classes() == {word: coco[other_words.get(word, word)] for word in voc_classes()}


def test_a_class_map_is_the_callers_own_copy() -> None:
    coco_classes().clear()
    assert coco_classes()["mouse"] == "n03793489"


@pytest.fixture(scope="module")
def cranes() -> WordTree:
    ids = ["n00003553", "n02012849", "n03126707", "n02958343"]
    return WordTree(ids, [-1, 0, 0, 0], ["whole", "crane", "crane", "car"])


@pytest.mark.parametrize(
    ("label", "node"),
    [
        pytest.param("n02958343", 3, id="id"),
        pytest.param("Car", 3, id="name"),
        pytest.param("motorcar", 3, id="another word of WordNet"),
        pytest.param("auto.n.01", 3, id="synset name"),
        pytest.param("crane.n.04", 2, id="synset name of a shared name"),
    ],
)
def test_labels_find_their_node_in_a_tree(cranes: WordTree, label: str, node: int) -> None:
    assert node_of(label, cranes) == node


def test_labels_that_mean_no_single_node_are_refused(cranes: WordTree) -> None:
    with pytest.raises(
        UnknownNode, match=r"2 nodes of the tree: n02012849 \(under whole\), n03126707 \(under whole\)"
    ):
        node_of("crane", cranes)
    with pytest.raises(UnknownNode, match=r"no node 'cra'\. Did you mean 'car'"):
        node_of("cra", cranes)


def test_a_word_of_wordnet_that_the_tree_lacks_is_reported_its_place(cranes: WordTree) -> None:
    with pytest.raises(
        UnknownNode, match=r"no node 'ambulance'\. In WordNet ambulance\.n\.01 is below car \(n0295"
    ):
        node_of("ambulance", cranes)


def test_all_nodes_that_a_word_may_mean(cranes: WordTree) -> None:
    assert nodes_of("crane", cranes) == [1, 2]
    assert nodes_of("automobile", cranes) == [3]
