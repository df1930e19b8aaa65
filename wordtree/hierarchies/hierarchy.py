"""A hierarchy as people write it down, where a node may have several parents, and its conversion to a `WordTree`.

Every node is wanted, so every path adds a node and the paper's rule (take the path that adds least) ends in a tie:
the parent named first is taken. The other parents become relations, for queries.
"""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import groupby
from typing import Any

import numpy as np

from wordtree.errors import TreeError
from wordtree.support.lines import MAX_NODES, plain_blanks, quoted, shortened
from wordtree.tree.tree import MAX_ID_CHARACTERS, WordTree


class HierarchyError(TreeError):
    """Not a hierarchy: a loop, two names for one node, an invalid id."""


@dataclass
class Hierarchy:
    """Nodes in the order in which they were first named; filled by `add`, converted by `to_tree`.

    parents  the parents of each node in the order in which they were named; empty for roots
    names    display names that differ from the id
    roots    nodes that are roots of the tree although they may have parents, which become relations
    lines    the line of the file `source` that named an edge (child, parent), for messages
    """

    source: str = ""
    parents: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    roots: set[str] = field(default_factory=set)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, children: Mapping[str, Any], source: str = "") -> "Hierarchy":
        """The hierarchy of nested dicts: each key is a node, its value the dict (or list) of its children, or None.

        source: the file, for messages. Raises TypeError for other values, such as the name of a single child or a
        set, which has no order.
        """
        hierarchy = cls(source)
        waiting: deque[tuple[Any, str | None, int]] = deque([(children, None, 0)])
        while waiting:
            below, parent, level = waiting.popleft()
            if level > len(hierarchy.parents):
                raise HierarchyError(f"{hierarchy.location(0)}the dict of '{parent}' contains itself.")
            if not isinstance(below, Mapping | Collection | None) or isinstance(
                below, str | bytes | set | frozenset
            ):
                place = "the roots" if parent is None else f"the children of {parent!r}"
                raise TypeError(f"{place}: expected a dict or a list of names, found {_brief(below)}")
            for name in below or ():
                if not isinstance(name, str):
                    raise HierarchyError(
                        f"{hierarchy.location(0)}below '{parent}': expected the name of a node, found {_brief(name)}."
                    )
                node = hierarchy.add(name, parent)
                if isinstance(below, Mapping):
                    waiting.append((below[name], node, level + 1))
        return hierarchy

    @classmethod
    def from_networkx(cls, graph: Any) -> "Hierarchy":
        """The hierarchy of a networkx.DiGraph with edges from parent to child; `name` of a node is its display name."""
        if not hasattr(graph, "predecessors"):
            raise TypeError(f"expected a networkx.DiGraph, found {_brief(graph)}")
        hierarchy = cls()
        for node, attributes in graph.nodes(data=True):
            hierarchy.add(str(node), None, name=str(attributes.get("name", "")))
            for parent in graph.predecessors(node):
                hierarchy.add(str(node), str(parent))
        return hierarchy

    @classmethod
    def of_tree(cls, tree: WordTree) -> "Hierarchy":
        """The hierarchy of a tree, with its relations as further parents."""
        hierarchy = cls()
        for id_, name, parent in zip(tree.ids, tree.names, tree.parent.tolist(), strict=True):
            if parent < 0:
                hierarchy.add_root(id_, name=name)
            else:
                hierarchy.add(id_, tree.ids[parent], name=name)
        for child, parent in tree.relations.tolist():
            hierarchy.add(tree.ids[child], tree.ids[parent])
        return hierarchy

    def add(self, child: str, parent: str | None, *, name: str = "", line: int = 0) -> str:
        """Add an edge from `parent` (None: a root) to `child`; returns the child's id. Repeating it has no effect."""
        node = self._id(child, line)
        parents = self.parents.setdefault(node, [])
        if len(self.parents) > MAX_NODES:
            raise HierarchyError(f"{self.location(line)}a tree has at most {MAX_NODES} nodes.")
        name = plain_blanks(name) or ("" if child.strip() == node else plain_blanks(child))
        if not name.isprintable():
            raise HierarchyError(
                f"{self.location(line)}{quoted(name)} cannot name {quoted(node)}: a name is one line of text."
            )
        if name and self.names.setdefault(node, name) != name:
            raise HierarchyError(
                f"{self.location(line)}{quoted(node)} is named {quoted(name)}, "
                f"but was named {quoted(self.names[node])} before."
            )
        if parent is not None:
            upper = self._id(parent, line)
            if (node, upper) not in self.lines:
                self.lines[node, upper] = line
                parents.append(upper)
        return node

    def add_root(self, node: str, *, name: str = "", line: int = 0) -> None:
        """Add a root of the tree, unless the node has a parent already; parents that are named later are relations."""
        root = self.add(node, None, name=name, line=line)
        if not self.parents[root]:
            self.roots.add(root)

    def to_tree(self) -> WordTree:
        """The tree: roots, and each other node below the parent named first; all other parents are relations.

        Keeps the order of the nodes where it is valid for a tree; otherwise orders them level by level. Raises
        HierarchyError for a loop.
        """
        for upper in [upper for parents in self.parents.values() for upper in parents]:
            if upper not in self.parents:
                self.add(upper, None)
        self.check_no_loops()
        first_parent = {
            node: parents[0] if parents and node not in self.roots else None
            for node, parents in self.parents.items()
        }
        order = list(first_parent) if _is_tree_order(first_parent) else _level_order(first_parent)
        number = {node: index for index, node in enumerate(order)}
        parents = [-1 if (parent := first_parent[node]) is None else number[parent] for node in order]
        names = [self.names.get(node, node) for node in order]
        try:
            bare = WordTree(order, parents, names)
        except TreeError as error:
            raise HierarchyError(f"{self.location(0)}{error}", error.node) from None
        others = [
            (number[node], number[upper])
            for node in order
            for upper in self.parents[node]
            if upper != first_parent[node]
        ]
        if not others:
            return bare
        child, upper = np.array(others).T
        return WordTree(order, parents, names, np.array(others)[~bare.is_at_or_under(child, upper)])

    def check_no_loops(self) -> None:
        """HierarchyError, which shows one loop and the line of its first edge, if a node is above itself."""
        try:
            TopologicalSorter(self.parents).prepare()
        except CycleError as error:
            loop: list[str] = error.args[1][:0:-1]  # upwards, each node once
            members = set(loop)
            start = loop.index(next(node for node in self.parents if node in members))
            loop = loop[start:] + loop[:start]
            line = self.lines.get((loop[0], loop[1 % len(loop)]), 0)
            chain = " < ".join(
                [*map(shortened, loop[:4]), *(["…"] if len(loop) > 4 else []), shortened(loop[0])]
            )
            raise HierarchyError(
                f"{self.location(line)}{quoted(loop[0])} would be above itself: {chain}; remove one of these edges."
            ) from None

    def location(self, line: int) -> str:
        """The beginning of a message about a line; empty where there is no file."""
        return f"{self.source}: line {line}: " if line else f"{self.source}: " if self.source else ""

    def _id(self, text: str, line: int) -> str:
        if not isinstance(text, str):
            raise TypeError(f"{self.location(line)}expected the name of a node, found {_brief(text)}")
        id_ = as_id(text)
        if not id_ or not id_.isprintable() or len(id_) > MAX_ID_CHARACTERS:
            raise HierarchyError(
                f"{self.location(line)}{quoted(text)} cannot be an id: "
                f"an id is text of at most {MAX_ID_CHARACTERS} characters."
            )
        return id_


