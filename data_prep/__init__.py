"""Raw data sets to shards and an index: images packed once, what labels mean in a small file beside them.

Exports are lazy, so that `import data_prep` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from data_prep.errors import DataPrepError

if TYPE_CHECKING:
    from data_prep.anchors import kmeans_anchors
    from data_prep.config import MergeConfig
    from data_prep.dataset.index import SourceClass, SourceInfo
    from data_prep.dataset.label_counts import LabelCounts
    from data_prep.dataset.reader import ShardReader
    from data_prep.merging.merge import merge
    from data_prep.planning.plan import make_plan
    from data_prep.records import BoxLabel, ImageLabel, ImageRecord
    from data_prep.synthetic.emoji_plan import EmojiWorldConfig
    from wordtree.support.config_files import load_config

_HOME = {  # exported name -> the module it lives in
    "BoxLabel": "data_prep.records",
    "EmojiWorldConfig": "data_prep.synthetic.emoji_plan",
    "ImageLabel": "data_prep.records",
    "ImageRecord": "data_prep.records",
    "LabelCounts": "data_prep.dataset.label_counts",
    "MergeConfig": "data_prep.config",
    "ShardReader": "data_prep.dataset.reader",
    "SourceClass": "data_prep.dataset.index",
    "SourceInfo": "data_prep.dataset.index",
    "kmeans_anchors": "data_prep.anchors",
    "load_config": "wordtree.support.config_files",
    "make_plan": "data_prep.planning.plan",
    "merge": "data_prep.merging.merge",
}

__all__ = [
    "BoxLabel",
    "DataPrepError",
    "EmojiWorldConfig",
    "ImageLabel",
    "ImageRecord",
    "LabelCounts",
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
