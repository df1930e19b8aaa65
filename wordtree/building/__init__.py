"""Trees from labels: the algorithm of the paper, custom classes, and an explanation of each node."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    build="BuildError BuildReport GuessedSense build_tree build_with_report",
    grow="flatten_lone_leaves grow_by_least_path grow_in_rounds collapse_unary_nodes",
)
