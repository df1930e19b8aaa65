"""Sets of nodes related to given nodes, as masks (N,) over all nodes of the tree: the functions of a query.

Each function takes one node or many and returns the union over them. The tree's relations (hypernym edges outside
the tree) count only in the functions named *in_graph*: a dog below *canine* is still a domestic animal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import BoolArray, Int32Array, Int64Array
from wordtree.support.lines import quoted

if TYPE_CHECKING:
    from wordtree.tree.tree import WordTree


def only(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The nodes themselves."""
    mask = np.zeros(len(tree), np.bool_)
    mask[np.atleast_1d(checked_nodes(nodes, tree))] = True
    return mask


def at_or_under(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The nodes and all their descendants."""
    given = np.atleast_1d(checked_nodes(nodes, tree))
    return _in_intervals(tree, tree.enter[given], tree.leave[given])


def below(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """All descendants of the nodes; a node itself only where it is a descendant of another."""
    given = np.atleast_1d(checked_nodes(nodes, tree))
    return _in_intervals(tree, tree.enter[given] + 1, tree.leave[given])


def children(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The children of the nodes."""
    is_parent: BoolArray = np.append(only(tree, nodes), False)  # the last element stands for parent -1
    return is_parent[tree.parent]


def siblings(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The siblings of the nodes; a node itself only where it is the sibling of another."""
    given = only(tree, nodes)
    in_group = np.bincount(tree.group[given], minlength=len(tree.group_start))
    others: BoolArray = in_group[tree.group] > given
    return others


def above(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """All ancestors of the nodes; a node itself only where it is an ancestor of another."""
    mask = np.zeros(len(tree), np.bool_)
    climbing = tree.parent[np.atleast_1d(checked_nodes(nodes, tree))]
    while (climbing := np.unique(climbing[climbing >= 0])).size:
        climbing = climbing[~mask[climbing]]
        mask[climbing] = True
        climbing = tree.parent[climbing]
    return mask


def at_or_under_in_graph(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The nodes and every node from which parents and relations lead up to one of them."""
    mask = at_or_under(tree, nodes)
    child, parent = tree.relations.T
    while (new := child[mask[parent] & ~mask[child]]).size:
        mask |= at_or_under(tree, new)
    return mask


def above_in_graph(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """Every node to which parents and relations lead up from one of the nodes."""
    child, parent = tree.relations.T
    mask = above(tree, nodes)
    reached = mask | only(tree, nodes)
    while (new := parent[reached[child] & ~mask[parent]]).size:
        mask |= only(tree, new) | above(tree, new)
        reached |= mask
    return mask


def checked_nodes(nodes: npt.ArrayLike, tree: WordTree) -> Int64Array:
    """Nodes as an array; TypeError for other values, such as names and masks, IndexError for nodes out of range."""
    given = np.asarray(nodes)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise TypeError(
            f"expected nodes, which are whole numbers, found {given.dtype.name} {quoted(str(nodes))}"
        )
    if given.size and not 0 <= given.min() <= given.max() < len(tree):
        wrong = given.min() if given.min() < 0 else given.max()
        raise IndexError(f"node {wrong} of a tree of {len(tree)} nodes")
    return given.astype(np.int64)


def _in_intervals(tree: WordTree, first: Int32Array, past: Int32Array) -> BoolArray:
    """The nodes whose number in pre-order lies in any of the intervals."""
    opened = np.bincount(first, minlength=len(tree) + 1)
    closed = np.bincount(past, minlength=len(tree) + 1)
    covered: BoolArray = np.cumsum(opened - closed) > 0
    return covered[tree.enter]
