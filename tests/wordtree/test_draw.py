"""Trees as lines of text."""

from wordtree.draw import ASCII_GUIDES, tree_lines
from wordtree.tree import WordTree


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


def test_depth_and_node_limit_what_is_drawn(toy_tree: WordTree) -> None:
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
