"""WordTree on a drawn tree: derived arrays, methods, errors."""

import pickle
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from wordtree.building.build import build_tree
from wordtree.errors import TreeError, TreeNamesError, UnknownNode
from wordtree.hierarchies.hierarchy import Hierarchy
from wordtree.tree.node_sets import at_or_under
from wordtree.tree.tree import WordTree


def test_structure_of_the_drawn_tree(toy_tree: WordTree) -> None:
    assert toy_tree.parent.tolist() == [-1, -1, 0, 0, 1, 1, 2]
    assert toy_tree.depth.tolist() == [0, 0, 1, 1, 1, 1, 2]
    assert toy_tree.group.tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert toy_tree.group_start.tolist() == [0, 2, 4, 6]
    assert toy_tree.group_size.tolist() == [2, 2, 2, 1]
    assert toy_tree.child_group.tolist() == [1, 2, 3, -1, -1, -1, -1]
    assert toy_tree.is_leaf.tolist() == [False, False, False, True, True, True, True]
    assert toy_tree.leaves.tolist() == [3, 4, 5, 6]


def test_methods_on_the_drawn_tree(toy_tree: WordTree) -> None:
    assert len(toy_tree) == 7
    assert toy_tree.node("id6") == 6
    assert "id6" in toy_tree
    assert "terrier" not in toy_tree  # a name is no key
    assert list(toy_tree.children(0)) == [2, 3]
    assert list(toy_tree.children(6)) == []
    assert toy_tree.ancestors(6) == [2, 0]
    assert toy_tree.path(6) == [0, 2, 6]
    assert toy_tree.descendants(0).tolist() == [2, 3, 6]
    assert toy_tree.lowest_common_ancestor(6, 3) == 0
    assert toy_tree.lowest_common_ancestor(2, 6) == 2
    assert toy_tree.lowest_common_ancestor(6, 5) is None
    assert toy_tree.distance(6, 3) == 3
    assert toy_tree.distance(6, 6) == 0
    assert toy_tree.distance(6, 5) is None
    assert toy_tree.siblings(3).tolist() == [2]
    assert toy_tree.siblings(6).tolist() == []
    assert toy_tree.named("Terrier") == [6]
    assert toy_tree.named("id6") == []
    assert toy_tree.matching("*er").tolist() == [1, 4, 5, 6]
    assert toy_tree.matching("ID?").tolist() == list(range(7))
    assert toy_tree.select("hunter | dog & !terrier").tolist() == [1, 2, 4, 5]


def test_is_under_takes_many_nodes_at_once(toy_tree: WordTree) -> None:
    assert toy_tree.is_at_or_under(range(7), 0).tolist() == [True, False, True, True, False, False, True]
    assert toy_tree.is_at_or_under([], 0).tolist() == []
    assert bool(toy_tree.is_at_or_under(6, 2))
    assert toy_tree.is_at_or_under([6, 6, 5], [0, 1, 1]).tolist() == [True, False, True]
    assert toy_tree.is_at_or_under(6, [0, 1, 2]).tolist() == [True, False, True]


@pytest.mark.parametrize("node", [-1, 7], ids=["before the first", "past the last"])
def test_nodes_outside_the_tree_are_refused_and_never_wrap_around(toy_tree: WordTree, node: int) -> None:
    methods = (toy_tree.children, toy_tree.siblings, toy_tree.ancestors, toy_tree.path, toy_tree.descendants)
    for method in methods:
        with pytest.raises(IndexError):
            method(node)
    for nodes, ancestor in ((node, 0), (0, node)):
        with pytest.raises(IndexError):
            toy_tree.is_at_or_under(nodes, ancestor)
    with pytest.raises(IndexError):
        toy_tree.lowest_common_ancestor(0, node)


def test_names_default_to_the_ids() -> None:
    assert WordTree(["a", "b"], [-1, 0]).names == ("a", "b")


