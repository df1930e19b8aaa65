"""Restricted classes: which are chosen, where the descent ends, and that nothing is renormalised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.yolo9000.made import grid_output, random_tree
from wordtree.errors import ConfigError
from wordtree.tree.query import QueryError
from wordtree.tree.tree import WordTree
from yolo9000.config import PredictConfig
from yolo9000.data.letterbox import Letterbox
from yolo9000.inference.detections import Detections
from yolo9000.inference.postprocess import detect
from yolo9000.inference.top_locations import BatchOutput
from yolo9000.inference.vocabulary import Vocabulary, VocabularyChoice
from yolo9000.models.tree_tensors import TreeTensors

# toy_tree: 0 animal ── 2 dog ── 6 terrier, 3 cat; 1 vehicle ── 4 car, 5 boat


def chosen(tree: WordTree, classes: str) -> list[str]:
    allowed = VocabularyChoice(classes).of(tree).allowed
    return [tree.names[node] for node in np.flatnonzero(allowed)]


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        ("depth:0", ["animal", "vehicle"]),
        ("depth:1", ["animal", "vehicle", "dog", "cat", "car", "boat"]),
        ("vehicle & !car", ["vehicle", "boat"]),
        ("only(dog) | cat", ["dog", "cat"]),
    ],
)
def test_a_depth_or_an_expression_chooses_classes(toy_tree: WordTree, classes: str, names: list[str]) -> None:
    assert chosen(toy_tree, classes) == names


def test_a_file_chooses_exactly_its_classes(toy_tree: WordTree, tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("# mine\nDog\nn00000004\n")
    assert chosen(toy_tree, str(path)) == ["dog", "car"]
    path.write_text("dog\nunicorn\ncta\n")
    with pytest.raises(
        ConfigError, match=r"2 of 3 classes do not name exactly one node of the tree: .*unicorn.* 'cat'"
    ):
        chosen(toy_tree, str(path))
    with pytest.raises(ConfigError, match=r"none\.txt: there is no such file of classes"):
        chosen(toy_tree, "none.txt")


def test_cocos_classes_are_known_by_name() -> None:
    from wordtree.wordnet.class_lists import coco_classes

    wnids = list(dict.fromkeys(coco_classes().values()))
    tree = WordTree([*wnids, "n00000001"], [-1] * (len(wnids) + 1))
    assert VocabularyChoice("coco").of(tree).nodes.tolist() == list(range(len(wnids)))


def test_mistakes_are_reported(toy_tree: WordTree) -> None:
    with pytest.raises(QueryError, match="no node 'dgo'"):
        chosen(toy_tree, "dgo")
    with pytest.raises(ConfigError, match="selects no node"):
        chosen(toy_tree, "dog & !dog")
    with pytest.raises(ConfigError, match="needs both"):
        VocabularyChoice(region="USA").of(toy_tree)


def test_the_rules_of_a_region_and_of_the_regions_around_it_apply(toy_tree: WordTree, tmp_path: Path) -> None:
    path = tmp_path / "regions.yaml"
    path.write_text(
        "regions:\n"
        "  NOR: {allow: [dog, vehicle], block: [only(terrier)]}\n"
        "  NOR-03: {block: [boat]}\n"
        "  SWE: {allow: [cat]}\n"
    )

    def names(code: str, classes: str | None = None) -> list[str]:
        return [toy_tree.names[node] for node in VocabularyChoice(classes, path, code).of(toy_tree).nodes]

    assert names("NOR") == ["animal", "vehicle", "dog", "car", "boat"]
    assert names("NOR-03") == ["animal", "vehicle", "dog", "car"]
    assert names("NOR-50") == names("NOR")
    assert names("SWE") == ["animal", "cat"]
    assert names("NOR", "vehicle") == ["vehicle", "car", "boat"]
    with pytest.raises(ConfigError, match=r"no rules for 'FIN'; the file has: NOR, NOR-03, SWE"):
        names("FIN")
    with pytest.raises(ConfigError, match="no class in common"):
        names("SWE", "vehicle")


# --- the descent


def detected(
    tree: WordTree, conditional: dict[int, float], vocabulary: Vocabulary | None, *, min_absolute: float = 0.5
) -> Detections:
    """The detection at one location with P(node | parent) as given; other siblings share the rest."""
    logits = torch.full((len(tree),), 0.0, dtype=torch.float64)
    for node, value in conditional.items():
        siblings = len(tree.siblings(node))
        logits[node] = np.log(value) - (np.log((1 - value) / siblings) if siblings else 0)
    output = grid_output(
        anchors=[[1, 1]],
        box_logits=torch.tensor([0, 0, 0, 0, 3.0]).double().reshape(1, 1, 1, 1, 5),
        class_logits=logits.reshape(1, 1, 1, 1, -1),
    )
    square = Letterbox.fit(image_size_px=(32, 32), network_size_px=(32, 32))
    batch = BatchOutput(output, TreeTensors(tree), [square])
    cfg = PredictConfig(min_score=0.01, min_absolute=min_absolute)
    (found,) = detect(batch, ["one"], cfg, vocabulary=vocabulary)
    return found


TERRIER = {0: 0.9, 2: 0.9, 6: 1.0}  # P(animal) = .9, P(dog) = P(terrier) = .81


@pytest.mark.parametrize(
    ("allowed", "name", "absolute", "reason"),
    [
        pytest.param([0, 1, 2, 3, 4, 5, 6], "terrier", 0.81, "leaf", id="all classes"),
        pytest.param([0, 1, 2, 3], "dog", 0.81, "class list", id="the leaf is not allowed"),
        pytest.param([0, 1, 6], "terrier", 0.81, "leaf", id="a class between is not allowed"),
        pytest.param([0, 1], "animal", 0.9, "class list", id="only the roots"),
        pytest.param([0, 3, 4, 5], "animal", 0.9, "class list", id="only other classes below"),
        pytest.param([4, 5], "car", 0.05, "leaf", id="no ancestor is allowed"),
        pytest.param([1], "vehicle", 0.1, "root", id="nothing is probable enough"),
    ],
)
def test_the_probability_of_other_classes_stays_with_the_nearest_allowed_ancestor(
    toy_tree: WordTree, allowed: list[int], name: str, absolute: float, reason: str
) -> None:
    mask = np.isin(np.arange(7), allowed)
    found = detected(toy_tree, TERRIER, Vocabulary(toy_tree, mask))
    assert found.names == [name]
    assert found.absolute[0] == pytest.approx(absolute, abs=1e-5)
    assert found.score[0] == pytest.approx(absolute * found.objectness[0], rel=1e-5)
    assert np.prod(found.conditional[0]) == pytest.approx(absolute, abs=1e-5)
    assert found.stopped == (reason,)


def test_the_best_leaf_below_is_reported_also_if_it_is_not_allowed(toy_tree: WordTree) -> None:
    found = detected(toy_tree, TERRIER, Vocabulary(toy_tree, np.isin(np.arange(7), [0, 1])))
    assert found.best_leaf is not None
    assert found.best_leaf_absolute is not None
    assert toy_tree.names[found.best_leaf[0]] == "terrier"
    assert found.best_leaf_absolute[0] == pytest.approx(0.81, abs=1e-5)


def test_a_descent_that_the_threshold_ends_says_so(toy_tree: WordTree) -> None:
    found = detected(toy_tree, {0: 0.9, 2: 0.5}, None)
    assert (found.names, found.stopped) == (["animal"], ("threshold",))


@pytest.mark.parametrize("seed", range(6))
def test_with_all_classes_the_descent_is_that_of_the_tree(seed: int) -> None:
    tree = random_tree(80, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    output = grid_output(
        anchors=[[1, 1], [2, 1]],
        rows=3,
        columns=3,
        box_logits=torch.randn(1, 2, 3, 3, 5, generator=generator, dtype=torch.float64),
        class_logits=3 * torch.randn(1, 2, 3, 3, 80, generator=generator, dtype=torch.float64),
    )
    square = Letterbox.fit(image_size_px=(96, 96), network_size_px=(96, 96))
    batch = BatchOutput(output, TreeTensors(tree), [square])
    cfg = PredictConfig(min_score=0.01, min_absolute=0.3)
    (plain,) = detect(batch, ["one"], cfg)
    (restricted,) = detect(batch, ["one"], cfg, vocabulary=Vocabulary(tree, np.ones(80, bool)))
    assert len(plain) > 3
    assert restricted.node.tolist() == plain.node.tolist()
    np.testing.assert_allclose(restricted.score, plain.score, rtol=1e-5)
    assert restricted.stopped == plain.stopped
    for one, other in zip(restricted.conditional, plain.conditional, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_long_list_of_unknown_classes_is_refused_after_a_hundred(
    toy_tree: WordTree, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("".join(f"dwg {number}\n" for number in range(100_000)))
    with pytest.raises(
        ConfigError,
        match=r"other\.txt: at least 100 classes do not name exactly one node of the tree: .*dwg 2",
    ):
        chosen(toy_tree, str(tmp_path / "other.txt"))
