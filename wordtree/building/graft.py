"""Custom classes, grafted below nodes of WordNet or below each other: twelve boats below *boat*, makers below *car*."""

from dataclasses import dataclass
from pathlib import Path

from wordtree.hierarchies.hierarchy import Hierarchy
from wordtree.hierarchies.hierarchy_files import read_csv
from wordtree.support.lines import quoted
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import LabelError, Resolution, resolve, unresolved_message


@dataclass(frozen=True)
class CustomClasses:
    """The nodes of a graft file, numbered after WordNet's synsets, in the order of the file.

    parents  synsets or custom classes; the first is the parent in the tree
    """

    ids: dict[Synset, str]
    names: dict[Synset, str]
    parents: dict[Synset, list[Synset]]


def read_custom_classes(path: Path, wordnet: WordNet) -> tuple[Hierarchy, tuple[Resolution, ...]]:
    """The rows `child,parent[,name]` of the file, and the meaning in WordNet of each parent that is not in the file.

    Raises HierarchyError for a loop, and LabelError for a child that WordNet has and for an unknown parent.
    """
    custom = read_csv(path, roots=False)
    custom.check_no_loops()
    meaning_of: dict[str, Resolution] = {}
    for child, parents in custom.parents.items():
        location = custom.location(custom.lines[child, parents[0]])
        if child in wordnet or wordnet.named(child) is not None:
            raise LabelError(f"{location}{quoted(child)} is a node of WordNet; give your class another id.")
        for parent in parents:
            if parent not in custom.parents and parent not in meaning_of:
                meaning_of[parent] = resolve(parent, wordnet)
                if not meaning_of[parent].senses:
                    location = custom.location(custom.lines[child, parent])
                    problem = unresolved_message(meaning_of[parent], wordnet)
                    raise LabelError(
                        f"{location}the parent {quoted(parent)} is not an id of this file, and {problem}"
                    )
    return custom, tuple(meaning_of.values())


def number_custom_classes(custom: Hierarchy, synset_of: dict[str, Synset], wordnet: WordNet) -> CustomClasses:
    """The custom classes with their numbers; `synset_of` gives the synset of each parent in WordNet."""
    number = {child: Synset(len(wordnet) + index) for index, child in enumerate(custom.parents)}
    known = {**synset_of, **number}
    return CustomClasses(
        ids={number[child]: child for child in number},
        names={number[child]: custom.names.get(child, child) for child in number},
        parents={
            number[child]: [known[parent] for parent in above] for child, above in custom.parents.items()
        },
    )
