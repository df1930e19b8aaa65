"""The label hierarchy: WordNet, or any other, as a tree of sibling groups.

Exports are lazy, so that `import wordtree` costs nothing. What a label means in WordNet is answered by
`wordtree.wordnet.resolve.resolve`, in a tree by `wordtree.tree.lookup.node_of`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wordtree.errors import WordTreeError

if TYPE_CHECKING:
    from wordtree.building.build import BuildError, BuildReport, GuessedSense, build_tree, build_with_report
    from wordtree.errors import TreeError, TreeFileError, TreeNamesError, UnknownNode
    from wordtree.hierarchies.hierarchy import Hierarchy, HierarchyError
    from wordtree.tree.probability import ProbabilityError
    from wordtree.tree.query import Query, QueryError
    from wordtree.tree.tree import WordTree
    from wordtree.views.page import FiguresError
    from wordtree.wordnet.columns import WordNetError
    from wordtree.wordnet.graph import WordNet
    from wordtree.wordnet.resolve import LabelError, Resolution, coco_classes, voc_classes

_HOME = {  # exported name -> the module it lives in
    "BuildError": "wordtree.building.build",
    "BuildReport": "wordtree.building.build",
    "FiguresError": "wordtree.views.page",
    "GuessedSense": "wordtree.building.build",
    "Hierarchy": "wordtree.hierarchies.hierarchy",
    "HierarchyError": "wordtree.hierarchies.hierarchy",
    "LabelError": "wordtree.wordnet.resolve",
    "ProbabilityError": "wordtree.tree.probability",
    "Query": "wordtree.tree.query",
    "QueryError": "wordtree.tree.query",
    "Resolution": "wordtree.wordnet.resolve",
    "TreeError": "wordtree.tree.tree",
    "TreeFileError": "wordtree.support.lines",
    "TreeNamesError": "wordtree.tree.tree",
    "UnknownNode": "wordtree.tree.tree",
    "WordNet": "wordtree.wordnet.graph",
    "WordNetError": "wordtree.wordnet.graph",
    "WordTree": "wordtree.tree.tree",
    "build_tree": "wordtree.building.build",
    "build_with_report": "wordtree.building.build",
    "coco_classes": "wordtree.wordnet.resolve",
    "voc_classes": "wordtree.wordnet.resolve",
}

__all__ = [
    "BuildError",
    "BuildReport",
    "FiguresError",
    "GuessedSense",
    "Hierarchy",
    "HierarchyError",
    "LabelError",
    "ProbabilityError",
    "Query",
    "QueryError",
    "Resolution",
    "TreeError",
    "TreeFileError",
    "TreeNamesError",
    "UnknownNode",
    "WordNet",
    "WordNetError",
    "WordTree",
    "WordTreeError",
    "build_tree",
    "build_with_report",
    "coco_classes",
    "voc_classes",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wordtree' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
