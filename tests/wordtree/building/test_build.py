"""The paper's algorithm: known trees, laws of every built tree, and the report of its choices."""

import random
import warnings
from pathlib import Path
from time import process_time  # of this process alone, whatever else runs on the machine

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wordtree import WordTreeError
from wordtree.building.build import BuildError, GuessedSense, build_tree, build_with_report
from wordtree.tree.tree import WordTree
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import LabelError


def parent_name(tree: WordTree, wnid: str) -> str | None:
    parent = tree.parent[tree.node(wnid)]
    return None if parent < 0 else tree.names[parent]


def test_imagenets_1000_classes_give_the_papers_1369_nodes(imagenet_wnids: dict[str, list[str]]) -> None:
    tree, report = build_with_report(imagenet_wnids["1k"])
    assert len(tree) == report.nodes == 1369
    assert sorted(tree.names[tree.node(wnid)] for wnid in report.outside) == [
        "bubble",
        "street sign",
        "traffic light",
    ]
    assert len(report.collapsed) + len(tree) in range(1765, 1775)  # design: 1768 without rule A
    assert len(tree.leaves) == 1000


@pytest.mark.parametrize("profile", ["paper", "darknet"])
def test_imagenets_21k_classes_build_in_less_than_five_seconds(
    profile: str, imagenet_wnids: dict[str, list[str]]
) -> None:
    start = process_time()
    tree = build_tree(imagenet_wnids["21k"], profile=profile)
    assert process_time() - start < 5
    assert set(imagenet_wnids["21k"]) <= set(tree.ids)


def test_the_order_of_the_labels_does_not_matter(imagenet_wnids: dict[str, list[str]]) -> None:
    labels = list(imagenet_wnids["1k"])
    expected = build_tree(labels)
    random.Random(0).shuffle(labels)
    assert build_tree(labels) == expected


def test_nodes_with_one_child_that_are_not_labels_are_removed() -> None:
    tree, report = build_with_report(["car.n.01", "bus.n.01", "tabby.n.01"])
    assert tree.names == ("whole", "tabby", "instrumentality", "bus", "car")
    assert tree.parent.tolist() == [-1, 0, 0, 2, 2]
    assert "n02121808" in report.collapsed  # the domestic cat, between whole and tabby


def test_a_label_with_one_child_stays() -> None:
    tree = build_tree(["domestic_cat.n.01", "tabby.n.01"])
    assert tree.names == ("domestic cat", "tabby")


def test_one_label_is_a_tree_of_one_node() -> None:
    assert build_tree(["car.n.01"]).names == ("car",)


def test_of_two_paths_the_one_that_adds_fewer_nodes_is_taken() -> None:
    """A dog is a canine and a domestic animal; other labels decide which of the two is in the tree."""
    assert parent_name(build_tree(["dog.n.01", "wolf.n.01", "fox.n.01"]), "n02084071") == "canine"
    assert parent_name(build_tree(["dog.n.01", "domestic_animal.n.01"]), "n02084071") == "domestic animal"


def test_a_second_parent_is_kept_as_a_relation() -> None:
    tree = build_tree(["dog.n.01", "wolf.n.01", "fox.n.01", "domestic_animal.n.01", "domestic_cat.n.01"])
    assert parent_name(tree, "n02084071") == "domestic animal"
    edges = [(tree.names[child], tree.names[parent]) for child, parent in tree.relations.tolist()]
    assert edges == [("dog", "canine")]


def test_labels_outside_the_root_become_roots_and_are_reported() -> None:
    tree, report = build_with_report(["car.n.01", "traffic light"])
    assert report.outside == ("n06874185",)
    assert parent_name(tree, "n06874185") is None


def test_another_root_can_be_chosen_and_is_not_a_node() -> None:
    tree, report = build_with_report(["dog.n.01", "domestic_cat.n.01", "car.n.01"], root="animal.n.01")
    assert report.root == "animal.n.01"
    assert report.outside == ("n02958343",)
    assert "n00015388" not in tree


