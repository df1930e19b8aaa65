"""The label hierarchy: WordNet, or any other, as a tree of sibling groups.

Each public name loads its module on first use. `wordtree.wordnet.resolve.resolve` resolves a label in WordNet,
`wordtree.tree.lookup.node_of` in a tree.
"""

from typing import TYPE_CHECKING

from wordtree.support.exports import lazy_exports

if TYPE_CHECKING:
    from wordtree.building.build import BuildError as BuildError
    from wordtree.building.build import BuildReport as BuildReport
    from wordtree.building.build import GuessedSense as GuessedSense
    from wordtree.building.build import build_tree as build_tree
    from wordtree.building.build import build_with_report as build_with_report
    from wordtree.errors import TreeError as TreeError
    from wordtree.errors import TreeFileError as TreeFileError
    from wordtree.errors import TreeNamesError as TreeNamesError
    from wordtree.errors import UnknownNode as UnknownNode
    from wordtree.errors import WordTreeError as WordTreeError
    from wordtree.hierarchies.hierarchy import Hierarchy as Hierarchy
    from wordtree.hierarchies.hierarchy import HierarchyError as HierarchyError
    from wordtree.tree.probability import ProbabilityError as ProbabilityError
    from wordtree.tree.query import Query as Query
    from wordtree.tree.query import QueryError as QueryError
    from wordtree.tree.tree import WordTree as WordTree
    from wordtree.views.page import NumbersError as NumbersError
    from wordtree.wordnet.class_lists import coco_classes as coco_classes
    from wordtree.wordnet.class_lists import voc_classes as voc_classes
    from wordtree.wordnet.columns import WordNetError as WordNetError
    from wordtree.wordnet.graph import WordNet as WordNet
    from wordtree.wordnet.resolve import LabelError as LabelError
    from wordtree.wordnet.resolve import Resolution as Resolution
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "wordtree.building.build": (
                "BuildError",
                "BuildReport",
                "GuessedSense",
                "build_tree",
                "build_with_report",
            ),
            "wordtree.errors": (
                "TreeError",
                "TreeFileError",
                "TreeNamesError",
                "UnknownNode",
                "WordTreeError",
            ),
            "wordtree.hierarchies.hierarchy": ("Hierarchy", "HierarchyError"),
            "wordtree.tree.probability": ("ProbabilityError",),
            "wordtree.tree.query": ("Query", "QueryError"),
            "wordtree.tree.tree": ("WordTree",),
            "wordtree.views.page": ("NumbersError",),
            "wordtree.wordnet.class_lists": ("coco_classes", "voc_classes"),
            "wordtree.wordnet.columns": ("WordNetError",),
            "wordtree.wordnet.graph": ("WordNet",),
            "wordtree.wordnet.resolve": ("LabelError", "Resolution"),
        },
    )
