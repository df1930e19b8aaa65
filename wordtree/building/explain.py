"""Explanations of why a node has its parent: the paths considered, the path taken, and the fate of its nodes."""

from collections.abc import Iterator
from dataclasses import dataclass

from wordtree.building.graft import CustomClasses
from wordtree.building.grow import Growth, Parents
from wordtree.hierarchies.hierarchy import as_id
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import resolve

MAX_PATHS_SHOWN = 12


@dataclass(frozen=True)
class ConsideredPath:
    """A path from below the root down to the label, with the number of nodes it would have added."""

    path: tuple[str, ...]
    cost: int
    taken: bool


@dataclass(frozen=True)
class Step:
    """A node above the label on the path taken, and its fate."""

    wnid: str
    synset: str
    fate: str


@dataclass(frozen=True)
class Explanation:
    """The explanation of one node; `str` gives it as lines of text.

    above: the nodes above it, nearest first, up to the first that was kept. lost: parents that became relations.
    """

    wnid: str
    synset: str
    entered: str
    considered: tuple[ConsideredPath, ...]
    above: tuple[Step, ...]
    parent: str | None
    moved: str
    lost: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.synset} ({self.wnid}) {self.entered}"
        shown = sorted(self.considered, key=lambda considered: (not considered.taken, considered.cost))
        for considered in shown[:MAX_PATHS_SHOWN]:
            nodes = "1 node" if considered.cost == 1 else f"{considered.cost} nodes"
            yield f"  {'taken' if considered.taken else '     '}  {nodes:>8}  {' > '.join(considered.path)}"
        if len(shown) > MAX_PATHS_SHOWN:
            yield f"  and {len(shown) - MAX_PATHS_SHOWN} more paths"
        for step in self.above:
            yield f"  above it: {step.synset} ({step.wnid}), {step.fate}"
        if self.moved:
            yield f"  {self.moved}"
        yield f"  so {'it is a root' if self.parent is None else f'its parent is {self.parent}'}"
        if self.lost:
            yield f"  also a kind of: {', '.join(self.lost)} (kept as additional relations)"


@dataclass(frozen=True)
class BuildRecord:
    """The record of a build, from which each node is explained.

    growth   the tree before rules A and B          parents  the parent of each node in the final tree
    removed  nodes removed by rule A, each with its only child
    moved    children moved by rule B, each with the label that was its parent
    manual   parents given by rule C                lost     parents that became relations
    outside  labels without a path to the root
    """

    growth: Growth
    parents: Parents
    removed: dict[Synset, Synset]
    moved: dict[Synset, Synset]
    manual: dict[Synset, list[Synset]]
    lost: dict[Synset, list[Synset]]
    labelled: frozenset[Synset]
    outside: frozenset[Synset]
    custom: CustomClasses
    wordnet: WordNet

    def meant_by(self, label: str) -> Synset | None:
        """The node that an id, synset name or word means: the first sense of a word that is part of the tree."""
        custom = [number for number, id_ in self.custom.ids.items() if id_ == as_id(label)]
        senses = (*custom, *resolve(label, self.wordnet).senses)
        return next((synset for synset in senses if synset in self.growth.parents or synset in custom), None)

    def explain(self, synset: Synset) -> Explanation:
        """The explanation of a node of the tree, or of a node that rule A removed."""
        if synset in self.custom.ids:
            return self._explain_custom(synset)
        parent = self._final_parent(synset)
        return Explanation(
            wnid=self.wordnet.wnid(synset),
            synset=self.wordnet.name(synset),
            entered=self._entered(synset),
            considered=tuple(self._considered(synset)),
            above=tuple(self._above(synset)),
            parent=None if parent is None else self._described(parent),
            moved=self._moved(synset),
            lost=tuple(map(self._described, self.lost.get(synset, []))),
        )

    def _explain_custom(self, number: Synset) -> Explanation:
        return Explanation(
            wnid=self.custom.ids[number],
            synset=self.custom.names[number],
            entered="is a custom class; its parent is the first that its file gives.",
            considered=(),
            above=(),
            parent=self._described(self.custom.parents[number][0]),
            moved="",
            lost=tuple(map(self._described, self.lost.get(number, []))),
        )

    def _entered(self, synset: Synset) -> str:
        if synset in self.growth.choices:
            choice = self.growth.choices[synset]
            cost = choice.costs[choice.paths.index(choice.taken)]
            return f"joined the tree by one of {len(choice.paths)} paths, at a cost of {cost}:"
        if synset not in self.labelled:
            path_of = self._described(self.growth.brought_by[synset])
            fate = (
                f"; rule A removed it, because {self._only_child(synset)}" if synset in self.removed else ""
            )
            return f"is not a label; it is on the path of {path_of}{fate}."
        if self.growth.brought_by[synset] != synset:
            path_of = self._described(self.growth.brought_by[synset])
            return f"was on the path of {path_of}, a label that joined the tree before it."
        if synset in self.outside:
            return "has no path to the root."
        return "has a single path to the root, so it joined the tree first."

    def _considered(self, synset: Synset) -> Iterator[ConsideredPath]:
        choice = self.growth.choices.get(synset)
        if choice is not None:
            for path, cost in zip(choice.paths, choice.costs, strict=True):
                names = tuple(self.wordnet.lemmas(step)[0] for step in path)
                yield ConsideredPath(names, cost, path == choice.taken)

    def _above(self, synset: Synset) -> Iterator[Step]:
        """The nodes above a node, up to the first that was kept."""
        above = self.growth.parents[synset]
        while above is not None:
            yield Step(self.wordnet.wnid(above), self.wordnet.name(above), self._fate(above))
            if above not in self.removed:
                return
            above = self.growth.parents[above]

    def _fate(self, synset: Synset) -> str:
        if synset in self.removed:
            return f"removed by rule A: not a label, and {self._only_child(synset)}"
        if synset in self.manual:
            return f"kept; rule C puts it under {self._described(self.manual[synset][0])}"
        return "kept: a label" if synset in self.labelled else "kept: not a label, but has several children"

    def _moved(self, synset: Synset) -> str:
        if synset in self.moved:
            label = self._described(self.moved[synset])
            return f"rule B: it was a leaf and the only child of the label {label}, and became its sibling"
        if synset in self.manual:
            return f"rule C: placed by hand under {self._described(self.manual[synset][0])}"
        return ""

    def _only_child(self, synset: Synset) -> str:
        return f"{self._described(self.removed[synset])} is its only child"

    def _final_parent(self, synset: Synset) -> Synset | None:
        if synset in self.parents:
            return self.parents[synset]
        above = self.growth.parents[synset]
        while above in self.removed:
            above = self.growth.parents[above]
        return above

    def _described(self, synset: Synset) -> str:
        if synset in self.custom.ids:
            return f"{self.custom.names[synset]} ({self.custom.ids[synset]})"
        return f"{self.wordnet.name(synset)} ({self.wordnet.wnid(synset)})"
