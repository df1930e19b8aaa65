"""Hierarchies and class lists other than WordNet, and their conversion to and from trees."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    convert="convert_classes files_read read_hierarchy write_hierarchy",
    darknet_classes="lines_text read_classes read_map",
    dataset_classes="read_dataset_classes resolutions_csv resolve_classes",
    hierarchy="Hierarchy HierarchyError as_id",
    hierarchy_files="read_csv",
    labels="gather_labels read_labels",
)
