"""By which of its paths each label enters the tree: the paper's rule (section 4) in two readings.

Labels with a single path enter first. Then, again and again, a label enters by the path that grows the tree
least. A path meets the tree at its deepest node already there, and only what lies below is added, so it stays a
tree. The paper leaves open how growth is counted and who wins a tie:

- `grow_by_least_path`: of all paths that are left, the one that adds fewest nodes, ties by id;
- `grow_in_rounds`: what the published 9418-node tree was built by, as far as it can be recovered from it.
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
    """How a label of several paths entered: what each path would have cost at that moment, and the one taken."""

    paths: tuple[HypernymPath, ...]
    costs: tuple[int, ...]
    taken: HypernymPath


@dataclass(frozen=True)
class Growth:
    """The tree before anything is removed.

    parents     of each node, None for roots
    choices     of the labels that had one
    brought_by  the label whose path brought each node
    """

    parents: Parents = field(default_factory=dict)
    choices: dict[Synset, Choice] = field(default_factory=dict)
    brought_by: dict[Synset, Synset] = field(default_factory=dict)

    def add(self, path: HypernymPath) -> HypernymPath:
        """Hang what is new of the path into the tree, and return it."""
        known = len(path) - self.new_below(path)
        for place in range(known, len(path)):
            self.parents[path[place]] = path[place - 1] if place else None
            self.brought_by[path[place]] = path[-1]
        return path[known:]

    def choose(self, path: HypernymPath, paths: list[HypernymPath], costs: list[int]) -> HypernymPath:
        """Add one of a label's paths, and keep what the others would have cost."""
        self.choices[path[-1]] = Choice(tuple(paths), tuple(costs), path)
        return self.add(path)

    def new_below(self, path: HypernymPath) -> int:
        """How many nodes the path would add: those below its deepest node in the tree."""
        return next(
            (below for below, synset in enumerate(reversed(path)) if synset in self.parents), len(path)
        )

    def new_on(self, path: HypernymPath) -> int:
        """How many nodes of the path are not in the tree, also above where it would meet the tree."""
        return sum(synset not in self.parents for synset in path)


def grow_by_least_path(paths_of: PathsOf) -> Growth:
    """The profile `paper`: always the path, of all that are left, that adds fewest nodes; ties by id."""
    growth = _started(paths_of, at_once=lambda label: len(paths_of[label]) == 1)
    candidates = [path for paths in paths_of.values() if len(paths) > 1 for path in paths]
    through: defaultdict[Synset, list[HypernymPath]] = defaultdict(list)
    for path in candidates:
        for synset in path:
            through[synset].append(path)
    queue = [(growth.new_below(path), path[-1], path) for path in candidates]
    heapq.heapify(queue)
    while queue:
        cost, label, path = heapq.heappop(queue)
        if label in growth.parents or cost != growth.new_below(path):  # done, or queued again at a lower cost
            continue
        paths = paths_of[label]
        for added in growth.choose(path, paths, [growth.new_below(other) for other in paths]):
            for other in through[added]:
                if other[-1] not in growth.parents:
                    heapq.heappush(queue, (growth.new_below(other), other[-1], other))
    return growth


def grow_in_rounds(
    paths_of: PathsOf, *, at_once: Callable[[Synset], bool], name: Callable[[Synset], str]
) -> Growth:
    """The profile `darknet`: rounds over the labels in the order of their ids.

    A label enters when its cheapest path costs at most k nodes, k = 1 at first; after a round in which none
    entered, k grows by one. A path costs its nodes that are not in the tree. Of equally cheap paths the first by
    the names of their synsets is taken: so Python sorts lists of NLTK's synsets.
    """
    growth = _started(paths_of, at_once=at_once)
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
            costs = [growth.new_on(path) for path in named[label]]
            if min(costs) <= limit:
                growth.choose(named[label][costs.index(min(costs))], named[label], costs)
            else:
                left.append(label)
        limit += len(left) == len(waiting)
        waiting = left
    return growth


def _started(paths_of: PathsOf, *, at_once: Callable[[Synset], bool]) -> Growth:
    """The labels without a path as roots, and those that enter at once."""
    growth = Growth()
    for label, paths in paths_of.items():
        if not paths:
            growth.parents[label] = None
            growth.brought_by[label] = label
        elif at_once(label):
            growth.add(paths[0])
    return growth


def remove_only_parents(parents: Parents, *, labelled: set[Synset]) -> dict[Synset, Synset]:
    """Rule A, in place: a node that is no label and has a single child goes, and the child hangs one higher.

    Returns the nodes removed, each with its single child.
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


def flatten_only_leaves(
    parents: Parents, *, labelled: set[Synset], fixed: set[Synset]
) -> dict[Synset, Synset]:
    """Rule B, in place, from the leaves upwards: the only child of a label, if a leaf, becomes its sibling.

    Labels that are `fixed` have custom classes below them, so they are neither leaves nor parents of one child.
    Returns the children moved, each with the label that it hung under.
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
    """Level by level, the children of each node in the order of their ids."""
    children = _children(parents)
    order = children[None]
    for synset in order:  # grows while it is walked: breadth first
        order.extend(children[synset])
    return order


def _children(parents: Parents) -> defaultdict[Synset | None, list[Synset]]:
    children: defaultdict[Synset | None, list[Synset]] = defaultdict(list)
    for synset in sorted(parents):
        children[parents[synset]].append(synset)
    return children
