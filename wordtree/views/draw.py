"""A tree, or the part below one node, as lines of text or as a Graphviz graph."""

from collections.abc import Iterator

from rich.text import Text

from wordtree.tree.tree import WordTree

UNICODE_GUIDES = ("├── ", "└── ", "│   ")
ASCII_GUIDES = ("|-- ", "`-- ", "|   ")


def tree_lines(
    tree: WordTree,
    node: int | None = None,
    *,
    depth: int | None = None,
    guides: tuple[str, str, str] = UNICODE_GUIDES,
) -> Iterator[Text]:
    """A line for each node at or below `node` (None: the whole tree), at most `depth` levels below it.

    A line gives the name, the id and, for a node with children, the number of nodes below it.
    """
    branch, last_branch, rail = guides
    tops = range(tree.group_size[0]) if node is None else [node]
    # node, guides of its line, guides of the lines below it, level
    waiting = [(top, "", "", 0) for top in reversed(tops)]
    while waiting:
        current, own_guide, guide, level = waiting.pop()
        yield _line(tree, current, own_guide)
        if depth is not None and level >= depth:
            continue
        children = tree.children(current)
        for child in reversed(children):
            last = child == children[-1]
            below = guide + ("    " if last else rail)
            waiting.append((child, guide + (last_branch if last else branch), below, level + 1))


def shown_nodes(tree: WordTree, node: int | None = None, *, depth: int | None = None) -> list[int]:
    """The nodes at or below `node` (None: the whole tree), at most `depth` levels below it, ascending."""
    nodes = range(len(tree)) if node is None else [node, *tree.descendants(node).tolist()]
    top = 0 if node is None else tree.depth[node]
    return [shown for shown in nodes if depth is None or tree.depth[shown] - top <= depth]


def tree_dot(tree: WordTree, node: int | None = None, *, depth: int | None = None) -> str:
    """The Graphviz text of the nodes that `tree_lines` shows, from left to right; relations are dashed.

    `dot -Tsvg my.dot -o my.svg` draws it; a few hundred nodes are readable.
    """
    shown = set(shown_nodes(tree, node, depth=depth))
    labels = (
        f'  n{shown_node} [label="{_escaped(tree.names[shown_node])}\\n{_escaped(tree.ids[shown_node])}"]'
        for shown_node in sorted(shown)
    )
    edges = (
        f"  n{tree.parent[shown_node]} -> n{shown_node}"
        for shown_node in sorted(shown)
        if int(tree.parent[shown_node]) in shown
    )
    relations = (
        f"  n{parent} -> n{child} [style=dashed, constraint=false]"
        for child, parent in tree.relations.tolist()
        if child in shown and parent in shown
    )
    head = ["digraph wordtree {", "  rankdir=LR", '  node [shape=box, style=rounded, fontname="Helvetica"]']
    return "\n".join([*head, *labels, *edges, *relations, "}", ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _line(tree: WordTree, node: int, guide: str) -> Text:
    leaf = bool(tree.is_leaf[node])
    line = Text(guide, style="dim")
    line.append(tree.names[node], style="green" if leaf else "bold")
    line.append(f"  {tree.ids[node]}", style="dim")
    if not leaf:
        line.append(f"  {tree.leave[node] - tree.enter[node] - 1} below", style="cyan")
    return line
