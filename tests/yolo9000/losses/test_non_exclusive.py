"""Siblings that are not exclusive: how they are specified, and which gradients disappear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import ShardReader
from tests.yolo9000.made import made_config, random_tree
from wordtree import WordTree
from wordtree.errors import ConfigError
from wordtree.support.config_files import with_paths
from yolo9000.config import read_config
from yolo9000.losses.non_exclusive import non_exclusive_pairs
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.train import build_criterion

DOG, CAT, TERRIER = 2, 3, 6
GRAPE, MUSCAT = "n07758680", "n07759816"  # WordNet: muscat is a hyponym of grape


def sibling_pairs(tree: WordTree, seed: int) -> np.ndarray:
    """A third of all pairs of siblings."""
    pairs = [(a, b) for a in range(len(tree)) for b in range(a) if tree.group[a] == tree.group[b]]
    chosen = np.random.default_rng(seed).random(len(pairs)) < 1 / 3
    return np.array(pairs, np.int64).reshape(-1, 2)[chosen]


@given(nodes=st.integers(1, 40), seed=st.integers(0, 10_000))
@settings(max_examples=40)
def test_values_and_gradients_agree_with_a_dense_masked_twin(nodes: int, seed: int) -> None:
    tree = random_tree(nodes, roots=min(3, nodes), seed=seed)
    pairs = sibling_pairs(tree, seed)
    asked = torch.from_numpy(np.random.default_rng(seed).integers(0, nodes, 5))
    table = torch.randn(5, nodes, dtype=torch.float64, requires_grad=True)

    tree_tensors = TreeTensors(tree, non_exclusive=pairs)
    members = tree_tensors.path_members(asked)
    found = tree_tensors.log_absolute(members, table[members.path, members.node], 5)
    expected = torch.stack(
        [twin(tree, row, int(node), pairs) for row, node in zip(table, asked, strict=True)]
    )

    torch.testing.assert_close(found, expected)
    weight = torch.arange(1.0, 6, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found * weight).sum(), table)
    (twins,) = torch.autograd.grad((expected * weight).sum(), table)
    torch.testing.assert_close(gradient, twins)


def twin(tree: WordTree, logits: torch.Tensor, node: int, pairs: np.ndarray) -> torch.Tensor:
    """log P(node), with a softmax on each level over the siblings that do not pair with the node on the path."""
    total = logits.new_zeros(())
    paired = {frozenset(pair) for pair in pairs.tolist()}
    while node >= 0:
        group = [
            other
            for other in range(len(tree))
            if tree.group[other] == tree.group[node] and frozenset((node, other)) not in paired
        ]
        total = total + logits[node] - logits[group].exp().sum().log()
        node = int(tree.parent[node])
    return total


def test_the_path_of_a_terrier_leaves_out_cats_which_may_be_dogs_too(toy_tree: WordTree) -> None:
    tree_tensors = TreeTensors(toy_tree, non_exclusive=np.array([[CAT, DOG]]))
    members = tree_tensors.path_members(torch.tensor([TERRIER, CAT]))
    assert members.node.tolist() == [0, 1, DOG, TERRIER, 0, 1, CAT]
    assert members.segment.tolist() == [0, 0, 1, 2, 3, 3, 4]
    assert members.node[members.on_path].tolist() == [0, DOG, TERRIER, 0, CAT]


def test_a_descent_still_compares_all_siblings(toy_tree: WordTree) -> None:
    logits = torch.zeros(1, 7)
    logits[0, [0, DOG, CAT]] = torch.tensor([9.0, 1.0, 2.0])
    plain, with_pair = TreeTensors(toy_tree), TreeTensors(toy_tree, non_exclusive=np.array([[CAT, DOG]]))
    for tree_tensors in (plain, with_pair):
        descent = tree_tensors.descend(
            lambda _, members: logits[members.path, members.node], 1, threshold=0.5
        )
        assert descent.node.tolist() == [CAT]
        assert descent.absolute.item() == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-3)


def test_lint_reports_the_siblings_grape_and_muscat() -> None:
    tree = WordTree(ids=["n00021265", GRAPE, MUSCAT], parents=[-1, 0, 0], names=["food", "grape", "muscat"])
    assert non_exclusive_pairs("lint", tree).tolist() == [[2, 1]]


def test_a_file_has_two_ids_per_line(toy_tree: WordTree, tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("# by hand\n\nn00000002 n00000003  # a wolpertinger\nn00000005\tn00000004\n")
    assert non_exclusive_pairs(path, toy_tree).tolist() == [[2, 3], [5, 4]]
    path.write_text("")
    assert non_exclusive_pairs(path, toy_tree).shape == (0, 2)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("n00000002 n00000004", "n00000002 and n00000004 are not siblings in this tree"),
        ("n00000002 n00000002", "are not siblings"),
        ("n00000002 n99999999", "expected the ids of two siblings, the tree has no n99999999"),
        ("n00000002", "expected the ids of two siblings, found 1 ids"),
    ],
)
def test_a_bad_line_is_reported_with_its_number(
    toy_tree: WordTree, tmp_path: Path, line: str, problem: str
) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(f"n00000002 n00000003\n{line}\n")
    with pytest.raises(ConfigError, match=rf"pairs.txt: line 2: .*{problem}"):
        non_exclusive_pairs(path, toy_tree)


def test_a_missing_file_is_reported(toy_tree: WordTree, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"none.txt: no such file; loss.non_exclusive is lint or a file with two ids"
    ):
        non_exclusive_pairs(tmp_path / "none.txt", toy_tree)


def test_the_setting_is_lint_or_a_file_beside_the_configuration(shards: Path) -> None:
    assert made_config(shards).loss.non_exclusive is None
    assert (
        with_paths(made_config(shards, loss__non_exclusive="lint"), Path.absolute).loss.non_exclusive
        == "lint"
    )
    path = shards.parent / "beside.yaml"
    path.write_text("data: {shards: shards}\nschedule: {max_steps: 1}\nloss: {non_exclusive: pairs.txt}\n")
    assert read_config(path).loss.non_exclusive == shards.parent / "pairs.txt"
    assert (
        with_paths(read_config(path), Path.absolute).loss.non_exclusive
        == (shards.parent / "pairs.txt").absolute()
    )


def test_the_loss_of_a_run_leaves_out_the_pairs(shards: Path, tmp_path: Path) -> None:
    reader = ShardReader(shards)
    tree = reader.tree
    a, b = (int(tree.group_start[tree.group_size.argmax()]) + k for k in range(2))
    (tmp_path / "pairs.txt").write_text(f"{tree.ids[a]} {tree.ids[b]}\n")
    cfg = made_config(shards, loss__non_exclusive=str(tmp_path / "pairs.txt"))
    members = build_criterion(cfg, reader).tree_tensors.path_members(torch.tensor([a]))
    assert b not in members.node
    plain = build_criterion(made_config(shards), reader).tree_tensors.path_members(torch.tensor([a]))
    assert b in plain.node
