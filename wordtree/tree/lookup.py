"""The nodes of a tree that a label may mean: by id, by name, or by any word of WordNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wordtree.errors import UnknownNode
from wordtree.support.suggest import did_you_mean, near
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import resolve

if TYPE_CHECKING:
    from wordtree.tree.tree import WordTree


def node_of(label: str, tree: WordTree) -> int:
    """The node of the tree that the label means: by id, by name, or by any word or synset name of WordNet.

    Raises UnknownNode, with what may have been meant, if no node or more than one is meant.
    """
    meant = nodes_of(label, tree)
    if len(meant) > 1:
        raise UnknownNode(f"{several(label, meant, tree)}; give an id.")
    return meant[0]


def nodes_of(label: str, tree: WordTree) -> list[int]:
    """All nodes of the tree that the label may mean, ascending; UnknownNode, with suggestions, if there is none."""
    if label in tree:
        return [tree.node(label)]
    if meant := tree.named(label):
        return meant
    graph = WordNet.shipped()
    senses = resolve(label, graph).senses
    meant = sorted(tree.node(graph.wnid(sense)) for sense in senses if graph.wnid(sense) in tree)
    if not meant:
        offer = _would_lie_under(senses, tree, graph) or did_you_mean(near(label, [*tree.names, *tree.ids]))
        raise UnknownNode(f"The tree has no node '{label}'.{offer}")
    return meant


def several(label: str, nodes: list[int], tree: WordTree) -> str:
    """What to say of a label that means several nodes, without a full stop."""
    choices = ", ".join(f"{tree.ids[node]} ({_above(node, tree)})" for node in nodes[:5])
    return f"'{label}' means {len(nodes)} nodes of the tree: {choices}{', …' if len(nodes) > 5 else ''}"


def _would_lie_under(senses: tuple[Synset, ...], tree: WordTree, wordnet: WordNet) -> str:
    """' In WordNet it is below dog (n02084071).': the nearest node above the most usual sense that has one."""
    for sense in senses:
        level = [sense]
        while level:
            level = sorted({above for synset in level for above in wordnet.hypernyms(synset)})
            for wnid in map(wordnet.wnid, level):
                if wnid in tree:
                    return (
                        f" In WordNet {wordnet.name(sense)} is below {tree.names[tree.node(wnid)]} ({wnid})."
                    )
    return ""


def _above(node: int, tree: WordTree) -> str:
    parent = tree.parent[node]
    return "a root" if parent < 0 else f"under {tree.names[parent]}"
