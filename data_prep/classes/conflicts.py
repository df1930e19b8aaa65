"""Doubtful matches: classes that share a node, classes below others, one name at several nodes, no relatives."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from data_prep.dataset.index import SourceClass
from wordtree import WordTree
from wordtree.support.arrays import Int64Array
from wordtree.wordnet.graph import HypernymPaths, WordNet
from wordtree.wordnet.names import name_key
from wordtree.wordnet.resolve import synset_of


@dataclass(frozen=True)
class Conflict:
    """Classes to review, as rows of the table of classes; `kind` of conflict and `text` explain why."""

    kind: str
    classes: tuple[int, ...]
    text: str


def find_conflicts(
    classes: Sequence[SourceClass], sources: Sequence[str], tree: WordTree, boxes: Int64Array
) -> list[Conflict]:
    """The conflicts among classes that have a node; boxes: the number of boxes of each class, (classes,)."""
    matched = [row for row, source_class in enumerate(classes) if source_class.node >= 0]

    def class_text(row: int) -> str:
        return f"{sources[classes[row].source]} {classes[row].name!r}"

    def node_text(node: int) -> str:
        return f"{tree.ids[node]} ({tree.names[node]})"

    conflicts = []
    for rows in _grouped(matched, [(classes[row].source, classes[row].node) for row in matched]):
        if len(rows) > 1:
            text = f"{', '.join(map(class_text, rows))} are one: {node_text(classes[rows[0]].node)}"
            conflicts.append(Conflict("classes of one source at one node", rows, text))
    for rows in _grouped(matched, [name_key(classes[row].name) for row in matched]):
        if len({classes[row].node for row in rows}) > 1:
            text = "; ".join(f"{class_text(row)} is {node_text(classes[row].node)}" for row in rows)
            conflicts.append(Conflict("one name at different nodes", rows, text))
    rows_at: dict[int, list[int]] = {}
    for row in matched:
        if boxes[row]:
            rows_at.setdefault(classes[row].node, []).append(row)
    for upper, lower in _boxed_below(sorted(rows_at), tree):
        texts = [_classes_text([classes[row] for row in rows_at[node]], sources) for node in (upper, *lower)]
        shown = ", ".join(texts[1:5]) + (f" and {len(lower) - 4} more" if len(lower) > 4 else "")
        rows = tuple(row for node in (upper, *lower) for row in rows_at[node])
        conflicts.append(Conflict("boxed class above boxed classes", rows, f"{texts[0]} is above {shown}"))
    return conflicts


def separate_roots(
    classes: Sequence[SourceClass], sources: Sequence[str], tree: WordTree, root: str
) -> list[Conflict]:
    """The classes outside the WordNet root of a built tree, which have no relatives among the other classes."""
    wordnet = WordNet.shipped()
    paths = HypernymPaths(wordnet, synset_of(root, wordnet))
    rows_at: dict[int, list[int]] = {}
    for row, source_class in enumerate(classes):
        if source_class.node >= 0 and tree.parent[source_class.node] < 0:
            rows_at.setdefault(source_class.node, []).append(row)
    return [
        Conflict(
            "separate root",
            tuple(rows),
            f"{_classes_text([classes[row] for row in rows], sources)} is {tree.ids[node]} ({tree.names[node]}), "
            f"which WordNet has outside {root}",
        )
        for node, rows in sorted(rows_at.items())
        if tree.ids[node] in wordnet and not paths.of(wordnet.synset(tree.ids[node]))
    ]


def _classes_text(rows: Sequence[SourceClass], sources: Sequence[str]) -> str:
    """`'dog' of coco, voc`: the classes at one node."""
    of_name: dict[str, list[str]] = {}
    for row in rows:
        of_name.setdefault(row.name, []).append(sources[row.source])
    return " and ".join(f"{name!r} of {', '.join(names)}" for name, names in of_name.items())


def _grouped(rows: Sequence[int], keys: Sequence[object]) -> Iterable[tuple[int, ...]]:
    groups: dict[object, list[int]] = {}
    for row, key in zip(rows, keys, strict=True):
        groups.setdefault(key, []).append(row)
    return map(tuple, groups.values())


def _boxed_below(boxed: Sequence[int], tree: WordTree) -> Iterator[tuple[int, list[int]]]:
    """Each boxed node with boxed nodes below it, and the nodes below."""
    nodes, below = set(boxed), dict[int, list[int]]()
    for node in boxed:
        for upper in nodes.intersection(tree.ancestors(node)):
            below.setdefault(upper, []).append(node)
    return ((upper, below[upper]) for upper in sorted(below))
