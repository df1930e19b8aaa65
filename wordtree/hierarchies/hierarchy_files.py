"""Hierarchies as files of other makes: child-parent CSV, indented text, OpenImages' JSON.

A malformed file is a TreeFileError or a HierarchyError with file and line, found in bounded time and memory.
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
    """The rows `child,parent[,name]`; a first row with just these words is a heading, lines with `#` are remarks.

    A row without a parent is a root. If there is one, or `roots` is False, all others are checked: a parent that
    has no row of its own is then an error (with `roots=False` it is left to the caller). A second row for a child
    gives it a second parent.
    """
    found = Hierarchy(source=str(path))
    rooted = False
    for number, line in numbered_lines(path):
        if not line.strip() or line.startswith("#"):
            continue
        fields = _fields(line, path, number)
        if not found.parents and fields in (HEADER, HEADER[:2]):
            continue
        child, parent, name = (*fields, "")[:3]
        if not parent and not roots:
            raise TreeFileError(
                f"{path}: line {number}: '{child}' has no parent; name the node it hangs under."
            )
        rooted |= not parent
        if parent and (as_id(child), as_id(parent)) in found.lines:
            first = found.lines[as_id(child), as_id(parent)]
            raise TreeFileError(f"{path}: line {number}: says again what line {first} said.")
        found.add(child, parent or None, name=name, line=number)
    _check_not_empty(found, path)
    if rooted:
        _check_parents_have_rows(found)
    return found


def csv_text(tree: WordTree) -> str:
    """The rows that `read_csv` reads; a further row for each relation."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for id_, above, name in zip(tree.ids, tree.parent.tolist(), tree.names, strict=True):
        writer.writerow([id_, tree.ids[above] if above >= 0 else "", name])
    writer.writerows([tree.ids[child], tree.ids[above], ""] for child, above in tree.relations.tolist())
    return text.getvalue()


def read_indented(path: Path) -> Hierarchy:
    """One node a line, children further in than their parent; after a tab the line may give the node's id.

    Without an id, the name with `_` for blanks is the id. A node that stands in two places has two parents.
    """
    found = Hierarchy(source=str(path))
    open_nodes: list[
        tuple[str, str]
    ] = []  # the indentation and id of the nodes that the next line may be under
    for number, line in numbered_lines(path):
        name, _, id_ = line.strip().partition("\t")
        if not name or name.startswith("#"):
            continue
        indent = line[: len(line) - len(line.lstrip())]
        sibling = None
        while open_nodes and not (indent.startswith(open_nodes[-1][0]) and indent != open_nodes[-1][0]):
            sibling = open_nodes.pop()
        if sibling and sibling[0] != indent:
            raise TreeFileError(f"{path}: line {number}: is indented like no line above it.")
        if indent and not open_nodes and not sibling:
            raise TreeFileError(
                f"{path}: line {number}: is indented, but there is no line above for it to be under."
            )
        parent = open_nodes[-1][1] if open_nodes else None
        node = found.add(id_ or name, parent, name=name if id_ or " " in name else "", line=number)
        open_nodes.append((indent, node))
    _check_not_empty(found, path)
    return found


def indented_text(tree: WordTree) -> str:
    """The lines that `read_indented` reads; the tree's relations are not among them. TreeError for a very deep tree."""
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
    """Is this the content of OpenImages' class hierarchy, such as bbox_labels_600_hierarchy.json?"""
    return isinstance(content, dict) and "LabelName" in content


def read_openimages(content: dict[str, Any], path: Path) -> Hierarchy:
    """OpenImages' hierarchy: `Subcategory` holds kinds. `Part` holds no kinds: a part hangs under the first node.

    A node may stand in several places. What is also a kind of something is that, and no longer just a part.
    """
    found, parts = Hierarchy(source=str(path)), Hierarchy(source=str(path))
    top = _label_name(content, path, "the first node")
    waiting: deque[tuple[dict[str, Any], str | None, Hierarchy]] = deque([(content, None, found)])
    while waiting:
        entry, parent, into = waiting.popleft()
        node = into.add(entry["LabelName"], parent)
        for key, kinds in (("Subcategory", found), ("Part", parts)):
            below = entry.get(key, [])
            if not isinstance(below, list):
                raise TreeFileError(f"{path}: the {key} of '{node}' is no list.")
            for child in below:
                _label_name(child, path, f"an entry in the {key} of '{node}'")
                waiting.append((child, node if kinds is found else top, kinds))
    for part in parts.parents:
        if part not in found.parents:
            found.add(part, top)
    return found


def read_names(path: Path, hierarchy: Hierarchy) -> None:
    """Name the nodes by the rows `id,name` of a file, such as OpenImages' class-descriptions-boxable.csv."""
    for number, line in numbered_lines(path):
        if line.strip():
            id_, name, *_ = _fields(line, path, number)
            if as_id(id_) in hierarchy.parents and name:
                if not name.isprintable():
                    raise TreeFileError(
                        f"{path}: line {number}: {quoted(name)} is no name: a name is one line of text."
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


def _check_not_empty(found: Hierarchy, path: Path) -> None:
    if not found.parents:
        raise TreeFileError(f"{path}: holds no nodes.")


def _check_parents_have_rows(found: Hierarchy) -> None:
    for (child, parent), line in found.lines.items():
        if parent not in found.parents:
            raise TreeFileError(
                f"{found.at(line)}the parent '{parent}' of '{child}' has no row of its own; "
                f"add one, for a root '{parent},'."
            )


def _label_name(entry: Any, path: Path, what: str) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("LabelName"), str):
        raise TreeFileError(f"{path}: {what} has no LabelName; expected OpenImages' class hierarchy.")
    name: str = entry["LabelName"]
    return as_id(name)
