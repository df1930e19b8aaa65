"""Hierarchies in other file formats: child-parent CSV, indented text, OpenImages' JSON.

Reading takes bounded time and memory. A malformed file is a TreeFileError or a HierarchyError with file and line.
"""

import csv
from collections import deque
from io import StringIO
from pathlib import Path
from typing import Any

from wordtree.errors import TreeError, TreeFileError
from wordtree.hierarchies.hierarchy import Hierarchy, as_id
from wordtree.support.lines import MAX_LINE_BYTES, numbered_lines, quoted
from wordtree.tree.tree import WordTree

HEADER = ["child", "parent", "name"]
INDENT = "  "


def read_csv(path: Path, *, roots: bool = True) -> Hierarchy:
    """The hierarchy in rows `child,parent[,name]`; a header and lines that begin with `#` are skipped.

    A row without a parent is a root. Where there is such a row, every parent must have a row of its own. A second row
    for a child gives it a second parent.
    roots: False forbids rows without a parent, and does not check that parents have rows.
    """
    hierarchy = Hierarchy(source=str(path))
    has_roots = False
    for number, line in numbered_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        fields = _fields(line, path, number)
        if not hierarchy.parents and fields in (HEADER, HEADER[:2]):
            continue
        child, parent, name = (*fields, "")[:3]
        if not parent and not roots:
            raise TreeFileError(f"{path}: line {number}: '{child}' has no parent; add the node above it.")
        has_roots |= not parent
        if parent and (as_id(child), as_id(parent)) in hierarchy.lines:
            first = hierarchy.lines[as_id(child), as_id(parent)]
            raise TreeFileError(f"{path}: line {number}: repeats line {first}.")
        hierarchy.add(child, parent or None, name=name, line=number)
    _check_not_empty(hierarchy, path)
    if has_roots:
        _check_parents_have_rows(hierarchy)
    return hierarchy


def csv_text(tree: WordTree) -> str:
    """The text of a file for `read_csv`, with one more row for each relation."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for id_, above, name in zip(tree.ids, tree.parent.tolist(), tree.names, strict=True):
        writer.writerow([id_, tree.ids[above] if above >= 0 else "", name])
    writer.writerows([tree.ids[child], tree.ids[above], ""] for child, above in tree.relations.tolist())
    return text.getvalue()


def read_indented(path: Path) -> Hierarchy:
    """The hierarchy in lines `name` or `name TAB id`, where children are indented more than their parent.

    Without an id, the name with `_` for blanks is the id. A node that occurs twice has two parents.
    """
    hierarchy = Hierarchy(source=str(path))
    open_nodes: list[tuple[str, str]] = []  # indentation and id of each possible parent of the next line
    for number, line in numbered_lines(path):
        name, _, id_ = line.strip().partition("\t")
        if not name or name.startswith("#"):
            continue
        indent = line[: len(line) - len(line.lstrip())]
        sibling = None
        while open_nodes and not (indent.startswith(open_nodes[-1][0]) and indent != open_nodes[-1][0]):
            sibling = open_nodes.pop()
        if sibling and sibling[0] != indent:
            raise TreeFileError(f"{path}: line {number}: its indentation matches no line above.")
        if indent and not open_nodes and not sibling:
            raise TreeFileError(f"{path}: line {number}: indented, but no line above it can be its parent.")
        parent = open_nodes[-1][1] if open_nodes else None
        node = hierarchy.add(id_ or name, parent, name=name if id_ or " " in name else "", line=number)
        open_nodes.append((indent, node))
    _check_not_empty(hierarchy, path)
    return hierarchy


def indented_text(tree: WordTree) -> str:
    """The text of a file for `read_indented`, without the tree's relations; TreeError for a very deep tree."""
    if len(INDENT) * int(tree.depth.max()) > MAX_LINE_BYTES // 2:
        raise TreeError(
            f"The tree is {tree.depth.max()} levels deep, too deep for indented text; write .csv or .json."
        )
    lines = []
    for node in sorted(range(len(tree)), key=tree.enter.__getitem__):
        id_, name = tree.ids[node], tree.names[node]
        shown_id = "" if as_id(name) == id_ else f"\t{id_}"
        lines.append(f"{INDENT * int(tree.depth[node])}{name}{shown_id}\n")
    return "".join(lines)


def is_openimages(content: Any) -> bool:
    """True for the content of OpenImages' class hierarchy, such as bbox_labels_600_hierarchy.json."""
    return isinstance(content, dict) and "LabelName" in content


def read_openimages(content: dict[str, Any], path: Path) -> Hierarchy:
    """The hierarchy of OpenImages: `Subcategory` gives the children of a node.

    A `Part` is not a kind of its whole. A node that occurs only as a part becomes a child of the top node.
    """
    hierarchy, parts = Hierarchy(source=str(path)), Hierarchy(source=str(path))
    top = _label_name(content, path, "the first node")
    waiting: deque[tuple[dict[str, Any], str | None, Hierarchy]] = deque([(content, None, hierarchy)])
    while waiting:
        entry, parent, into = waiting.popleft()
        node = into.add(entry["LabelName"], parent)
        for key, target in (("Subcategory", hierarchy), ("Part", parts)):
            below = entry.get(key, [])
            if not isinstance(below, list):
                raise TreeFileError(
                    f"{path}: the {key} of '{node}': expected a list, found {quoted(str(below))}."
                )
            for child in below:
                _label_name(child, path, f"an entry in the {key} of '{node}'")
                waiting.append((child, node if target is hierarchy else top, target))
    for part in parts.parents:
        if part not in hierarchy.parents:
            hierarchy.add(part, top)
    return hierarchy


def read_names(path: Path, hierarchy: Hierarchy) -> None:
    """Name the nodes by rows `id,name`, such as those of OpenImages' class-descriptions-boxable.csv."""
    for number, line in numbered_lines(path):
        if line.strip():
            id_, name, *_ = _fields(line, path, number)
            if as_id(id_) in hierarchy.parents and name:
                if not name.isprintable():
                    raise TreeFileError(
                        f"{path}: line {number}: expected a name of one line, found {quoted(name)}."
                    )
                hierarchy.names[as_id(id_)] = name


def _fields(line: str, path: Path, number: int) -> list[str]:
    try:
        (fields,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError) as error:
        raise TreeFileError(f"{path}: line {number}: not CSV ({error}).") from None
    if not 2 <= len(fields) <= 3 or not fields[0].strip():
        raise TreeFileError(
            f"{path}: line {number}: expected 'child,parent' or 'child,parent,name', found {quoted(line)}."
        )
    return [text.strip() for text in fields]


def _check_not_empty(hierarchy: Hierarchy, path: Path) -> None:
    if not hierarchy.parents:
        raise TreeFileError(f"{path}: expected a hierarchy, found no nodes.")


def _check_parents_have_rows(hierarchy: Hierarchy) -> None:
    for (child, parent), line in hierarchy.lines.items():
        if parent not in hierarchy.parents:
            raise TreeFileError(
                f"{hierarchy.location(line)}the parent '{parent}' of '{child}' has no row of its own; "
                f"add one, for a root '{parent},'."
            )


def _label_name(entry: Any, path: Path, entry_name: str) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("LabelName"), str):
        raise TreeFileError(
            f"{path}: expected OpenImages' class hierarchy, but {entry_name} has no LabelName."
        )
    name: str = entry["LabelName"]
    return as_id(name)
