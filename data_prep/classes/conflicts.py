"""What is doubtful in a label map: classes at one node, above one another, of one name at several nodes, alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data_prep.classes.label_map import plain
from data_prep.dataset.index import SourceClass
from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from wordtree.wordnet.graph import HypernymPaths, WordNet
from wordtree.wordnet.resolve import synset_of


@dataclass(frozen=True)
class Conflict:
    """Classes (rows of the table) to look at, and why."""

    kind: str
    classes: tuple[int, ...]
    text: str


def find_conflicts(
    classes: Sequence[SourceClass], sources: Sequence[str], tree: WordTree, boxes: Int64Array
) -> list[Conflict]:
    """The conflicts among classes that have a node; boxes: (C,) how many each class has."""
    placed = [row for row, one in enumerate(classes) if one.node >= 0]

    def label(row: int) -> str:
        return f"{sources[classes[row].source]} {classes[row].name!r}"

    def at(node: int) -> str:
        return f"{tree.ids[node]} ({tree.names[node]})"

    found = []
    for rows in _grouped(placed, [(classes[row].source, classes[row].node) for row in placed]):
        if len(rows) > 1:
            text = f"{', '.join(map(label, rows))} are one: {at(classes[rows[0]].node)}"
            found.append(Conflict("classes of one source at one node", rows, text))
    for rows in _grouped(placed, [plain(classes[row].name) for row in placed]):
        if len({classes[row].node for row in rows}) > 1:
            text = "; ".join(f"{label(row)} is {at(classes[row].node)}" for row in rows)
            found.append(Conflict("one name at different nodes", rows, text))
    rows_at: dict[int, list[int]] = {}
    for row in placed:
        if boxes[row]:
            rows_at.setdefault(classes[row].node, []).append(row)
    for upper, lower in _above(sorted(rows_at), tree):
        labels = [_together([classes[row] for row in rows_at[node]], sources) for node in (upper, *lower)]
        shown = ", ".join(labels[1:5]) + (f" and {len(lower) - 4} more" if len(lower) > 4 else "")
        rows = tuple(row for node in (upper, *lower) for row in rows_at[node])
        found.append(Conflict("boxed class above boxed classes", rows, f"{labels[0]} is above {shown}"))
    return found


def roots_of_their_own(
    classes: Sequence[SourceClass], sources: Sequence[str], tree: WordTree, root: str
) -> list[Conflict]:
    """The classes that WordNet has outside the root of a tree built from it: no other class is their relative."""
    wordnet = WordNet.shipped()
    paths = HypernymPaths(wordnet, synset_of(root, wordnet))
    rows_at: dict[int, list[int]] = {}
    for row, one in enumerate(classes):
        if one.node >= 0 and tree.parent[one.node] < 0:
            rows_at.setdefault(one.node, []).append(row)
    return [
        Conflict(
            "a root of its own",
            tuple(rows),
            f"{_together([classes[row] for row in rows], sources)} is {tree.ids[node]} ({tree.names[node]}), "
            f"which WordNet has outside {root}",
        )
        for node, rows in sorted(rows_at.items())
        if not paths.of(wordnet.synset(tree.ids[node]))
    ]


def _together(rows: Sequence[SourceClass], sources: Sequence[str]) -> str:
    """`'dog' of coco, voc` for the classes at one node."""
    of_name: dict[str, list[str]] = {}
    for row in rows:
        of_name.setdefault(row.name, []).append(sources[row.source])
    return " and ".join(f"{name!r} of {', '.join(own)}" for name, own in of_name.items())


def _grouped(rows: Sequence[int], keys: Sequence[object]) -> Iterable[tuple[int, ...]]:
    groups: dict[object, list[int]] = {}
    for row, key in zip(rows, keys, strict=True):
        groups.setdefault(key, []).append(row)
    return map(tuple, groups.values())


def _above(boxed: Sequence[int], tree: WordTree) -> Iterator[tuple[int, list[int]]]:
    """Each of the nodes that has others of them below it, with these."""
    nodes, below = set(boxed), dict[int, list[int]]()
    for node in boxed:
        for upper in nodes.intersection(tree.ancestors(node)):
            below.setdefault(upper, []).append(node)
    return ((upper, below[upper]) for upper in sorted(below))
