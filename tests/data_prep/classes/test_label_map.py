import pytest
import yaml

from data_prep.classes.label_map import (
    ClassMatcher,
    LabelMapError,
    apply_label_map,
    read_label_map,
    unresolved_text,
    write_label_map,
)
from tests.data_prep.conftest import CAR, CAT, DOG, TABBY
from wordtree import WordTree


def found(names, tree=None, by_hand=False):
    matches = ClassMatcher(tree).match("own", names, by_hand=by_hand)
    return [(match.id, match.reason) for match in matches]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(DOG, (DOG, "wnid"), id="wnid"),
        pytest.param("dog.n.01", (DOG, "synset name"), id="synset name"),
        pytest.param("giraffe", ("n02439033", "exact"), id="the first word of a synset"),
        pytest.param("camelopard", ("n02439033", "synonym"), id="another word of a synset"),
        pytest.param("golden_retriever", ("n02099601", "exact"), id="underscores"),
        pytest.param("mouse", (None, "ambiguous"), id="several senses"),
        pytest.param("frobnicator", (None, "unmapped"), id="unknown"),
        pytest.param("n00000001", (None, "unmapped"), id="unknown wnid"),
    ],
)
def test_a_class_is_found_in_wordnet_with_its_reason(name, expected):
    assert found([name]) == [expected]


def test_names_that_are_all_of_coco_mean_what_they_mean_there():
    assert found(["mouse", "hot dog"], by_hand=True) == [("n03793489", "by hand"), ("n07697537", "by hand")]
    assert found(["mouse", "rat"], by_hand=True)[0] == (None, "ambiguous")


def test_a_given_tree_narrows_a_word_to_the_senses_that_it_has():
    tree = WordTree(["n02121620", "n02330245"], [-1, -1])  # the animals cat and mouse
    assert found(["mouse", "dog"], tree) == [("n02330245", "exact"), (None, "unmapped")]


def test_a_tree_of_own_ids_is_matched_by_id_and_by_unique_name():
    tree = WordTree(["boat", "dinghy-1", "a", "b"], [-1, 0, 0, 0], ["boat", "Rubber Dinghy", "ship", "ship"])
    assert found(["dinghy-1", "rubber dinghy", "ship"], tree) == [
        ("dinghy-1", "exact"),
        ("dinghy-1", "exact"),
        (None, "ambiguous"),
    ]
    (ship,) = ClassMatcher(tree).match("own", ["ship"])
    assert list(map(str, ship.candidates)) == ["a ship (under boat)", "b ship (under boat)"]


def test_a_misspelt_class_of_an_own_tree_is_reported_the_node_that_it_may_mean():
    tree = WordTree(["nut", "wing_nut"], [-1, 0], ["nut", "wing nut"])
    note = ClassMatcher(tree).match("own", ["wingnut"])[0].note
    assert note == "the tree has no such node. Did you mean 'wing nut' or 'wing_nut'?"


def test_the_label_map_has_one_line_for_each_class_and_is_read_back(tmp_path):
    names = ["dog.n.01", "mouse", 'odd: "name" #1', "yes", "giraffe"]
    matches = ClassMatcher(None).match("own set", names)
    write_label_map(tmp_path / "map.yaml", matches)
    text = (tmp_path / "map.yaml").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if not line.lstrip().startswith("#")]) == 1 + len(names)
    assert "reason: ambiguous" in text
    assert yaml.safe_load(text)["own set"]["giraffe"]["node"] == "n02439033"
    assert read_label_map(tmp_path / "map.yaml") == {("own set", match.name): match.id for match in matches}


def edited(tmp_path, text, names=("okapi", "mouse"), tree=None):
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    matcher = ClassMatcher(tree)
    return apply_label_map(matcher.match("own", names), read_label_map(path), matcher, path)


def candidates(name, tree=None):
    (match,) = ClassMatcher(tree).match("own", [name], by_hand=False)
    assert match.id is None
    return match.candidates


def test_what_an_ambiguous_class_may_mean_begins_with_what_data_sets_mean_by_it_and_ends_with_what_none_sees():
    texts = dict(candidates("Cat"))
    assert list(texts)[:2] == [CAT, "n02121620"]
    assert texts[CAT].endswith("(domestic animal, cat; so in COCO, VOC)")
    assert texts["n10153414"] == "guy, cat, hombre (man)"
    assert list(texts)[-1] == "n00901476"  # computerized tomography


@pytest.mark.parametrize(
    ("name", "first"),
    [
        pytest.param(
            "Jaguar (Animal)", "n02128925 jaguar, panther, Panthera onca (big cat)", id="in brackets"
        ),
        pytest.param(
            "Light_switch", "n04372370 switch, electric switch, electrical switch (control)", id="last word"
        ),
    ],
)
def test_an_unknown_name_is_reported_what_a_part_of_it_may_mean(name, first):
    assert str(candidates(name)[0]) == first


@pytest.mark.parametrize("name", ["frobnicator", "bolt 7", "big frobnicator", "(mouse)", ""])
def test_a_name_of_which_nothing_is_known_has_no_candidates(name):
    assert candidates(name) == ()