def to_networkx(tree: WordTree) -> Any:
    """A networkx.DiGraph with edges from parent to child, also those of relations, marked `relation=True`."""
    graph = import_module("networkx").DiGraph()
    for id_, name in zip(tree.ids, tree.names, strict=True):
        graph.add_node(id_, name=name)
    graph.add_edges_from(
        (tree.ids[above], tree.ids[node]) for node, above in enumerate(tree.parent) if above >= 0
    )
    graph.add_edges_from(
        ((tree.ids[above], tree.ids[node]) for node, above in tree.relations.tolist()), relation=True
    )
    return graph


def to_dict(tree: WordTree) -> dict[str, Any]:
    """Nested dicts of ids, for `Hierarchy.from_dict`; without names and relations."""
    below: list[dict[str, Any]] = [{} for _ in range(len(tree))]
    top: dict[str, Any] = {}
    for node, above in enumerate(tree.parent.tolist()):
        (top if above < 0 else below[above])[tree.ids[node]] = below[node]
    return top


def as_id(text: str) -> str:
    """The text as an id: `_` instead of blanks."""
    return "_".join(text.split())


def _brief(value: Any) -> str:
    return f"the {type(value).__name__} {shortened(repr(value))}"


def _is_tree_order(parent: Mapping[str, str | None]) -> bool:
    """True if parents precede their children and siblings are adjacent."""
    number = {node: index for index, node in enumerate(parent)}
    runs = [above for above, _ in groupby(parent.values())]
    return len(runs) == len(set(runs)) and all(
        above is None or number[above] < number[node] for node, above in parent.items()
    )


def _level_order(parent: Mapping[str, str | None]) -> list[str]:
    """The nodes level by level."""
    children: defaultdict[str | None, list[str]] = defaultdict(list)
    for node, above in parent.items():
        children[above].append(node)
    order = children[None]
    for node in order:  # grows during the loop: breadth first
        order.extend(children[node])
    return order
