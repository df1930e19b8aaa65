"""Hierarchies in other text formats: child-parent CSV, tables of ranks, indented text.

Reading takes bounded time and memory. A malformed file is a TreeFileError or a HierarchyError with file and line.
"""

import csv
import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from io import StringIO
from itertools import chain
from pathlib import Path

from wordtree.errors import TreeError, TreeFileError
from wordtree.hierarchies.csv_columns import (
    ID_COLUMNS,
    NAME_COLUMNS,
    Header,
    checked_fields,
    fields_of,
    possible_headers,
    table_lines,
)
from wordtree.hierarchies.hierarchy import Hierarchy, as_id
from wordtree.hierarchies.ranks import Taxonomy, rank_of
from wordtree.support.csv_cells import csv_cells
from wordtree.support.lines import MAX_LINE_BYTES, is_comment, numbered_lines, plain_blanks, quoted
from wordtree.tree.tree import WordTree

HEADER = ["child", "parent", "name"]
INDENT = "  "
_CHILD = ("child", "child_id", "id", "hyponym", "subclass", "node", "class", "name")
_PARENT = ("parent", "parent_id", "parent_name", "hypernym", "superclass", "father")
_NO_DIRECTION = (
    {"source", "target"},
    {"from", "to"},
)  # lists of edges that do not say which end is the parent
_NAME = ("name", "display_name", "common_name")


def read_csv(path: Path, *, roots: bool = True) -> Hierarchy:
    """The hierarchy in rows `child,parent[,name]`, or in a table with a column for each rank (kingdom to species).

    A header may give another order, more columns (with a warning), and `;` or tabs between the fields. Lines that begin
    with `# ` are skipped. A row without a parent is a root. Where there is such a row, every parent must have a row of
    its own. A second row for a child gives it a second parent.
    roots: False forbids rows without a parent and ranks, and does not check that parents have rows.
    """
    lines = table_lines(path)
    first = next(lines, (1, ""))
    for header in possible_headers(first[1]):
        if header.position(_CHILD) is not None and header.position(_PARENT) is not None:
            return _read_edges(lines, header, path, roots=roots)
        if roots and sum(rank_of(name) is not None for name in header.names) >= 2:
            return _read_ranks(lines, header, path)
        if {name.casefold() for name in header.names[:2]} in _NO_DIRECTION:
            names = ", ".join(map(quoted, header.names[:2]))
            raise TreeFileError(
                f"{path}: line {first[0]}: expected the columns 'child' and 'parent', found {names}; rename them."
            )
    return _read_edges(chain([first], lines) if first[1] else (), Header(), path, roots=roots)


def _read_edges(lines: Iterable[tuple[int, str]], header: Header, path: Path, *, roots: bool) -> Hierarchy:
    """The hierarchy in rows with a child and its parent; a file without a header has the columns of HEADER."""
    columns = header if header.names else Header(tuple(HEADER))
    child_position, parent_position, name_position = (
        columns.position(names) for names in (_CHILD, _PARENT, _NAME)
    )
    assert child_position is not None
    assert parent_position is not None
    hierarchy, has_roots = Hierarchy(source=str(path)), False
    for number, line in lines:
        fields = _edge_fields(line, header, path, number)
        child, parent = fields[child_position], fields[parent_position]
        if not child:
            raise _not_an_edge(line, path, number)
        if not parent and not roots:
            raise TreeFileError(
                f"{path}: line {number}: {quoted(child)} has no parent; add the node above it."
            )
        has_roots |= not parent
        if parent and (earlier := hierarchy.lines.get((as_id(child), as_id(parent)))):
            raise TreeFileError(f"{path}: line {number}: repeats line {earlier}.")
        name = "" if name_position in (None, child_position) else fields[name_position]
        if parent:
            hierarchy.add(child, parent, name=name, line=number)
        else:
            hierarchy.add_root(child, name=name, line=number)
    _check_not_empty(hierarchy, path)
    if has_roots:
        _check_parents_have_rows(hierarchy)
    _warn_of_unread(columns, {child_position, parent_position, name_position}, path)
    return hierarchy


def _edge_fields(line: str, header: Header, path: Path, number: int) -> list[str]:
    """A field for each column; a row without a header has two or three fields."""
    if header.names:
        return checked_fields(line, header, path, number)
    fields = fields_of(line, ",", path, number)
    if not 2 <= len(fields) <= len(HEADER):
        raise _not_an_edge(line, path, number)
    return [*fields, ""]


def _not_an_edge(line: str, path: Path, number: int) -> TreeFileError:
    return TreeFileError(
        f"{path}: line {number}: expected 'child,parent' or 'child,parent,name', found {quoted(line)}."
    )


def _read_ranks(lines: Iterable[tuple[int, str]], header: Header, path: Path) -> Hierarchy:
    """The hierarchy in rows of a taxonomy; a further column gives the name of the row's lowest taxon."""
    hierarchy = Hierarchy(source=str(path))
    taxonomy = Taxonomy(hierarchy)
    ranks = {position: rank for position, name in enumerate(header.names) if (rank := rank_of(name))}
    name_position = header.position(_NAME)
    for number, line in lines:
        fields = checked_fields(line, header, path, number)
        name = "" if name_position is None else fields[name_position]
        taxonomy.add({rank: fields[position] for position, rank in ranks.items()}, name=name, line=number)
    _check_not_empty(hierarchy, path)
    _warn_of_unread(header, {*ranks, name_position}, path)
    return hierarchy


