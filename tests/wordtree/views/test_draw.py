"""Trees as lines of text and as Graphviz graphs."""

import shutil
import subprocess

import pytest

from wordtree.tree.tree import WordTree
from wordtree.views.draw import ASCII_GUIDES, tree_dot, tree_lines


def test_the_whole_tree_is_drawn_with_ids_and_counts(toy_tree: WordTree) -> None:
    assert [line.plain for line in tree_lines(toy_tree)] == [
        "animal  id0  3 below",
        "├── dog  id2  1 below",
        "│   └── terrier  id6",
        "└── cat  id3",
        "hunter  id1  2 below",
        "├── falconer  id4",
        "└── angler  id5",
    ]


def test_depth_and_node_limit_the_drawing(toy_tree: WordTree) -> None:
    assert [line.plain for line in tree_lines(toy_tree, 0, depth=1, guides=ASCII_GUIDES)] == [
        "animal  id0  3 below",
        "|-- dog  id2  1 below",
        "`-- cat  id3",
    ]
    assert [line.plain for line in tree_lines(toy_tree, depth=0)] == [
        "animal  id0  3 below",
        "hunter  id1  2 below",
    ]


def test_a_chain_of_any_depth_is_drawn() -> None:
    chain = WordTree([str(node) for node in range(1500)], range(-1, 1499))
    assert sum(1 for _ in tree_lines(chain)) == 1500


def test_dot_has_nodes_edges_and_dashed_relations(toy_tree: WordTree) -> None:
    lines = tree_dot(toy_tree).splitlines()
    assert lines[0] == "digraph wordtree {"
    assert r'  n6 [label="terrier\nid6"]' in lines
    assert [line for line in lines if "->" in line] == [
        "  n0 -> n2",
        "  n0 -> n3",
        "  n1 -> n4",
        "  n1 -> n5",
        "  n2 -> n6",
        "  n1 -> n6 [style=dashed, constraint=false]",
    ]
    assert lines[-1] == "}"


def test_dot_of_a_part_names_no_node_outside_it(toy_tree: WordTree) -> None:
    text = tree_dot(toy_tree, 0, depth=1)
    assert [line for line in text.splitlines() if "->" in line] == ["  n0 -> n2", "  n0 -> n3"]
    assert text.count("label=") == 3


def test_dot_escapes_special_characters_of_names() -> None:
    tree = WordTree([r"a\b"], [-1], ['a "name"'])
    assert r'n0 [label="a \"name\"\na\\b"]' in tree_dot(tree)


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_it(toy_tree: WordTree) -> None:
    done = subprocess.run(
        ["dot", "-Tplain"], input=tree_dot(toy_tree), capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\nnode ") == 7
