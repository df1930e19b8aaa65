"""A `WordTree` from labels and WordNet by the paper's algorithm (section 4), with a record of every choice.

Profile `paper`, the default, follows the paper and adds rule A (`grow.collapse_unary_nodes`). The paper does not
mention rule A, but without it ILSVRC's 1000 labels do not give its 1369 nodes. Profile `darknet` adds the rules that
the published 9418-node tree reveals: `grow.grow_in_rounds`, rule B (`grow.flatten_lone_leaves`), and rule C, three
edges set by hand that place signs, traffic lights and bubbles among the physical objects.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wordtree.building.choose_senses import Guess, choose_senses
from wordtree.building.explain import BuildRecord, Explanation
from wordtree.building.graft import CustomClasses, number_custom_classes, read_custom_classes
from wordtree.building.grow import (
    Growth,
    Parents,
    collapse_unary_nodes,
    flatten_lone_leaves,
    grow_by_least_path,
    grow_in_rounds,
    top_down,
)
from wordtree.errors import WordTreeError
from wordtree.hierarchies.hierarchy import Hierarchy
from wordtree.support.lines import quoted
from wordtree.tree.tree import WordTree
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import HypernymPaths, WordNet
from wordtree.wordnet.resolve import LabelError, Resolution, resolve, synset_of, unresolved_message

PROFILES = ("paper", "darknet")
DEFAULT_ROOT = "physical_entity.n.01"
MANUAL_PARENTS = {  # rule C: abstract in WordNet, but objects in the published tree
    "signal.n.01": "device.n.01",
    "sign.n.02": "signal.n.01",
    "bubble.n.01": "plaything.n.01",
}


class BuildError(WordTreeError):
    """A tree cannot be built: no labels, an unknown profile, a label that is the root."""


class GuessedSense(UserWarning):
    """A word has several senses; the likeliest one was taken."""


@dataclass(frozen=True)
class BuildReport:
    """The choices behind a tree, as wnids.

    label_wnids   the node of each label as it was given
    guesses       labels with several senses, for review
    outside       labels without a path to the root, which become roots too
    repeated      labels with the same meaning as an earlier one
    collapsed     nodes that rule A removed
    flattened     nodes that rule B made siblings of the label above them
    by_hand       nodes with a parent from rule C
    grafted       custom classes
    lost_relations  number of second parents, which the tree keeps as additional relations
    """

    profile: str
    root: str
    nodes: int
    label_wnids: dict[str, str]
    guesses: tuple[Guess, ...]
    outside: tuple[str, ...]
    repeated: tuple[str, ...]
    collapsed: tuple[str, ...]
    flattened: tuple[str, ...]
    by_hand: tuple[str, ...]
    grafted: tuple[str, ...]
    lost_relations: int
    record: BuildRecord = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON, without the record."""
        plain = {name: value for name, value in vars(self).items() if name != "record"}
        return {**plain, "guesses": [asdict(guess) for guess in self.guesses]}

    def summary(self) -> str:
        """The count of the nodes: labels, nodes above them, nodes that rule A removed, custom classes."""
        labels = len(set(self.label_wnids.values()))
        above = self.nodes - labels - len(self.grafted)
        custom = f" + {len(self.grafted)} custom classes" if self.grafted else ""
        roots = f"; {len(self.outside)} of them are roots outside {self.root}" if self.outside else ""
        return (
            f"{labels} labels + {above + len(self.collapsed)} nodes above them "
            f"- {len(self.collapsed)} with a single child (rule A){custom} = {self.nodes} nodes{roots}"
        )

    def explain(self, label: str) -> Explanation:
        """The explanation of a label, or of a node on the path of one; BuildError for other labels."""
        synset = self.record.meant_by(self.label_wnids.get(label.strip(), label.strip()))
        if synset is None:
            raise BuildError(
                f"{quoted(label)} is not part of this tree: it is neither a label nor on the path of one."
            )
        return self.record.explain(synset)


