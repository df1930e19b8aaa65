"""The expression language: sets of nodes and comparisons of fields; docs/queries.md has the grammar.

    vehicle & !car        (fruit | vegetable) & depth <= 8        leaf & *terrier & score >= 0.3

A name stands for every node with that name, and all their descendants. The tree has the fields `depth` and `below`.
Callers may add fields such as scores and areas: they pass their names to `parse` and their values to `Query.rows`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from wordtree.errors import UnknownNode, WordTreeError
from wordtree.support.arrays import BoolArray, Int64Array, IntegerArray
from wordtree.support.lines import quoted, shortened
from wordtree.support.suggest import did_you_mean, near
from wordtree.tree.lookup import ambiguity_message, nodes_of
from wordtree.tree.names import WILDCARDS
from wordtree.tree.node_sets import (
    above,
    above_in_graph,
    at_or_under,
    at_or_under_in_graph,
    below,
    children,
    only,
    siblings,
)

if TYPE_CHECKING:
    from wordtree.tree.tree import WordTree

Columns = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Members:
    """A row matches if its node is in a set, as a mask (N,)."""

    mask: BoolArray

    def rows(self, node: Int64Array, columns: Columns) -> BoolArray:
        return self.mask[node]


@dataclass(frozen=True)
class Comparison:
    """A row matches if its field compares with a number; `sign` is a key of COMPARISONS."""

    field: str
    sign: str
    value: float

    def rows(self, node: Int64Array, columns: Columns) -> BoolArray:
        matches: BoolArray = COMPARISONS[self.sign](columns[self.field], self.value)
        return matches


@dataclass(frozen=True)
class Negation:
    """A row matches if it does not match the operand."""

    operand: Rule

    def rows(self, node: Int64Array, columns: Columns) -> BoolArray:
        return ~self.operand.rows(node, columns)


@dataclass(frozen=True)
class Junction:
    """A row matches if it matches all operands (`sign` is &) or any of them (|). At most one operand is `Members`."""

    sign: Literal["&", "|"]
    operands: tuple[Rule, ...]

    def rows(self, node: Int64Array, columns: Columns) -> BoolArray:
        matches: BoolArray = reduce(_JOINED[self.sign], (rule.rows(node, columns) for rule in self.operands))
        return matches


Rule: TypeAlias = Members | Comparison | Negation | Junction  # a parsed expression

MAX_NESTING = 100
NODE_FIELDS: dict[str, Callable[[WordTree], IntegerArray]] = {
    "depth": lambda tree: tree.depth,
    "below": lambda tree: tree.leave - tree.enter - 1,
}
FUNCTIONS: dict[str, Callable[[WordTree, npt.ArrayLike], BoolArray]] = {
    "only": only,
    "below": below,
    "children": children,
    "siblings": siblings,
    "above": above,
    "graph": at_or_under_in_graph,
    "graph_above": above_in_graph,
}
COMPARISONS: dict[str, Callable[[Any, float], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
}

_TOKEN = re.compile(
    r"""(?P<quoted> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'(?=[\s&|!()<>=]|$) )
      | (?P<sign> <= | >= | == | != | [&|!()<>=] )
      | (?P<name> [^\s&|!()<>="]+ (?:\s+[^\s&|!()<>="'][^\s&|!()<>="]*)* )""",
    re.VERBOSE,
)
_VISIBLE = re.compile(r"\S")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class QueryError(WordTreeError):
    """An expression cannot be parsed; `column` (from 1) is the position, and a caret in the message shows it."""

    def __init__(self, message: str, text: str, start: int) -> None:
        line = re.sub(r"\s", " ", text)
        before, after = line[:start], line[start:]
        shown = f"{before if len(before) < 50 else f'…{before[-40:]}'}^{after[:40]}"
        super().__init__(
            f"{' '.join(message.split())} (column {start + 1}: {shown}{'…' if len(after) > 40 else ''})"
        )
        self.column = start + 1


@dataclass(frozen=True)
class Query:
    """An expression parsed for one tree.

    fields: the caller's fields that the expression compares. notes: a sentence for each name that means several nodes.
    rule: the expression, for programs that translate it (predictions/store.py in yolo9000).
    """

    text: str
    tree: WordTree
    fields: frozenset[str]
    notes: tuple[str, ...]
    rule: Rule

    def nodes(self) -> Int64Array:
        """The selected nodes, ascending; QueryError if the expression compares fields of the caller."""
        if self.fields:
            fields = ", ".join(sorted(self.fields))
            raise QueryError(f"Nodes have no {fields}; select rows instead.", self.text, 0)
        return np.flatnonzero(self.rule.rows(np.arange(len(self.tree)), {}))

    def rows(self, node: npt.ArrayLike, columns: Columns) -> BoolArray:
        """True for each selected row, shape (K,); `node` and every column have shape (K,)."""
        return self.rule.rows(np.asarray(node, np.int64), columns)


def parse(text: str, tree: WordTree, *, fields: Collection[str] = ()) -> Query:
    """The expression with its names looked up in the tree; QueryError, which points at the column, if it is malformed.

    fields: the fields that the caller's rows have beside their node, such as "score".
    """
    if not isinstance(text, str):
        raise TypeError(
            f"expected an expression, a text, found the {type(text).__name__} {quoted(str(text))}"
        )
    return _Parser(text, tree, fields).query()


@dataclass(frozen=True)
class _Token:
    kind: Literal["quoted", "sign", "name", "end"]
    text: str
    start: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else f"'{shortened(self.text)}'"


class _Parser:
    """Recursive descent: `|` binds less tightly than `&`, and `&` less tightly than `!`."""

    def __init__(self, text: str, tree: WordTree, fields: Collection[str]) -> None:
        self._text = text
        self._tree = tree
        self._fields = fields
        self._compared: set[str] = set()
        self._notes: dict[str, None] = {}  # an ordered set
        self._tokens = self._split(text)
        self._position = 0
        self._nesting = 0

    def query(self) -> Query:
        rule = self._disjunction()
        if self._next.kind != "end":
            self._refuse(self._next, f"Expected '&', '|' or the end, found {self._next}.")
        return Query(self._text, self._tree, frozenset(self._compared), tuple(self._notes), rule)

    def _disjunction(self) -> Rule:
        return self._junction("|", self._conjunction)

    def _conjunction(self) -> Rule:
        return self._junction("&", self._negation)

    def _junction(self, sign: Literal["&", "|"], operand: Callable[[], Rule]) -> Rule:
        """The junction of operands, in which all sets of nodes are one set, joined at once to save memory."""
        joined, others = None, []
        while True:
            rule = operand()
            if not isinstance(rule, Members):
                others.append(rule)
            elif joined is None:
                joined = rule
            else:
                joined = Members(_JOINED[sign](joined.mask, rule.mask))
            if not self._take(sign):
                break
        operands = (*([] if joined is None else [joined]), *others)
        return operands[0] if len(operands) == 1 else Junction(sign, operands)

    def _negation(self) -> Rule:
        negated = False
        while self._take("!"):
            negated = not negated
        rule = self._group() if self._next.text == "(" and self._next.kind == "sign" else self._operand()
        return _negated(rule) if negated else rule

    def _group(self) -> Rule:
        opening = self._advance()
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            self._refuse(opening, f"More than {MAX_NESTING} parentheses within each other.")
        rule = self._disjunction()
        self._nesting -= 1
        if not self._take(")"):
            self._refuse(
                self._next, f"Expected ')' for the '(' in column {opening.start + 1}, found {self._next}."
            )
        return rule

    def _operand(self) -> Rule:
        token = self._advance()
        if token.kind not in ("name", "quoted"):
            self._refuse(token, f"Expected a name, leaf or a comparison, found {token}.")
        if token.kind == "name" and self._next.text in COMPARISONS:
            return self._comparison(token)
        if token.kind == "name" and self._next.text == "(":
            return self._function(token)
        if token.kind == "name" and token.text == "leaf":
            return Members(self._tree.is_leaf)
        return Members(at_or_under(self._tree, self._named(token)))

    def _comparison(self, field: _Token) -> Rule:
        sign, number = self._advance().text, self._advance()
        if field.text not in NODE_FIELDS and field.text not in self._fields:
            known = [*NODE_FIELDS, *self._fields]
            suggestion = did_you_mean(near(field.text, known)) or f" Known here: {', '.join(known)}."
            self._refuse(field, f"There is no field {quoted(field.text)} to compare.{suggestion}")
        if not _NUMBER.fullmatch(number.text) or number.kind != "name":
            self._refuse(number, f"Expected a number to compare {quoted(field.text)} with, found {number}.")
        value, name = float(number.text), field.text
        if name in self._fields:
            self._compared.add(name)
            return Comparison(name, sign, value)
        return Members(COMPARISONS[sign](NODE_FIELDS[name](self._tree), value))

    def _function(self, name: _Token) -> Rule:
        if name.text not in FUNCTIONS:
            suggestion = did_you_mean(near(name.text, FUNCTIONS)) or f" Known: {', '.join(FUNCTIONS)}."
            self._refuse(
                name,
                f"There is no function {quoted(name.text)}; quote a name that has parentheses.{suggestion}",
            )
        opening, argument = self._advance(), self._advance()
        if argument.kind not in ("name", "quoted"):
            self._refuse(argument, f"Expected a name within {name.text}( ), found {argument}.")
        if not self._take(")"):
            found = f"found {self._next}; it takes one name"
            self._refuse(self._next, f"Expected ')' for the '(' in column {opening.start + 1}, {found}.")
        return Members(FUNCTIONS[name.text](self._tree, self._named(argument)))

    def _named(self, token: _Token) -> Int64Array:
        """The nodes that a name means or a pattern matches, shape (nodes,)."""
        if token.kind == "quoted":
            name = re.sub(r"\\(.)", r"\1", token.text[1:-1])
        else:
            name = " ".join(token.text.split())
            if any(wildcard in name for wildcard in WILDCARDS):
                return self._matching(token, name)
        if name in self._fields and not self._tree.named(name):
            self._refuse(token, f"'{name}' is a field: compare it, as in {name} >= 0.5.")
        try:
            nodes = nodes_of(name, self._tree)
        except UnknownNode as error:
            self._refuse(token, str(error))
        if len(nodes) > 1:
            message = ambiguity_message(name, nodes, self._tree)
            self._notes[f"{message}; all of them are selected. Give an id to select one."] = None
        return np.array(nodes)

    def _matching(self, token: _Token, pattern: str) -> Int64Array:
        nodes = self._tree.matching(pattern)
        if not nodes.size:
            self._refuse(token, f"The tree has no name or id that matches {quoted(pattern)}.")
        return nodes

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    def _advance(self) -> _Token:
        token = self._tokens[self._position]
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def _take(self, sign: str) -> bool:
        found = self._next.kind == "sign" and self._next.text == sign
        if found:
            self._advance()
        return found

    def _split(self, text: str) -> list[_Token]:
        tokens, start = [], 0
        while visible := _VISIBLE.search(text, start):
            start = visible.start()
            found = _TOKEN.match(text, start)
            if found is None:
                self._refuse(_Token("end", "", start), "This quote is never closed.")
            kind: Any = found.lastgroup
            tokens.append(_Token(kind, found.group(), start))
            start = found.end()
        return [*tokens, _Token("end", "", len(text))]

    def _refuse(self, token: _Token, message: str) -> NoReturn:
        raise QueryError(message, self._text, token.start)


_JOINED: dict[str, Callable[[Any, Any], Any]] = {"&": operator.and_, "|": operator.or_}


def _negated(rule: Rule) -> Rule:
    return Members(~rule.mask) if isinstance(rule, Members) else Negation(rule)
