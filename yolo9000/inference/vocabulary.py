"""Vocabularies: the chosen classes that a detector may predict.

A class that is not chosen is never predicted: its probability stays with its nearest chosen ancestor, whose absolute
probability includes it. Nothing is renormalised.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wordtree import WordTree
from wordtree.errors import ConfigError, TreeFileError, UnknownNode
from wordtree.hierarchies.labels import read_labels
from wordtree.support.arrays import BoolArray, Int64Array
from wordtree.support.config_files import StrictModel, load_config
from wordtree.support.lines import one_line
from wordtree.tree.lookup import node_of
from wordtree.tree.node_sets import above, at_or_under
from wordtree.tree.query import QueryError, parse
from wordtree.wordnet.class_lists import coco_classes, voc_classes
from wordtree.wordnet.resolve import LabelError

if TYPE_CHECKING:
    from torch import Tensor

MAX_UNKNOWN = 100  # classes of a list; it is then of another tree
_DEPTH = re.compile(r"depth:(\d{1,4})")
_KNOWN_SETS = {"coco": coco_classes, "voc": voc_classes}


class RegionRule(StrictModel):
    """The classes that occur in a region, as expressions of the query language.

    allow: only these and the classes above them; None: all. block: not these, even if they are allowed.
    """

    allow: tuple[str, ...] | None = None
    block: tuple[str, ...] = ()


class RegionRules(StrictModel):
    """The rules of each region code. `USA-CA` is part of `USA`: the rules of both apply."""

    regions: dict[str, RegionRule]


@dataclass(frozen=True)
class VocabularyChoice:
    """The choice of a vocabulary on the command line, before the tree is known.

    classes     an expression, `depth:N`, `coco`, `voc`, or a file with a class on each line; None: all classes
    regions     YAML file of `RegionRules`, with `region`, the code in it; both or none
    """

    classes: str | None = None
    regions: Path | None = None
    region: str | None = None

    def of(self, tree: WordTree) -> Vocabulary:
        """The chosen nodes. Raises ConfigError, QueryError."""
        allowed = np.ones(len(tree), np.bool_)
        if self.classes is not None:
            allowed &= chosen_classes(self.classes, tree)
        if (self.regions is None) != (self.region is None):
            raise ConfigError("A region needs both: a file of rules, and the code of the region in it.")
        if self.regions is not None and self.region is not None:
            allowed &= classes_of_region(load_config(self.regions, RegionRules).regions, self.region, tree)
        if not allowed.any():
            raise ConfigError("The chosen classes and the region have no class in common.")
        return Vocabulary(tree, allowed)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The nodes of a tree that may be predicted, as a mask `allowed` (N,) with at least one True.

    The descent runs in the tree of the allowed nodes, in which the parent of a node is its nearest allowed ancestor.
    """

    tree: WordTree
    allowed: BoolArray

    @cached_property
    def nodes(self) -> Int64Array:
        """The E allowed nodes, ascending."""
        return np.flatnonzero(self.allowed)

    @cached_property
    def _parent(self) -> Int64Array:
        """The row in `nodes` of the parent of each allowed node, -1 for the topmost, shape (E,)."""
        nearest = np.full(len(self.tree) + 1, -1, np.int64)  # the last entry stands for the parent -1
        for node in range(len(self.tree)):  # parents precede children
            nearest[node] = node if self.allowed[node] else nearest[self.tree.parent[node]]
        row = np.full(len(self.tree) + 1, -1, np.int64)
        row[self.nodes] = np.arange(len(self.nodes))
        return row[nearest[self.tree.parent[self.nodes]]]

    def descend(self, absolute: Tensor, *, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
        """The predicted node at P locations, its probability, and that of the topmost node above it, each (P,).

        absolute: (P, E) P(node | object) of `nodes`. From the most probable of the topmost nodes downwards, always to
        the most probable child, while its probability exceeds the threshold.
        """
        import torch

        device = absolute.device
        parent = torch.from_numpy(self._parent).to(device)
        group = parent + 1  # (E,) the topmost nodes are group 0, the children of row e are group e + 1
        highest = absolute.new_full((len(absolute), len(parent) + 1), -torch.inf)
        highest = highest.scatter_reduce(1, group.expand_as(absolute), absolute, "amax")  # (P, E + 1)
        is_best = absolute == highest[:, group]
        rows = torch.arange(len(parent), device=device)
        best = torch.full_like(highest, len(parent), dtype=torch.int64)
        best = best.scatter_reduce(
            1, group.expand_as(absolute), torch.where(is_best, rows, len(parent)), "amin"
        )
        location = torch.arange(len(absolute), device=device)
        top = row = best[:, 0]
        while True:
            goes_on = highest[location, row + 1] > threshold
            if not goes_on.any():
                break
            row = torch.where(goes_on, best[location, row + 1], row)
        nodes = torch.from_numpy(self.nodes).to(device)
        return nodes[row], absolute[location, row], absolute[location, top]


def chosen_classes(text: str, tree: WordTree) -> BoolArray:
    """The mask (N,) of the nodes that a choice of classes means; ConfigError or QueryError if it means none."""
    if depth := _DEPTH.fullmatch(text.strip()):
        return tree.depth <= int(depth[1])
    if text in _KNOWN_SETS:
        return _mask(tree, _KNOWN_SETS[text]().values(), of=text)
    if Path(text).is_file():
        return _of_file(Path(text), tree)
    try:
        nodes = parse(text, tree).nodes()
    except QueryError as error:
        looks_like_a_file = Path(text).suffix.lower() in (".txt", ".names", ".list", ".csv") or "/" in text
        if looks_like_a_file:
            raise ConfigError(f"{text}: there is no such file of classes.") from None
        raise error
    if not len(nodes):
        raise ConfigError(f"classes: the expression '{text}' selects no node of the tree.")
    return _as_mask(tree, nodes)


def classes_of_region(rules: dict[str, RegionRule], code: str, tree: WordTree) -> BoolArray:
    """The mask (N,) of the classes that occur in a region, by the rules of its code and of the codes it begins with."""
    parts = code.split("-")
    codes = ["-".join(parts[:end]) for end in range(1, len(parts) + 1)]
    if not any(one in rules for one in codes):
        known = ", ".join(sorted(rules)[:10])
        raise ConfigError(f"region: there are no rules for '{code}'; the file has: {known}.")
    allowed = np.ones(len(tree), np.bool_)
    for rule in (rules[one] for one in codes if one in rules):
        if rule.allow is not None:
            nodes = _union(rule.allow, tree)
            allowed &= at_or_under(tree, nodes) | above(tree, nodes)
        allowed[_union(rule.block, tree)] = False
    return allowed


def _union(expressions: Iterable[str], tree: WordTree) -> Int64Array:
    selected = [parse(expression, tree).nodes() for expression in expressions]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *selected]))


