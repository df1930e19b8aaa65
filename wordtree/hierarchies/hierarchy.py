"""A hierarchy as people write it down, where a kind may have several parents, and how it becomes a `WordTree`.

Every node is wanted, so every path adds a node and the paper's rule (take the path that adds least) leaves a tie:
the parent named first is taken. The others are carried as relations, for queries.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from wordtree.errors import TreeError
from wordtree.tree.tree import WordTree


class HierarchyError(TreeError):
    """What was written down is no hierarchy: a loop, a node without an id, two names for one node."""


@dataclass
class Hierarchy:
    """Nodes in the order in which they were first named; collected by `add`, finished by `to_tree`.

    parents  the parents of each node, in the order in which they were named; none for roots
    names    what people read, where it differs from the id
    lines    the line of the file `source` that named an edge (child, parent), for messages
    """

    source: str = ""

    parents: dict[str, list[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, children: Mapping[str, Any]) -> "Hierarchy":
        """Of nested dicts: each key a node, its value the dict (or list) of its children, or None."""
        found = cls()
        waiting: deque[tuple[Any, str | None, int]] = deque([(children, None, 0)])
        while waiting:
            below, parent, level = waiting.popleft()
            if level > len(found.parents):
                raise HierarchyError(f"The dict of '{parent}' holds itself.")
            for name in below or ():
                if not isinstance(name, str):
                    raise HierarchyError(f"A node below '{parent}' is {name!r}; expected its name as text.")
                node = found.add(name, parent)
                if isinstance(below, Mapping):
                    waiting.append((below[name], node, level + 1))
        return found

    @classmethod
    def from_networkx(cls, graph: Any) -> "Hierarchy":
        """Of a networkx.DiGraph with edges from parent to child; a node's attribute `name` is what people read."""
        found = cls()
        for node, attributes in graph.nodes(data=True):
            found.add(str(node), None, name=str(attributes.get("name", "")))
            for parent in graph.predecessors(node):
                found.add(str(node), str(parent))
        return found

    @classmethod
    def of_tree(cls, tree: WordTree) -> "Hierarchy":
        """The tree again, with its relations as further parents."""
        found = cls()
        for id_, name, parent in zip(tree.ids, tree.names, tree.parent.tolist(), strict=True):
            found.add(id_, tree.ids[parent] if parent >= 0 else None, name=name)
        for child, parent in tree.relations.tolist():
            found.add(tree.ids[child], tree.ids[parent])
        return found

    def add(self, child: str, parent: str | None, *, name: str = "", line: int = 0) -> str:
        """Say that `child` is a kind of `parent` (None: a root); returns the child's id. Repeating it does no harm."""
        node = self._id(child, line)
        above = self.parents.setdefault(node, [])
        name = name.strip() or ("" if child.strip() == node else child.strip())
        if not name.isprintable():
            raise HierarchyError(
                f"{self.at(line)}{name[:60]!r} cannot name '{node}': a name is one line of text."
            )
        if name and self.names.setdefault(node, name) != name:
            raise HierarchyError(
                f"{self.at(line)}'{node}' is named '{name}', but '{self.names[node]}' before."
            )
        if parent is not None:
            upper = self._id(parent, line)
            self.lines.setdefault((node, upper), line)
            if upper not in above:
                above.append(upper)
        return node

    def to_tree(self) -> WordTree:
        """The tree: each node under the parent named first, the other parents as relations.

        The order of the nodes stays where a tree may have it; otherwise it is level by level. Raises
        HierarchyError for a loop.
        """
        for upper in [
            upper for above in self.parents.values() for upper in above if upper not in self.parents
        ]:
            self.add(upper, None)
        self.check_no_loops()
        order = self._order({node: above[0] if above else None for node, above in self.parents.items()})
        place = {node: number for number, node in enumerate(order)}
        parents = [place[above[0]] if (above := self.parents[node]) else -1 for node in order]
        names = [self.names.get(node, node) for node in order]
        bare = WordTree(order, parents, names)
        others = [(place[node], place[upper]) for node in order for upper in self.parents[node][1:]]
        lost = [(child, upper) for child, upper in others if not bare.is_under(child, upper)]
        return WordTree(order, parents, names, lost) if lost else bare

    def check_no_loops(self) -> None:
        """HierarchyError, naming the nodes of one loop and where it closes, if anything is above itself."""
        open_parents = {node: sum(up in self.parents for up in above) for node, above in self.parents.items()}
        children = defaultdict(list)
        for node, above in self.parents.items():
            for upper in above:
                children[upper].append(node)
        free = [node for node, count in open_parents.items() if count == 0]
        for node in free:  # grows while it is walked: a node is free once all its parents are
            for child in children[node]:
                open_parents[child] -= 1
                if open_parents[child] == 0:
                    free.append(child)
        if len(free) < len(self.parents):
            raise self._loop({node for node, count in open_parents.items() if count > 0})

    def at(self, line: int) -> str:
        """The beginning of a message about a line; nothing where there is no file."""
        return f"{self.source}: line {line}: " if line else f"{self.source}: " if self.source else ""

    def _id(self, text: str, line: int) -> str:
        id_ = as_id(text)
        if not id_ or not id_.isprintable():
            raise HierarchyError(f"{self.at(line)}{text[:60]!r} cannot be an id: an id is text.")
        return id_

    def _loop(self, stuck: set[str]) -> HierarchyError:
        node = next(iter(node for node in self.parents if node in stuck))
        seen: dict[str, str] = {}
        while node not in seen:
            seen[node] = next(upper for upper in self.parents[node] if upper in stuck)
            node = seen[node]
        loop = [node]
        while seen[loop[-1]] != node:
            loop.append(seen[loop[-1]])
        shown = [*loop[:4], *(["…"] if len(loop) > 4 else []), node]
        return HierarchyError(
            f"{self.at(self.lines.get((loop[0], seen[loop[0]]), 0))}'{node}' would be above itself: "
            f"{' < '.join(shown)}; take one of these edges away."
        )

    def _order(self, parent: Mapping[str, str | None]) -> list[str]:
        """The nodes in their own order, if parents precede children and siblings touch; else level by level."""
        if _may_stand(parent):
            return list(parent)
        children: defaultdict[str | None, list[str]] = defaultdict(list)
        for node, above in parent.items():
            children[above].append(node)
        order = children[None]
        for node in order:  # grows while it is walked: breadth first
            order.extend(children[node])
        return order


def to_networkx(tree: WordTree) -> Any:
    """A networkx.DiGraph with edges from parent to child (also those of relations, marked `relation=True`)."""
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
    """Nested dicts of ids, as `Hierarchy.from_dict` reads them; names and relations are not in it."""
    below: list[dict[str, Any]] = [{} for _ in range(len(tree))]
    top: dict[str, Any] = {}
    for node, above in enumerate(tree.parent.tolist()):
        (top if above < 0 else below[above])[tree.ids[node]] = below[node]
    return top


def as_id(text: str) -> str:
    """What people wrote, as an id: blanks become `_`."""
    return "_".join(text.split())


def _may_stand(parent: Mapping[str, str | None]) -> bool:
    seen: set[str] = set()
    runs: set[str | None] = set()
    last: Iterable[str | None] = ()
    for node, above in parent.items():
        if above is not None and above not in seen:
            return False
        if [above] != last:
            if above in runs:
                return False
            runs.add(above)
            last = [above]
        seen.add(node)
    return True
