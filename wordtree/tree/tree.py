"""`WordTree`: nodes, their parents, and everything derived from these, as read-only arrays.

A node is an index. Parents precede their children and siblings are adjacent, so a sibling group (the unit of
the softmax) is a slice. A second numbering, in pre-order, reduces *is under* to two comparisons.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wordtree.errors import TreeError, TreeNamesError, UnknownNode
from wordtree.support.arrays import BoolArray, Int32Array, Int64Array, IntegerArray
from wordtree.support.lines import quoted
from wordtree.support.outputs import write_outputs
from wordtree.support.suggest import did_you_mean, near
from wordtree.tree.names import NameIndex
from wordtree.tree.node_sets import checked_nodes
from wordtree.tree.query import parse
from wordtree.tree.tree_files import (
    TreeColumns,
    file_in_errors,
    json_text,
    parse_json,
    read_tree,
    tree_file_texts,
    tree_text,
)

MAX_ID_CHARACTERS = 1000
MAX_NAME_CHARACTERS = 4000


class WordTree:
    """An immutable label hierarchy of N nodes in G sibling groups; one or several roots.

    ids         N unique keys without blanks: wnids or custom ids
    names       N display names, not necessarily unique
    relations   (relations, 2) pairs (child, parent): hypernym edges outside the tree, for queries
    parent      (N,) -1 for roots            depth        (N,) 0 for roots
    group       (N,) group 0 = the roots     child_group  (N,) the group of the node's children, -1 for leaves
    group_start (G,) first node              group_size   (G,)
    enter,leave (N,) b is at or under a  <=>  enter[a] <= enter[b] < leave[a]
    fingerprint sha256 (hex) of the tree's `.tree` file: of ids and parents, not of names and relations

    Raises TreeError, which names the first node at fault, unless parents precede children and siblings are adjacent.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    relations: Int32Array
    parent: Int32Array
    depth: Int32Array
    group: Int32Array
    group_start: Int32Array
    group_size: Int32Array
    child_group: Int32Array
    is_leaf: BoolArray
    enter: Int32Array
    leave: Int32Array
    fingerprint: str

    def __init__(
        self,
        ids: Sequence[str],
        parents: Sequence[int] | IntegerArray,
        names: Sequence[str] | None = None,
        relations: Sequence[Sequence[int]] | IntegerArray = (),
    ) -> None:
        ids = _checked_ids(ids)
        parent = _checked_parents(parents, ids)
        group_start = _checked_group_starts(parent, ids)
        depth, enter, leave = _depth_and_interval(parent)
        child_group = np.full(len(ids), -1)
        child_group[parent[group_start[1:]]] = np.arange(1, len(group_start))
        group_size = np.diff(group_start, append=len(ids))
        arrays: dict[str, npt.ArrayLike] = {
            "relations": _checked_relations(relations, len(ids)),
            "parent": parent,
            "depth": depth,
            "group": np.repeat(np.arange(len(group_start)), group_size),
            "group_start": group_start,
            "group_size": group_size,
            "child_group": child_group,
            "enter": enter,
            "leave": leave,
        }
        vars(self).update({name: _frozen(array, np.int32) for name, array in arrays.items()})
        vars(self).update(
            ids=ids,
            names=_checked_names(names, ids),
            is_leaf=_frozen(child_group < 0, np.bool_),
            fingerprint=sha256(tree_text(ids, parent.tolist()).encode()).hexdigest(),
            _node_of_id={id_: node for node, id_ in enumerate(ids)},
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"A WordTree cannot be changed ({name}); build another one.")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.ids, self.parent, self.names, self.relations)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, WordTree):
            return NotImplemented
        same_nodes = self.fingerprint == other.fingerprint and self.names == other.names
        return same_nodes and np.array_equal(self.relations, other.relations)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<WordTree of {len(self)} nodes, {self.fingerprint[:8]}>"

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._index()

    def node(self, id_: str) -> int:
        """The node with this id; UnknownNode, with suggestions, if there is none."""
        try:
            return self._index()[id_]
        except KeyError:
            raise UnknownNode(self._unknown_node_message(id_)) from None

    def children(self, node: int) -> range:
        """The children of the node, which are adjacent; empty for a leaf."""
        group = self.child_group[self._checked(node)]
        if group < 0:
            return range(0)
        start = int(self.group_start[group])
        return range(start, start + int(self.group_size[group]))

    def ancestors(self, node: int) -> list[int]:
        """The ancestors of the node, nearest first."""
        above = []
        node = int(self.parent[self._checked(node)])
        while node >= 0:
            above.append(node)
            node = int(self.parent[node])
        return above

    def path(self, node: int) -> list[int]:
        """The nodes from the root down to this node, inclusive."""
        return [*reversed(self.ancestors(node)), int(node)]

    def descendants(self, node: int) -> Int64Array:
        """All nodes below this node, ascending."""
        first, last = self.enter[self._checked(node)] + 1, self.leave[node]
        return np.sort(self._preorder[first:last])

    @cached_property
    def leaves(self) -> Int64Array:
        """The nodes without children, ascending."""
        return _frozen(np.flatnonzero(self.is_leaf), np.int64)

    def siblings(self, node: int) -> Int64Array:
        """The siblings of the node, without the node itself, ascending."""
        start = self.group_start[self.group[self._checked(node)]]
        members: Int64Array = np.arange(start, start + self.group_size[self.group[node]], dtype=np.int64)
        others: Int64Array = members[members != node]
        return others

    def is_at_or_under(self, nodes: npt.ArrayLike, ancestor: npt.ArrayLike) -> BoolArray:
        """True for each node that is `ancestor` or below it; either may be one node or many."""
        below, above = (checked_nodes(given, self) for given in (nodes, ancestor))
        enter = self.enter[below]
        at_or_under: BoolArray = (enter >= self.enter[above]) & (enter < self.leave[above])
        return at_or_under

    def lowest_common_ancestor(self, a: int, b: int) -> int | None:
        """The deepest node that is equal to or above both; None if they have no common root."""
        self._checked(b)
        for node in (int(a), *self.ancestors(a)):
            if self.enter[node] <= self.enter[b] < self.leave[node]:
                return node
        return None

    def distance(self, a: int, b: int) -> int | None:
        """The number of edges between two nodes; None if they have no common root."""
        common = self.lowest_common_ancestor(a, b)
        return None if common is None else int(self.depth[a] + self.depth[b] - 2 * self.depth[common])

    def named(self, name: str) -> list[int]:
        """The nodes with this display name, without regard to case, ascending."""
        return self._names.named(name)

    def matching(self, pattern: str) -> Int64Array:
        """The nodes whose name or id matches a pattern, ascending: `*` is any text, `?` any character."""
        return self._names.matching(pattern)

    def select(self, expression: str) -> Int64Array:
        """The nodes that an expression such as "vehicle & !car" selects, ascending; docs/queries.md has the grammar.

        Raises QueryError, which points at the column.
        """
        return parse(expression, self).nodes()

    def to_json(self) -> str:
        """The text of a `.json` file, which holds the whole tree."""
        return json_text(self._columns())

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The tree in a text that `to_json` made; TreeError if there is none."""
        return cls._of_columns(parse_json(text))

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The tree of a `.json` file, or of a Darknet `.tree` with the `.names` beside it if there is one.

        Raises TreeFileError, which names file and line, for anything malformed.
        """
        with file_in_errors(Path(path)):
            return cls._of_columns(read_tree(Path(path)))

    def save(self, path: Path | str) -> list[Path]:
        """Write a `.json` file (everything), or a Darknet `.tree` and the `.names` beside it (no relations).

        Replaces existing files. Returns the files written; the last is WordNet's notice where a `.tree` made from
        WordNet needs it.
        """
        texts = self.file_texts(path)
        write_outputs(texts, overwrite=True)
        return list(texts)

    def file_texts(self, path: Path | str) -> dict[Path, str]:
        """The texts of the files that `save` would write, by path."""
        return tree_file_texts(self._columns(), Path(path))

    def _columns(self) -> TreeColumns:
        return TreeColumns(
            self.ids, self.parent.tolist(), self.names, self.relations.tolist(), self.fingerprint
        )

    @classmethod
    def _of_columns(cls, columns: TreeColumns) -> Self:
        tree = cls(columns.ids, columns.parents, columns.names, columns.relations)
        if columns.fingerprint not in (None, tree.fingerprint):
            raise TreeError("the fingerprint is not that of the nodes; the tree was changed or damaged.")
        return tree

    def _index(self) -> dict[str, int]:
        index: dict[str, int] = vars(self)["_node_of_id"]
        return index

    @cached_property
    def _names(self) -> NameIndex:
        return NameIndex(self.ids, self.names)

    @cached_property
    def _preorder(self) -> Int64Array:
        return _frozen(np.argsort(self.enter), np.int64)

    def _checked(self, node: int) -> int:
        if not 0 <= node < len(self):
            raise IndexError(f"node {node} of a tree of {len(self)} nodes")
        return node

    def _unknown_node_message(self, id_: str) -> str:
        if not isinstance(id_, str):
            raise TypeError(
                f"expected the id of a node, a text, found the {type(id_).__name__} {quoted(str(id_))}"
            )
        namesakes = [self.ids[node] for node in self.named(id_)[:3]]
        if namesakes:
            return f"{quoted(id_)} is a name, not an id, in this tree.{did_you_mean(namesakes)}"
        return f"The tree has no node {quoted(id_)}.{did_you_mean(near(id_, self.ids))}"


