"""Own kinds, hung under nodes of WordNet or under each other: twelve boats under *boat*, makers under *car*."""

from dataclasses import dataclass
from pathlib import Path

from wordtree.hierarchies.hierarchy import Hierarchy
from wordtree.hierarchies.hierarchy_files import read_csv
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet
from wordtree.wordnet.resolve import LabelError, Resolution, resolve, trouble


@dataclass(frozen=True)
class CustomClasses:
    """The nodes of a graft file, numbered after WordNet's synsets in the order of the file.

    ids, names  of each number        parents  numbers of synsets or custom classes; the first is that of the tree
    """

    ids: dict[Synset, str]
    names: dict[Synset, str]
    parents: dict[Synset, list[Synset]]


def read_custom_classes(path: Path, wordnet: WordNet) -> tuple[Hierarchy, tuple[Resolution, ...]]:
    """The rows `child,parent[,name]` of the file, and what each parent that is no custom class means in WordNet.

    Raises HierarchyError or LabelError, with file and line, for a loop, a child that is WordNet's, an unknown parent.
    """
    own = read_csv(path, roots=False)
    own.check_no_loops()
    meanings: dict[str, Resolution] = {}
    for child, parents in own.parents.items():
        at = own.at(own.lines[child, parents[0]])
        if child in wordnet or wordnet.named(child) is not None:
            raise LabelError(f"{at}'{child}' is a node of WordNet; give your kind an id of its own.")
        for parent in parents:
            if parent not in own.parents and parent not in meanings:
                meanings[parent] = resolve(parent, wordnet)
                if not meanings[parent].senses:
                    raise LabelError(
                        f"{own.at(own.lines[child, parent])}the parent '{parent}' is no id of this file, and "
                        f"{trouble(meanings[parent], wordnet)}"
                    )
    return own, tuple(meanings.values())


def number_custom_classes(own: Hierarchy, synset_of: dict[str, Synset], wordnet: WordNet) -> CustomClasses:
    """The custom classes as numbers; `synset_of` has the synset taken for each parent that is WordNet's."""
    number = {child: Synset(len(wordnet) + place) for place, child in enumerate(own.parents)}
    known = {**synset_of, **number}
    return CustomClasses(
        ids={number[child]: child for child in number},
        names={number[child]: own.names.get(child, child) for child in number},
        parents={number[child]: [known[parent] for parent in above] for child, above in own.parents.items()},
    )
