"""Tree files: their content, and malformed files with the line that is reported."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wordtree.support.lines
from wordtree.errors import TreeError, TreeFileError
from wordtree.tree.tree import WordTree


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_saved_tree_file_has_darknets_format_and_its_names_beside_it(
    toy_tree: WordTree, tmp_path: Path
) -> None:
    assert toy_tree.save(tmp_path / "toy.tree") == [tmp_path / "toy.names", tmp_path / "toy.tree"]
    assert (tmp_path / "toy.tree").read_text() == "id0 -1\nid1 -1\nid2 0\nid3 0\nid4 1\nid5 1\nid6 2\n"
    assert (tmp_path / "toy.names").read_text().splitlines() == list(toy_tree.names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy.names", "toy.tree"]


def test_a_tree_file_without_names_is_named_by_its_ids(tmp_path: Path) -> None:
    assert WordTree.load(written(tmp_path, "x.tree", b"a -1\nb 0\n")).names == ("a", "b")


def test_json_has_one_node_on_each_line(toy_tree: WordTree) -> None:
    assert '{"id": "id2", "parent": 0, "name": "dog"},' in toy_tree.to_json().splitlines()


def test_wordnets_notice_goes_with_every_tree_made_from_it(tmp_path: Path) -> None:
    tree = WordTree(["n02084071"], [-1], ["dog"])
    assert "Princeton University" in json.loads(tree.to_json())["notice"]
    assert WordTree.from_json(tree.to_json()) == tree
    *_, notice = tree.save(tmp_path / "dog.tree")
    assert "Princeton University" in notice.read_text()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a -1\nb 0", id="no line end"),
        pytest.param(b"a -1\r\nb 0\r\n", id="carriage returns"),
        pytest.param(b"\xef\xbb\xbfa -1\nb 0\n", id="byte order mark"),
        pytest.param(b"a -1\nb 0\n\n\n", id="blank lines at the end"),
        pytest.param(b"a\t-1\n  b   0 \n", id="other blanks"),
    ],
)
def test_tree_files_of_other_editors_are_read(content: bytes, tmp_path: Path) -> None:
    assert WordTree.load(written(tmp_path, "x.tree", content)) == WordTree(["a", "b"], [-1, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "at least one node", id="empty file"),
        pytest.param(b"a -1\nb 0 3\n", "line 2: expected 'id parent', found 'b 0 3'", id="three fields"),
        pytest.param(b"a -1\nb\n", "line 2: expected 'id parent', found 'b'", id="one field"),
        pytest.param(b"a -1\n\nb 0\n", "line 2: empty", id="blank line inside"),
        pytest.param(b"a -1\nb x\n", "line 2: the parent 'x' is not a whole number", id="parent is a word"),
        pytest.param(b"a -1\nb 0.0\n", "line 2: the parent '0.0' is not", id="parent is a fraction"),
        pytest.param(b"a -1\nb " + b"9" * 4000, "line 2: the parent '9999", id="parent of 4000 digits"),
        pytest.param(b"a -1\nb 0\na 0\n", "line 3: The id 'a' occurs twice", id="duplicate id"),
        pytest.param(b"a -1\nb 2\nc 0\n", "line 2: Node 1", id="parent after child"),
        pytest.param(b"a 1\nb 0\n", "line 1: Node 0", id="loop"),
        pytest.param(b"a -1\nb 0\nc 0\nd 1\ne 0\n", "line 5: Node 4", id="split siblings"),
        pytest.param(b"a -1\nb\xff 0\n", "line 2: not UTF-8", id="not UTF-8"),
        pytest.param("a -1\n".encode("utf-16"), "line 1: not UTF-8", id="UTF-16"),
        pytest.param(b"a -1\n" + b"b" * 70_000, "line 2: longer than 65536 bytes", id="endless line"),
        pytest.param(b"a -1\nb\x00 0\n", "line 2: 'b\\x00' cannot be an id", id="zero byte"),
    ],
)
def test_malformed_tree_files_are_refused_with_file_and_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "x.tree", content)
    with pytest.raises(TreeFileError) as caught:
        WordTree.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(b"one\n", "x.names: There are 2 nodes but 1 names.", id="too few"),
        pytest.param(b"one\ntwo\nthree\n", "x.names: There are 2 nodes but 3 names.", id="too many"),
        pytest.param(b"one\n\xe9\n", "x.names: line 2: not UTF-8; save the file as UTF-8.", id="latin-1"),
        pytest.param(b"one\n\ntwo\n", "x.names: line 2: empty", id="blank line inside"),
        pytest.param(b"one\na\tb\n", "x.names: line 2: 'a\\tb' cannot name 'b'", id="control character"),
    ],
)
def test_malformed_names_are_refused_with_their_own_file_and_line(
    names: bytes, message: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "x.tree", b"a -1\nb 0\n")
    written(tmp_path, "x.names", names)
    with pytest.raises(TreeFileError) as caught:
        WordTree.load(path)
    assert str(caught.value).startswith(str(tmp_path / message.partition(":")[0]))
    assert message in str(caught.value)


def test_a_file_with_too_many_lines_is_refused_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wordtree.support.lines, "MAX_NODES", 100)
    lines = b"".join(b"a%d -1\n" % number for number in range(101))
    with pytest.raises(TreeFileError, match="line 101: a tree has at most 100 nodes"):
        WordTree.load(written(tmp_path, "x.tree", lines))
    assert len(WordTree.load(written(tmp_path, "y.tree", lines[: lines.rindex(b"a100")]))) == 100


def changed(edit: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(WordTree(["a", "b"], [-1, 0]).to_json())
    edit(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "line 1: not JSON", id="empty"),
        pytest.param('{\n"format": "wordtree",\n}', "line 3: not JSON", id="syntax, with its line"),
        pytest.param("[1]", "not a tree", id="other JSON"),
        pytest.param('{"images": []}', "not a tree", id="COCO's JSON"),
        pytest.param("[" * 100_000, "not the JSON of a tree", id="endless nesting"),
        pytest.param("9" * 10_000, "not the JSON of a tree", id="endless number"),
        pytest.param(
            changed(lambda c: c.update(version=2)), "version 2; this program reads", id="of the future"
        ),
        pytest.param(changed(lambda c: c.pop("nodes")), '"nodes" is absent', id="no nodes"),
        pytest.param(
            changed(lambda c: c.update(nodes=3)), '"nodes" is absent or not a list', id="nodes no list"
        ),
        pytest.param(changed(lambda c: c.update(colour=1)), 'unknown key "colour"', id="unknown key"),
        pytest.param(
            changed(lambda c: c["nodes"].append(3)), "node 2: expected an id", id="node is a number"
        ),
        pytest.param(
            changed(lambda c: c["nodes"][1].update(parent=True)), "node 1: expected", id="parent true"
        ),
        pytest.param(
            changed(lambda c: c["nodes"][1].update(parent=5)), "must be an earlier", id="parent after"
        ),
        pytest.param(
            changed(lambda c: c["nodes"][1].update(id="z")), "fingerprint is not", id="edited by hand"
        ),
        pytest.param(changed(lambda c: c.update(relations=[[0]])), "Relations must", id="bad relations"),
        pytest.param(
            changed(lambda c: c.update(relations=[[0], [1, 2]])), "Relations must", id="ragged relations"
        ),
    ],
)
def test_malformed_json_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TreeError, match=message):
        WordTree.from_json(text)
    path = written(tmp_path, "x.json", text.encode())
    with pytest.raises(TreeFileError, match=f"x.json: .*{message}"):
        WordTree.load(path)


def test_json_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(TreeFileError, match="line 2: not UTF-8"):
        WordTree.load(written(tmp_path, "x.json", b'{\n"\xff": 1}'))


@pytest.mark.parametrize("name", ["x.txt", "x"])
def test_other_suffixes_are_refused(toy_tree: WordTree, tmp_path: Path, name: str) -> None:
    with pytest.raises(TreeFileError, match=r"\.tree or"):
        toy_tree.save(tmp_path / name)
    with pytest.raises(TreeFileError, match=r"\.tree or"):
        WordTree.load(tmp_path / name)


NOT_AT_HAND = "DARKNET_GOLDEN is not set: Darknet's numbers are not at hand"


def golden_structures() -> dict[str, int]:
    """The trees of `DARKNET_GOLDEN` with arrays, each with the first line that is not next to its siblings, or 0."""
    folder = Path(os.environ.get("DARKNET_GOLDEN") or "absent", "trees")
    found = {}
    for path in sorted(folder.glob("*.tree")):
        if (folder / f"tree_{path.stem}.npz").exists():
            parents = [line.split()[1] for line in path.read_text().splitlines()]
            parted = (
                n
                for n in range(1, len(parents))
                if parents[n] in parents[: n - 1] and parents[n] != parents[n - 1]
            )
            found[path.stem] = next(parted, -1) + 1
    return found


@pytest.mark.skipif(not golden_structures(), reason=NOT_AT_HAND)
@pytest.mark.parametrize("case", [name for name, line in golden_structures().items() if not line])
def test_structure_agrees_with_darknet(case: str, golden_trees: Path) -> None:
    assert_structure(WordTree.load(golden_trees / f"{case}.tree"), golden_trees / f"tree_{case}.npz")


def test_the_published_tree_has_darknets_structure_and_survives_a_round_trip(
    published: Path, golden_trees: Path, tmp_path: Path
) -> None:
    tree = WordTree.load(published / "9k.tree")
    golden = golden_trees / "tree_9k.npz"
    if golden.exists():
        assert_structure(tree, golden)
    tree.save(tmp_path / "9k.tree")
    for name in ("9k.tree", "9k.names"):
        assert (tmp_path / name).read_bytes() == (published / name).read_bytes()


@pytest.mark.skipif(not golden_structures(), reason=NOT_AT_HAND)
@pytest.mark.parametrize(
    ("case", "line"), [(name, line) for name, line in golden_structures().items() if line]
)
def test_darknets_split_siblings_are_refused_with_their_line(
    case: str, line: int, golden_trees: Path
) -> None:
    with pytest.raises(TreeFileError, match=rf"{case}\.tree: line {line}: "):
        WordTree.load(golden_trees / f"{case}.tree")


def assert_structure(tree: WordTree, golden: Path) -> None:
    with np.load(golden) as expected:
        assert tree.parent.tolist() == expected["parent"].tolist()
        assert tree.child_group.tolist() == expected["child"].tolist()
        assert tree.group.tolist() == expected["group"].tolist()
        assert tree.is_leaf.tolist() == expected["leaf"].astype(bool).tolist()
        assert tree.group_size.tolist() == expected["group_size"].tolist()
        assert tree.group_start.tolist() == expected["group_offset"].tolist()
