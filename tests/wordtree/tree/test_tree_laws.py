"""Laws of every tree; fast code is compared with an obvious slow version."""

import tempfile
import time
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wordtree.errors import TreeError, TreeFileError
from wordtree.tree.tree import WordTree


@st.composite
def trees(draw: st.DrawFn) -> WordTree:
    """Trees of up to about forty nodes, in any valid order."""
    parents = [-1] * draw(st.integers(1, 5))
    while len(parents) < 40:
        childless = [node for node in range(len(parents)) if node not in parents]
        parent = draw(st.sampled_from([None, *childless]))
        if parent is None:
            break
        parents += [parent] * draw(st.integers(1, 5))
    names = draw(
        st.lists(st.sampled_from(["crane", "hot dog", "Löwe"]), min_size=len(parents), max_size=len(parents))
    )
    pairs = st.tuples(*[st.integers(0, len(parents) - 1)] * 2).filter(lambda pair: pair[0] != pair[1])
    relations = draw(st.lists(pairs, max_size=3)) if len(parents) > 1 else []
    return WordTree([f"own{node}" for node in range(len(parents))], parents, names, relations)


def climb(tree: WordTree, node: int) -> list[int]:
    """The node and its ancestors, from the parents alone."""
    return [] if node < 0 else [node, *climb(tree, int(tree.parent[node]))]


@given(trees())
def test_is_under_agrees_with_climbing_the_parents(tree: WordTree) -> None:
    for ancestor in range(len(tree)):
        expected = [ancestor in climb(tree, node) for node in range(len(tree))]
        assert tree.is_at_or_under(np.arange(len(tree)), ancestor).tolist() == expected
        below = [node for node in range(len(tree)) if expected[node] and node != ancestor]
        assert tree.descendants(ancestor).tolist() == below


@given(trees())
def test_paths_depths_and_common_ancestors_agree_with_climbing(tree: WordTree) -> None:
    for node in range(len(tree)):
        assert tree.path(node) == climb(tree, node)[::-1]
        assert tree.depth[node] == len(climb(tree, node)) - 1
        other = len(tree) - 1
        common = [above for above in climb(tree, node) if above in climb(tree, other)]
        assert tree.lowest_common_ancestor(node, other) == (common[0] if common else None)


@given(trees())
def test_groups_are_slices_that_tile_the_nodes(tree: WordTree) -> None:
    ends = tree.group_start + tree.group_size
    assert tree.group_start[0] == 0
    assert ends.tolist() == [*tree.group_start[1:].tolist(), len(tree)]
    for group, (start, end) in enumerate(zip(tree.group_start, ends, strict=True)):
        assert (tree.group[start:end] == group).all()
        assert len(set(tree.parent[start:end].tolist())) == 1
    for node in range(len(tree)):
        assert list(tree.children(node)) == np.flatnonzero(tree.parent == node).tolist()
        assert bool(tree.is_leaf[node]) == (len(tree.children(node)) == 0)


@given(trees())
def test_reading_what_was_written_returns_it(tree: WordTree) -> None:
    assert WordTree.from_json(tree.to_json()) == tree
    with tempfile.TemporaryDirectory() as folder:
        for name in ("own.json", "own.tree"):
            tree.save(Path(folder, name))
        assert WordTree.load(Path(folder, "own.json")) == tree
        darknet = WordTree.load(Path(folder, "own.tree"))
    assert darknet.fingerprint == tree.fingerprint
    assert darknet.names == tree.names


patterns = st.text(alphabet="ab*?.[\\", max_size=9)


@given(patterns, st.lists(st.text(alphabet="abA.[\\ ", min_size=1, max_size=9), min_size=1, max_size=9))
def test_patterns_match_as_fnmatch_does(pattern: str, names: list[str]) -> None:
    names = [name if name.strip() else "a" for name in names]
    tree = WordTree([f"id{node}" for node in range(len(names))], [-1] * len(names), names)
    plain = pattern.casefold().replace("[", "[[]")
    expected = [
        node
        for node, name in enumerate(names)
        if fnmatchcase(name.casefold(), plain) or fnmatchcase(f"id{node}", plain)
    ]
    assert tree.matching(pattern).tolist() == expected


