"""Labels and WordNet → `WordTree`, by the paper's algorithm (section 4), with an account of every choice.

A label's hypernym paths lead from it up to the root. Labels with a single path enter first; then, again and
again, the remaining path that grows the tree least. A path meets the tree at its deepest node already there,
and only what lies below that node is added, so it stays a tree.

Rule A, which the paper leaves out (its 1369 nodes for ILSVRC's 1000 labels follow from it): a node that is no
label and has a single child is removed, and the child hangs one higher.
"""

import heapq
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from wordtree.errors import WordTreeError
from wordtree.resolve import LabelError, Resolution, resolve, synset_of, trouble
from wordtree.tree import WordTree
from wordtree.wordnet import HypernymPath, HypernymPaths, Synset, WordNet

PROFILES = ("paper",)
DEFAULT_ROOT = "physical_entity.n.01"

Parents = dict[Synset, Synset | None]


class BuildError(WordTreeError):
    """What was asked of the builder cannot be done: no labels, no such profile, a label that is the root."""


class GuessedSense(UserWarning):
    """A word has several senses; the most usual one below the root was taken."""


@dataclass(frozen=True)
class Guess:
    """A word of several senses, and the one that was taken for it."""

    label: str
    wnid: str
    synset: str
    senses: tuple[str, ...]

    def __str__(self) -> str:
        others = [name for name in self.senses if name != self.synset]
        more = ", …" if len(others) > 5 else ""
        return f"'{self.label}': took {self.synset} ({self.wnid}), not {', '.join(others[:5])}{more}"


@dataclass(frozen=True)
class BuildReport:
    """The choices behind a tree; wnids throughout.

    label_wnids   each label as it was given, and its node
    guesses       words of several senses, to be checked by eye
    outside       labels without a path to the root: roots of their own
    repeated      labels that mean the same as an earlier one
    collapsed     nodes that rule A removed
    """

    profile: str
    root: str
    nodes: int
    label_wnids: dict[str, str]
    guesses: tuple[Guess, ...]
    outside: tuple[str, ...]
    repeated: tuple[str, ...]
    collapsed: tuple[str, ...]
    lost_relations: int


def build_tree(
    labels: Iterable[str], *, profile: str = "paper", root: str = DEFAULT_ROOT, wordnet: WordNet | None = None
) -> WordTree:
    """The tree of these labels: words, synset names or wnids.

    Of a word with several senses it takes the most usual one below the root, and warns (GuessedSense).
    Raises LabelError for labels that WordNet does not know, BuildError for what cannot be built.
    """
    tree, report = build_with_report(labels, profile=profile, root=root, wordnet=wordnet)
    for guess in report.guesses:
        warnings.warn(str(guess), GuessedSense, stacklevel=2)
    return tree


def build_with_report(
    labels: Iterable[str], *, profile: str = "paper", root: str = DEFAULT_ROOT, wordnet: WordNet | None = None
) -> tuple[WordTree, BuildReport]:
    """The tree of these labels, whatever their order, and the choices made on the way."""
    if profile not in PROFILES:
        raise BuildError(f"There is no profile '{profile}'; known: {', '.join(PROFILES)}.")
    graph = WordNet.shipped() if wordnet is None else wordnet
    paths = HypernymPaths(graph, synset_of(root, graph))
    resolutions = _resolve_all(labels, graph)
    synset_of_label = {item.label: _synset(item, paths) for item in resolutions}
    wanted = sorted(set(synset_of_label.values()))
    if paths.root in wanted:
        raise BuildError(
            f"'{graph.name(paths.root)}' is the root, which is no node of the tree; choose another root."
        )
    parents = _grow({synset: paths.of(synset) for synset in wanted})
    collapsed = _collapse(parents, labelled=set(wanted))
    tree = _as_tree(parents, graph)
    return tree, BuildReport(
        profile=profile,
        root=graph.name(paths.root),
        nodes=len(tree),
        label_wnids={label: graph.wnid(synset) for label, synset in synset_of_label.items()},
        guesses=tuple(
            _guess(item, synset_of_label[item.label], graph)
            for item in resolutions
            if item.reason == "ambiguous"
        ),
        outside=tuple(graph.wnid(synset) for synset in wanted if not paths.of(synset)),
        repeated=_repeated(synset_of_label),
        collapsed=tuple(graph.wnid(synset) for synset in collapsed),
        lost_relations=len(tree.relations),
    )


