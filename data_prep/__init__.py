"""Data sets in the common formats, merged into shards of packed images and an index of their labels.

Each public name loads its module on first use.
"""

from typing import TYPE_CHECKING

from wordtree.support.exports import lazy_exports

if TYPE_CHECKING:
    from data_prep.anchors import kmeans_anchors as kmeans_anchors
    from data_prep.config import MergeConfig as MergeConfig
    from data_prep.dataset.index import SourceClass as SourceClass
    from data_prep.dataset.index import SourceInfo as SourceInfo
    from data_prep.dataset.label_counts import LabelCounts as LabelCounts
    from data_prep.dataset.reader import ShardReader as ShardReader
    from data_prep.errors import DataPrepError as DataPrepError
    from data_prep.merging.merge import merge as merge
    from data_prep.planning.plan import make_plan as make_plan
    from data_prep.records import Boxes as Boxes
    from data_prep.records import ImageLabel as ImageLabel
    from data_prep.records import ImageRecord as ImageRecord
    from data_prep.synthetic.emoji_plan import EmojiWorldConfig as EmojiWorldConfig
    from wordtree.support.config_files import load_config as load_config
else:
    __getattr__, __dir__, __all__ = lazy_exports(
        __name__,
        {
            "data_prep.anchors": ("kmeans_anchors",),
            "data_prep.config": ("MergeConfig",),
            "data_prep.dataset.index": ("SourceClass", "SourceInfo"),
            "data_prep.dataset.label_counts": ("LabelCounts",),
            "data_prep.dataset.reader": ("ShardReader",),
            "data_prep.errors": ("DataPrepError",),
            "data_prep.merging.merge": ("merge",),
            "data_prep.planning.plan": ("make_plan",),
            "data_prep.records": ("Boxes", "ImageLabel", "ImageRecord"),
            "data_prep.synthetic.emoji_plan": ("EmojiWorldConfig",),
            "wordtree.support.config_files": ("load_config",),
        },
    )
