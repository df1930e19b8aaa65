"""The immutable tree: names, lookup, queries, probabilities, files, lint."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    lint="Finding",
    lookup="nearest_node node_of nodes_of parent_text",
    node_sets="above at_or_under",
    probability="ProbabilityError deepest_confident_node",
    query="Comparison Junction Members Negation Query QueryError Rule parse",
    tree="WordTree",
    tree_files="is_own_json load_json names_beside notice_beside tree_text wordnet_notice",
)