def test_a_word_with_several_senses_gets_one_below_the_root_with_a_warning() -> None:
    tree, report = build_with_report(["kite"])
    (guess,) = report.guesses
    assert (guess.label, guess.synset) == ("kite", "kite.n.03")  # the first two senses are bank papers
    assert tree.ids == ("n03621473",)
    with pytest.warns(GuessedSense, match=r"'kite': took kite\.n\.03 \(n03621473\), not kite\.n\.01"):
        build_tree(["kite"])


@pytest.mark.parametrize(
    ("label", "synset", "because"),
    [
        pytest.param("banana", "banana.n.02", "food", id="food before plants"),
        pytest.param("crane", "crane.n.04", "an artifact", id="animals and artifacts before persons and states"),
        pytest.param("moon", "moon.n.02", "a physical object", id="objects before named instances"),
        pytest.param("shoes", "shoe.n.01", "an artifact", id="a plural whose own sense is no object"),
        pytest.param("person", "person.n.01", "a person", id="a human being before a human body"),
        pytest.param("Washington", "washington.n.01", "a named instance", id="named instances last"),
    ],
)  # fmt: skip
def test_among_several_senses_the_likeliest_category_is_taken(label: str, synset: str, because: str) -> None:
    _, report = build_with_report([label, "okapi"])
    (guess,) = report.guesses
    assert (guess.synset, guess.because) == (synset, because)


@pytest.mark.parametrize("classes", [coco_classes(), voc_classes()], ids=["COCO", "VOC"])
def test_the_classes_of_coco_and_voc_in_any_spelling_build_with_their_lists(classes: dict[str, str]) -> None:
    _, report = build_with_report([name.title().replace(" ", "-") for name in classes])
    assert sorted(report.label_wnids.values()) == sorted(classes.values())
    assert report.guesses == ()


def test_some_of_cocos_classes_build_with_its_list_and_are_reported() -> None:
    _, report = build_with_report(["mouse", "keyboard", "laptop"])
    assert report.label_wnids["mouse"] == coco_classes()["mouse"]
    assert [(guess.label, guess.because) for guess in report.guesses] == [
        ("mouse", "as in COCO"),
        ("keyboard", "as in COCO"),
    ]


def test_unambiguous_labels_build_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "n02958343" in build_tree(["car.n.01", "tvmonitor", "fire hydrant", "n02084071"])


def test_repeated_labels_are_one_node_and_reported() -> None:
    tree, report = build_with_report(["car.n.01", " n02958343 ", "auto.n.01", "car.n.01"])
    assert len(tree) == 1
    assert report.repeated == ("n02958343", "auto.n.01")
    assert set(report.label_wnids.values()) == {"n02958343"}


