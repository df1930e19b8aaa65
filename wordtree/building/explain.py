"""Why a label stands where it stands: the paths considered, the one taken, and what became of its nodes."""

from collections.abc import Iterator
from dataclasses import dataclass

from wordtree.building.graft import CustomClasses
from wordtree.building.grow import Growth, Parents
from wordtree.hierarchies.hierarchy import as_id
from wordtree.wordnet.columns import HypernymPath, Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import resolve

MAX_PATHS_SHOWN = 12


@dataclass(frozen=True)
class Considered:
    """A path from below the root down to the label, and how many nodes it would have added when the label entered."""

    path: tuple[str, ...]
    cost: int
    taken: bool


@dataclass(frozen=True)
class Step:
    """A node above the label on the path taken, nearest first, and what became of it."""

    wnid: str
    synset: str
    fate: str


@dataclass(frozen=True)
class Explanation:
    """The story of one label; as text, a line for each sentence."""

    wnid: str
    synset: str
    entered: str
    considered: tuple[Considered, ...]
    above: tuple[Step, ...]
    parent: str | None
    moved: str
    lost: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.synset} ({self.wnid}) {self.entered}"
        shown = sorted(self.considered, key=lambda one: (not one.taken, one.cost))
        for one in shown[:MAX_PATHS_SHOWN]:
            nodes = "1 node" if one.cost == 1 else f"{one.cost} nodes"
            yield f"  {'taken' if one.taken else '     '}  {nodes:>8}  {' > '.join(one.path)}"
        if len(shown) > MAX_PATHS_SHOWN:
            yield f"  and {len(shown) - MAX_PATHS_SHOWN} more paths"
        for step in self.above:
            yield f"  above it: {step.synset} ({step.wnid}), {step.fate}"
        if self.moved:
            yield f"  {self.moved}"
        yield f"  so it {'is a root' if self.parent is None else f'hangs under {self.parent}'}"
        if self.lost:
            yield f"  also a kind of: {', '.join(self.lost)} (kept as relations)"


@dataclass(frozen=True)
class Account:
    """What is remembered of a build, to explain each label.

    removed  nodes that rule A took out, each with its single child
    moved    children that rule B moved, each with the label it hung under
    instead  edges of rule C         lost  hypernyms that found no place in the tree
    """

    growth: Growth
    parents: Parents
    removed: dict[Synset, Synset]
    moved: dict[Synset, Synset]
    instead: dict[Synset, list[Synset]]
    lost: dict[Synset, list[Synset]]
    labelled: frozenset[Synset]
    outside: frozenset[Synset]
    own: CustomClasses
    wordnet: WordNet

    def meant_by(self, label: str) -> Synset | None:
        """The node that a wnid, own id, synset name or word means: of a word's senses the first that has a part."""
        own = [number for number, id_ in self.own.ids.items() if id_ == as_id(label)]
        senses = (*own, *resolve(label, self.wordnet).senses)
        return next((synset for synset in senses if synset in self.growth.parents or synset in own), None)

    def explain(self, synset: Synset) -> Explanation:
        """The story of one node of the tree, or of one that rule A removed."""
        if synset in self.own.ids:
            return self._explain_own(synset)
        parent = self._final_parent(synset)
        return Explanation(
            wnid=self.wordnet.wnid(synset),
            synset=self.wordnet.name(synset),
            entered=self._entered(synset),
            considered=tuple(self._considered(synset)),
            above=tuple(self._above(synset)),
            parent=None if parent is None else self._shown(parent),
            moved=self._moved(synset),
            lost=tuple(map(self._shown, self.lost.get(synset, []))),
        )

    def _explain_own(self, number: Synset) -> Explanation:
        """An custom class hangs where its file says."""
        return Explanation(
            wnid=self.own.ids[number],
            synset=self.own.names[number],
            entered="is an custom class and hangs where its file says first.",
            considered=(),
            above=(),
            parent=self._shown(self.own.parents[number][0]),
            moved="",
            lost=tuple(map(self._shown, self.lost.get(number, []))),
        )

    def _entered(self, synset: Synset) -> str:
        if synset in self.growth.choices:
            choice = self.growth.choices[synset]
            cost = choice.costs[choice.paths.index(choice.taken)]
            return f"entered by one of {len(choice.paths)} paths, which cost {cost}:"
        if synset not in self.labelled:
            brought = f"is no label; the path of {self._shown(self.growth.brought_by[synset])} brought it"
            gone = f", and rule A removed it: {self._only_child(synset)}" if synset in self.removed else ""
            return f"{brought}{gone}."
        if self.growth.brought_by[synset] != synset:
            return f"was on the path of {self._shown(self.growth.brought_by[synset])}, a label that entered before it."
        if synset in self.outside:
            return "has no path to the root: a root of its own."
        return "has a single path to the root, so it entered at once."

    def _considered(self, synset: Synset) -> Iterator[Considered]:
        choice = self.growth.choices.get(synset)
        if choice is not None:
            for path, cost in zip(choice.paths, choice.costs, strict=True):
                yield Considered(tuple(self._names(path)), cost, path == choice.taken)

    def _above(self, synset: Synset) -> Iterator[Step]:
        """Upwards as far as something was done: to the first node that stayed."""
        above = self.growth.parents[synset]
        while above is not None:
            yield Step(self.wordnet.wnid(above), self.wordnet.name(above), self._fate(above))
            if above not in self.removed:
                return
            above = self.growth.parents[above]

    def _fate(self, synset: Synset) -> str:
        if synset in self.removed:
            return f"removed by rule A: no label, and {self._only_child(synset)}"
        if synset in self.instead:
            return f"kept; rule C hangs it under {self._shown(self.instead[synset][0])}"
        return "kept: a label" if synset in self.labelled else "kept: no label, but several children"

    def _moved(self, synset: Synset) -> str:
        if synset in self.moved:
            label = self._shown(self.moved[synset])
            return f"rule B: it was the only child of the label {label} and a leaf, and became its sibling"
        if synset in self.instead:
            return f"rule C: by hand under {self._shown(self.instead[synset][0])}"
        return ""

    def _only_child(self, synset: Synset) -> str:
        return f"only {self._shown(self.removed[synset])} below it"

    def _final_parent(self, synset: Synset) -> Synset | None:
        if synset in self.parents:
            return self.parents[synset]
        above = self.growth.parents[synset]
        while above in self.removed:
            above = self.growth.parents[above]
        return above

    def _names(self, path: HypernymPath) -> list[str]:
        return [self.wordnet.lemmas(synset)[0] for synset in path]

    def _shown(self, synset: Synset) -> str:
        if synset in self.own.ids:
            return f"{self.own.names[synset]} ({self.own.ids[synset]})"
        return f"{self.wordnet.name(synset)} ({self.wordnet.wnid(synset)})"
