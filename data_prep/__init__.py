"""Raw data sets to shards and an index: pictures packed once, what labels mean in a small file beside them.

Exports are lazy, so that `import data_prep` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from data_prep.errors import DataPrepError

if TYPE_CHECKING:
    from data_prep.anchors import kmeans_anchors
    from data_prep.config import MergeConfig, load_config
    from data_prep.index import SourceClass, SourceInfo
    from data_prep.ledger import Ledger
    from data_prep.merge import merge
    from data_prep.plan import make_plan
    from data_prep.records import BoxLabel, ImageLabel, ImageRecord
    from data_prep.shard_reader import ShardReader

_HOME = {  # exported name -> the module it lives in
    "BoxLabel": "data_prep.records",
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
