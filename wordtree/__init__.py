"""The label hierarchy: WordNet, or any other, as a tree of sibling groups.

Exports are lazy, so that `import wordtree` costs nothing. What a label means in WordNet is answered by
`wordtree.resolve.resolve`, in a tree by `wordtree.resolve.node_of`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wordtree.errors import WordTreeError

if TYPE_CHECKING:
    from wordtree.build import BuildError, BuildReport, GuessedSense, build_tree, build_with_report
    from wordtree.hierarchy import Hierarchy, HierarchyError
    from wordtree.lines import TreeFileError
    from wordtree.page import FiguresError
    from wordtree.probability import ProbabilityError
    from wordtree.query import Query, QueryError
    from wordtree.resolve import LabelError, Resolution, coco_classes, voc_classes
    from wordtree.tree import TreeError, TreeNamesError, UnknownNode, WordTree
    from wordtree.wordnet import WordNet, WordNetError

_HOME = {  # exported name -> the module it lives in
    "BuildError": "wordtree.build",
    "BuildReport": "wordtree.build",
    "FiguresError": "wordtree.page",
    "GuessedSense": "wordtree.build",
    "Hierarchy": "wordtree.hierarchy",
    "HierarchyError": "wordtree.hierarchy",
    "LabelError": "wordtree.resolve",
    "ProbabilityError": "wordtree.probability",
    "Query": "wordtree.query",
    "QueryError": "wordtree.query",
    "Resolution": "wordtree.resolve",
    "TreeError": "wordtree.tree",
    "TreeFileError": "wordtree.lines",
    "TreeNamesError": "wordtree.tree",
    "UnknownNode": "wordtree.tree",
    "WordNet": "wordtree.wordnet",
    "WordNetError": "wordtree.wordnet",
    "WordTree": "wordtree.tree",
    "build_tree": "wordtree.build",
    "build_with_report": "wordtree.build",
    "coco_classes": "wordtree.resolve",
    "voc_classes": "wordtree.resolve",
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
