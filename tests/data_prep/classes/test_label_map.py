import pytest
import yaml

from data_prep.classes.label_map import (
    MapEntry,
    apply_label_map,
    read_label_map,
    unresolved_text,
    write_label_map,
)
from data_prep.classes.matching import ClassMatcher, LabelMapError
from tests.data_prep.conftest import CAR, CAT, DOG, TABBY
from wordtree import WordTree


def matched(names, tree=None, curated=False):
    """The node and the reason of each name."""
    matches = ClassMatcher(tree).match("own", names, curated=curated)
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
def test_a_class_is_matched_in_wordnet_with_a_reason(name, expected):
    assert matched([name]) == [expected]


TEN_OF_COCO = ["Mouse", "hot dog", "keyboard", "laptop", "remote", "tv", "cup", "bowl", "chair", "book"]


def test_names_that_are_all_in_the_list_of_coco_get_its_nodes():
    found = matched(TEN_OF_COCO, curated=True)
    assert found[:3] == [("n03793489", "curated"), ("n07697537", "curated"), ("n03085013", "curated")]
    assert {reason for _, reason in found} == {"curated"}
    assert matched([*TEN_OF_COCO, "rat"], curated=True)[0] == (None, "ambiguous")


def test_of_a_few_names_the_list_of_coco_gives_only_usual_senses():
    few = matched(["mouse", "cat", "dog", "hot dog"], curated=True)
    assert few == [
        (None, "ambiguous"),
        (CAT, "curated"),
        (DOG, "curated"),
        ("n07697537", "curated"),
    ]
    (mouse,) = ClassMatcher(None).match("own", ["mouse"])
    assert mouse.candidates[0][::2] == ("n03793489", "as in COCO")


@pytest.mark.parametrize("name", ["empty", "Empty", "__background__", "none", "null"])
def test_a_name_of_images_without_an_object_is_no_class_unless_the_tree_has_it(name):
    (match,) = ClassMatcher(None).match("own", [name])
    assert (match.id, match.reason, match.candidates) == (None, "unmapped", ())
    assert "images without an object; write drop" in match.note
    assert matched([name], WordTree(["e"], [-1], [name])) == [("e", "exact")]


def test_a_number_is_no_class_unless_the_tree_has_it():
    tree = WordTree(["0", "one"], [-1, -1], ["0", "1"])
    assert matched(["0", "1"], tree) == [("0", "exact"), ("one", "exact")]
    assert matched(["0", "17"]) == [(None, "unmapped")] * 2
    assert ClassMatcher(None).match("own", ["0"])[0].note.startswith("a number, perhaps the index")


def test_only_senses_in_a_given_tree_count():
    tree = WordTree(["n02121620", "n02330245"], [-1, -1])  # the animals cat and mouse
    assert matched(["mouse", "dog"], tree) == [("n02330245", "exact"), (None, "unmapped")]


def test_nodes_with_custom_ids_are_matched_by_id_and_by_unique_name():
    tree = WordTree(["boat", "dinghy-1", "a", "b"], [-1, 0, 0, 0], ["boat", "Rubber Dinghy", "ship", "ship"])
    assert matched(["dinghy-1", "rubber dinghy", "ship"], tree) == [
        ("dinghy-1", "exact"),
        ("dinghy-1", "exact"),
        (None, "ambiguous"),
    ]
    (ship,) = ClassMatcher(tree).match("own", ["ship"])
    assert list(map(str, ship.candidates)) == ["a ship (under boat)", "b ship (under boat)"]


def test_a_misspelt_name_gets_a_suggestion_from_a_tree_with_custom_ids():
    tree = WordTree(["nut", "wing_nut"], [-1, 0], ["nut", "wing nut"])
    note = ClassMatcher(tree).match("own", ["wingnnut"])[0].note
    assert note == "the tree has no such node. Did you mean 'wing nut' or 'wing_nut'?"
    assert matched(["wingnut"], tree) == [("wing_nut", "exact")]


def test_the_label_map_has_one_line_for_each_class_and_is_read_back(tmp_path):
    names = ["dog.n.01", "mouse", 'odd: "name" #1', "yes", "giraffe"]
    matches = ClassMatcher(None).match("own set", names)
    write_label_map(tmp_path / "map.yaml", matches)
    text = (tmp_path / "map.yaml").read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if not line.lstrip().startswith("#")]) == 1 + len(names)
    assert "reason: ambiguous" in text
    assert yaml.safe_load(text)["own set"]["giraffe"]["node"] == "n02439033"
    assert read_label_map(tmp_path / "map.yaml") == {
        ("own set", match.name): MapEntry(match.id) for match in matches
    }


def edited(tmp_path, text, names=("okapi", "mouse"), tree=None):
    path = tmp_path / "map.yaml"
    path.write_text(text, encoding="utf-8")
    matcher = ClassMatcher(tree)
    return apply_label_map(matcher.match("own", names), read_label_map(path), matcher, path)


def test_a_map_with_reasons_of_former_versions_is_read(tmp_path):
    (tmp_path / "map.yaml").write_text(
        "# A line for each class of each source\n"
        'coco:\n  mouse: {node: n03793489, reason: by hand, name: "mouse, computer mouse"}\n'
        '  cat: {node: n02121808, reason: wnid, left_out: "2 images, classes.min_images is 3", name: "cat"}\n'
    )
    assert read_label_map(tmp_path / "map.yaml") == {
        ("coco", "mouse"): MapEntry("n03793489"),
        ("coco", "cat"): MapEntry("drop"),
    }


