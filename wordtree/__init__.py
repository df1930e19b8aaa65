"""The label hierarchy: WordNet, or any other, as a tree of sibling groups.

Exports are lazy, so that `import wordtree` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wordtree.errors import WordTreeError

if TYPE_CHECKING:
    pass

_HOME: dict[str, str] = {}  # exported name -> the module it lives in

__all__ = ["WordTreeError", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'wordtree' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
