"""Darknet's class files: `.names` and `.labels` (one class on each line), `.map` (the tree node of each class)."""

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
        raise TreeFileError(f"{path}: expected one class on each line, found none.")
    return classes


def read_map(path: Path, tree: WordTree) -> list[int]:
    """The node of each class; TreeFileError for a line that is not a node of the tree, or is one a second time."""
    line_of: dict[int, int] = {}
    for number, line in full_lines(path):
        text = line.strip()
        if not _NODE.fullmatch(text) or int(text) >= len(tree):
            raise TreeFileError(
                f"{path}: line {number}: expected a node, 0 to {len(tree) - 1}, found {quoted(text)}."
            )
        if line_of.setdefault(int(text), number) != number:
            raise TreeFileError(
                f"{path}: line {number}: node {text} was given in line {line_of[int(text)]} already."
            )
    if not line_of:
        raise TreeFileError(f"{path}: expected one node on each line, found none.")
    return list(line_of)


def nodes_of_classes(path: Path, tree: WordTree) -> list[int]:
    """The node of each class in a `.names` or `.labels` file: an id, a name, or a word of WordNet.

    Raises TreeFileError, with the line, for a class that means no node, several, or the node of another class.
    """
    line_of: dict[int, int] = {}
    for number, line in full_lines(path):
        try:
            node = node_of(line.strip(), tree)
        except UnknownNode as error:
            raise TreeFileError(f"{path}: line {number}: {error}") from None
        if line_of.setdefault(node, number) != number:
            raise TreeFileError(
                f"{path}: line {number}: {quoted(line.strip())} is node {node}, "
                f"which line {line_of[node]} gave already."
            )
    if not line_of:
        raise TreeFileError(f"{path}: expected one class on each line, found none.")
    return list(line_of)


def lines_text(values: list[str] | list[int] | tuple[str, ...]) -> str:
    """The text of a `.names`, `.labels` or `.map` file: one value on each line."""
    return "".join(f"{value}\n" for value in values)