def _checked_ids(ids: Sequence[str]) -> tuple[str, ...]:
    ids = _texts(ids, "ids")
    if not ids:
        raise TreeError("A tree needs at least one node; this one is empty.")
    first_node: dict[str, int] = {}
    for node, id_ in enumerate(ids):
        if not id_ or " " in id_ or not id_.isprintable() or len(id_) > MAX_ID_CHARACTERS:
            raise TreeError(
                f"{quoted(id_)} cannot be an id: an id is text without blanks, of at most {MAX_ID_CHARACTERS} "
                "characters.",
                node,
            )
        if first_node.setdefault(id_, node) != node:
            raise TreeError(f"The id {quoted(id_)} occurs twice, first as node {first_node[id_]}.", node)
    return ids


def _checked_names(names: Sequence[str] | None, ids: tuple[str, ...]) -> tuple[str, ...]:
    if names is None:
        return ids
    names = _texts(names, "names")
    if len(names) != len(ids):
        raise TreeNamesError(f"There are {len(ids)} nodes but {len(names)} names.")
    for node, name in enumerate(names):
        if not name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
            raise TreeNamesError(
                f"{quoted(name)} cannot name {quoted(ids[node])}: "
                f"a name is one line of text, of at most {MAX_NAME_CHARACTERS} characters.",
                node,
            )
    return names