def _of_file(path: Path, tree: WordTree) -> BoolArray:
    try:
        return _mask(tree, read_labels(path), of=str(path))
    except (TreeFileError, LabelError) as error:
        raise ConfigError(one_line(error)) from None


def _mask(tree: WordTree, labels: Iterable[str], *, of: str) -> BoolArray:
    """The mask of the nodes with these labels. ConfigError, with three examples, if the tree lacks some."""
    nodes, unknown = [], []
    for label in labels:
        try:
            nodes.append(node_of(label, tree))
        except UnknownNode as error:
            unknown.append(str(error))
            if len(unknown) == MAX_UNKNOWN:  # the search for similar names takes time
                raise ConfigError(
                    f"{of}: at least {MAX_UNKNOWN} classes do not name exactly one node of the tree: "
                    f"{' '.join(unknown[:3])}"
                ) from None
    if unknown:
        raise ConfigError(
            f"{of}: {len(unknown)} of {len(nodes) + len(unknown)} classes do not name exactly one node of the tree: "
            f"{' '.join(unknown[:3])}"
        )
    return _as_mask(tree, np.array(nodes, np.int64))


def _as_mask(tree: WordTree, nodes: Int64Array) -> BoolArray:
    mask = np.zeros(len(tree), np.bool_)
    mask[nodes] = True
    return mask
