"""Findings about a tree that is valid but may not be as intended; each names its nodes and why it matters.

The loader already refuses invalid trees (loops among the parents, split sibling groups), with file and line.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from wordtree.tree.lookup import parent_text
from wordtree.tree.tree import WordTree
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet

WIDE_GROUP = 100  # members; the published tree's widest has 149

KINDS = {  # kind of finding -> why it matters, in the order of the report
    "unknown id": "looks like a wnid, but WordNet 3.0 has no such noun; ids of other versions differ",
    "cycle": "relations lead from a node back to itself, so queries treat all nodes in between as equal",
    "orphan": "a root without children beside other roots; it competes with whole branches",
    "not a kind": "in WordNet the node is not a kind of its parent; placed by hand, or by mistake",
    "group of one": "an only child: its conditional probability is always 1, so it can never be rejected",
    "not exclusive": "siblings, but one is a kind of the other; training one suppresses the other",
    "wide group": "many siblings in one softmax; intermediate levels would help",
    "shared name": "several nodes have this name; only their ids distinguish them",
}

_WNID = re.compile(r"n[0-9]{8}")


@dataclass(frozen=True)
class Finding:
    """A finding: its kind, its nodes, and one line of text with their ids."""

    kind: str
    nodes: tuple[int, ...]
    text: str


def lint(tree: WordTree, *, wide_group: int = WIDE_GROUP, wordnet: WordNet | None = None) -> list[Finding]:
    """All findings, in the order of KINDS; WordNet is consulted only for ids that are wnids."""
    graph = WordNet.shipped() if wordnet is None else wordnet
    hypernyms = _Hypernyms(tree, graph)
    found = [
        *_unknown_ids(tree, graph),
        *_cycles(tree),
        *_orphans(tree),
        *_not_a_kind(tree, hypernyms),
        *_groups_of_one(tree),
        *_not_exclusive(tree, hypernyms),
        *_wide_groups(tree, wide_group),
        *_shared_names(tree),
    ]
    order = list(KINDS)
    return sorted(found, key=lambda finding: order.index(finding.kind))


class _Hypernyms:
    """The hypernyms in WordNet among the nodes of the tree, wherever they are in the tree."""

    def __init__(self, tree: WordTree, wordnet: WordNet) -> None:
        self._wordnet = wordnet
        self._synset_of = {node: wordnet.synset(id_) for node, id_ in enumerate(tree.ids) if id_ in wordnet}
        self._node_of = {synset: node for node, synset in self._synset_of.items()}
        self._above: dict[Synset, frozenset[Synset]] = {}

    def knows(self, node: int) -> bool:
        return node in self._synset_of

    def nodes_above(self, node: int) -> set[int]:
        """The nodes that this one is a kind of; empty for a node that WordNet does not know."""
        above = self._all_above(self._synset_of[node]) if self.knows(node) else ()
        return {self._node_of[synset] for synset in above if synset in self._node_of}

    def _all_above(self, synset: Synset) -> frozenset[Synset]:
        if synset not in self._above:
            direct = self._wordnet.hypernyms(synset)
            self._above[synset] = frozenset(direct).union(*(self._all_above(upper) for upper in direct))
        return self._above[synset]


def _unknown_ids(tree: WordTree, wordnet: WordNet) -> Iterator[Finding]:
    for node, id_ in enumerate(tree.ids):
        if _WNID.fullmatch(id_) and id_ not in wordnet:
            yield Finding("unknown id", (node,), _described(tree, node))


def _cycles(tree: WordTree) -> Iterator[Finding]:
    """One loop of *is a kind of* after another; the search goes on without the relations of the loops found."""
    relations = {(child, parent) for child, parent in tree.relations.tolist()}
    while relations:
        above: defaultdict[int, set[int]] = defaultdict(set)
        for child, parent in (*relations, *enumerate(tree.parent.tolist())):
            above[child].add(parent)
        try:
            TopologicalSorter(above).prepare()
            return
        except CycleError as error:
            loop: list[int] = error.args[1]  # downwards; the last node is the first again
        relations -= set(zip(loop[1:], loop, strict=False))
        text = " < ".join(_described(tree, node) for node in reversed(loop))
        yield Finding("cycle", tuple(reversed(loop[1:])), text)


def _orphans(tree: WordTree) -> Iterator[Finding]:
    roots = range(tree.group_size[0])
    for node in roots:
        if tree.is_leaf[node] and len(roots) > 1:
            yield Finding("orphan", (node,), _described(tree, node))


def _not_a_kind(tree: WordTree, hypernyms: _Hypernyms) -> Iterator[Finding]:
    for node, parent in enumerate(tree.parent.tolist()):
        known = parent >= 0 and hypernyms.knows(node) and hypernyms.knows(parent)
        if known and parent not in hypernyms.nodes_above(node):
            yield Finding(
                "not a kind", (node, parent), f"{_described(tree, node)} under {_described(tree, parent)}"
            )


def _groups_of_one(tree: WordTree) -> Iterator[Finding]:
    """Only children; a single root is normal."""
    for node in tree.group_start[1:][tree.group_size[1:] == 1].tolist():
        text = f"{_described(tree, node)} is the only child of {_described(tree, int(tree.parent[node]))}"
        yield Finding("group of one", (node,), text)


def _not_exclusive(tree: WordTree, hypernyms: _Hypernyms) -> Iterator[Finding]:
    related: defaultdict[int, set[int]] = defaultdict(set)
    for child, parent in tree.relations.tolist():
        related[child].add(parent)
    for node in range(len(tree)):
        for general in sorted(related[node] | hypernyms.nodes_above(node)):
            if tree.group[general] == tree.group[node]:
                text = f"{_described(tree, node)} is a kind of its sibling {_described(tree, general)}"
                yield Finding("not exclusive", (node, general), text)


def _wide_groups(tree: WordTree, wide_group: int) -> Iterator[Finding]:
    for start, size in zip(tree.group_start.tolist(), tree.group_size.tolist(), strict=True):
        if size > wide_group:
            parent = int(tree.parent[start])
            where = "roots" if parent < 0 else f"children of {_described(tree, parent)}"
            yield Finding("wide group", (start,), f"{size} {where}")


def _shared_names(tree: WordTree) -> Iterator[Finding]:
    nodes_of: defaultdict[str, list[int]] = defaultdict(list)
    for node, name in enumerate(tree.names):
        nodes_of[name].append(node)
    for name, nodes in nodes_of.items():
        if len(nodes) > 1:
            where = ", ".join(f"{tree.ids[node]} ({parent_text(node, tree)})" for node in nodes)
            yield Finding("shared name", tuple(nodes), f"{name}: {where}")


def _described(tree: WordTree, node: int) -> str:
    return f"{tree.names[node]} ({tree.ids[node]})"
