"""Rare nodes drawn more often: what a pass shows then, and what stays as it was."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from PIL import Image

from data_prep import MergeConfig, ShardReader, merge
from tests.yolo9000.made import COLOURS, made_config, random_tree
from tests.yolo9000.training.test_pretrain import config as pretrain_config
from wordtree import WordTree
from wordtree.errors import ConfigError
from yolo9000.config import read_config
from yolo9000.data.classifier_data import ClassifierData
from yolo9000.data.sampler import Repeats, Sampler, images_showing, times_in_a_pass

ANIMAL, VEHICLE, DOG, CAT, CAR, BOAT, TERRIER = range(7)
DOGS, CATS, CARS, BOATS = COLOURS

times_lists = st.lists(st.floats(0.05, 20), min_size=1, max_size=40)


def scaled(values: list[float]) -> np.ndarray:
    """The same, 1 on average."""
    return np.array(values) * (len(values) / sum(values))


def columns(labels: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of each image as columns of image and node."""
    image = np.repeat(np.arange(len(labels)), [len(nodes) for nodes in labels])
    return image, np.array([node for nodes in labels for node in nodes], np.int64)


@given(times_lists, st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_a_image_that_should_come_2_3_times_in_a_pass_comes_2_or_3_times(
    values: list[float], turn: int, start: float
) -> None:
    times = scaled(values)
    picked = Repeats.of(times, start=start).of_pass(turn)
    counts = np.bincount(picked, minlength=len(times))
    assert len(picked) == len(times)
    assert (counts >= np.floor(times - 1e-9)).all()
    assert (counts <= np.ceil(times + 1e-9)).all()


@given(times_lists, st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_over_100_passes_every_image_comes_as_often_as_it_should(
    values: list[float], first: int, start: float
) -> None:
    times = scaled(values)
    repeats = Repeats.of(times, start=start)
    counts = sum(np.bincount(repeats.of_pass(first + turn), minlength=len(times)) for turn in range(100))
    np.testing.assert_allclose(counts / 100, times, atol=0.04)


def test_tiles_of_a_mosaic_are_drawn_by_the_same_shares() -> None:
    repeats, rng = Repeats.of(np.array([0.5, 2, 0.5, 1]), start=0), default_rng(0)
    counts = Counter(repeats.draw(rng) for _ in range(4000))
    assert [counts[k] / 1000 for k in range(4)] == pytest.approx([0.5, 2, 0.5, 1], abs=0.1)


@given(st.integers(1, 30), st.integers(0, 10_000), st.integers(0, 25))
def test_images_are_counted_once_at_every_node_above_their_labels(
    nodes: int, seed: int, pictures: int
) -> None:
    """Twin: image after image, the union of the paths of its labels."""
    tree, rng = random_tree(nodes, roots=min(3, nodes), seed=seed), default_rng(seed)
    labels = [rng.integers(0, nodes, rng.integers(0, 4)).tolist() for _ in range(pictures)]
    expected = np.zeros(nodes, np.int64)
    for shown in labels:
        expected[sorted({above for node in shown for above in tree.path(node)})] += 1
    image, node = columns(labels)
    assert images_showing(tree, image, node).tolist() == expected.tolist()
    mixed = rng.permutation(len(image))
    assert images_showing(tree, image[mixed], node[mixed]).tolist() == expected.tolist()


@given(st.lists(st.integers(1, 30), min_size=4, max_size=4), st.floats(0, 1))
def test_with_one_label_each_a_node_of_c_images_gets_draws_as_c_to_the_rest_of_the_balance(
    toy_tree: WordTree, counts: list[int], repeat_factor_power: float
) -> None:
    labels = [
        [node] for node, count in zip((TERRIER, CAT, CAR, BOAT), counts, strict=True) for _ in range(count)
    ]
    times = times_in_a_pass(toy_tree, *columns(labels), len(labels), repeat_factor_power=repeat_factor_power)
    share = np.array([times[[node in shown for shown in labels]].sum() for node in (TERRIER, CAT, CAR, BOAT)])
    expected = np.array(counts) ** (1 - repeat_factor_power)
    np.testing.assert_allclose(share / share.sum(), expected / expected.sum())
    assert times.mean() == pytest.approx(1)


def test_a_label_at_an_inner_node_is_as_common_as_all_that_lies_below_it(toy_tree: WordTree) -> None:
    labels = [[DOG], *[[TERRIER]] * 8, [CAT]]
    times = times_in_a_pass(toy_tree, *columns(labels), 10, repeat_factor_power=1)
    assert times[0] == times.min()  # nine images show a dog, though one only says no more
    assert times[9] == pytest.approx(9 * times[0])


def test_the_rarest_of_its_labels_speaks_for_a_image_and_no_label_asks_for_nothing(
    toy_tree: WordTree,
) -> None:
    labels = [[CAR], [CAR], [CAR, BOAT], []]
    times = times_in_a_pass(toy_tree, *columns(labels), 4, repeat_factor_power=1)
    np.testing.assert_allclose(times / times[0], [1, 1, 3, 1])
    nothing = times_in_a_pass(toy_tree, *columns([[], []]), 2, repeat_factor_power=1)
    assert nothing.tolist() == [1, 1]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two sources: 32 images of cars, 8 of boats and 2 of dogs; and 6 of cats, 6 of cars."""
    folder, rng = tmp_path_factory.mktemp("uneven"), default_rng(0)
    for source, counts in {"many": {CARS: 32, BOATS: 8, DOGS: 2}, "few": {CATS: 6, CARS: 6}}.items():
        for wnid, count in counts.items():
            (folder / source / wnid).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / source / wnid / f"{number}.png")
    sources = [{"name": n, "format": "imagenet", "images": str(folder / n)} for n in ("many", "few")]
    merge(MergeConfig.model_validate({"sources": sources}), folder / "shards")
    return folder / "shards"


def sampler(shards: Path, **changes: object) -> Sampler:
    given = {"data__ratio": {"many": 3, "few": 1}, "data__batch_size": 16, **changes}
    return Sampler(ShardReader(shards), made_config(shards, **given))


def drawn(sampler: Sampler, steps: range) -> list[int]:
    return [int(image) for step in steps for image in sampler.batch(step)[0]]


@given(st.integers(0, 100), st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_without_balance_each_pass_of_a_source_is_one_permutation_of_it(
    uneven: Path, seed: int, step: int
) -> None:
    """Twin: the order that runs had before there was a balance, which they must find again when they go on."""
    plain = sampler(uneven, seed=seed, data__repeat_factor_power=0)
    expected = []
    for source, images in enumerate(plain.images):
        first, last = ((3, 1)[source] * 16 * s // 4 for s in (step - 1, step))
        for position in range(first, last):
            order = default_rng((seed, source, position // len(images))).permutation(len(images))
            expected.append(int(images[order[position % len(images)]]))
    assert plain.batch(step)[0].tolist() == expected


def test_where_nodes_are_equally_common_a_full_balance_changes_nothing(uneven: Path) -> None:
    plain, full = (
        sampler(uneven, data__ratio={"few": 1}, data__repeat_factor_power=repeat_factor_power)
        for repeat_factor_power in (0, 1)
    )
    assert drawn(plain, range(1, 20)) == drawn(full, range(1, 20))


@given(st.floats(0, 1), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_the_balance_keeps_the_ratio_of_sources_in_every_step(
    uneven: Path, repeat_factor_power: float, seed: int
) -> None:
    plain, other = sampler(uneven), sampler(uneven, data__repeat_factor_power=repeat_factor_power, seed=seed)
    image_source = ShardReader(uneven).image_source
    number_of = {source.name: number for number, source in enumerate(ShardReader(uneven).sources)}
    for step in range(1, 30):
        images, sources = other.batch(step)
        assert sources.tolist() == plain.batch(step)[1].tolist()
        named = [number_of[other.names[source]] for source in sources]
        assert image_source[images].tolist() == named


@pytest.mark.parametrize(
    ("balance", "shares"),
    [(0, [32, 8, 2]), (0.5, [32**0.5, 8**0.5, 2**0.5]), (1, [1, 1, 1])],
    ids=["none", "half", "full"],
)
def test_nodes_are_drawn_as_often_as_the_balance_asks(
    uneven: Path, repeat_factor_power: float, shares: list[float]
) -> None:
    reader, cars_boats_dogs = ShardReader(uneven), (CARS, BOATS, DOGS)
    counts = Counter(
        reader.tree.ids[reader.label_nodes[image]]  # one label an image
        for image in drawn(
            sampler(uneven, data__ratio={"many": 1}, data__repeat_factor_power=repeat_factor_power),
            range(1, 501),
        )
    )
    found = np.array([counts[wnid] for wnid in cars_boats_dogs]) / 8000
    np.testing.assert_allclose(found, np.array(shares) / sum(shares), atol=0.002)


def test_a_balanced_step_depends_on_seed_and_step_alone(uneven: Path) -> None:
    straight = sampler(uneven, data__repeat_factor_power=0.7)
    steps = {step: straight.batch(step)[0].tolist() for step in range(1, 60)}
    resumed = sampler(uneven, data__repeat_factor_power=0.7)
    for step in (59, 40, 41, 3):
        assert resumed.batch(step)[0].tolist() == steps[step]
    other = sampler(uneven, data__repeat_factor_power=0.7, seed=1)
    assert other.batch(1)[0].tolist() != steps[1]


def test_boxes_count_for_a_detector_and_not_for_a_classifier(shards: Path, tmp_path: Path) -> None:
    """Boxes of dogs and cats, four images each, and labels of cars and boats: none is rare."""
    detector = Sampler(ShardReader(shards), made_config(shards, data__repeat_factor_power=1))
    assert detector.repeats is not None
    for repeats in detector.repeats:
        np.testing.assert_allclose(np.diff(repeats.until), 1)
    cfg = pretrain_config(shards, tmp_path, data__repeat_factor_power=1)
    classifier = ClassifierData(ShardReader(shards), cfg).sampler
    assert classifier.names == ("labels",)
    assert sorted(drawn(classifier, range(1, 2))) == list(range(8, 16))


@pytest.mark.parametrize("balance", ["1.5", "-0.1", "rare", ".nan"])
def test_a_balance_that_cannot_be_is_reported_in_one_line(shards: Path, repeat_factor_power: str) -> None:
    made_config(shards)
    with pytest.raises(ConfigError, match=r"data\.balance") as caught:
        read_config(shards.parent / "made.yaml", [f"data.balance={repeat_factor_power}"])
    assert len(str(caught.value).splitlines()) == 1