def build_tree(
    labels: Iterable[str],
    *,
    profile: str = "paper",
    root: str = DEFAULT_ROOT,
    graft: Path | str | None = None,
    wordnet: WordNet | None = None,
) -> WordTree:
    """The tree of labels (words, synset names or wnids), and of the custom classes in the file `graft`.

    A word with several senses gets the likeliest (`choose_senses`), with a warning (GuessedSense).
    Raises LabelError for labels that WordNet does not know, BuildError for other problems.
    """
    tree, report = build_with_report(labels, profile=profile, root=root, graft=graft, wordnet=wordnet)
    for guess in report.guesses:
        warnings.warn(str(guess), GuessedSense, stacklevel=2)
    return tree


def build_with_report(
    labels: Iterable[str],
    *,
    profile: str = "paper",
    root: str = DEFAULT_ROOT,
    graft: Path | str | None = None,
    wordnet: WordNet | None = None,
) -> tuple[WordTree, BuildReport]:
    """The tree of the labels, independent of their order, and a report of the choices."""
    if profile not in PROFILES:
        raise BuildError(f"There is no profile {quoted(profile)}; known: {', '.join(PROFILES)}.")
    graph = WordNet.shipped() if wordnet is None else wordnet
    rule_c = MANUAL_PARENTS if profile == "darknet" else {}
    manual = {synset_of(child, graph): [synset_of(parent, graph)] for child, parent in rule_c.items()}
    paths = HypernymPaths(graph, synset_of(root, graph), manual)
    inputs = _read_input(labels, graft, paths, graph)
    growth = _grow(profile, inputs, paths, graph)
    parents = dict(growth.parents)
    removed = collapse_unary_nodes(parents, labelled=inputs.synsets)
    moved = {}
    if profile == "darknet":
        moved = flatten_lone_leaves(parents, labelled=inputs.synsets, fixed=inputs.with_custom_classes)
    parents.update({number: above[0] for number, above in inputs.custom.parents.items()})
    tree, lost = _as_tree(parents, inputs.custom, graph)
    record = BuildRecord(
        growth=growth,
        parents=parents,
        removed=removed,
        moved=moved,
        manual=manual,
        lost=lost,
        labelled=frozenset(inputs.synsets),
        outside=frozenset(synset for synset in inputs.synsets if not paths.of(synset)),
        custom=inputs.custom,
        wordnet=graph,
    )
    return tree, _report(tree, inputs, record, profile=profile, root=graph.name(paths.root))


@dataclass(frozen=True)
class _Input:
    """The input of a build: labels, custom classes, and the WordNet parents of custom classes, which become labels too.

    synset_of            the synset taken for each label and each of these parents
    guesses              the choices among several senses
    labels               as they were given, without repetition
    with_custom_classes  synsets that are parents of custom classes
    """

    synset_of: dict[str, Synset]
    guesses: tuple[Guess, ...]
    labels: tuple[str, ...]
    custom: CustomClasses
    with_custom_classes: set[Synset]

    @property
    def synsets(self) -> set[Synset]:
        return set(self.synset_of.values())


def _read_input(
    labels: Iterable[str], graft: Path | str | None, paths: HypernymPaths, graph: WordNet
) -> _Input:
    given = _resolve_all(labels, graph)
    custom, parents = (Hierarchy(), ()) if graft is None else read_custom_classes(Path(graft), graph)
    synset_of, guesses = choose_senses(given, parents, paths, graph)
    if paths.root in synset_of.values():
        name = graph.name(paths.root)
        raise BuildError(f"'{name}' is the root, which is not a node of the tree; choose another root.")
    return _Input(
        synset_of=synset_of,
        guesses=guesses,
        labels=tuple(item.label for item in given),
        custom=number_custom_classes(custom, synset_of, graph),
        with_custom_classes={synset_of[item.label] for item in parents},
    )


def _report(tree: WordTree, inputs: _Input, record: BuildRecord, *, profile: str, root: str) -> BuildReport:
    graph = record.wordnet
    return BuildReport(
        profile=profile,
        root=root,
        nodes=len(tree),
        label_wnids={label: graph.wnid(synset) for label, synset in inputs.synset_of.items()},
        guesses=inputs.guesses,
        outside=tuple(graph.wnid(synset) for synset in sorted(record.outside)),
        repeated=_repeated({label: inputs.synset_of[label] for label in inputs.labels}),
        collapsed=tuple(graph.wnid(synset) for synset in record.removed),
        flattened=tuple(graph.wnid(synset) for synset in sorted(record.moved)),
        by_hand=tuple(graph.wnid(synset) for synset in record.manual if synset in record.parents),
        grafted=tuple(record.custom.ids.values()),
        lost_relations=len(tree.relations),
        record=record,
    )