def test_patterns_with_many_stars_take_linear_time() -> None:
    """A backtracking search needs years for the first."""
    tree = WordTree(["r", "a"], [-1, 0], ["root", "a" * 3900 + "b" + "a" * 90])
    started = time.process_time()
    for pattern in ("*a" * 900 + "*b", "*?" * 2000 + "b*c", "*a?" * 500 + "?*b?*b", "a*" * 3000 + "bb"):
        assert tree.matching(pattern).tolist() == []
    assert tree.matching("*a" * 900 + "*").tolist() == tree.matching("*b*" + "a*" * 90).tolist() == [1]
    assert time.process_time() - started < 5


@given(st.lists(st.integers(-2, 8), max_size=8))
def test_any_list_of_parents_is_a_tree_or_a_tree_error(parents: list[int]) -> None:
    runs = [
        parent for position, parent in enumerate(parents) if position == 0 or parent != parents[position - 1]
    ]
    earlier = all(-1 <= parent < node for node, parent in enumerate(parents))
    try:
        tree = WordTree([str(node) for node in range(len(parents))], parents)
    except TreeError:
        assert not (parents and earlier and len(set(runs)) == len(runs))
    else:
        assert earlier
        assert len(set(runs)) == len(runs) == len(tree.group_start)


FRAGMENTS = [b"a ", b"b ", b"-1", b"0", b"1", b"\n", b" ", b"\xff", b"\x00", b"{", b'"nodes"', b"[", b"1e999"]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.sampled_from(["x.tree", "x.json"]))
def test_any_bytes_are_a_tree_or_a_tree_file_error(fragments: list[bytes], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(b"".join(fragments))
        try:
            outcome = repr(WordTree.load(path))
        except TreeFileError as error:
            outcome = str(error)
        assert outcome.startswith(("<WordTree of", str(path)))
        assert "\n" not in outcome


@st.composite
def spoilt_tree_files(draw: st.DrawFn) -> bytes:
    """The file of a tree with up to three kinds of damage."""
    tree = draw(trees())
    rows = [
        b"%s %d" % (id_.encode(), parent) for id_, parent in zip(tree.ids, tree.parent.tolist(), strict=True)
    ]
    for _ in range(draw(st.integers(0, 3))):
        line = draw(st.integers(0, len(rows) - 1))
        other = draw(st.integers(0, len(rows) - 1))
        rows[line], rows[other] = draw(
            st.sampled_from(
                [
                    (rows[other], rows[line]),  # parent after child, split siblings
                    (rows[other], rows[other]),  # a duplicate
                    (rows[line] + b" 3", rows[other]),  # three fields
                    (b"own%d %d" % (line, line), rows[other]),  # its own parent
                    (b"own%d %d" % (line, other), rows[other]),  # a loop, another family
                    (b"\xe9 -1", rows[other]),  # Latin-1
                    (b"", rows[other]),
                    (rows[line][:2], rows[other]),
                ]
            )
        )
    return draw(st.sampled_from([b"\n", b"\r\n"])).join(rows)


@given(spoilt_tree_files())
def test_a_damaged_tree_file_is_read_correctly_or_refused_with_its_line(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.tree")
        path.write_bytes(content)
        lines = content.splitlines()
        try:
            tree = WordTree.load(path)
        except TreeFileError as error:
            outcome = str(error).removeprefix(f"{path}: ")
        else:
            outcome = ""
    if outcome:
        assert "\n" not in outcome
        assert outcome.startswith(("line ", "A tree needs at least one node"))
        return
    rows = [line for line in lines if line.strip()]
    assert [
        b"%s %d" % (id_.encode(), up) for id_, up in zip(tree.ids, tree.parent.tolist(), strict=True)
    ] == rows
