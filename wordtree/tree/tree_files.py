"""Tree files as plain columns: Darknet's `.tree` and `.names`, and our JSON, which holds everything.

Reading takes bounded time and memory. A malformed file is a TreeFileError with file and line.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wordtree.errors import TreeError, TreeFileError, TreeNamesError
from wordtree.support.lines import MAX_NODES, full_lines, plain_blanks, quoted

MAX_JSON_BYTES = 128 * MAX_NODES
JSON_VERSION = 1
NOTICE_FILE = "WordNet-3.0.txt"

_WNID = re.compile(r"n[0-9]{8}")
_NUMBER = re.compile(r"-?[0-9]{1,9}")


class TreeColumns(NamedTuple):
    """The content of a tree file, not yet checked to be a tree.

    names, fingerprint: None if the file has none.
    """

    ids: Sequence[str]
    parents: Sequence[int]
    names: Sequence[str] | None = None
    relations: Sequence[Sequence[int]] = ()
    fingerprint: str | None = None


# --- reading


def read_tree(path: Path) -> TreeColumns:
    """The columns in a `.tree` file (with the `.names` beside it if there is one) or a `.json` file."""
    if path.suffix.lower() == ".tree":
        return _read_darknet(path)
    if path.suffix.lower() == ".json":
        content = load_json(path)
        with file_in_errors(path):
            return _columns_of(content)
    raise TreeFileError(f"{path}: expected a tree file named *.tree or *.json.")


def parse_json(text: str) -> TreeColumns:
    """The columns in the text of a `.json` file; TreeError if it holds none."""
    return _columns_of(_parsed(text))


@contextmanager
def file_in_errors(path: Path) -> Iterator[None]:
    """Turn a TreeError about the columns of a file into a TreeFileError, which names the file and its line."""
    try:
        yield
    except TreeFileError:
        raise
    except TreeError as error:
        is_darknet = path.suffix.lower() == ".tree"
        file = names_beside(path) if is_darknet and isinstance(error, TreeNamesError) else path
        line = f"line {error.node + 1}: " if is_darknet and error.node is not None else ""
        raise TreeFileError(f"{file}: {line}{error}", error.node) from None


def load_json(path: Path) -> Any:
    """The content of a JSON file of bounded size; TreeFileError, with the line, if it is not JSON."""
    with path.open("rb") as file:
        payload = file.read(MAX_JSON_BYTES + 1)
    if len(payload) > MAX_JSON_BYTES:
        raise TreeFileError(f"{path}: expected a tree, found a file of more than {MAX_JSON_BYTES} bytes.")
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise TreeFileError(f"{path}: line {line}: not UTF-8; save the file as UTF-8.") from None
    with file_in_errors(path):
        return _parsed(text)


def names_beside(path: Path) -> Path:
    """The file of names of a `.tree` file: `.names`, or `.NAMES` where only this exists."""
    names, in_capitals = path.with_suffix(".names"), path.with_suffix(".NAMES")
    return in_capitals if in_capitals.exists() and not names.exists() else names


def _read_darknet(path: Path) -> TreeColumns:
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
    names_path = names_beside(path)
    names = [plain_blanks(name) for _, name in full_lines(names_path)] if names_path.exists() else None
    return TreeColumns(ids, parents, names)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise TreeError(f"line {error.lineno}: not JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:  # numbers or nesting beyond Python's limits
        raise TreeError(f"not the JSON of a tree ({error}).") from None


_ROW = {"id": str, "parent": int, "name": str}
_HEAD = {"format": str, "version": int, "fingerprint": str, "notice": str, "nodes": list, "relations": list}


def _columns_of(content: Any) -> TreeColumns:
    _check_head(content)
    rows = content["nodes"]
    if len(rows) > MAX_NODES:
        raise TreeError(f"a tree has at most {MAX_NODES} nodes; found {len(rows)}.")
    for node, row in enumerate(rows):
        if not isinstance(row, dict) or {key: type(value) for key, value in row.items()} != _ROW:
            raise TreeError(f"node {node}: expected an id, a parent (a whole number) and a name.", node)
    ids, parents, names = ([row[key] for row in rows] for key in _ROW)
    return TreeColumns(ids, parents, names, content["relations"], content["fingerprint"])


def is_own_json(content: Any) -> bool:
    """True for the content of a `.json` file of ours, whichever version."""
    return isinstance(content, dict) and content.get("format") == "wordtree"


def _check_head(content: Any) -> None:
    if not is_own_json(content):
        raise TreeError('not a tree: expected an object with "format": "wordtree".')
    if content.get("version") != JSON_VERSION:
        found = content.get("version")
        raise TreeError(f"format version {found!r}; this program reads version {JSON_VERSION}.")
    for key in _HEAD.keys() - {"notice"}:
        if not isinstance(content.get(key), _HEAD[key]):
            raise TreeError(f'"{key}" is absent or not a {_HEAD[key].__name__}.')
    if unknown := sorted(content.keys() - _HEAD.keys()):
        raise TreeError(f'unknown key "{unknown[0]}"; known are {", ".join(_HEAD)}.')


# --- writing


def tree_file_texts(columns: TreeColumns, path: Path) -> dict[Path, str]:
    """The texts of the files, by path, that hold the columns in the format that the suffix names."""
    if path.suffix.lower() == ".json":
        return {path: json_text(columns)}
    if path.suffix.lower() != ".tree":
        raise TreeFileError(f"{path}: expected a name that ends in .tree or .json.")
    names = "".join(f"{name}\n" for name in columns.names or columns.ids)
    texts = {path.with_suffix(".names"): names, path: tree_text(columns.ids, columns.parents)}
    return texts | notice_beside(path, columns.ids)


def json_text(columns: TreeColumns) -> str:
    """The text of a `.json` file: one node a line, so that two versions can be compared by eye."""
    rows = zip(columns.ids, columns.parents, columns.names or columns.ids, strict=True)
    nodes = ",\n".join(_json({"id": id_, "parent": parent, "name": name}) for id_, parent, name in rows)
    head = {"format": "wordtree", "version": JSON_VERSION, "fingerprint": columns.fingerprint}
    if notice := wordnet_notice(columns.ids):
        head["notice"] = notice
    fields = ",\n".join(f"{_json(key)}: {_json(value)}" for key, value in head.items())
    return f'{{{fields},\n"nodes": [\n{nodes}\n],\n"relations": {_json(columns.relations)}}}\n'


def tree_text(ids: Sequence[str], parents: Sequence[int]) -> str:
    """The text of a Darknet `.tree` file: a line `id parent` for each node."""
    return "".join(f"{id_} {parent}\n" for id_, parent in zip(ids, parents, strict=True))


def notice_beside(path: Path, ids: Sequence[str]) -> dict[Path, str]:
    """The file of WordNet's notice that goes with a tree written at `path`; none for a tree without its ids."""
    notice = wordnet_notice(ids)
    return {path.with_name(NOTICE_FILE): notice} if notice else {}


def wordnet_notice(ids: Sequence[str]) -> str:
    """WordNet's licence, which must go with every copy of its ids; empty for a tree without them."""
    if not any(_WNID.fullmatch(id_) for id_ in ids):
        return ""
    return (Path(__file__).parents[1] / "assets" / NOTICE_FILE).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
