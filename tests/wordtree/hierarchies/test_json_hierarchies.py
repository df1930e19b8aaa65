"""Hierarchies in the JSON forms of data sets and libraries."""

import json
from pathlib import Path
from typing import Any

import pytest

from wordtree.errors import TreeError
from wordtree.hierarchies.convert import read_hierarchy
from wordtree.tree.tree import WordTree


def read(folder: Path, content: Any) -> WordTree:
    path = folder / "x.json"
    path.write_text(json.dumps(content))
    return read_hierarchy(path)


def edges(tree: WordTree) -> dict[str, str | None]:
    parents = tree.parent.tolist()
    return {id_: tree.ids[up] if up >= 0 else None for id_, up in zip(tree.ids, parents, strict=True)}


def relations(tree: WordTree) -> list[tuple[str, str]]:
    return [(tree.ids[child], tree.ids[parent]) for child, parent in tree.relations.tolist()]


V3DET = {
    "categoryid2treeid": {"1": "n02084071", "2": "a00000157"},
    "id2name": {"n00001740": "entity", "n00015388": "animal", "n02084071": "dog", "a00000157": "doodle", "x": "lone"},
    "father2child": {"n00001740": ["n00015388"], "n00015388": ["n02084071"], "n02084071": ["a00000157"]},
}  # fmt: skip


@pytest.mark.parametrize("key", ["father2child", "child2father"])
def test_v3dets_category_tree_is_read_in_both_directions(tmp_path: Path, key: str) -> None:
    upwards = {child: [father] for father, (child,) in V3DET["father2child"].items()}
    content = {"id2name": V3DET["id2name"], key: V3DET["father2child"] if key == "father2child" else upwards}
    tree = read(tmp_path, content)
    assert edges(tree) == {
        "n00001740": None, "n00015388": "n00001740", "n02084071": "n00015388", "a00000157": "n02084071", "x": None
    }  # fmt: skip
    assert tree.names[tree.node("a00000157")] == "doodle"


def test_a_category_of_v3det_with_two_fathers_has_a_relation(tmp_path: Path) -> None:
    tree = read(tmp_path, {"father2child": {"a": ["b", "c"], "b": ["d"], "c": ["d"]}})
    assert edges(tree)["d"] == "b"
    assert relations(tree) == [("d", "c")]


def test_supercategories_of_coco_are_parents(tmp_path: Path) -> None:
    rows = [("person", "person"), ("bicycle", "vehicle"), ("hot dog", "food"), ("car", "vehicle")]
    categories = [{"id": id_, "name": name, "supercategory": above} for id_, (name, above) in enumerate(rows)]
    expected: dict[str, str | None] = {"person": None, "vehicle": None, "food": None}
    expected |= {"bicycle": "vehicle", "car": "vehicle", "hot_dog": "food"}
    for content in ({"images": [], "annotations": [], "categories": categories}, categories):
        tree = read(tmp_path, content)
        assert edges(tree) == expected
        assert tree.names[tree.node("hot_dog")] == "hot dog"


def test_the_root_category_of_roboflow_is_a_root(tmp_path: Path) -> None:
    rows = [("animals", "none"), ("cat", "animals"), ("dog", "animals"), ("animals", "animals")]
    content = {"categories": [{"name": name, "supercategory": above} for name, above in rows]}
    assert edges(read(tmp_path, content)) == {"animals": None, "cat": "animals", "dog": "animals"}


INATURALIST = {
    "name": "Vulpes vulpes", "common_name": "Red Fox", "supercategory": "Mammalia", "kingdom": "Animalia",
    "phylum": "Chordata", "class": "Mammalia", "order": "Carnivora", "family": "Canidae", "genus": "Vulpes",
    "specific_epithet": "vulpes",
}  # fmt: skip


def test_ranks_of_inaturalist_are_a_path(tmp_path: Path) -> None:
    lion = {
        **INATURALIST,
        "name": "Panthera leo",
        "family": "Felidae",
        "genus": "Panthera",
        "specific_epithet": "leo",
    }
    family = {key: INATURALIST[key] for key in ("kingdom", "phylum", "class", "order")} | {
        "name": "Mustelidae"
    }
    tree = read(tmp_path, {"categories": [INATURALIST, lion, family]})
    path = [tree.names[node] for node in tree.path(tree.node("Vulpes_vulpes"))]
    assert path == ["Animalia", "Chordata", "Mammalia", "Carnivora", "Canidae", "Vulpes", "Vulpes vulpes"]
    assert edges(tree)["Felidae"] == edges(tree)["Mustelidae"] == "Carnivora"
    assert len(tree) == 11


