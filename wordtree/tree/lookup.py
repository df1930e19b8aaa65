"""Nodes of a tree by label: an id, a name, or any word of WordNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wordtree.errors import UnknownNode
from wordtree.support.lines import quoted
from wordtree.support.suggest import did_you_mean, near
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.names import name_key
from wordtree.wordnet.resolve import resolve

if TYPE_CHECKING:
    from wordtree.tree.tree import WordTree


def node_of(label: str, tree: WordTree) -> int:
    """The node that a label means: an id, a name, or a word or synset name of WordNet.

    Raises UnknownNode, with suggestions, where the label means no node or several.
    """
    nodes = nodes_of(label, tree)
    if len(nodes) > 1:
        raise UnknownNode(f"{ambiguity_message(label, nodes, tree)}; give an id.")
    return nodes[0]


def nodes_of(label: str, tree: WordTree) -> list[int]:
    """All nodes that a label may mean, ascending; UnknownNode, with suggestions, if there is none."""
    if label in tree:
        return [tree.node(label)]
    if nodes := tree.named(label):
        return nodes
    graph = WordNet.shipped()
    senses = resolve(label, graph).senses
    nodes = sorted(tree.node(graph.wnid(sense)) for sense in senses if graph.wnid(sense) in tree)
    key = name_key(label)
    nodes = nodes or [node for node, name in enumerate(tree.names) if name_key(name) == key]
    if not nodes:
        suggestion = _nearest_ancestor(senses, tree, graph) or did_you_mean(
            near(label, [*tree.names, *tree.ids])
        )
        raise UnknownNode(f"The tree has no node {quoted(label)}.{suggestion}")
    return nodes


def nearest_node(label: str, tree: WordTree) -> int | None:
    """The node that a label means or, where the tree lacks it, the nearest node above it in WordNet.

    None if there is no such node, and for a label that means several nodes or synsets. Of several nodes at the same
    distance the deepest is taken.
    """
    if label in tree:
        return tree.node(label)
    if nodes := tree.named(label):
        return nodes[0] if len(nodes) == 1 else None
    graph = WordNet.shipped()
    synset = resolve(label, graph).synset
    nodes = [] if synset is None else _nearest_nodes(synset, tree, graph)
    return max(nodes, key=lambda node: tree.depth[node], default=None)


def ambiguity_message(label: str, nodes: list[int], tree: WordTree) -> str:
    """The message about a label that means several nodes, without a full stop."""
    choices = ", ".join(f"{tree.ids[node]} ({parent_text(node, tree)})" for node in nodes[:5])
    return f"{quoted(label)} means {len(nodes)} nodes of the tree: {choices}{', …' if len(nodes) > 5 else ''}"


def _nearest_ancestor(senses: tuple[Synset, ...], tree: WordTree, wordnet: WordNet) -> str:
    """' In WordNet poodle.n.01 is below dog (n02084071).': the nearest node above the first sense that has one."""
    for sense in senses:
        if nodes := _nearest_nodes(sense, tree, wordnet):
            node = nodes[0]
            return f" In WordNet {wordnet.name(sense)} is below {tree.names[node]} ({tree.ids[node]})."
    return ""


def _nearest_nodes(synset: Synset, tree: WordTree, wordnet: WordNet) -> list[int]:
    """The nodes at the smallest distance at or above a synset in WordNet, in the order of their wnids."""
    level = [synset]
    while level:
        if nodes := [tree.node(wnid) for wnid in map(wordnet.wnid, level) if wnid in tree]:
            return nodes
        level = sorted({above for synset in level for above in wordnet.hypernyms(synset)})
    return []


def parent_text(node: int, tree: WordTree) -> str:
    """`under NAME`, or `a root`: distinguishes nodes of the same name in messages."""
    parent = tree.parent[node]
    return "a root" if parent < 0 else f"under {tree.names[parent]}"
