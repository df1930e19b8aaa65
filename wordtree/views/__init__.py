"""The tree as text, as a graph and as an HTML page."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    draw="shown_nodes tree_dot",
    page="NumbersError PageContent read_numbers tree_page",
)
