"""The meaning of labels: one synset, several, or similar words; never a guess."""

import csv
from pathlib import Path

import pytest

from wordtree.errors import UnknownNode
from wordtree.support.suggest import near
from wordtree.tree.lookup import nearest_node, node_of, nodes_of
from wordtree.tree.tree import WordTree
from wordtree.wordnet import resolve as resolve_module
from wordtree.wordnet.categories import category_of
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import (
    LabelError,
    class_notes,
    resolve,
    synset_of,
    unresolved_message,
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
        pytest.param(
            "001.Black_footed_Albatross", "spelling", "n02058747", id="index of the class before it"
        ),
        pytest.param("03 zebras", "plural", "n02391049", id="index without a full stop"),
        pytest.param("05. mouse", "ambiguous", None, id="index before a word of several senses"),
        pytest.param("4 wheeler", "unknown", None, id="number that belongs to the name"),
        pytest.param("007", "unknown", None, id="number alone"),
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
    resolution = resolve(label, wordnet)
    assert (resolution.reason, resolution.wnid) == (reason, wnid)
    assert (resolution.synset is None) == (wnid is None)


def test_an_ambiguous_word_gives_its_senses_the_most_frequent_first(wordnet: WordNet) -> None:
    names = [wordnet.name(sense) for sense in resolve("mouse", wordnet).senses]
    assert names == ["mouse.n.01", "shiner.n.01", "mouse.n.03", "mouse.n.04"]


def test_the_message_about_a_word_names_data_sets_with_such_a_class(wordnet: WordNet) -> None:
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
def test_the_message_about_an_unresolved_label_suggests_a_correction(
    label: str, message: str, wordnet: WordNet
) -> None:
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
def test_misspellings_get_the_intended_word_as_suggestion(word: str, expected: str, wordnet: WordNet) -> None:
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


def test_the_classes_shared_by_coco_and_voc_agree() -> None:
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


def test_a_class_map_is_a_copy() -> None:
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
def test_labels_resolve_to_nodes_of_a_tree(cranes: WordTree, label: str, node: int) -> None:
    assert node_of(label, cranes) == node


def test_labels_of_no_node_or_several_are_refused(cranes: WordTree) -> None:
    with pytest.raises(
        UnknownNode, match=r"2 nodes of the tree: n02012849 \(under whole\), n03126707 \(under whole\)"
    ):
        node_of("crane", cranes)
    with pytest.raises(UnknownNode, match=r"no node 'cra'\. Did you mean 'car'"):
        node_of("cra", cranes)


def test_the_message_about_a_missing_word_names_the_nearest_node_above_it(cranes: WordTree) -> None:
    with pytest.raises(
        UnknownNode, match=r"no node 'ambulance'\. In WordNet ambulance\.n\.01 is below car \(n0295"
    ):
        node_of("ambulance", cranes)


def test_all_nodes_that_a_word_may_mean(cranes: WordTree) -> None:
    assert nodes_of("crane", cranes) == [1, 2]
    assert nodes_of("automobile", cranes) == [3]


@pytest.mark.parametrize(
    ("label", "node"),
    [
        pytest.param("n07739125", "n07739125", id="a node"),
        pytest.param("pome", "n07739125", id="the name of a node"),
        pytest.param("n07742313", "n07739125", id="two levels below a node: Granny Smith"),
        pytest.param("granny_smith.n.01", "n07739125", id="a synset name"),
        pytest.param("Granny Smith", "n07739125", id="a word of one sense"),
        pytest.param("n07753275", "n07705931", id="pineapple, below a node that has children"),
        pytest.param("n02084071", None, id="outside the tree"),
        pytest.param("orange", None, id="a word of several senses"),
        pytest.param("n99999999", None, id="an unknown wnid"),
    ],
)
def test_a_class_stands_for_its_node_or_the_nearest_one_above_it(label: str, node: str | None) -> None:
    tree = WordTree(["n07705931", "n07739125", "n07749582"], [-1, 0, 0], ["edible fruit", "pome", "lemon"])
    assert nearest_node(label, tree) == (None if node is None else tree.node(node))


def test_of_two_nodes_at_the_same_distance_the_deeper_one_is_taken(wordnet: WordNet) -> None:
    dog = [wordnet.wnid(synset) for synset in wordnet.hypernyms(wordnet.synset("n02084071"))]
    assert dog == ["n01317541", "n02083346"]  # domestic animal, canine
    tree = WordTree(["n00015388", "n02075296", "n01317541"], [-1, 0, 0])
    assert nearest_node("n02084071", tree) == tree.node("n01317541")
    deep = WordTree(["n00015388", "n01317541", "n02075296", "n02083346"], [-1, 0, 0, 2])
    assert nearest_node("n02084071", deep) == deep.node("n02083346")


def test_for_36_of_44_ambiguous_names_of_coco_the_likeliest_category_has_the_right_sense(
    wordnet: WordNet,
) -> None:
    senses = {name: wordnet.senses(name) for name in coco_classes()}
    ambiguous = {name: of_name for name, of_name in senses.items() if len(of_name) > 1}
    taken = {
        name: min(of_name, key=lambda sense: category_of(sense, wordnet))
        for name, of_name in ambiguous.items()
    }
    right = sum(wordnet.wnid(sense) == coco_classes()[name] for name, sense in taken.items())
    assert (len(ambiguous), right) == (44, 36)


def test_an_empty_label_is_named(wordnet: WordNet) -> None:
    assert unresolved_message(resolve(" ", wordnet), wordnet).startswith("Expected a word")
