"""Siblings that are not exclusive: one is a hyponym of the other, or an object may be both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from wordtree import WordTree
from wordtree.errors import ConfigError
from wordtree.support.arrays import Int64Array
from wordtree.support.lines import numbered_lines


def non_exclusive_pairs(setting: Literal["lint"] | Path, tree: WordTree) -> Int64Array:
    """The pairs of siblings of the setting `loss.non_exclusive`, (pairs, 2) nodes.

    setting: `lint` for the pairs that `wordtree lint` reports, where one sibling is a hyponym of the other in WordNet
    or by an additional relation of the tree; or a file with two ids per line, in which # begins a comment.
    Raises ConfigError; TreeFileError for lines that are not text.
    """
    pairs = list(_pairs_of_lint(tree) if setting == "lint" else _pairs_of_file(Path(setting), tree))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _pairs_of_lint(tree: WordTree) -> Iterator[tuple[int, ...]]:
    from wordtree.tree.lint import lint

    return (finding.nodes for finding in lint(tree) if finding.kind == "not exclusive")


def _pairs_of_file(path: Path, tree: WordTree) -> Iterator[tuple[int, ...]]:
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file; loss.non_exclusive is lint or a file with two ids per line."
        )
    for number, line in numbered_lines(path):
        ids = line.partition("#")[0].split()
        if not ids:
            continue
        unknown = [id_ for id_ in ids if id_ not in tree]
        if unknown or len(ids) != 2:
            problem = f"the tree has no {unknown[0]}" if unknown else f"found {len(ids)} ids"
            raise ConfigError(f"{path}: line {number}: expected the ids of two siblings, {problem}.")
        a, b = (tree.node(id_) for id_ in ids)
        if a == b or tree.group[a] != tree.group[b]:
            raise ConfigError(f"{path}: line {number}: {ids[0]} and {ids[1]} are not siblings in this tree.")
        yield a, b
