"""Trees as files: Darknet's `.tree` and `.names`, and our JSON, which holds everything.

A malformed file is a TreeFileError with file and line, found in bounded time and memory.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wordtree.errors import TreeError, TreeFileError, TreeNamesError
from wordtree.support.arrays import IntegerArray
from wordtree.support.files import write_atomically
from wordtree.support.lines import MAX_NODES, full_lines, quoted

if TYPE_CHECKING:
    from wordtree.tree.tree import WordTree

MAX_JSON_BYTES = 128 * MAX_NODES
JSON_VERSION = 1
NOTICE_FILE = "WordNet-3.0.txt"

_WNID = re.compile(r"n[0-9]{8}")
_NUMBER = re.compile(r"-?[0-9]{1,9}")
_Tree = TypeVar("_Tree", bound="WordTree")


def load_tree(path: Path, kind: type[_Tree]) -> _Tree:
    """The tree in a `.tree` or `.json` file."""
    if path.suffix == ".json":
        return _load_json_tree(path, kind)
    if path.suffix == ".tree":
        return _load_darknet(path, kind)
    raise TreeFileError(f"{path}: expected a tree file named *.tree or *.json.")


def save_tree(tree: WordTree, path: Path) -> list[Path]:
    """Write the tree in the format that the suffix names; returns the files written."""
    if path.suffix == ".json":
        write_atomically(path, tree.to_json())
        return [path]
    if path.suffix != ".tree":
        raise TreeFileError(f"{path}: expected a name that ends in .tree or .json.")
    texts = {path.with_suffix(".names"): "".join(f"{name}\n" for name in tree.names)}
    texts[path] = tree_text(tree.ids, tree.parent)
    texts |= notice_beside(path, tree)
    for file, text in texts.items():
        write_atomically(file, text)
    return list(texts)


def tree_to_json(tree: WordTree) -> str:
    """One node a line, so that two versions can be compared by eye."""
    rows = zip(tree.ids, tree.parent.tolist(), tree.names, strict=True)
    nodes = ",\n".join(_json({"id": id_, "parent": parent, "name": name}) for id_, parent, name in rows)
    head = {"format": "wordtree", "version": JSON_VERSION, "fingerprint": tree.fingerprint}
    if notice := _notice(tree):
        head["notice"] = notice
    fields = ",\n".join(f"{_json(key)}: {_json(value)}" for key, value in head.items())
    return f'{{{fields},\n"nodes": [\n{nodes}\n],\n"relations": {_json(tree.relations.tolist())}}}\n'


def tree_from_json(text: str, kind: type[_Tree]) -> _Tree:
    """The tree that `tree_to_json` wrote; a changed or damaged one is refused."""
    return _tree_of(_parsed(text), kind)


def load_json(path: Path) -> Any:
    """The content of a JSON file of bounded size; TreeFileError, with the line, if it is none."""
    with path.open("rb") as file:
        payload = file.read(MAX_JSON_BYTES + 1)
    if len(payload) > MAX_JSON_BYTES:
        raise TreeFileError(f"{path}: larger than {MAX_JSON_BYTES} bytes; this is no tree.")
    try:
        return _parsed(payload.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise TreeFileError(f"{path}: line {line}: not UTF-8.") from None
    except TreeError as error:
        raise TreeFileError(f"{path}: {error}") from None


def notice_beside(path: Path, tree: WordTree) -> dict[Path, str]:
    """The file with WordNet's notice that goes with a tree written at `path`, if the tree has ids of WordNet."""
    notice = _notice(tree)
    return {path.with_name(NOTICE_FILE): notice} if notice else {}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TreeError(f"line {error.lineno}: not JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond Python's limits
        raise TreeError(f"not the JSON of a tree ({error}).") from None


def _tree_of(content: Any, kind: type[_Tree]) -> _Tree:
    _check_head(content)
    rows = content["nodes"]
    for node, row in enumerate(rows):
        if not isinstance(row, dict) or {key: type(value) for key, value in row.items()} != _ROW:
            raise TreeError(f"node {node}: expected an id, a parent (a whole number) and a name.", node)
    ids, parents, names = ([row[key] for row in rows] for key in _ROW)
    tree = kind(ids, parents, names, content["relations"])
    if content["fingerprint"] != tree.fingerprint:
        raise TreeError("the fingerprint is not that of the nodes; the tree was changed or damaged.")
    return tree


_ROW = {"id": str, "parent": int, "name": str}
_HEAD = {"format": str, "version": int, "fingerprint": str, "notice": str, "nodes": list, "relations": list}


def _check_head(content: Any) -> None:
    if not isinstance(content, dict) or content.get("format") != "wordtree":
        raise TreeError('not a tree: expected an object with "format": "wordtree".')
    if content.get("version") != JSON_VERSION:
        found = content.get("version")
        raise TreeError(f"format version {found!r}; this program reads version {JSON_VERSION}.")
    for key in _HEAD.keys() - {"notice"}:
        if not isinstance(content.get(key), _HEAD[key]):
            raise TreeError(f'"{key}" is absent or not a {_HEAD[key].__name__}.')
    if unknown := sorted(content.keys() - _HEAD.keys()):
        raise TreeError(f'unknown key "{unknown[0]}"; known are {", ".join(_HEAD)}.')


def _load_json_tree(path: Path, kind: type[_Tree]) -> _Tree:
    content = load_json(path)
    try:
        return _tree_of(content, kind)
    except TreeError as error:
        raise TreeFileError(f"{path}: {error}", error.node) from None


def _load_darknet(path: Path, kind: type[_Tree]) -> _Tree:
    ids, parents = [], []
    for number, line in full_lines(path):
        fields = line.split()
        if len(fields) != 2:
            raise TreeFileError(f"{path}: line {number}: expected 'id parent', found {quoted(line)}.")
        if not _NUMBER.fullmatch(fields[1]):
            raise TreeFileError(
                f"{path}: line {number}: the parent {quoted(fields[1])} is not a whole number."
            )
        ids.append(fields[0])
        parents.append(int(fields[1]))
    names_path = path.with_suffix(".names")
    names = [name for _, name in full_lines(names_path)] if names_path.exists() else None
    try:
        return kind(ids, parents, names)
    except TreeError as error:
        file = names_path if isinstance(error, TreeNamesError) else path
        raise TreeFileError(f"{file}: {_at_line(error)}{error}", error.node) from None


def _at_line(error: TreeError) -> str:
    return "" if error.node is None else f"line {error.node + 1}: "


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _notice(tree: WordTree) -> str:
    """WordNet's notice, for a tree with any of its ids: it must go with every copy."""
    if not any(_WNID.fullmatch(id_) for id_ in tree.ids):
        return ""
    return (Path(__file__).parents[1] / "assets" / NOTICE_FILE).read_text(encoding="utf-8")


def tree_text(ids: Sequence[str], parent: IntegerArray) -> str:
    """The text of a Darknet `.tree` file: a line `id parent` for each node."""
    return "".join(f"{id_} {above}\n" for id_, above in zip(ids, parent.tolist(), strict=True))