def test_one_node_is_a_tree() -> None:
    tree = WordTree(["a"], [-1])
    assert tree.leaves.tolist() == [0]
    assert tree.descendants(0).tolist() == []


def test_a_tree_cannot_be_changed(toy_tree: WordTree) -> None:
    with pytest.raises(AttributeError, match="cannot be changed"):
        toy_tree.names = ()
    for name in (
        "relations",
        "parent",
        "depth",
        "group",
        "group_start",
        "group_size",
        "child_group",
        "leaves",
    ):
        with pytest.raises(ValueError, match="read-only"):
            getattr(toy_tree, name)[0] = 0


def test_a_pickled_tree_comes_back_equal_and_read_only(toy_tree: WordTree) -> None:
    again = pickle.loads(pickle.dumps(toy_tree))
    assert again == toy_tree
    assert hash(again) == hash(toy_tree)
    assert not again.parent.flags.writeable


def test_arrays_given_to_a_tree_are_copied() -> None:
    parents = np.array([-1, 0])
    tree = WordTree(["a", "b"], parents)
    parents[1] = -1
    assert tree.parent.tolist() == [-1, 0]


def test_the_fingerprint_is_that_of_the_tree_file_and_ignores_names_and_relations(toy_tree: WordTree) -> None:
    text = "id0 -1\nid1 -1\nid2 0\nid3 0\nid4 1\nid5 1\nid6 2\n"
    bare = WordTree(toy_tree.ids, toy_tree.parent)
    assert toy_tree.fingerprint == bare.fingerprint == sha256(text.encode()).hexdigest()
    assert toy_tree != bare
    assert WordTree(["a", "b"], [-1, -1]).fingerprint != WordTree(["a", "b"], [-1, 0]).fingerprint


def test_relations_are_unique_and_sorted() -> None:
    tree = WordTree(["a", "b", "c"], [-1, 0, 0], relations=[(2, 1), (1, 2), (2, 1)])
    assert tree.relations.tolist() == [[1, 2], [2, 1]]


@pytest.mark.parametrize(
    ("id_", "message"),
    [
        pytest.param("ie6", r"no node 'ie6'\. Did you mean 'id6'", id="misspelt"),
        pytest.param("terrier", r"a name, not an id, in this tree\. Did you mean 'id6'\?", id="a name"),
        pytest.param("submarine", r"^The tree has no node 'submarine'\.$", id="nothing like it"),
    ],
)
def test_unknown_ids_get_suggestions(toy_tree: WordTree, id_: str, message: str) -> None:
    with pytest.raises(UnknownNode, match=message):
        toy_tree.node(id_)


@pytest.mark.parametrize(
    ("ids", "parents", "message", "node"),
    [
        pytest.param([], [], "at least one node", None, id="empty"),
        pytest.param(["a", "b"], [-1], "2 ids but parents of shape", None, id="lengths differ"),
        pytest.param(["a", "a"], [-1, 0], r"'a' occurs twice, first as node 0", 1, id="duplicate id"),
        pytest.param(["a", "b c"], [-1, 0], "text without blanks", 1, id="blank in an id"),
        pytest.param(["a", ""], [-1, 0], "text without blanks", 1, id="empty id"),
        pytest.param(["a", "b"], [-1, 0.5], "whole numbers", None, id="fractions"),
        pytest.param(["a", "b"], [-1, 2**70], "whole numbers", None, id="beyond 64 bits"),
        pytest.param(["a", "b"], [-1, 1], r"Node 1 \('b'\) names node 1 as its parent", 1, id="own parent"),
        pytest.param(["a", "b", "c"], [-1, 2, 0], "must be an earlier node", 1, id="parent after child"),
        pytest.param(["a", "b"], [-1, -2], "or -1 for a root", 1, id="below -1"),
        pytest.param(
            ["a", "b", "c"], [-1, 0, -1], "one of the roots, but is not next to them", 2, id="split roots"
        ),
        pytest.param(
            ["a", "b", "c", "d", "e"],
            [-1, 0, 0, 1, 0],
            r"one of the children of node 0 \('a'\)",
            4,
            id="split run",
        ),
    ],
)
def test_invalid_arrays_are_refused_with_the_first_wrong_node(
    ids: list[str], parents: list[int], message: str, node: int | None
) -> None:
    with pytest.raises(TreeError, match=message) as caught:
        WordTree(ids, parents)
    assert caught.value.node == node


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["a"], "2 nodes but 1 names", id="too few"),
        pytest.param(["a", " "], "one line of text", id="blank"),
        pytest.param(["a", "b\nc"], "one line of text", id="two lines"),
    ],
)
def test_names_that_do_not_fit_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(TreeNamesError, match=message):
        WordTree(["x", "y"], [-1, -1], names)