def _resolve_all(labels: Iterable[str], wordnet: WordNet) -> list[Resolution]:
    """Each distinct label's resolution; LabelError names all unknown ones at once."""
    resolutions = [resolve(label, wordnet) for label in dict.fromkeys(label.strip() for label in labels)]
    if not resolutions:
        raise BuildError("There are no labels to build a tree of.")
    unknown = [item for item in resolutions if item.reason == "unknown"]
    if unknown:
        more = f" And {len(unknown) - 3} more." if len(unknown) > 3 else ""
        raise LabelError(" ".join(trouble(item, wordnet) for item in unknown[:3]) + more)
    return resolutions


def _synset(resolution: Resolution, paths: HypernymPaths) -> Synset:
    """The synset found or, for an ambiguous word, its most usual sense below the root (else of all)."""
    return next((sense for sense in resolution.senses if paths.of(sense)), resolution.senses[0])


def _guess(resolution: Resolution, taken: Synset, wordnet: WordNet) -> Guess:
    senses = tuple(wordnet.name(sense) for sense in resolution.senses)
    return Guess(resolution.label, wordnet.wnid(taken), wordnet.name(taken), senses)


def _repeated(synset_of_label: dict[str, Synset]) -> tuple[str, ...]:
    first: dict[Synset, str] = {}
    return tuple(
        label for label, synset in synset_of_label.items() if first.setdefault(synset, label) != label
    )


def _grow(paths_of: dict[Synset, list[HypernymPath]]) -> Parents:
    """The parent of each node, None for roots, before rule A."""
    parents: Parents = {}
    for label, paths in paths_of.items():
        if not paths:
            parents[label] = None
        elif len(paths) == 1:
            _add(paths[0], parents)
    candidates = [path for paths in paths_of.values() if len(paths) > 1 for path in paths]
    through: defaultdict[Synset, list[HypernymPath]] = defaultdict(list)
    for path in candidates:
        for synset in path:
            through[synset].append(path)
    queue = [(_growth(path, parents), path[-1], path) for path in candidates]
    heapq.heapify(queue)
    while queue:
        growth, label, path = heapq.heappop(queue)
        if label in parents or growth != _growth(path, parents):  # done, or queued again at its lower growth
            continue
        for added in _add(path, parents):
            for other in through[added]:
                if other[-1] not in parents:
                    heapq.heappush(queue, (_growth(other, parents), other[-1], other))
    return parents


def _growth(path: HypernymPath, parents: Parents) -> int:
    """How many nodes the path would add: those below its deepest node in the tree."""
    return next((below for below, synset in enumerate(reversed(path)) if synset in parents), len(path))


def _add(path: HypernymPath, parents: Parents) -> HypernymPath:
    """Hang what is new of the path into the tree, and return it."""
    known = len(path) - _growth(path, parents)
    for place in range(known, len(path)):
        parents[path[place]] = path[place - 1] if place else None
    return path[known:]


def _collapse(parents: Parents, *, labelled: set[Synset]) -> list[Synset]:
    """Rule A, in place; returns the synsets removed."""
    children: defaultdict[Synset, list[Synset]] = defaultdict(list)
    for synset, parent in parents.items():
        if parent is not None:
            children[parent].append(synset)
    collapsed = sorted(synset for synset in parents if synset not in labelled and len(children[synset]) == 1)
    removed = set(collapsed)
    for synset in parents.keys() - removed:
        parent = parents[synset]
        while parent in removed:
            parent = parents[parent]
        parents[synset] = parent
    for synset in collapsed:
        del parents[synset]
    return collapsed


def _as_tree(parents: Parents, wordnet: WordNet) -> WordTree:
    """Level by level, siblings by wnid; with the hypernym edges that found no place."""
    children: defaultdict[Synset | None, list[Synset]] = defaultdict(list)
    for synset in sorted(parents):
        children[parents[synset]].append(synset)
    order = children[None]
    for synset in order:  # grows while it is walked: breadth first
        order.extend(children[synset])
    node = {synset: number for number, synset in enumerate(order)}
    above = [-1 if (parent := parents[synset]) is None else node[parent] for synset in order]
    ids = [wordnet.wnid(synset) for synset in order]
    names = [wordnet.lemmas(synset)[0] for synset in order]
    bare = WordTree(ids, above, names)
    lost = [
        (node[synset], node[upper])
        for synset in order
        for upper in _nearest_above(synset, node, wordnet)
        if not bare.is_under(node[synset], node[upper])
    ]
    return WordTree(ids, above, names, lost)


def _nearest_above(synset: Synset, node: dict[Synset, int], wordnet: WordNet) -> set[Synset]:
    """The nodes that hypernym paths upwards from here meet first."""
    nearest, seen, waiting = set(), {synset}, [synset]
    while waiting:
        for upper in wordnet.hypernyms(waiting.pop()):
            if upper in node:
                nearest.add(upper)
            elif upper not in seen:
                seen.add(upper)
                waiting.append(upper)
    return nearest