@pytest.mark.parametrize(
    ("labels", "options", "error", "message"),
    [
        pytest.param([], {}, BuildError, "no labels", id="no labels"),
        pytest.param(["dgo"], {}, LabelError, "does not know 'dgo'.*'dog'", id="unknown word"),
        pytest.param(
            [f"zq{i}" for i in range(9)], {}, LabelError, "'zq2'.*And 6 more", id="many unknown words"
        ),
        pytest.param(["n99999999"], {}, LabelError, "no noun 'n99999999'", id="unknown id"),
        pytest.param(
            ["car.n.01"],
            {"profile": "yolo"},
            BuildError,
            "no profile 'yolo'; known: paper, darknet",
            id="profile",
        ),
        pytest.param(["car.n.01"], {"root": "kite"}, LabelError, "'kite' has 4 senses", id="ambiguous root"),
        pytest.param(["physical_entity.n.01"], {}, BuildError, "is the root", id="the root itself"),
    ],
)
def test_impossible_builds_are_refused(
    labels: list[str], options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_tree(labels, **options)


def test_the_summary_of_the_1369_nodes_adds_up(imagenet_wnids: dict[str, list[str]]) -> None:
    _, report = build_with_report(imagenet_wnids["1k"])
    assert report.summary() == (
        "1000 labels + 772 nodes above them - 403 with a single child (rule A) = 1369 nodes; "
        "3 of them are roots outside physical_entity.n.01"
    )


def edges(tree: WordTree) -> dict[str, str | None]:
    parents = tree.parent.tolist()
    return {id_: tree.ids[up] if up >= 0 else None for id_, up in zip(tree.ids, parents, strict=True)}


def test_profile_darknet_rebuilds_the_published_tree(
    published: Path, imagenet_wnids: dict[str, list[str]]
) -> None:
    expected = edges(WordTree.load(published / "9k.tree"))
    labels = set(imagenet_wnids["22k"]) & set(expected)
    assert len(labels) == 9149
    tree, report = build_with_report(labels, profile="darknet")
    built = edges(tree)
    assert sum(id_ in built and built[id_] == parent for id_, parent in expected.items()) >= 9410
    assert set(built) <= set(expected)
    assert {id_ for id_, parent in built.items() if parent is None} == {
        id_ for id_, parent in expected.items() if parent is None
    }
    assert report.outside == ()
    assert len(report.flattened) > 700


def test_the_only_child_of_a_label_becomes_its_sibling_in_profile_darknet() -> None:
    labels = ["domestic_cat.n.01", "tabby.n.01", "dog.n.01"]
    tree, report = build_with_report(labels, profile="darknet")
    assert parent_name(tree, "n02123045") == parent_name(tree, "n02121808") == "domestic animal"
    assert report.flattened == ("n02123045",)
    assert [(tree.names[child], tree.names[up]) for child, up in tree.relations.tolist()] == [
        ("tabby", "domestic cat")
    ]
    assert "rule B: it was a leaf and the only child of the label domestic_cat.n.01" in str(
        report.explain("tabby")
    )


def test_an_only_child_with_children_stays_below_its_label_in_profile_darknet() -> None:
    tree = build_tree(
        ["elephant.n.01", "Indian_elephant.n.01", "African_elephant.n.01", "pachyderm.n.01"],
        profile="darknet",
    )
    assert parent_name(tree, "n02503517") == "pachyderm"


def test_a_label_on_the_path_of_another_is_explained() -> None:
    _, report = build_with_report(["bubble.n.01", "air_bubble.n.01"], profile="darknet")
    assert "was on the path of air_bubble.n.01" in str(report.explain("bubble"))


def test_signs_and_bubbles_are_objects_in_profile_darknet() -> None:
    labels = ["traffic_light.n.01", "street_sign.n.01", "bubble.n.01", "car.n.01", "ball.n.01"]
    tree, report = build_with_report(labels, profile="darknet")
    assert report.outside == ()
    assert parent_name(tree, "n06874185") == parent_name(tree, "n06794110") == "signal"
    assert "rule C" in str(report.explain("bubble"))
    assert build_with_report(labels)[1].outside != ()


def test_names_break_ties_between_paths_in_profile_darknet() -> None:
    labels = ["dog.n.01", "wolf.n.01", "canine.n.02", "domestic_animal.n.01"]
    assert parent_name(build_tree(labels, profile="darknet"), "n02084071") == "canine"
    assert parent_name(build_tree(labels, profile="paper"), "n02084071") == "domestic animal"


@pytest.mark.parametrize("profile", ["paper", "darknet"])
def test_a_choice_is_explained_with_the_paths_considered_and_their_cost(profile: str) -> None:
    labels = ["dog.n.01", "wolf.n.01", "fox.n.01", "domestic_cat.n.01"]
    _, report = build_with_report(labels, profile=profile)
    story = report.explain("dog")
    costs = {one.path[-2]: (one.cost, one.taken) for one in story.considered}
    assert costs == {"canine": (1, True), "domestic animal": (2, False)}
    assert story.parent == "canine.n.02 (n02083346)"
    assert "taken    1 node  " in str(story)
    assert "joined the tree by one of 2 paths, at a cost of 1" in str(story)


def test_removed_nodes_are_explained() -> None:
    _, report = build_with_report(["car.n.01", "bus.n.01", "tabby.n.01"])
    assert "is not a label; it is on the path of tabby.n.01" in str(report.explain("n02121808"))
    assert "rule A removed it, because tabby.n.01 (n02123045) is its only child" in str(
        report.explain("domestic cat")
    )
    fates = {step.synset: step.fate for step in report.explain("tabby.n.01").above}
    assert (
        fates["domestic_cat.n.01"]
        == "removed by rule A: not a label, and tabby.n.01 (n02123045) is its only child"
    )
    assert fates["whole.n.02"] == "kept: not a label, but has several children"


def test_labels_without_a_choice_are_explained() -> None:
    _, report = build_with_report(["tiger.n.02", "big_cat.n.01", "car.n.01", "traffic light"])
    assert "has no path to the root." in str(report.explain("traffic light"))
    assert "so it is a root" in str(report.explain("traffic light"))
    assert "has a single path to the root" in str(report.explain("tiger.n.02"))
    with pytest.raises(BuildError, match="'wolf' is not part of this tree"):
        report.explain("wolf")


def grafted(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(text)
    return path


def test_custom_classes_are_added_below_wordnet_and_below_each_other(tmp_path: Path) -> None:
    path = grafted(
        tmp_path, "child,parent,name\nmodel-s,tesla,Model S\ntesla,car.n.01,Tesla\nskiff 29,boat.n.01\n"
    )
    tree, report = build_with_report(["dog.n.01", "car.n.01"], graft=path)
    assert edges(tree)["model-s"] == "tesla"
    assert parent_name(tree, "tesla") == "car"
    assert parent_name(tree, "skiff_29") == "boat"  # which is no label, but stays
    assert tree.names[tree.node("skiff_29")] == "skiff 29"
    assert report.grafted == ("model-s", "tesla", "skiff_29")
    assert "custom class" in str(report.explain("model-s"))
    assert "+ 3 custom classes =" in report.summary()


def test_the_second_parent_of_a_custom_class_is_kept_as_a_relation(tmp_path: Path) -> None:
    path = grafted(tmp_path, "camper x,car.n.01\ncamper x,dwelling.n.01\n")
    tree = build_tree(["dog.n.01"], graft=path)
    assert parent_name(tree, "camper_x") == "car"
    assert ("camper x", "dwelling") in [(tree.names[a], tree.names[b]) for a, b in tree.relations.tolist()]


def test_rule_b_does_not_move_nodes_with_custom_classes(tmp_path: Path) -> None:
    labels = ["domestic_cat.n.01", "tabby.n.01", "dog.n.01"]
    for row in ("Tom,tabby.n.01\n", "Tom,domestic_cat.n.01\n"):
        tree = build_tree(labels, profile="darknet", graft=grafted(tmp_path, row))
        assert parent_name(tree, "n02123045") == "domestic cat"


def test_an_ambiguous_parent_is_reported(tmp_path: Path) -> None:
    _, report = build_with_report(["car.n.01"], graft=grafted(tmp_path, "dinghy x,boat\n"))
    assert [(guess.label, guess.synset) for guess in report.guesses] == [("boat", "boat.n.01")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "own.csv: expected a hierarchy, found no nodes", id="empty"),
        pytest.param("x,y\ny,x\n", "own.csv: line 1: 'x' would be above itself: x < y < x", id="loop"),
        pytest.param("x,\n", "own.csv: line 1: 'x' has no parent", id="no parent"),
        pytest.param("x,caar\n", "own.csv: line 1: the parent 'caar' is not an id of this file, and", id="typo"),
        pytest.param("n02958343,boat.n.01\n", "own.csv: line 1: 'n02958343' is a node of WordNet", id="a wnid"),
        pytest.param("car.n.01,boat.n.01\n", "own.csv: line 1: 'car.n.01' is a node of WordNet", id="a synset"),
        pytest.param("x,physical_entity.n.01\n", "is the root", id="under the root"),
    ],
)  # fmt: skip
def test_invalid_custom_classes_are_refused_with_their_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(WordTreeError) as caught:
        build_tree(["dog.n.01"], graft=grafted(tmp_path, text))
    assert message in str(caught.value)