def _texts(values: Any, what: str) -> tuple[str, ...]:
    """The values as a tuple; TypeError unless they are a sequence of texts."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(
            f"{what}: expected a list of texts, found the {type(values).__name__} {quoted(str(values))}"
        )
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{what}: expected texts, found the {type(text).__name__} {quoted(str(text))}")
    return texts


def _checked_parents(parents: Any, ids: tuple[str, ...]) -> IntegerArray:
    parent = np.array(parents)
    if parent.shape != (len(ids),):
        raise TreeError(f"There are {len(ids)} ids but parents of shape {parent.shape}.")
    if not np.issubdtype(parent.dtype, np.integer):
        raise TreeError("Parents must be whole numbers: nodes, or -1 for a root.")
    wrong = np.flatnonzero((parent < -1) | (parent >= np.arange(len(ids))))
    if wrong.size:
        node = int(wrong[0])
        raise TreeError(
            f"Node {node} ({quoted(ids[node])}) names node {parent[node]} as its parent; "
            "a parent must be an earlier node, or -1 for a root.",
            node,
        )
    return parent


def _checked_group_starts(parent: IntegerArray, ids: tuple[str, ...]) -> Int64Array:
    """The first node of each run of equal parents; every parent must have one run only."""
    start = np.flatnonzero(np.concatenate([[True], parent[1:] != parent[:-1]]))
    first_run = np.unique(parent[start], return_index=True)[1]
    if len(first_run) < len(start):
        again = int(np.setdiff1d(np.arange(len(start)), first_run)[0])
        node = int(start[again])
        above = int(parent[node])
        family = "the roots" if above < 0 else f"the children of node {above} ({quoted(ids[above])})"
        raise TreeError(
            f"Node {node} ({quoted(ids[node])}) is one of {family}, but is not next to them; "
            "siblings must be adjacent.",
            node,
        )
    return start


def _checked_relations(relations: Any, nodes: int) -> IntegerArray:
    if len(relations) == 0:
        return np.empty((0, 2), dtype=np.int32)
    try:
        pairs = np.array(relations)
    except ValueError:  # rows of different lengths
        pairs = np.empty(0)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise TreeError("Relations must be pairs of nodes (child, parent).")
    if pairs.min() < 0 or pairs.max() >= nodes or (pairs[:, 0] == pairs[:, 1]).any():
        raise TreeError(f"Relations must join two different nodes of 0 to {nodes - 1}.")
    return np.unique(pairs, axis=0)


def _depth_and_interval(parent: IntegerArray) -> tuple[list[int], list[int], list[int]]:
    """For each node its depth, its number in pre-order, and the number after its subtree; takes linear time."""
    above = parent.tolist()
    nodes = len(above)
    size = [1] * (nodes + 1)  # the last element stands for parent -1, above the roots
    for node in range(nodes - 1, -1, -1):
        size[above[node]] += size[node]
    depth, enter = [-1] * (nodes + 1), [-1] * (nodes + 1)
    next_number = [0] * (nodes + 1)  # for the next child of each node
    for node in range(nodes):
        parent_node = above[node]
        depth[node] = depth[parent_node] + 1
        enter[node] = next_number[parent_node]
        next_number[parent_node] += size[node]
        next_number[node] = enter[node] + 1
    leave = [enter[node] + size[node] for node in range(nodes)]
    return depth[:nodes], enter[:nodes], leave


def _frozen(values: npt.ArrayLike, dtype: Any) -> npt.NDArray[Any]:
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array