def test_a_bird_and_a_plant_of_one_name_are_two_nodes(tmp_path: Path) -> None:
    bird = {"name": "Oenanthe oenanthe", "kingdom": "Animalia", "family": "Muscicapidae", "genus": "Oenanthe"}
    plant = {"name": "Oenanthe aquatica", "kingdom": "Plantae", "family": "Apiaceae", "genus": "Oenanthe"}
    tree = read(tmp_path, [bird, plant])
    assert edges(tree)["Oenanthe_aquatica"] == "Oenanthe_(Apiaceae)"
    assert tree.names[tree.node("Oenanthe_(Apiaceae)")] == "Oenanthe"
    assert edges(tree)["Oenanthe_oenanthe"] == "Oenanthe"
    assert len(relations(tree)) == 0


NESTED = {
    "name": "animal",
    "children": [{"name": "hot dog", "id": 7}, {"name": "cat", "children": []}, "fox"],
}


@pytest.mark.parametrize("content", [NESTED, [NESTED]], ids=["one root", "a list of roots"])
def test_nested_nodes_are_read(tmp_path: Path, content: Any) -> None:
    tree = read(tmp_path, content)
    assert edges(tree) == {"animal": None, "7": "animal", "cat": "animal", "fox": "animal"}
    assert tree.names[1] == "hot dog"


def test_nested_names_rows_and_graphs_are_read(tmp_path: Path) -> None:
    expected = {"animal": None, "dog": "animal", "cat": "animal"}
    rows = [
        {"id": "animal", "parent": None},
        {"id": "dog", "parent": "animal"},
        {"id": "cat", "parent": "animal"},
    ]
    links = [{"source": "animal", "target": "dog"}, {"source": "animal", "target": "cat"}]
    for content in (
        {"animal": {"dog": {}, "cat": None}},
        {"animal": ["dog", "cat"]},
        rows,
        [{"child": row["id"], "parent": row["parent"]} for row in rows],
        {"nodes": [{"id": "animal"}, {"id": "dog"}, {"id": "cat"}], "links": links},
        {"directed": True, "nodes": [{"id": "animal"}, {"id": "dog"}, {"id": "cat"}], "edges": links},
    ):
        assert edges(read(tmp_path, content)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param([], "expected a tree of wordtree, or a hierarchy of OpenImages", id="empty list"),
        pytest.param({}, "found no keys", id="empty object"),
        pytest.param(3, "found int", id="a number"),
        pytest.param({"a": {"b": 1}, "c": 2}, "found the keys 'a', 'c'", id="numbers in it"),
        pytest.param({"animal": "dog"}, "found the keys 'animal'", id="a name for children"),
        pytest.param({"categories": [{"name": "dog"}]}, "a list of classes, not a hierarchy", id="flat categories"),
        pytest.param({"name": "a", "children": {}}, "the children of 'a': expected a list", id="no list"),
        pytest.param({"name": "a", "children": [{"x": 1}]}, "the children of 'a': expected nodes with a name", id="?"),
        pytest.param({"name": "a", "children": [{"name": "a"}]}, "'a' would be above itself: a < a", id="own child"),
        pytest.param({"father2child": []}, "father2child: expected an object", id="V3Det: list"),
        pytest.param({"father2child": {"a": 3}}, "the a of 'a': expected a list", id="V3Det: number"),
        pytest.param({"father2child": {"a": [3]}}, "father2child of 'a': expected ids", id="V3Det: number for an id"),
        pytest.param({"father2child": {}, "id2name": {"a": 3}}, "id2name: expected", id="V3Det: number for a name"),
        pytest.param({"father2child": {}}, "found no nodes", id="V3Det: empty"),
        pytest.param({"father2child": {"a": ["b"], "b": ["a"]}}, "would be above itself", id="V3Det: loop"),
        pytest.param([{"parent": "a"}], "row 0: expected a child and its parent", id="row without child"),
        pytest.param({"nodes": [{"id": "a"}], "links": [{"source": "a", "target": "b"}]}, "links: expected", id="link"),
        pytest.param({"nodes": [{}], "links": []}, "nodes: expected objects with an id", id="node without id"),
    ],
)  # fmt: skip
def test_other_content_is_refused_in_one_line(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(TreeError) as caught:
        read(tmp_path, content)
    assert str(caught.value).startswith(f"{tmp_path / 'x.json'}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"x" * 2000: ["a"]}, {"a": {"\x1b": None}}])
def test_an_invalid_id_in_nested_names_is_reported_with_the_file(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "nested.json"
    path.write_text(json.dumps(content))
    with pytest.raises(TreeError, match=r"nested\.json: .*cannot be an id"):
        read_hierarchy(path)
