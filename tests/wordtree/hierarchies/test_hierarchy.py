"""Hierarchies in every format: two parents, loops, round trips, malformed files."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wordtree.hierarchies.hierarchy
import wordtree.support.lines
from wordtree.errors import TreeError, TreeFileError
from wordtree.hierarchies.convert import convert_classes, read_hierarchy, write_hierarchy
from wordtree.hierarchies.hierarchy import Hierarchy, HierarchyError, to_dict, to_networkx
from wordtree.tree.tree import WordTree


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def edges(tree: WordTree) -> dict[str, str | None]:
    return {
        id_: tree.ids[up] if up >= 0 else None for id_, up in zip(tree.ids, tree.parent.tolist(), strict=True)
    }


def lost(tree: WordTree) -> list[tuple[str, str]]:
    return [(tree.ids[child], tree.ids[parent]) for child, parent in tree.relations.tolist()]


PETS = {"animal": {"canine": {"dog": {}}, "pet": {"dog": {"poodle": None}, "hamster": None}}}


def test_a_dict_becomes_a_tree_and_the_parent_named_first_is_taken() -> None:
    tree = Hierarchy.from_dict(PETS).to_tree()
    assert edges(tree) == {
        "animal": None, "canine": "animal", "pet": "animal", "dog": "canine", "hamster": "pet", "poodle": "dog"
    }  # fmt: skip
    assert lost(tree) == [("dog", "pet")]


def test_a_second_parent_that_is_an_ancestor_is_not_a_relation() -> None:
    own = Hierarchy()
    for child, parent in [("a", None), ("b", "a"), ("c", "b"), ("c", "a")]:
        own.add(child, parent)
    assert len(own.to_tree().relations) == 0


def test_a_dict_may_contain_lists_and_names_with_blanks() -> None:
    tree = Hierarchy.from_dict({"food": ["hot dog", "pizza"]}).to_tree()
    assert tree.ids == ("food", "hot_dog", "pizza")
    assert tree.names == ("food", "hot dog", "pizza")


def test_a_dict_that_contains_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = loop
    with pytest.raises(HierarchyError, match="contains itself"):
        Hierarchy.from_dict(loop)


def test_networkx_graphs_are_read_and_written(toy_tree: WordTree) -> None:
    pytest.importorskip("networkx")
    graph = to_networkx(toy_tree)
    assert graph.edges["id2", "id6"] == {}
    assert graph.edges["id1", "id6"] == {"relation": True}
    assert Hierarchy.from_networkx(graph).to_tree() == toy_tree


def test_a_tree_survives_the_conversion_to_a_dict(toy_tree: WordTree) -> None:
    assert Hierarchy.from_dict(to_dict(toy_tree)).to_tree().fingerprint == toy_tree.fingerprint


def test_parents_may_come_after_their_children_and_need_no_row(tmp_path: Path) -> None:
    tree = read_hierarchy(written(tmp_path, "x.csv", "dog,canine\ncanine,animal\ncat,animal\nfox,canine\n"))
    assert edges(tree) == {
        "animal": None,
        "canine": "animal",
        "cat": "animal",
        "dog": "canine",
        "fox": "canine",
    }


def test_a_second_row_is_a_second_parent(tmp_path: Path) -> None:
    text = 'child,parent,name\na,,\nb,a,\nc,a,\nd,b,"Dee, the 4th"\nd,c,\n'
    tree = read_hierarchy(written(tmp_path, "x.csv", text))
    assert tree.names[tree.node("d")] == "Dee, the 4th"
    assert lost(tree) == [("d", "c")]
    assert write_hierarchy(tree, tmp_path / "y.csv") == [tmp_path / "y.csv"]
    assert read_hierarchy(tmp_path / "y.csv") == tree


def test_indented_text_is_a_tree(tmp_path: Path) -> None:
    text = "# pets\nanimal\n  dog\tn02084071\n    hot dog\n\n  cat\nplant\n"
    tree = read_hierarchy(written(tmp_path, "x.txt", text))
    assert edges(tree) == {
        "animal": None, "plant": None, "n02084071": "animal", "cat": "animal", "hot_dog": "n02084071"
    }  # fmt: skip
    assert tree.names[tree.node("n02084071")] == "dog"


OPEN_IMAGES = {
    "LabelName": "/m/top",
    "Subcategory": [
        {"LabelName": "/m/car", "Part": [{"LabelName": "/m/wheel"}, {"LabelName": "/m/clock"}]},
        {"LabelName": "/m/tool", "Subcategory": [{"LabelName": "/m/axe"}, {"LabelName": "/m/clock"}]},
        {"LabelName": "/m/weapon", "Subcategory": [{"LabelName": "/m/axe"}]},
    ],
}


def test_openimages_nodes_may_have_two_parents_and_parts_are_not_kinds(tmp_path: Path) -> None:
    path = written(tmp_path, "oi.json", json.dumps(OPEN_IMAGES))
    names = written(tmp_path, "names.csv", "/m/car,Car\n/m/axe,Axe\n/m/other,Other\n")
    tree = read_hierarchy(path, names)
    assert edges(tree)["/m/axe"] == "/m/tool"
    assert edges(tree)["/m/wheel"] == "/m/top"
    assert edges(tree)["/m/clock"] == "/m/tool"
    assert lost(tree) == [("/m/axe", "/m/weapon")]
    assert tree.names[tree.node("/m/car")] == "Car"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("x.csv", "", "x.csv: expected a hierarchy, found no nodes", id="empty CSV"),
        pytest.param("x.csv", "a,,\nb\n", "x.csv: line 2: expected 'child,parent'", id="one field"),
        pytest.param("x.csv", "a,b,c,d\n", "x.csv: line 1: expected 'child,parent'", id="four fields"),
        pytest.param("x.csv", ",a\n", "x.csv: line 1: expected 'child,parent'", id="no child"),
        pytest.param("x.csv", 'a,"b\n', "x.csv: line 1: not CSV", id="open quote"),
        pytest.param("x.csv", "a,\nb,a\nc,x\n", "x.csv: line 3: the parent 'x' of 'c' has no row", id="no such parent"),
        pytest.param("x.csv", "a,b\nb,c\nc,a\n", "x.csv: line 1: 'a' would be above itself: a < b < c < a", id="loop"),
        pytest.param("x.csv", "a,a\n", "x.csv: line 1: 'a' would be above itself: a < a", id="own parent"),
        pytest.param("x.csv", "a,b\na,c\nc,a\n", "would be above itself", id="loop through a second parent"),
        pytest.param("x.csv", "a,b\nc,b\na,b\n", "x.csv: line 3: repeats line 1", id="repeated"),
        pytest.param("x.csv", "a,b,One\na,c,Two\n", "x.csv: line 2: 'a' is named 'Two', but was named", id="two"),
        pytest.param("x.csv", "a,b,x\x07y\n", "x.csv: line 1: 'x\\x07y' cannot name 'a'", id="control character"),
        pytest.param("x.csv", b"a,b\n\xff,b\n", "x.csv: line 2: not UTF-8", id="not UTF-8"),
        pytest.param("x.csv", "a,b\n" + "c" * 70_000, "x.csv: line 2: longer than", id="endless line"),
        pytest.param("x.txt", "", "x.txt: expected a hierarchy, found no nodes", id="empty text"),
        pytest.param("x.txt", "  a\n", "x.txt: line 1: indented, but", id="nothing to be under"),
        pytest.param("x.txt", "a\n    b\n  c\n", "x.txt: line 3: its indentation matches no", id="between two levels"),
        pytest.param("x.txt", "a\n\tb\n  c\n", "x.txt: line 3: its indentation matches no", id="tabs and spaces"),
        pytest.param("x.txt", "a\n b\n  a\n", "x.txt: line 3: 'a' would be above itself", id="loop in text"),
        pytest.param("x.json", "{", "x.json: line 1: not JSON", id="truncated JSON"),
        pytest.param("x.json", '{"LabelName": 3}', "the first node has no LabelName", id="number for a name"),
        pytest.param(
            "x.json", '{"LabelName": "a", "Subcategory": {}}', "the Subcategory of 'a': expected a list", id="no list"
        ),
        pytest.param(
            "x.json", '{"LabelName": "a", "Part": [1]}', "an entry in the Part of 'a' has no LabelName", id="no entry"
        ),
        pytest.param("x.json", "[" * 100_000, "x.json: not the JSON of a tree", id="deep nesting"),
        pytest.param("x.yaml", "a: b", "x.yaml: expected a tree file named *.tree", id="unknown suffix"),
    ],
)  # fmt: skip
def test_malformed_hierarchies_are_refused_in_one_line_with_file_and_line(
    name: str, content: bytes | str, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(TreeError) as caught:
        read_hierarchy(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_ladder_with_two_parents_for_each_node_is_fast(tmp_path: Path) -> None:
    """It has 2 ** 300 paths from bottom to top."""
    rows = [f"{side}{step},{above}{step - 1}\n" for step in range(1, 301) for side in "ab" for above in "ab"]
    tree = read_hierarchy(written(tmp_path, "x.csv", "".join(rows)))
    assert len(tree) == 602
    assert len(tree.relations) == 600


def test_a_chain_of_many_thousand_nodes_is_fast(tmp_path: Path) -> None:
    text = "".join(f"n{number},n{number - 1}\n" for number in range(1, 20_000))
    assert read_hierarchy(written(tmp_path, "x.csv", text)).depth.max() == 19_999


def test_a_tree_too_deep_for_indented_text_is_refused_before_writing(tmp_path: Path) -> None:
    deep = WordTree([f"n{level}" for level in range(17_000)], range(-1, 16_999))
    with pytest.raises(TreeError, match=r"16999 levels deep, too deep for indented text; write \.csv"):
        write_hierarchy(deep, tmp_path / "x.txt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.csv", "x.txt", "x.map", "x.labels"])
def test_files_with_too_many_lines_are_refused_at_the_limit(
    name: str, tmp_path: Path, toy_tree: WordTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (wordtree.support.lines, wordtree.hierarchies.hierarchy):
        monkeypatch.setattr(module, "MAX_NODES", 3)
    path = written(tmp_path, name, "0\n1\n2\n3\n" if name == "x.map" else "id0\nid1\nid2\nid3\n")
    if name == "x.csv":
        path.write_text("a,b\nc,b\nd,b\ne,b\n")
    with pytest.raises(TreeError, match="line 4: a tree has at most 3 nodes"):
        _ = read_hierarchy(path) if name in ("x.csv", "x.txt") else convert_classes(path, path, toy_tree)


def test_classes_survive_the_conversion_to_a_map(toy_tree: WordTree, tmp_path: Path) -> None:
    source = written(tmp_path, "pets.names", "cat\nid6\n")
    assert convert_classes(source, tmp_path / "pets.map", toy_tree) == 2
    assert (tmp_path / "pets.map").read_text() == "3\n6\n"
    convert_classes(tmp_path / "pets.map", tmp_path / "pets.labels", toy_tree)
    assert (tmp_path / "pets.labels").read_text() == "id3\nid6\n"
    convert_classes(tmp_path / "pets.map", tmp_path / "back.names", toy_tree)
    assert (tmp_path / "back.names").read_text() == "cat\nterrier\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("x.map", "", "x.map: expected one node on each line, found none", id="empty map"),
        pytest.param("x.map", "1\n7\n", "x.map: line 2: expected a node, 0 to 6, found '7'", id="no such node"),
        pytest.param("x.map", "1\n-1\n", "x.map: line 2: expected a node", id="negative"),
        pytest.param("x.map", "1\n\n2\n", "x.map: line 2: empty", id="blank line"),
        pytest.param("x.map", "1\n2\n1\n", "x.map: line 3: node 1 was given in line 1 already", id="twice"),
        pytest.param("x.names", "cat\ndgo\n", "x.names: line 2: ", id="unknown class"),
        pytest.param("x.names", "cat\nid3\n", "x.names: line 2: 'id3' is node 3, which line 1 gave", id="same class"),
        pytest.param("x.names", "\n", "x.names: expected one class on each line, found none", id="empty names"),
    ],
)  # fmt: skip
def test_malformed_classes_are_refused(
    name: str, content: str, message: str, toy_tree: WordTree, tmp_path: Path
) -> None:
    with pytest.raises(TreeFileError) as caught:
        convert_classes(written(tmp_path, name, content), tmp_path / "y.map", toy_tree)
    assert message in str(caught.value)
    assert not (tmp_path / "y.map").exists()


def test_the_published_tree_survives_conversions_byte_for_byte(published: Path, tmp_path: Path) -> None:
    tree = read_hierarchy(published / "9k.tree")
    for name in ("x.json", "x.csv"):
        write_hierarchy(tree, tmp_path / name)
        tree = read_hierarchy(tmp_path / name)
    write_hierarchy(tree, tmp_path / "9k.tree")
    for name in ("9k.tree", "9k.names"):
        assert (tmp_path / name).read_bytes() == (published / name).read_bytes()
    for name in ("coco9k.map", "inet9k.map"):
        convert_classes(published / name, tmp_path / "classes.labels", tree)
        convert_classes(tmp_path / "classes.labels", tmp_path / name, tree)
        assert (tmp_path / name).read_bytes() == (published / name).read_bytes()


def test_the_published_tree_survives_indented_text_in_another_order(published: Path, tmp_path: Path) -> None:
    tree = read_hierarchy(published / "9k.tree")
    write_hierarchy(tree, tmp_path / "x.txt")
    assert edges(read_hierarchy(tmp_path / "x.txt")) == edges(tree)


def has_loop(pairs: set[tuple[int, int]]) -> bool:
    """True if nodes remain after all nodes without children were removed, again and again."""
    while pairs:
        parents = {parent for _, parent in pairs}
        fewer = {pair for pair in pairs if pair[0] in parents}
        if fewer == pairs:
            return True
        pairs = fewer
    return False


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_any_edges_give_a_tree_that_keeps_them_or_a_loop(pairs: list[tuple[int, int]]) -> None:
    own = Hierarchy()
    for child, parent in pairs:
        own.add(f"n{child}", f"n{parent}")
    try:
        tree = own.to_tree()
    except HierarchyError:
        assert has_loop(set(pairs))
        return
    assert not has_loop(set(pairs))
    kept = {(child, parent) for child, parent in edges(tree).items() if parent} | set(lost(tree))
    for child, parent in pairs:
        assert (f"n{child}", f"n{parent}") in kept or tree.is_at_or_under(
            tree.node(f"n{child}"), tree.node(f"n{parent}")
        )
    assert kept <= {(f"n{child}", f"n{parent}") for child, parent in pairs}


PIECES = [
    "a",
    "b",
    "c",
    ",",
    "\n",
    "  ",
    "\t",
    '"',
    "#",
    "\x00",
    "child,parent",
    "é",
    "{",
    "}",
    '"LabelName"',
    ":",
    "-1",
]


@pytest.mark.filterwarnings("ignore:.*columns that were not read")
@settings(max_examples=300)
@given(
    st.lists(st.sampled_from(PIECES), max_size=20), st.sampled_from(["x.csv", "x.txt", "x.json", "x.tree"])
)
def test_any_text_is_a_tree_or_an_error_of_one_line(pieces: list[str], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), name, "".join(pieces))
        try:
            outcome = repr(read_hierarchy(path))
        except TreeError as error:
            outcome = str(error)
        assert outcome.startswith(("<WordTree of", f"{path}: "))
        assert "\n" not in outcome
