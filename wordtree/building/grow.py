"""The choice of a path into the tree for each label: the paper's rule (section 4) in two readings.

Labels with a single path enter first. Then, again and again, a label enters by the path that adds fewest nodes. A
path joins the tree at its deepest node already there; only the nodes below are added, so the result is a tree.
The paper does not say how the added nodes are counted, nor how ties are broken:

- `grow_by_least_path`: of all remaining paths, the one that adds fewest nodes; ties by id;
- `grow_in_rounds`: the rule of the published 9418-node tree, as far as the tree reveals it.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from wordtree.wordnet.columns import HypernymPath, Synset

Parents = dict[Synset, Synset | None]
PathsOf = dict[Synset, list[HypernymPath]]


@dataclass(frozen=True)
class Choice:
    """The choice among the paths of a label: the cost of each path at that moment, and the path taken."""

    paths: tuple[HypernymPath, ...]
    costs: tuple[int, ...]
    taken: HypernymPath


@dataclass(frozen=True)
class Growth:
    """The tree before rules A and B.

    parents     the parent of each node, None for roots
    choices     the choice for each label with several paths
    brought_by  the label whose path added each node
    """

    parents: Parents = field(default_factory=dict)
    choices: dict[Synset, Choice] = field(default_factory=dict)
    brought_by: dict[Synset, Synset] = field(default_factory=dict)

    def add(self, path: HypernymPath) -> HypernymPath:
        """Add the new nodes of a path to the tree; returns them."""
        known = len(path) - self.nodes_to_add(path)
        for index in range(known, len(path)):
            self.parents[path[index]] = path[index - 1] if index else None
            self.brought_by[path[index]] = path[-1]
        return path[known:]

    def choose(self, path: HypernymPath, paths: list[HypernymPath], costs: list[int]) -> HypernymPath:
        """Add one of the paths of a label, and record the cost of each; returns the new nodes."""
        self.choices[path[-1]] = Choice(tuple(paths), tuple(costs), path)
        return self.add(path)

    def nodes_to_add(self, path: HypernymPath) -> int:
        """The number of nodes that the path would add: those below its deepest node in the tree."""
        return next(
            (below for below, synset in enumerate(reversed(path)) if synset in self.parents), len(path)
        )

    def absent_nodes(self, path: HypernymPath) -> int:
        """The number of nodes of the path that are not in the tree, also above the node where it joins the tree."""
        return sum(synset not in self.parents for synset in path)


def grow_by_least_path(paths_of: PathsOf) -> Growth:
    """The tree of profile `paper`: of all remaining paths, the one that adds fewest nodes enters next; ties by id."""
    growth = _start_growth(paths_of, enters_first=lambda label: len(paths_of[label]) == 1)
    candidates = [path for paths in paths_of.values() if len(paths) > 1 for path in paths]
    through: defaultdict[Synset, list[HypernymPath]] = defaultdict(list)
    for path in candidates:
        for synset in path:
            through[synset].append(path)
    queue = [(growth.nodes_to_add(path), path[-1], path) for path in candidates]
    heapq.heapify(queue)
    while queue:
        cost, label, path = heapq.heappop(queue)
        # The label may be in the tree already, or queued again at a lower cost.
        if label in growth.parents or cost != growth.nodes_to_add(path):
            continue
        paths = paths_of[label]
        for added in growth.choose(path, paths, [growth.nodes_to_add(other) for other in paths]):
            for other in through[added]:
                if other[-1] not in growth.parents:
                    heapq.heappush(queue, (growth.nodes_to_add(other), other[-1], other))
    return growth


def grow_in_rounds(
    paths_of: PathsOf, *, enters_first: Callable[[Synset], bool], name: Callable[[Synset], str]
) -> Growth:
    """The tree of profile `darknet`: rounds over the labels in the order of their ids.

    A label enters when its cheapest path costs at most k nodes, k = 1 at first; after a round in which no label
    entered, k grows by one. The cost of a path is the number of its nodes that are not in the tree. Ties are broken
    by the names of the synsets, the order in which Python sorts NLTK's synsets.
    enters_first: whether a label enters before the first round.
    """
    growth = _start_growth(paths_of, enters_first=enters_first)
    named = {
        label: sorted(paths, key=lambda path: [name(synset) for synset in path])
        for label, paths in paths_of.items()
    }
    waiting = [label for label in sorted(paths_of) if label not in growth.parents]
    limit = 1
    while waiting:
        left = []
        for label in waiting:
            if label in growth.parents:
                continue
            costs = [growth.absent_nodes(path) for path in named[label]]
            if min(costs) <= limit:
                growth.choose(named[label][costs.index(min(costs))], named[label], costs)
            else:
                left.append(label)
        limit += len(left) == len(waiting)
        waiting = left
    return growth


def _start_growth(paths_of: PathsOf, *, enters_first: Callable[[Synset], bool]) -> Growth:
    """A tree of the labels without a path, as roots, and of the labels that enter at once."""
    growth = Growth()
    for label, paths in paths_of.items():
        if not paths:
            growth.parents[label] = None
            growth.brought_by[label] = label
        elif enters_first(label):
            growth.add(paths[0])
    return growth


def collapse_unary_nodes(parents: Parents, *, labelled: set[Synset]) -> dict[Synset, Synset]:
    """Apply rule A in place: remove each node that is not a label and has a single child, which moves up.

    Returns the removed nodes, each with its only child.
    """
    children = _children(parents)
    removed = {
        synset: children[synset][0]
        for synset in sorted(parents)
        if synset not in labelled and len(children[synset]) == 1
    }
    for synset in parents.keys() - removed.keys():
        parent = parents[synset]
        while parent in removed:
            parent = parents[parent]
        parents[synset] = parent
    for synset in removed:
        del parents[synset]
    return removed


def flatten_lone_leaves(
    parents: Parents, *, labelled: set[Synset], fixed: set[Synset]
) -> dict[Synset, Synset]:
    """Apply rule B in place, from the leaves upwards: the only child of a label, if a leaf, becomes its sibling.

    fixed: labels with custom classes below them, which are neither leaves nor parents of an only child.
    Returns the moved children, each with the label that was its parent.
    """
    children = _children(parents)
    moved: dict[Synset, Synset] = {}
    for synset in reversed(top_down(parents)):
        if synset not in labelled or synset in fixed or len(children[synset]) != 1:
            continue
        (child,) = children[synset]
        if not children[child] and child not in fixed:
            moved[child] = synset
            parents[child] = parents[synset]
            children[parents[synset]].append(child)
            del children[synset]
    return moved


def top_down(parents: Parents) -> list[Synset]:
    """The nodes level by level, the children of each node in the order of their ids."""
    children = _children(parents)
    order = children[None]
    for synset in order:  # grows during the loop: breadth first
        order.extend(children[synset])
    return order


def _children(parents: Parents) -> defaultdict[Synset | None, list[Synset]]:
    children: defaultdict[Synset | None, list[Synset]] = defaultdict(list)
    for synset in sorted(parents):
        children[parents[synset]].append(synset)
    return children
