"""From the rule of a query to SQL: groups of nodes, each with a condition over the fields of a detection.

For one node every set of nodes in a query is true or false, so only comparisons remain. Nodes with the same remaining
condition are one group. The groups share no node, so a detection is found once, and each group is read by intervals of
the index over (pre-order number, score). Names of the user never become part of a statement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from wordtree.support.arrays import BoolArray, Int64Array
from wordtree.tree.query import Comparison, Junction, Members, Negation, Rule


@dataclass(frozen=True)
class NodeGroup:
    """Nodes whose detections match under one condition.

    spans: the pre-order numbers of the nodes as intervals, JSON text of [[first, last], …].
    condition, values: SQL over the columns of `detections d`, and its parameters.
    """

    spans: str
    condition: str
    values: tuple[float, ...]


def node_groups(rule: Rule, pre: Int64Array) -> list[NodeGroup]:
    """The groups of nodes that may have matching detections; pre: pre-order number of each node, shape (N,)."""
    sets = list(_node_sets(rule))
    masks = np.array([members.mask for members in sets], np.bool_).reshape(len(sets), len(pre))
    packed = np.packbits(masks, axis=0)  # (ceil(sets / 8), N)
    _, first, kind_of_node = np.unique(packed, axis=1, return_index=True, return_inverse=True)
    groups: dict[Rule, BoolArray | np.bool_] = {}
    always = np.zeros(len(pre), np.bool_)
    for kind, node in enumerate(first.tolist()):
        mask = kind_of_node.reshape(-1) == kind
        remaining = _remaining(rule, iter(masks[:, node].tolist()))
        if remaining is True:
            always |= mask
        elif remaining is not False:
            groups[remaining] = mask | groups.get(remaining, np.False_)
    found = [NodeGroup(_spans(always, pre), "1", ())] if always.any() else []
    for remaining, mask in groups.items():
        condition, values = _sql(remaining)
        found.append(NodeGroup(_spans(np.asarray(mask), pre), condition, tuple(values)))
    return found


def _node_sets(rule: Rule) -> Iterator[Members]:
    """The sets of nodes in a rule, from left to right."""
    if isinstance(rule, Members):
        yield rule
    elif isinstance(rule, Negation):
        yield from _node_sets(rule.operand)
    elif isinstance(rule, Junction):
        for operand in rule.operands:
            yield from _node_sets(operand)


def _remaining(rule: Rule, is_member: Iterator[bool]) -> Rule | bool:
    """The condition that a rule is for one node; is_member: whether each of `_node_sets` contains the node."""
    if isinstance(rule, Members):
        return next(is_member)
    if isinstance(rule, Comparison):
        return rule
    if isinstance(rule, Negation):
        operand = _remaining(rule.operand, is_member)
        return not operand if isinstance(operand, bool) else Negation(operand)
    decisive = rule.sign == "|"  # the truth value of an operand that decides
    operands = [_remaining(operand, is_member) for operand in rule.operands]
    if any(operand is decisive for operand in operands):
        return decisive
    undecided = tuple(operand for operand in operands if not isinstance(operand, bool))
    if not undecided:
        return not decisive
    return undecided[0] if len(undecided) == 1 else Junction(rule.sign, undecided)


def _sql(rule: Rule) -> tuple[str, list[float]]:
    """A condition without sets of nodes in SQL, and the values of its parameters."""
    if isinstance(rule, Comparison):
        sign = {"==": "=", "!=": "<>"}.get(rule.sign, rule.sign)
        return f"d.{rule.field} {sign} ?", [rule.value]  # field and sign are from fixed lists
    if isinstance(rule, Negation):
        condition, values = _sql(rule.operand)
        return f"NOT ({condition})", values
    assert isinstance(rule, Junction)
    parts = [_sql(operand) for operand in rule.operands]
    word = " AND " if rule.sign == "&" else " OR "
    return _joined([part for part, _ in parts], word), [value for _, values in parts for value in values]


def _joined(parts: list[str], word: str) -> str:
    """The parts joined in pairs, because SQLite limits the depth of an expression to 1000."""
    if len(parts) <= 100:
        return f"({word.join(parts)})"
    middle = len(parts) // 2
    return f"({_joined(parts[:middle], word)}{word}{_joined(parts[middle:], word)})"


def _spans(mask: BoolArray, pre: Int64Array) -> str:
    """The maximal runs [first, last] of pre-order numbers whose nodes are in the mask, as JSON."""
    in_order = np.zeros(len(mask) + 2, np.int64)
    in_order[pre + 1] = mask
    change = np.diff(in_order)
    first, past = np.flatnonzero(change == 1), np.flatnonzero(change == -1)
    spans: list[list[Any]] = np.stack([first, past - 1], axis=1).tolist()
    return json.dumps(spans)
