"""Conditional and absolute probabilities from logits, and the node predicted from them; plain NumPy.

*Conditional* is P(node | parent): a softmax within each sibling group. *Absolute* is P(node): the product from
the root down to the node. The fast implementations for training and inference are tested against this file.

The last dimension of all arrays is the N nodes of the tree; any dimensions before it are independent predictions.
A descent starts at the most probable root, so it predicts at least a root; ties go to the first node.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from wordtree.errors import WordTreeError
from wordtree.support.arrays import BoolArray, FloatArray, Int64Array
from wordtree.tree.node_sets import only
from wordtree.tree.tree import WordTree


class ProbabilityError(WordTreeError):
    """Expected one number for each node of the tree, none of them NaN."""


def conditional_probabilities(
    logits: npt.ArrayLike, tree: WordTree, *, temperature: float = 1.0
) -> FloatArray:
    """P(node | parent), (…, N): the softmax of `logits` / `temperature` within each sibling group."""
    scaled = _checked(logits, tree, "logits") / temperature
    highest = np.maximum.reduceat(scaled, tree.group_start, axis=-1)  # (…, G)
    shifted = np.exp(scaled - highest[..., tree.group])
    total = np.add.reduceat(shifted, tree.group_start, axis=-1)  # (…, G)
    conditional: FloatArray = shifted / total[..., tree.group]
    return conditional


def absolute_probabilities(conditional: npt.ArrayLike, tree: WordTree) -> FloatArray:
    """P(node), (…, N): the product of the conditional probabilities from the root down to the node."""
    absolute = _checked(conditional, tree, "conditional probabilities").copy()
    for level in range(1, int(tree.depth.max()) + 1):
        nodes = np.flatnonzero(tree.depth == level)
        absolute[..., nodes] *= absolute[..., tree.parent[nodes]]
    return absolute


def deepest_confident_node(absolute: npt.ArrayLike, tree: WordTree, *, threshold: float) -> Int64Array:
    """The node predicted by the paper's rule, shape (…): down the best path while P(node) exceeds `threshold`."""
    probability = _checked(absolute, tree, "absolute probabilities")
    rows = probability.reshape(-1, len(tree))
    return _descend(probability, tree, lambda row, node: rows[row, node] > threshold)


def most_confident_leaf(absolute: npt.ArrayLike, tree: WordTree) -> Int64Array:
    """The leaf at the end of the best path, shape (…): the most probable child at every split, without threshold."""
    probability = _checked(absolute, tree, "absolute probabilities")
    return _descend(probability, tree, lambda row, node: np.ones(len(row), np.bool_))


def node_at_cut(absolute: npt.ArrayLike, tree: WordTree, *, cut: npt.ArrayLike) -> Int64Array:
    """The node where the best path meets `cut`, shape (…); a leaf where the path does not meet it.

    cut: the nodes to stop at, shape (nodes,), for example `tree.select("depth = 2")`.
    """
    nodes = np.asarray(cut)
    if nodes.size and (nodes.dtype.kind not in "iu" or nodes.min() < 0 or nodes.max() >= len(tree)):
        raise ProbabilityError(
            f"Expected nodes 0 to {len(tree) - 1} as the cut, found other values ({nodes.dtype})."
        )
    stops = only(tree, nodes)
    probability = _checked(absolute, tree, "absolute probabilities")
    return _descend(probability, tree, lambda row, node: ~stops[tree.parent[node]])


def darknet_node(absolute: npt.ArrayLike, tree: WordTree, *, threshold: float) -> Int64Array:
    """The node predicted by Darknet, shape (…), which stops earlier than the paper's rule.

    Darknet's `hierarchy_top_prediction` multiplies probabilities along the path as if they were conditional, but its
    detector passes absolute ones. Converted models need this rule to give Darknet's results.
    """
    probability = _checked(absolute, tree, "absolute probabilities")
    rows = probability.reshape(-1, len(tree))
    product = np.ones(len(rows), rows.dtype)

    def descends(row: Int64Array, node: Int64Array) -> BoolArray:
        product[row] *= rows[row, node]
        exceeds: BoolArray = product[row] > threshold
        return exceeds

    return _descend(probability, tree, descends)


def _descend(
    absolute: FloatArray, tree: WordTree, descends: Callable[[Int64Array, Int64Array], BoolArray]
) -> Int64Array:
    """Descend from the most probable root to the most probable child, again and again, in all rows at once.

    descends: rows (K,) and the best node of each -> whether to move there. Roots are always entered.
    """
    rows = absolute.reshape(-1, len(tree))
    predicted = np.full(len(rows), -1, np.int64)
    active: Int64Array = np.arange(len(rows))
    group: Int64Array = np.zeros(len(rows), np.int64)
    while active.size:
        node = _best_members(rows, active, group, tree)
        moves = descends(active, node) | (predicted[active] < 0)
        active, node = active[moves], node[moves]
        predicted[active] = node
        deeper = ~tree.is_leaf[node]
        active, group = active[deeper], tree.child_group[node[deeper]].astype(np.int64)
    return predicted.reshape(absolute.shape[:-1])


def _best_members(rows: FloatArray, active: Int64Array, group: Int64Array, tree: WordTree) -> Int64Array:
    """The most probable node of the group of each active row, shape (K,); reads only these groups."""
    size = tree.group_size[group].astype(np.int64)
    start = np.cumsum(size) - size  # the first member of each row in the flat arrays below
    owner = np.repeat(np.arange(len(active)), size)
    node = np.arange(size.sum()) - start[owner] + tree.group_start[group][owner]
    value = rows[active[owner], node]
    at_top = np.flatnonzero(value == np.maximum.reduceat(value, start)[owner])
    first = np.unique(owner[at_top], return_index=True)[1]
    best: Int64Array = node[at_top[first]]
    return best


def _checked(values: npt.ArrayLike, tree: WordTree, quantity: str) -> FloatArray:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.ndim == 0 or array.shape[-1] != len(tree):
        raise ProbabilityError(
            f"Expected {quantity} of shape (…, {len(tree)}), one for each node, found {array.shape}."
        )
    if np.isnan(array).any():
        raise ProbabilityError(
            f"Expected {quantity}, found NaN at node {int(np.argwhere(np.isnan(array))[0, -1])}."
        )
    return array
