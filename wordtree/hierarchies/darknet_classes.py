"""Darknet's class files: `.names` and `.labels` (one class on each line), `.map` (the tree node of each class)."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from wordtree.errors import TreeFileError, UnknownNode
from wordtree.support.lines import full_lines, quoted
from wordtree.tree.lookup import node_of
from wordtree.tree.tree import WordTree
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.graph import WordNet

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


def nodes_of_classes(
    path: Path, tree: WordTree, on_hypernym: Callable[[str], None] = lambda _: None
) -> list[int]:
    """The node of each class in a `.names` or `.labels` file: an id, a name, or a word of WordNet.

    In a list of only COCO's or only VOC's classes, each class gets its curated synset. Such a class that the tree lacks
    gets its nearest hypernym in the tree, as in Darknet's coco9k.map; on_hypernym is called with a text about it.
    Raises TreeFileError, with the line, for a class that means no node, several, or the node of another class.
    """
    line_of: dict[int, int] = {}
    lines = [(number, line.strip()) for number, line in full_lines(path)]
    wnids = _wnids_in_data_set([line for _, line in lines])
    for number, line in lines:
        try:
            wnid = wnids.get(line, "")
            node = tree.node(wnid) if wnid in tree else _node_by_name(line, wnid, tree, on_hypernym)
        except UnknownNode as error:
            raise TreeFileError(f"{path}: line {number}: {error}") from None
        if line_of.setdefault(node, number) != number:
            raise TreeFileError(
                f"{path}: line {number}: {quoted(line)} is node {node}, "
                f"which line {line_of[node]} gave already."
            )
    if not line_of:
        raise TreeFileError(f"{path}: expected one class on each line, found none.")
    return list(line_of)


def _node_by_name(name: str, wnid: str, tree: WordTree, on_hypernym: Callable[[str], None]) -> int:
    """The node that a name means, or else the nearest hypernym of the wnid, if any; raises UnknownNode."""
    try:
        return node_of(name, tree)
    except UnknownNode:
        wordnet = WordNet.shipped()
        level = [wordnet.synset(wnid)] if wnid else []
        while level:
            level = sorted({above for synset in level for above in wordnet.hypernyms(synset)})
            for node in (tree.node(id_) for id_ in map(wordnet.wnid, level) if id_ in tree):
                on_hypernym(f"{name!r} is not in the tree; {tree.names[node]} ({tree.ids[node]}) is above it")
                return node
        raise


def _wnids_in_data_set(names: list[str]) -> Mapping[str, str]:
    """The wnid of each class of COCO or VOC, if all names are classes of it; else empty."""
    for wnid_of_name in (coco_classes(), voc_classes()):
        if wnid_of_name.keys() >= set(names):
            return wnid_of_name
    return {}


def lines_text(values: list[str] | list[int] | tuple[str, ...]) -> str:
    """The text of a `.names`, `.labels` or `.map` file: one value on each line."""
    return "".join(f"{value}\n" for value in values)