def above_in_wordnet(wordnet: WordNet, synset: Synset) -> set[Synset]:
    found: set[Synset] = set()
    waiting = [synset]
    while waiting:
        for upper in wordnet.hypernyms(waiting.pop()):
            if upper not in found:
                found.add(upper)
                waiting.append(upper)
    return found


@settings(max_examples=40)
@given(st.lists(st.integers(0, 82_114), min_size=1, max_size=60))
def test_laws_of_every_built_tree(synsets: list[int]) -> None:
    wordnet = WordNet.shipped()
    root = wordnet.synset("n00001930")
    labels = {wordnet.wnids[synset] for synset in synsets} - {"n00001930"} or {"n02084071"}
    tree = build_tree(sorted(labels))
    assert labels <= set(tree.ids)
    for node, wnid in enumerate(tree.ids):
        above = above_in_wordnet(wordnet, wordnet.synset(wnid))
        assert {
            wordnet.synset(tree.ids[upper]) for upper in tree.ancestors(node)
        } <= above  # only true hypernyms
        assert wnid in labels or len(tree.children(node)) >= 2  # rule A
        assert wnid in labels or root in above
    for child, parent in tree.relations.tolist():
        assert wordnet.synset(tree.ids[parent]) in above_in_wordnet(wordnet, wordnet.synset(tree.ids[child]))
        assert not tree.is_at_or_under(child, parent)


