"""Matches the classes of the sources to nodes of the tree, with a label map for review."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    class_selection="select_classes",
    conflicts="Conflict find_conflicts separate_roots",
    label_map=(
        "LabelMap MapEntry apply_label_map entry_of is_label_map read_label_map unresolved_lines unresolved_text "
        "write_label_map"
    ),
    matching="ClassMatch ClassMatcher LabelMapError",
    tree_and_nodes="NothingToBuild class_table given_tree load_tree match_classes merged_tree source_infos",
)
