"""Darknet's files about classes: `.names` and `.labels` (one a line), and `.map` (the tree's node of each class)."""

import re
from pathlib import Path

from wordtree.errors import TreeFileError, UnknownNode
from wordtree.support.lines import full_lines, quoted
from wordtree.tree.lookup import node_of
from wordtree.tree.tree import WordTree

_NODE = re.compile(r"[0-9]{1,9}")


def read_classes(path: Path) -> list[str]:
    """The classes of a `.names` or `.labels` file, in order."""
    classes = [line.strip() for _, line in full_lines(path)]
    if not classes:
        raise TreeFileError(f"{path}: holds no classes; expected one a line.")
    return classes


def read_map(path: Path, tree: WordTree) -> list[int]:
    """The node of each class. TreeFileError for a line that is no node of this tree, or the node of another class."""
    line_of: dict[int, int] = {}
    for number, line in full_lines(path):
        text = line.strip()
        if not _NODE.fullmatch(text) or int(text) >= len(tree):
            raise TreeFileError(
                f"{path}: line {number}: expected a node, 0 to {len(tree) - 1}, found {quoted(text)}."
            )
        if line_of.setdefault(int(text), number) != number:
            raise TreeFileError(
                f"{path}: line {number}: node {text} is that of line {line_of[int(text)]} already."
            )
    if not line_of:
        raise TreeFileError(f"{path}: holds no nodes; expected one a line.")
    return list(line_of)


def nodes_of_classes(path: Path, tree: WordTree) -> list[int]:
    """The node of each class that a `.names` or `.labels` file names: by id, by name, or by a word of WordNet.

    TreeFileError, with the line, for a class that means no node, several, or that of another class.
    """
    line_of: dict[int, int] = {}
    for number, line in full_lines(path):
        try:
            node = node_of(line.strip(), tree)
        except UnknownNode as trouble:
            raise TreeFileError(f"{path}: line {number}: {trouble}") from None
        if line_of.setdefault(node, number) != number:
            raise TreeFileError(
                f"{path}: line {number}: '{line.strip()}' is node {node}, as line {line_of[node]} is already."
            )
    if not line_of:
        raise TreeFileError(f"{path}: holds no classes; expected one a line.")
    return list(line_of)


def lines_text(values: list[str] | list[int] | tuple[str, ...]) -> str:
    """One value a line, as Darknet reads and writes `.names`, `.labels` and `.map`."""
    return "".join(f"{value}\n" for value in values)
