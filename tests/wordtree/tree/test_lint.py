"""Findings of lint: each kind in a drawn tree, and the known numbers of the published tree."""

from collections import Counter
from pathlib import Path
from time import process_time

import pytest

from wordtree.building.build import build_tree
from wordtree.tree.lint import KINDS, lint
from wordtree.tree.tree import WordTree
from wordtree.wordnet.class_lists import coco_classes


def found(tree: WordTree, kind: str, **options: int) -> list[tuple[int, ...]]:
    return [finding.nodes for finding in lint(tree, **options) if finding.kind == kind]


def flat(*ids: str, relations: list[tuple[int, int]] | None = None) -> WordTree:
    """A tree of one root with these children."""
    return WordTree(["top", *ids], [-1, *[0] * len(ids)], relations=relations or [])


def test_a_clean_tree_has_no_findings() -> None:
    assert lint(flat("a", "b")) == []
    assert lint(WordTree(["one"], [-1])) == []


@pytest.mark.parametrize(
    ("tree", "kind", "nodes"),
    [
        pytest.param(flat("n99999999", "own"), "unknown id", [(1,)], id="an id of another WordNet"),
        pytest.param(WordTree(["a", "b", "c"], [-1, -1, 0]), "orphan", [(1,)], id="a root without children"),
        pytest.param(flat("n02084071", "n02958343"), "not a kind", [], id="a grafted parent is no doubt"),
        pytest.param(
            WordTree(["n02084071", "n02958343", "x"], [-1, 0, 0]), "not a kind", [(1, 0)], id="car under dog"
        ),
        pytest.param(flat("a"), "group of one", [(1,)], id="an only child"),
        pytest.param(
            flat("n07758680", "own", "n07760153"), "not exclusive", [(3, 1)], id="muscat beside grape"
        ),
        pytest.param(flat("a", "b", relations=[(2, 1)]), "not exclusive", [(2, 1)], id="by a relation"),
        pytest.param(flat(*"abcd"), "wide group", [(1,)], id="four with three allowed"),
        pytest.param(
            WordTree(list("abcd"), [-1, 0, 0, 0], ["x", "y", "x", "y"]),
            "shared name",
            [(0, 2), (1, 3)],
            id="names",
        ),
    ],
)
def test_each_kind_of_finding_names_its_nodes(
    tree: WordTree, kind: str, nodes: list[tuple[int, ...]]
) -> None:
    assert found(tree, kind, wide_group=3) == nodes


def test_each_loop_of_relations_is_reported_once() -> None:
    """By relations, the shop above the car is a kind of car, and a hat is a kind of itself in two steps."""
    ids = ["shop", "car", "hat", "cap", "bus"]
    tree = WordTree(ids, [-1, 0, 0, 0, 1], relations=[(0, 4), (2, 3), (3, 2)])
    assert sorted(map(sorted, found(tree, "cycle"))) == [[0, 1, 4], [2, 3]]
    (text,) = [finding.text for finding in lint(tree) if finding.kind == "cycle" and 2 in finding.nodes]
    assert text in ("hat (hat) < cap (cap) < hat (hat)", "cap (cap) < hat (hat) < cap (cap)")


def test_findings_are_sorted_by_kind_and_name_their_nodes(toy_tree: WordTree) -> None:
    (only,) = lint(toy_tree)
    assert (only.kind, only.nodes, only.text) == (
        "group of one",
        (6,),
        "terrier (id6) is the only child of dog (id2)",
    )
    tree = WordTree(["a", "b", "c"], [-1, -1, 0], ["x", "x", "y"])
    assert [finding.kind for finding in lint(tree)] == ["orphan", "group of one", "shared name"]
    assert lint(tree)[-1].text == "x: a (a root), b (a root)"
    assert all(finding.kind in KINDS for finding in lint(tree))


def test_in_a_built_tree_every_node_is_a_kind_of_its_parent() -> None:
    kinds = {finding.kind for finding in lint(build_tree(coco_classes().values()))}
    assert not kinds & {"unknown id", "cycle", "not a kind"}


def test_lint_of_a_flat_list_of_many_classes_is_fast() -> None:
    tree = WordTree([f"own{node}" for node in range(50_000)], [-1] * 50_000)
    start = process_time()
    assert Counter(finding.kind for finding in lint(tree)) == {"orphan": 50_000, "wide group": 1}
    assert process_time() - start < 10


def test_the_published_tree_has_its_known_findings(published: Path) -> None:
    tree = WordTree.load(published / "9k.tree")
    findings = lint(tree)
    assert Counter(finding.kind for finding in findings) == {
        "not exclusive": 722,
        "shared name": 585,
        "group of one": 46,
        "not a kind": 4,
        "wide group": 1,
    }
    assert sum(len(finding.nodes) - 1 for finding in findings if finding.kind == "shared name") == 662
    by_hand = {tree.names[finding.nodes[0]] for finding in findings if finding.kind == "not a kind"}
    assert by_hand == {"bubble", "signal", "sign", "street sign"}
