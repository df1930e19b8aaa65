"""Random access to a merged data set: the index, the reader, label counts."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    index=(
        "Index SourceClass SourceInfo images_of_shard join_columns label_counts_of take_images whole_shards"
    ),
    index_file="read_index replace_index write_index",
    label_counts="LabelCounts Supervision rolled_up",
    metadata="shard_from_json",
    reader="ShardReader",
    storage="files_of_shards",
)