@pytest.mark.parametrize(
    "relations",
    [
        pytest.param([(0, 2)], id="no such node"),
        pytest.param([(1, 1)], id="to itself"),
        pytest.param([(0, 1, 1)], id="three nodes"),
        pytest.param([(0.5, 1)], id="fractions"),
    ],
)
def test_relations_that_are_not_pairs_of_nodes_are_refused(relations: list[tuple[int, int]]) -> None:
    with pytest.raises(TreeError, match="Relations must"):
        WordTree(["a", "b"], [-1, -1], relations=relations)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda _: WordTree("ab", [-1, -1]), "ids: expected a list of texts, found the str 'ab'", id="ids"),
        pytest.param(lambda _: WordTree([1, 2], [-1, -1]), "ids: expected texts, found the int '1'", id="numbers"),
        pytest.param(lambda _: WordTree(["a"], [-1], "a"), "names: expected a list of texts, found", id="names"),
        pytest.param(lambda tree: tree.node(3), "expected the id of a node, a text, found the int '3'", id="node"),
        pytest.param(lambda tree: tree.select(["dog"]), "expected an expression, a text, found the list", id="query"),
        pytest.param(lambda tree: tree.is_at_or_under("dog", 0), "expected nodes, which are whole numbers", id="name"),
        pytest.param(lambda tree: tree.is_at_or_under([0.7], 0), "found float64 '[0.7]'", id="fraction"),
        pytest.param(lambda tree: at_or_under(tree, [True] * 7), "expected nodes, .* found bool", id="mask"),
        pytest.param(lambda _: build_tree("dog"), r"labels: expected a list of texts, found the str 'dog'", id="label"),
        pytest.param(lambda _: build_tree(3), r"labels: expected a list of texts, found the int '3'", id="number"),
        pytest.param(lambda _: build_tree([3]), r"labels: expected texts, found the int '3'", id="number as a label"),
        pytest.param(lambda _: Hierarchy.from_dict({"animal": "dog"}), "the children of 'animal'", id="child"),
        pytest.param(lambda _: Hierarchy.from_dict("dog"), "the roots: expected a dict", id="roots"),
        pytest.param(lambda _: Hierarchy.from_dict("animal"), "expected a dict or a list of names, found", id="string"),
        pytest.param(
            lambda _: Hierarchy.from_dict({"animal": {"dog", "cat"}}),
            "expected a dict or a list of names, found",
            id="set without an order",
        ),
        pytest.param(lambda _: Hierarchy().add(3, None), "expected the name of a node, found the int 3", id="add"),
        pytest.param(lambda _: Hierarchy.from_networkx({}), "expected a networkx.DiGraph, found the dict", id="graph"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused_by_name(toy_tree: WordTree, call: Any, message: str) -> None:
    """Before, a string was a list of letters, a mask the nodes 0 and 1, and a fraction was cut."""
    with pytest.raises(TypeError, match=message.replace("[", r"\[")):
        call(toy_tree)


def test_nodes_out_of_range_are_refused(toy_tree: WordTree) -> None:
    for nodes in (-1, 7, [0, 7]):
        with pytest.raises(IndexError, match="of a tree of 7 nodes"):
            at_or_under(toy_tree, nodes)
