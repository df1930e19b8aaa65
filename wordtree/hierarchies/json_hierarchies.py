"""Hierarchies in the JSON forms that data sets and libraries publish, recognised by their keys.

| form | recognised by |
|---|---|
| OpenImages' class hierarchy | `LabelName` |
| nested nodes, as of D3 and OpenImages' assets | `name` and `children` |
| categories of COCO, iNaturalist, Roboflow | `categories` with `supercategory`, or with ranks such as `family` |
| V3Det's category tree | `father2child` |
| rows | a list of objects with `parent` |
| networkx' node-link data | `nodes` and `links` or `edges` |
| nested names | only objects and lists: `{"animal": {"dog": {}}}` |

Reading takes linear time. A malformed file is a TreeFileError or a HierarchyError that names the file.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wordtree.errors import TreeFileError
from wordtree.hierarchies.hierarchy import Hierarchy, as_id
from wordtree.hierarchies.ranks import Taxonomy, rank_of
from wordtree.support.lines import plain_blanks, quoted, shortened

_NO_PARENT = frozenset({"", "none", "null", "root"})


def read_json_hierarchy(content: Any, path: Path) -> Hierarchy:
    """The hierarchy in the content of a JSON file of one of the forms above; TreeFileError for another."""
    for is_form, read in _FORMS:
        if is_form(content):
            hierarchy = Hierarchy(source=str(path))
            read(content, hierarchy)
            if not hierarchy.parents:
                raise TreeFileError(f"{path}: expected a hierarchy, found no nodes.")
            return hierarchy
    found = type(content).__name__
    if isinstance(content, dict):
        found = f"the keys {', '.join(quoted(key) for key in list(content)[:5])}" if content else "no keys"
    raise TreeFileError(
        f"{path}: expected a tree of wordtree, or a hierarchy of OpenImages, COCO, iNaturalist, V3Det, or nested names "
        f"(docs/hierarchies.md lists the forms); found {found}."
    )


# --- OpenImages


def _is_openimages(content: Any) -> bool:
    return isinstance(content, dict) and "LabelName" in content


def _read_openimages(content: dict[str, Any], hierarchy: Hierarchy) -> None:
    """`Subcategory` gives the children of a node.

    A `Part` is not a kind of its whole. A node that occurs only as a part becomes a child of the top node.
    """
    parts = Hierarchy(source=hierarchy.source)
    top = _label_name(content, hierarchy, "the first node")
    waiting: deque[tuple[dict[str, Any], str | None, Hierarchy]] = deque([(content, None, hierarchy)])
    while waiting:
        entry, parent, into = waiting.popleft()
        node = into.add(entry["LabelName"], parent)
        for key, target in (("Subcategory", hierarchy), ("Part", parts)):
            for child in _list_in(entry, key, node, hierarchy):
                _label_name(child, hierarchy, f"an entry in the {key} of {quoted(node)}")
                waiting.append((child, node if target is hierarchy else top, target))
    for part in parts.parents:
        if part not in hierarchy.parents:
            hierarchy.add(part, top)


def _label_name(entry: Any, hierarchy: Hierarchy, entry_name: str) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("LabelName"), str):
        raise TreeFileError(
            f"{hierarchy.source}: expected OpenImages' class hierarchy, but {entry_name} has no LabelName."
        )
    return as_id(entry["LabelName"])


# --- {name, children}


def _is_nodes(content: Any) -> bool:
    tops = content if isinstance(content, list) else [content]
    has_names = all(isinstance(top, dict) and isinstance(top.get("name"), str) for top in tops)
    return bool(tops) and has_names and any("children" in top for top in tops)


def _read_nodes(content: Any, hierarchy: Hierarchy) -> None:
    """Each node has a `name`, perhaps an `id`, and a list of `children`, which are nodes or names."""
    tops = content if isinstance(content, list) else [content]
    waiting: deque[tuple[Any, str | None]] = deque((top, None) for top in tops)
    while waiting:
        entry, parent = waiting.popleft()
        if isinstance(entry, str):
            entry = {"name": entry}
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            where = f"the children of {quoted(parent)}" if parent else "the first nodes"
            raise TreeFileError(
                f"{hierarchy.source}: {where}: expected nodes with a name, found {_brief(entry)}."
            )
        node = hierarchy.add(_text(entry.get("id")) or entry["name"], parent, name=entry["name"])
        waiting.extend((child, node) for child in _list_in(entry, "children", node, hierarchy))


# --- categories of COCO, iNaturalist, Roboflow


def _is_categories(content: Any) -> bool:
    rows = _categories(content)
    return bool(rows) and all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows)


def _categories(content: Any) -> Any:
    rows = content.get("categories") if isinstance(content, dict) else content
    is_rows = isinstance(rows, list) and not any(isinstance(row, dict) and "parent" in row for row in rows)
    return rows if is_rows else []


def _read_categories(content: Any, hierarchy: Hierarchy) -> None:
    """A category is below its ranks where it has some, else below its supercategory, which may be a category itself."""
    rows = _categories(content)
    if not any(isinstance(row.get("supercategory"), str) or len(_ranks(row)) > 1 for row in rows):
        raise TreeFileError(
            f"{hierarchy.source}: its categories have neither a supercategory nor ranks: a list of classes, "
            "not a hierarchy. `wordtree resolve` looks them up in WordNet."
        )
    taxonomy = Taxonomy(hierarchy)
    for row in rows:
        if len(ranks := _ranks(row)) > 1:
            taxonomy.add(ranks, name=plain_blanks(row["name"]))
            continue
        above = row.get("supercategory")
        is_root = (
            not isinstance(above, str) or above.casefold() in _NO_PARENT or as_id(above) == as_id(row["name"])
        )
        hierarchy.add(row["name"], None if is_root else above)


def _ranks(row: Mapping[str, Any]) -> dict[str, Any]:
    return {rank: value for key, value in row.items() if (rank := rank_of(key)) and value}


# --- V3Det


def _is_v3det(content: Any) -> bool:
    return isinstance(content, dict) and ("father2child" in content or "child2father" in content)


def _read_v3det(content: dict[str, Any], hierarchy: Hierarchy) -> None:
    """`father2child` gives the ids of the children of each id, `id2name` the names."""
    names = content.get("id2name", {})
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise TreeFileError(f"{hierarchy.source}: id2name: expected an object of names.")
    downwards = "father2child" in content
    key = "father2child" if downwards else "child2father"
    for parent, child in _edges(content[key], key, hierarchy, downwards=downwards):
        hierarchy.add(parent, None, name=names.get(parent, ""))
        hierarchy.add(child, parent, name=names.get(child, ""))
    for id_, name in names.items():
        hierarchy.add(id_, None, name=name)


def _edges(table: Any, key: str, hierarchy: Hierarchy, *, downwards: bool) -> Iterator[tuple[str, str]]:
    """The edges (parent, child) in lists of children, or of parents, by id."""
    if not isinstance(table, dict):
        raise TreeFileError(f"{hierarchy.source}: {key}: expected an object, found {_brief(table)}.")
    for id_, others in table.items():
        for other in [others] if isinstance(others, str) else _list_in(table, id_, id_, hierarchy):
            if not isinstance(other, str):
                raise TreeFileError(
                    f"{hierarchy.source}: {key} of {quoted(id_)}: expected ids, found {_brief(other)}."
                )
            yield (id_, other) if downwards else (other, id_)


# --- rows and edges


def _is_rows(content: Any) -> bool:
    is_list = isinstance(content, list) and all(isinstance(row, dict) for row in content)
    return is_list and any("parent" in row or "parent_id" in row for row in content)


def _read_rows(content: list[dict[str, Any]], hierarchy: Hierarchy) -> None:
    """Each row has a `child` (or `id`, or `name`), a `parent` unless it is a root, and perhaps a `name`."""
    for number, row in enumerate(content):
        child = next((text for key in ("child", "id", "name") if (text := _text(row.get(key)))), "")
        parent = _text(row.get("parent", row.get("parent_id")))
        if not child:
            raise TreeFileError(
                f"{hierarchy.source}: row {number}: expected a child and its parent, found {_brief(row)}."
            )
        hierarchy.add(child, parent or None, name=_text(row.get("name")))


def _is_node_link(content: Any) -> bool:
    return isinstance(content, dict) and "nodes" in content and ("links" in content or "edges" in content)


def _read_node_link(content: dict[str, Any], hierarchy: Hierarchy) -> None:
    """`links` (or `edges`) lead from the `source`, a parent, to the `target`."""
    for node in _list_in(content, "nodes", "the graph", hierarchy):
        id_ = _text(node.get("id")) if isinstance(node, dict) else ""
        if not id_:
            raise TreeFileError(
                f"{hierarchy.source}: nodes: expected objects with an id, found {_brief(node)}."
            )
        hierarchy.add(id_, None, name=_text(node.get("name", node.get("label"))))
    for link in _list_in(content, "links" if "links" in content else "edges", "the graph", hierarchy):
        parent, child = (
            _text(link.get(key)) if isinstance(link, dict) else "" for key in ("source", "target")
        )
        if parent not in hierarchy.parents or child not in hierarchy.parents:
            raise TreeFileError(
                f"{hierarchy.source}: links: expected two ids of nodes, found {_brief(link)}."
            )
        hierarchy.add(child, parent)


# --- nested names


def _is_nested(content: Any) -> bool:
    """True for objects of objects, where the last may be lists of names, or null."""
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list) and seen > 1:
            if not all(isinstance(name, str) for name in value):
                return False
        elif value is not None or seen == 1:
            return False
    return bool(content)


def _read_nested(content: dict[str, Any], hierarchy: Hierarchy) -> None:
    nested = Hierarchy.from_dict(content, hierarchy.source)
    hierarchy.parents, hierarchy.names, hierarchy.lines = nested.parents, nested.names, nested.lines


# --- shared


def _list_in(entry: Mapping[str, Any], key: str, node: str, hierarchy: Hierarchy) -> list[Any]:
    """The list under a key, which may be absent or null."""
    below = entry.get(key)
    if below is not None and not isinstance(below, list):
        raise TreeFileError(
            f"{hierarchy.source}: the {shortened(key)} of {quoted(node)}: expected a list, found {_brief(below)}."
        )
    return below or []


def _text(value: Any) -> str:
    """An id or name as text; empty where there is none."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _brief(value: Any) -> str:
    return quoted(str(value))


_FORMS: tuple[tuple[Callable[[Any], bool], Callable[[Any, Hierarchy], None]], ...] = (
    (_is_openimages, _read_openimages),
    (_is_v3det, _read_v3det),
    (_is_node_link, _read_node_link),
    (_is_nodes, _read_nodes),
    (_is_categories, _read_categories),
    (_is_rows, _read_rows),
    (_is_nested, _read_nested),
)