def test_tree_and_relations_together_lose_no_hypernym_among_the_nodes(wordnet: WordNet) -> None:
    tree = build_tree(coco_classes().values())
    ups: list[set[int]] = [set() for _ in range(len(tree))]
    for node in range(len(tree)):
        ups[node].update(tree.ancestors(node))
    changed = True
    while changed:
        before = [len(up) for up in ups]
        for child, parent in [*tree.relations.tolist(), *enumerate(tree.parent.tolist())]:
            if parent >= 0:
                ups[child] |= {parent} | ups[parent]
        changed = before != [len(up) for up in ups]
    for node, wnid in enumerate(tree.ids):
        above = above_in_wordnet(wordnet, wordnet.synset(wnid))
        assert {tree.ids[up] for up in ups[node]} == {wordnet.wnid(up) for up in above} & set(tree.ids)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 82_114), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_laws_of_every_tree_of_profile_darknet(synsets: list[int], order: random.Random) -> None:
    wordnet = WordNet.shipped()
    labels = [wordnet.wnids[synset] for synset in synsets if wordnet.wnids[synset] != "n00001930"] or [
        "n02084071"
    ]
    tree, report = build_with_report(labels, profile="darknet")
    order.shuffle(labels)
    assert build_tree(labels, profile="darknet") == tree
    assert set(labels) <= set(tree.ids)
    for node, wnid in enumerate(tree.ids):
        children = tree.children(node)
        assert wnid in labels or len(children) >= 2  # rule A
        assert len(children) != 1 or not tree.is_leaf[children[0]]  # rule B
        assert (report.explain(wnid).parent or "").endswith(
            f"({edges(tree)[wnid]})" if node >= tree.group_size[0] else ""
        )
    for wnid in report.collapsed:
        assert "rule A removed it" in report.explain(wnid).entered
