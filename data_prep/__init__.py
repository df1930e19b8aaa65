"""Raw data sets to shards and an index: pictures packed once, what labels mean in a small file beside them.

Exports are lazy, so that `import data_prep` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from data_prep.errors import DataPrepError

if TYPE_CHECKING:
    from data_prep.anchors import kmeans_anchors
    from data_prep.config import MergeConfig, load_config
    from data_prep.emoji_plan import EmojiWorldConfig
    from data_prep.index import SourceClass, SourceInfo
    from data_prep.ledger import Ledger
    from data_prep.merge import merge
    from data_prep.plan import make_plan
    from data_prep.records import BoxLabel, ImageLabel, ImageRecord
    from data_prep.shard_reader import ShardReader

_HOME = {  # exported name -> the module it lives in
    "BoxLabel": "data_prep.records",
    "EmojiWorldConfig": "data_prep.emoji_plan",
    "ImageLabel": "data_prep.records",
    "ImageRecord": "data_prep.records",
    "Ledger": "data_prep.ledger",
    "MergeConfig": "data_prep.config",
    "ShardReader": "data_prep.shard_reader",
    "SourceClass": "data_prep.index",
    "SourceInfo": "data_prep.index",
    "kmeans_anchors": "data_prep.anchors",
    "load_config": "data_prep.config",
    "make_plan": "data_prep.plan",
    "merge": "data_prep.merge",
}

__all__ = [
    "BoxLabel",
    "DataPrepError",
    "EmojiWorldConfig",
    "ImageLabel",
    "ImageRecord",
    "Ledger",
    "MergeConfig",
    "ShardReader",
    "SourceClass",
    "SourceInfo",
    "kmeans_anchors",
    "load_config",
    "make_plan",
    "merge",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'data_prep' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`data_prep.merge` is the function, although a file has this name too.

    Importing a submodule sets it on its package; not so where the package exports a function of that name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
