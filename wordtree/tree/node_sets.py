"""What stands in a relation to some nodes of a tree, as masks (N,) over all its nodes: the words of a query.

Each takes one node or many and answers with the union over them. The tree's relations (lost hypernym edges) count
only where *graph* is said: a dog may hang under *canine* and still be a domestic animal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from wordtree.support.arrays import BoolArray, Int32Array, Int64Array

if TYPE_CHECKING:
    from wordtree.tree.tree import WordTree


def only(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The nodes themselves."""
    mask = np.zeros(len(tree), np.bool_)
    mask[_nodes(nodes)] = True
    return mask


def at_or_under(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The nodes and everything below them."""
    at = _nodes(nodes)
    return _in_intervals(tree, tree.enter[at], tree.leave[at])


def below(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """Everything below the nodes; a node itself only where it lies below another."""
    at = _nodes(nodes)
    return _in_intervals(tree, tree.enter[at] + 1, tree.leave[at])


def children(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """Their children."""
    asked: BoolArray = np.append(only(tree, nodes), False)  # the last stands for parent -1
    return asked[tree.parent]


def siblings(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The other members of their sibling groups."""
    asked = only(tree, nodes)
    in_group = np.bincount(tree.group[asked], minlength=len(tree.group_start))
    others: BoolArray = in_group[tree.group] > asked
    return others


def above(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """Their ancestors; a node itself only where it is the ancestor of another."""
    mask = np.zeros(len(tree), np.bool_)
    climbing = tree.parent[_nodes(nodes)]
    while (climbing := np.unique(climbing[climbing >= 0])).size:
        climbing = climbing[~mask[climbing]]
        mask[climbing] = True
        climbing = tree.parent[climbing]
    return mask


def at_or_under_in_graph(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """The nodes and all kinds of them: what a path of parents and relations leads up from."""
    mask = at_or_under(tree, nodes)
    child, parent = tree.relations.T
    while (new := child[mask[parent] & ~mask[child]]).size:
        mask |= at_or_under(tree, new)
    return mask


def above_in_graph(tree: WordTree, nodes: npt.ArrayLike) -> BoolArray:
    """All that the nodes are kinds of: what a path of parents and relations leads up to."""
    asked = only(tree, nodes)
    child, parent = tree.relations.T
    reached = asked | above(tree, nodes)
    mask = above(tree, nodes)
    while (new := parent[reached[child] & ~mask[parent]]).size:
        mask |= only(tree, new) | above(tree, new)
        reached |= mask
    return mask


def _nodes(nodes: npt.ArrayLike) -> Int64Array:
    return np.atleast_1d(np.asarray(nodes, np.int64))


def _in_intervals(tree: WordTree, first: Int32Array, past: Int32Array) -> BoolArray:
    """The nodes whose number in pre-order lies in any of the intervals."""
    opened = np.bincount(first, minlength=len(tree) + 1)
    closed = np.bincount(past, minlength=len(tree) + 1)
    covered: BoolArray = np.cumsum(opened - closed) > 0
    return covered[tree.enter]