def _warn_of_unread(header: Header, read: Collection[int | None], path: Path) -> None:
    unread = [name for position, name in enumerate(header.names) if position not in read]
    if unread:
        listed = ", ".join(map(quoted, unread[:10])) + (", …" if len(unread) > 10 else "")
        warnings.warn(f"{path}: columns that were not read: {listed}.", stacklevel=4)


def csv_text(tree: WordTree) -> str:
    """The text of a file for `read_csv`, with one more row for each relation."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for id_, above, name in zip(tree.ids, tree.parent.tolist(), tree.names, strict=True):
        writer.writerow(csv_cells([id_, tree.ids[above] if above >= 0 else "", name]))
    writer.writerows(
        csv_cells([tree.ids[child], tree.ids[above], ""]) for child, above in tree.relations.tolist()
    )
    return text.getvalue()


def read_indented(path: Path) -> Hierarchy:
    """The hierarchy in lines `name` or `name TAB id`, where children are indented more than their parent.

    Without an id, the name with `_` for blanks is the id. A node that occurs twice has two parents. Lines that begin
    with `# ` are skipped; a name that begins so has a backslash before it. Other columns are a TreeFileError.
    """
    lines = [
        (number, line)
        for number, line in numbered_lines(path)
        if line.strip() and not is_comment(line.strip())
    ]
    if columns := _columns_in([line.strip() for _, line in lines]):
        raise TreeFileError(
            f"{path}: expected a name, or a name, a tab and an id, in each line; found {columns}."
        )
    hierarchy = Hierarchy(source=str(path))
    open_nodes: list[tuple[str, str]] = []  # indentation and id of each possible parent of the next line
    for number, line in lines:
        name, _, id_ = line.strip().partition("\t")
        name = name.removeprefix("\\") if name.startswith(_ESCAPED) else name
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


_ESCAPED = ("\\#", "\\\\")
_COLUMNS = (  # of files that are no indented text, where all lines match
    (r"[a-z]?[0-9]+\s+[a-z]?[0-9]+", "pairs of ids; write rows 'child,parent' to a .csv file"),
    (r"[a-z]?[0-9]+\t.+|n[0-9]{8}\s.+", "an id before each name; write the id after it, or a .csv file"),
    (r"[^;]*;.*", "fields with ';' between them; name the file .csv and give it a header"),
    (r"[^|]*\|.*", "fields with '|' between them; write a .csv file"),
    (r"[^,]*,\S.*", "fields with ',' between them; name the file .csv"),
)


def _columns_in(lines: Sequence[str]) -> str:
    """The kind of columns in lines, as text for messages; empty where they may be indented text."""
    if any(line.count("\t") > 1 for line in lines):
        return "several tabs; write a .csv file"
    if lines and lines[0].endswith(" -1") and all(re.fullmatch(r"\S+ -?[0-9]+", line) for line in lines):
        return "the lines of a Darknet tree; name the file .tree"
    return next(
        (kind for pattern, kind in _COLUMNS if lines and all(re.fullmatch(pattern, line) for line in lines)),
        "",
    )


def indented_text(tree: WordTree) -> str:
    """The text of a file for `read_indented`, without the tree's relations.

    Raises TreeError for a very deep tree, and for names that look like columns of another format.
    """
    if len(INDENT) * int(tree.depth.max()) > MAX_LINE_BYTES // 2:
        raise TreeError(
            f"The tree is {tree.depth.max()} levels deep, too deep for indented text; write .csv or .json."
        )
    lines = []
    for node in sorted(range(len(tree)), key=tree.enter.__getitem__):
        id_, name = tree.ids[node], tree.names[node]
        escape = "\\" if is_comment(name) or name.startswith(_ESCAPED) else ""
        shown_id = "" if as_id(name) == id_ else f"\t{id_}"
        lines.append(f"{INDENT * int(tree.depth[node])}{escape}{name}{shown_id}")
    if columns := _columns_in([line.strip() for line in lines]):
        raise TreeError(
            f"Read as indented text, the names of the tree would be {columns.partition(';')[0]}; write .csv or .json."
        )
    return "".join(f"{line}\n" for line in lines)


def read_names(path: Path, hierarchy: Hierarchy) -> None:
    """Name the nodes by rows `id,name`, such as those of OpenImages' class-descriptions-boxable.csv.

    A header may give another order. Ids that the hierarchy lacks are passed over; TreeFileError if it lacks all.
    """
    header, found = Header(), False
    for number, line in table_lines(path):
        if number == 1 and (named := _names_header(line)):
            header = named
            continue
        fields = fields_of(line, header.separator, path, number)
        id_position, name_position = (
            header.position(ID_COLUMNS) or 0,
            header.position(NAME_COLUMNS) or int(not header.names),
        )
        if len(fields) <= max(id_position, name_position):
            raise TreeFileError(f"{path}: line {number}: expected 'id,name', found {quoted(line)}.")
        id_, name = as_id(fields[id_position]), plain_blanks(fields[name_position])
        if id_ in hierarchy.parents and name:
            if not name.isprintable():
                raise TreeFileError(
                    f"{path}: line {number}: expected a name of one line, found {quoted(name)}."
                )
            hierarchy.names[id_] = name
            found = True
    if not found:
        raise TreeFileError(f"{path}: expected rows 'id,name' for the nodes, found none of their ids.")


def _names_header(line: str) -> Header | None:
    """The header of a table of names; None for a row."""
    known = (header for header in possible_headers(line) if header.position(ID_COLUMNS) is not None)
    return next((header for header in known if header.position(NAME_COLUMNS) is not None), None)


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