def candidates(name, tree=None):
    (match,) = ClassMatcher(tree).match("own", [name], curated=False)
    assert match.id is None
    return match.candidates


def test_candidates_begin_with_the_senses_of_data_sets_and_end_with_senses_that_are_not_physical():
    texts = {candidate.id: candidate.text for candidate in candidates("Cat")}
    assert list(texts)[:2] == [CAT, "n02121620"]
    assert texts[CAT].endswith("(domestic animal, cat; used by COCO, VOC)")
    assert texts["n10153414"] == "guy, cat, hombre (man)"
    assert list(texts)[-1] == "n00901476"  # computerized tomography


@pytest.mark.parametrize(
    ("name", "first"),
    [
        pytest.param(
            "Light_switch", "n04372370 switch, electric switch, electrical switch (control)", id="last word"
        ),
    ],
)
def test_an_unknown_name_gets_candidates_for_a_part_of_it(name, first):
    assert str(candidates(name)[0]) == first


@pytest.mark.parametrize("name", ["frobnicator", "bolt 7", "big frobnicator", "(mouse)", ""])
def test_a_name_without_a_known_part_has_no_candidates(name):
    assert candidates(name) == ()


def test_candidates_are_nodes_of_the_given_tree():
    tree = WordTree([CAT, DOG, CAR, TABBY, "n02121620"], [-1] * 5)
    assert [candidate.id for candidate in candidates("striped cat", tree)] == [CAT, "n02121620"]


def test_the_map_lists_candidates_as_comments_below_a_class_without_a_node(tmp_path):
    matches = ClassMatcher(None).match("own", ["mouse", "okapi"], curated=False)
    write_label_map(tmp_path / "map.yaml", matches)
    lines = (tmp_path / "map.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index('  mouse: {node: null, reason: ambiguous, name: "4 senses"}')
    assert lines[start + 1] == "    # n03793489 mouse, computer mouse (electronic device; used by COCO)"
    assert lines[start + 5].startswith("  okapi: ")
    assert read_label_map(tmp_path / "map.yaml") == {
        ("own", "mouse"): MapEntry(None),
        ("own", "okapi"): MapEntry("n02439398"),
    }


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("n02330245", ("n02330245", "edited"), id="wnid"),
        pytest.param("mouse.n.01", ("n02330245", "edited"), id="synset name"),
        pytest.param("Giraffe", ("n02439033", "edited"), id="word with one sense"),
        pytest.param("Drop", (None, "dropped"), id="drop, in any case"),
    ],
)
def test_a_reviewer_may_write_any_text_that_identifies_one_node(tmp_path, written, expected):
    (mouse,) = edited(tmp_path, f"own: {{mouse: {{node: {written}}}}}", names=["mouse"])
    assert (mouse.name, mouse.id, mouse.reason) == ("mouse", *expected)


def test_a_reviewer_may_write_the_name_of_a_node_with_a_custom_id(tmp_path):
    tree = WordTree(["nut", "wing_nut"], [-1, 0], ["nut", "wing nut"])
    (match,) = edited(tmp_path, "own: {wingnut: wing nut}", names=["wingnut"], tree=tree)
    assert (match.id, match.reason) == ("wing_nut", "edited")


def test_edits_apply_and_classes_that_the_map_lacks_are_matched_as_before(tmp_path):
    okapi, mouse = edited(tmp_path, "own:\n  mouse: {node: n02330245}\n")
    assert (okapi.id, okapi.reason) == ("n02439398", "exact")
    assert (mouse.id, mouse.reason) == ("n02330245", "edited")


def test_a_class_that_the_map_drops_is_resolved_and_a_null_node_is_not(tmp_path):
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
        pytest.param("own: {okapi: 2026-13-45}", "WordNet does not know '2026-13-45'", id="a date"),
        pytest.param("own: 3", "expected `source:` lines", id="no classes"),
        pytest.param("own: {okapi: {}}", "found no `node`", id="no node"),
        pytest.param("own: {okapi: 3}", "expected an id", id="a number"),
        pytest.param("own: {okappi: drop}", "did you mean 'okapi'", id="misspelt class"),
        pytest.param("owm: {okapi: drop}", "did you mean 'own'", id="misspelt source"),
        pytest.param("own: {okapi: n00000001}", "n00000001 is not in WordNet 3.0", id="unknown id"),
        pytest.param(
            "own: {okapi: cat}", "node 'cat' has 8 senses: n02121808 domestic cat", id="several senses"
        ),
        pytest.param(
            "own: {okapi: zebrra}",
            "node 'zebrra': WordNet does not know 'zebrra'. Did you",
            id="misspelt word",
        ),
    ],
)
def test_an_invalid_map_is_reported_in_one_line(tmp_path, text, expected):
    with pytest.raises(LabelMapError, match=r"map\.yaml") as caught:
        edited(tmp_path, text)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_id_outside_the_given_tree_is_refused_with_its_name(tmp_path):
    tree = WordTree([CAT, DOG, CAR, TABBY], [-1] * 4)
    with pytest.raises(LabelMapError, match=r"n02439033 \(giraffe, camelopard.*\) is not in the tree"):
        edited(tmp_path, "own: {mouse: n02439033}", tree=tree)


def test_unresolved_classes_are_listed_with_their_reasons():
    text = unresolved_text(ClassMatcher(None).match("own", ["zebrra", "kite", *(f"xq{n}" for n in range(9))]))
    assert "'zebrra' is unmapped (WordNet does not know 'zebrra'. Did you mean 'zebra'?)" in text
    assert "'kite' is ambiguous (4 senses)" in text
    assert text.endswith("and 3 more")
