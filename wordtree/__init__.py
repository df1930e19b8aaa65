"""The label hierarchy: WordNet, or any other, as a tree of sibling groups.

Exports are lazy, so that `import wordtree` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wordtree.errors import WordTreeError

if TYPE_CHECKING:
    from wordtree.formats import TreeFileError
    from wordtree.tree import TreeError, TreeNamesError, UnknownNode, WordTree

_HOME = {  # exported name -> the module it lives in
    "TreeError": "wordtree.tree",
    "TreeFileError": "wordtree.formats",
    "TreeNamesError": "wordtree.tree",
    "UnknownNode": "wordtree.tree",
    "WordTree": "wordtree.tree",
}

__all__ = ["TreeError", "TreeFileError", "TreeNamesError", "UnknownNode", "WordTree", "WordTreeError"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wordtree' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