def _grow(profile: str, inputs: _Input, paths: HypernymPaths, graph: WordNet) -> Growth:
    paths_of = {synset: paths.of(synset) for synset in sorted(inputs.synsets)}
    if profile == "paper":
        return grow_by_least_path(paths_of)
    # In the published tree, a label enters before the first round only if it has a single path to WordNet's root,
    # entity.n.01; paths outside our root count too.
    everywhere = HypernymPaths(graph, synset_of("entity.n.01", graph), paths.overrides)
    return grow_in_rounds(
        paths_of, enters_first=lambda synset: len(everywhere.of(synset)) == 1, name=graph.name
    )


def _resolve_all(labels: Iterable[str], wordnet: WordNet) -> list[Resolution]:
    """The resolution of each distinct label; LabelError if WordNet does not know some of them."""
    resolutions = [resolve(label, wordnet) for label in dict.fromkeys(_stripped(labels))]
    if not resolutions:
        raise BuildError("There are no labels to build a tree from.")
    unknown = [item for item in resolutions if item.reason == "unknown"]
    if unknown:
        more = f" And {len(unknown) - 3} more." if len(unknown) > 3 else ""
        raise LabelError(" ".join(unresolved_message(item, wordnet) for item in unknown[:3]) + more)
    return resolutions


def _stripped(labels: Iterable[str]) -> list[str]:
    """The labels without blanks around them; TypeError unless they are a collection of texts."""
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise TypeError(
            f"labels: expected a list of texts, found the {type(labels).__name__} {quoted(str(labels))}"
        )
    given = list(labels)
    for label in given:
        if not isinstance(label, str):
            raise TypeError(f"labels: expected texts, found the {type(label).__name__} {quoted(str(label))}")
    return [label.strip() for label in given]


def _repeated(synset_of_label: dict[str, Synset]) -> tuple[str, ...]:
    first: dict[Synset, str] = {}
    return tuple(
        label for label, synset in synset_of_label.items() if first.setdefault(synset, label) != label
    )


def _as_tree(
    parents: Parents, custom: CustomClasses, wordnet: WordNet
) -> tuple[WordTree, dict[Synset, list[Synset]]]:
    """The tree level by level, siblings by wnid and then custom classes; and the parents that become relations."""
    order = top_down(parents)
    node = {synset: number for number, synset in enumerate(order)}
    above = [-1 if (parent := parents[synset]) is None else node[parent] for synset in order]
    ids = [custom.ids[synset] if synset in custom.ids else wordnet.wnid(synset) for synset in order]
    names = [custom.names[synset] if synset in custom.ids else wordnet.lemmas(synset)[0] for synset in order]
    bare = WordTree(ids, above, names)
    lost: defaultdict[Synset, list[Synset]] = defaultdict(list)
    for synset in order:
        for upper in sorted(_nearest_above(synset, node, custom, wordnet)):
            if not bare.is_at_or_under(node[synset], node[upper]):
                lost[synset].append(upper)
    relations = [(node[synset], node[upper]) for synset, uppers in lost.items() for upper in uppers]
    return WordTree(ids, above, names, relations), dict(lost)


def _nearest_above(
    synset: Synset, node: dict[Synset, int], custom: CustomClasses, wordnet: WordNet
) -> set[Synset]:
    """The nodes of the tree that upward hypernym paths from a synset reach first."""
    nearest, seen, waiting = set(), {synset}, [synset]
    while waiting:
        current = waiting.pop()
        for upper in custom.parents[current] if current in custom.parents else wordnet.hypernyms(current):
            if upper in node:
                nearest.add(upper)
            elif upper not in seen:
                seen.add(upper)
                waiting.append(upper)
    return nearest