def test_candidates_lie_in_the_given_tree():
    tree = WordTree([CAT, DOG, CAR, TABBY, "n02121620"], [-1] * 5)
    assert [one.id for one in candidates("striped cat", tree)] == [CAT, "n02121620"]


def test_the_map_lists_below_a_class_without_a_node_what_it_may_mean_and_is_read_as_if_it_did_not(tmp_path):
    matches = ClassMatcher(None).match("own", ["mouse", "okapi"], by_hand=False)
    write_label_map(tmp_path / "map.yaml", matches)
    lines = (tmp_path / "map.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index('  mouse: {node: null, reason: ambiguous, name: "4 senses"}')
    assert lines[start + 1] == "    # n03793489 mouse, computer mouse (electronic device; so in COCO)"
    assert lines[start + 5].startswith("  okapi: ")
    assert read_label_map(tmp_path / "map.yaml") == {("own", "mouse"): None, ("own", "okapi"): "n02439398"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("n02330245", ("n02330245", "edited"), id="wnid"),
        pytest.param("mouse.n.01", ("n02330245", "edited"), id="synset name"),
        pytest.param("Giraffe", ("n02439033", "edited"), id="word of one sense"),
        pytest.param("Drop", (None, "dropped"), id="drop, in whatever case"),
    ],
)
def test_a_reviewer_may_write_whatever_means_one_node(tmp_path, written, expected):
    (mouse,) = edited(tmp_path, f"own: {{mouse: {{node: {written}}}}}", names=["mouse"])
    assert (mouse.name, mouse.id, mouse.reason) == ("mouse", *expected)


def test_a_reviewer_may_write_the_name_of_a_node_of_an_own_tree(tmp_path):
    tree = WordTree(["nut", "wing_nut"], [-1, 0], ["nut", "wing nut"])
    (found_,) = edited(tmp_path, "own: {wingnut: wing nut}", names=["wingnut"], tree=tree)
    assert (found_.id, found_.reason) == ("wing_nut", "edited")


def test_an_edited_map_is_honoured_and_what_it_does_not_name_is_found_as_before(tmp_path):
    okapi, mouse = edited(tmp_path, "own:\n  mouse: {node: n02330245}\n")
    assert (okapi.id, okapi.reason) == ("n02439398", "exact")
    assert (mouse.id, mouse.reason) == ("n02330245", "edited")


def test_a_class_is_left_out_where_the_map_says_drop(tmp_path):
    okapi, mouse = edited(tmp_path, "own:\n  okapi: drop\n  mouse: {node: null}\n")
    assert (okapi.id, okapi.reason, okapi.is_resolved) == (None, "dropped", True)
    assert (mouse.reason, mouse.is_resolved) == ("ambiguous", False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("own: [", "not YAML", id="not YAML"),
        pytest.param("- a", "expected `key: value` lines, found a list", id="a list"),
        pytest.param(
            "own: {okapi: drop, okapi: n02439398}",
            "line 1: not YAML: the key 'okapi' occurs twice",
            id="twice",
        ),
        pytest.param("own: {okapi: 2026-13-45}", "not YAML", id="a date that cannot be"),
        pytest.param("own: 3", "expected `source:` lines", id="no classes"),
        pytest.param("own: {okapi: {}}", "found no node", id="no node"),
        pytest.param("own: {okapi: 3}", "expected an id", id="a number"),
        pytest.param("own: {okappi: drop}", "did you mean 'okapi'", id="misspelt class"),
        pytest.param("owm: {okapi: drop}", "did you mean 'own'", id="misspelt source"),
        pytest.param("own: {okapi: n00000001}", "n00000001 is not in WordNet 3.0", id="unknown id"),
        pytest.param(
            "own: {okapi: cat}", "node 'cat' has 8 senses: n02121808 domestic cat", id="several senses"
        ),
        pytest.param(
            "own: {okapi: zebrra}", "node 'zebrra': WordNet does not know 'zebrra'. Did you", id="a slip"
        ),
    ],
)
def test_a_wrong_map_is_reported_in_one_line(tmp_path, text, expected):
    with pytest.raises(LabelMapError, match=r"map\.yaml") as caught:
        edited(tmp_path, text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_outside_the_given_tree_is_refused_with_what_it_is(tmp_path):
    tree = WordTree([CAT, DOG, CAR, TABBY], [-1] * 4)
    with pytest.raises(LabelMapError, match=r"n02439033 \(giraffe, camelopard.*\) is not in the tree"):
        edited(tmp_path, "own: {mouse: n02439033}", tree=tree)


def test_unsettled_classes_are_listed_with_what_is_known():
    text = unresolved_text(ClassMatcher(None).match("own", ["zebrra", "kite", *(f"xq{n}" for n in range(9))]))
    assert "'zebrra' is unmapped (WordNet does not know 'zebrra'. Did you mean 'zebra'?)" in text
    assert "'kite' is ambiguous (4 senses)" in text
    assert text.endswith("and 3 more")
