"""Repeat-factor sampling: how often an epoch draws each image, and what stays as without it."""

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
from tests.yolo9000.training.runs import made_classifier_config
from wordtree import WordTree
from wordtree.errors import ConfigError
from yolo9000.config import read_config
from yolo9000.data.classifier_data import ClassifierData
from yolo9000.data.sampler import RepeatFactors, Sampler, image_counts, repeat_factors

ANIMAL, VEHICLE, DOG, CAT, CAR, BOAT, TERRIER = range(7)
DOGS, CATS, CARS, BOATS = COLOURS

factor_lists = st.lists(st.floats(0.05, 20), min_size=1, max_size=40)


def scaled(values: list[float]) -> np.ndarray:
    """The values scaled to an average of 1."""
    return np.array(values) * (len(values) / sum(values))


def columns(labels: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The nodes of each image as columns of image and node."""
    image = np.repeat(np.arange(len(labels)), [len(nodes) for nodes in labels])
    return image, np.array([node for nodes in labels for node in nodes], np.int64)


@given(factor_lists, st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_an_image_with_repeat_factor_2_3_is_drawn_2_or_3_times_in_an_epoch(
    values: list[float], epoch: int, offset: float
) -> None:
    factors = scaled(values)
    images = RepeatFactors.of(factors, offset=offset).epoch(epoch)
    counts = np.bincount(images, minlength=len(factors))
    assert len(images) == len(factors)
    assert (counts >= np.floor(factors - 1e-9)).all()
    assert (counts <= np.ceil(factors + 1e-9)).all()


@given(factor_lists, st.integers(0, 1000), st.floats(0, 1, exclude_max=True))
def test_over_100_epochs_every_image_is_drawn_as_often_as_its_factor_says(
    values: list[float], first: int, offset: float
) -> None:
    factors = scaled(values)
    repeats = RepeatFactors.of(factors, offset=offset)
    counts = sum(np.bincount(repeats.epoch(first + k), minlength=len(factors)) for k in range(100))
    np.testing.assert_allclose(counts / 100, factors, atol=0.04)


def test_tiles_of_a_mosaic_are_drawn_by_the_same_factors() -> None:
    repeats, rng = RepeatFactors.of(np.array([0.5, 2, 0.5, 1]), offset=0), default_rng(0)
    counts = Counter(repeats.draw(rng) for _ in range(4000))
    assert [counts[k] / 1000 for k in range(4)] == pytest.approx([0.5, 2, 0.5, 1], abs=0.1)


@given(st.integers(1, 30), st.integers(0, 10_000), st.integers(0, 25))
def test_an_image_counts_once_for_every_node_on_the_paths_of_its_labels(
    nodes: int, seed: int, images: int
) -> None:
    """Twin: for each image the union of the paths of its labels."""
    tree, rng = random_tree(nodes, roots=min(3, nodes), seed=seed), default_rng(seed)
    labels = [rng.integers(0, nodes, rng.integers(0, 4)).tolist() for _ in range(images)]
    expected = np.zeros(nodes, np.int64)
    for own in labels:
        expected[sorted({above for node in own for above in tree.path(node)})] += 1
    image, node = columns(labels)
    assert image_counts(tree, image, node).tolist() == expected.tolist()
    mixed = rng.permutation(len(image))
    assert image_counts(tree, image[mixed], node[mixed]).tolist() == expected.tolist()


@given(st.lists(st.integers(1, 30), min_size=4, max_size=4), st.floats(0, 1))
def test_with_one_label_per_image_a_node_of_c_images_gets_draws_in_proportion_to_c_to_the_1_minus_power(
    toy_tree: WordTree, counts: list[int], power: float
) -> None:
    labels = [
        [node] for node, count in zip((TERRIER, CAT, CAR, BOAT), counts, strict=True) for _ in range(count)
    ]
    factors = repeat_factors(toy_tree, *columns(labels), len(labels), power=power)
    share = np.array([factors[[node in own for own in labels]].sum() for node in (TERRIER, CAT, CAR, BOAT)])
    expected = np.array(counts) ** (1 - power)
    np.testing.assert_allclose(share / share.sum(), expected / expected.sum())
    assert factors.mean() == pytest.approx(1)


def test_an_inner_node_is_as_common_as_all_its_descendants_together(toy_tree: WordTree) -> None:
    labels = [[DOG], *[[TERRIER]] * 8, [CAT]]
    factors = repeat_factors(toy_tree, *columns(labels), 10, power=1)
    assert factors[0] == factors.min()  # nine images show a dog: one labelled dog, eight labelled terrier
    assert factors[9] == pytest.approx(9 * factors[0])


def test_the_rarest_label_decides_the_factor_and_an_image_without_labels_has_the_smallest(
    toy_tree: WordTree,
) -> None:
    labels = [[CAR], [CAR], [CAR, BOAT], []]
    factors = repeat_factors(toy_tree, *columns(labels), 4, power=1)
    np.testing.assert_allclose(factors / factors[0], [1, 1, 3, 1])
    nothing = repeat_factors(toy_tree, *columns([[], []]), 2, power=1)
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
@settings(max_examples=20)
def test_without_repeat_factors_each_epoch_of_a_source_is_one_permutation_of_it(
    uneven: Path, seed: int, step: int
) -> None:
    """Twin: the order of runs from before repeat factors existed, which must continue unchanged."""
    plain = sampler(uneven, seed=seed, data__repeat_factor_power=0)
    expected = []
    for source, images in enumerate(plain.images):
        first, last = ((3, 1)[source] * 16 * s // 4 for s in (step - 1, step))
        for position in range(first, last):
            order = default_rng((seed, source, position // len(images))).permutation(len(images))
            expected.append(int(images[order[position % len(images)]]))
    assert plain.batch(step)[0].tolist() == expected


def test_repeat_factors_change_nothing_if_all_nodes_are_equally_common(uneven: Path) -> None:
    plain, full = (
        sampler(uneven, data__ratio={"few": 1}, data__repeat_factor_power=power) for power in (0, 1)
    )
    assert drawn(plain, range(1, 20)) == drawn(full, range(1, 20))


@given(st.floats(0, 1), st.integers(0, 100))
@settings(max_examples=20)
def test_repeat_factors_keep_the_ratio_of_sources_in_every_step(
    uneven: Path, power: float, seed: int
) -> None:
    plain, other = sampler(uneven), sampler(uneven, data__repeat_factor_power=power, seed=seed)
    image_source = ShardReader(uneven).image_source
    number_of = {source.name: number for number, source in enumerate(ShardReader(uneven).sources)}
    for step in range(1, 30):
        images, sources = other.batch(step)
        assert sources.tolist() == plain.batch(step)[1].tolist()
        named = [number_of[other.names[source]] for source in sources]
        assert image_source[images].tolist() == named


@pytest.mark.parametrize(
    ("power", "shares"),
    [(0, [32, 8, 2]), (0.5, [32**0.5, 8**0.5, 2**0.5]), (1, [1, 1, 1])],
    ids=["none", "half", "full"],
)
def test_nodes_are_drawn_in_proportion_to_the_power(uneven: Path, power: float, shares: list[float]) -> None:
    reader, cars_boats_dogs = ShardReader(uneven), (CARS, BOATS, DOGS)
    counts = Counter(
        reader.tree.ids[reader.label_nodes[image]]  # one label an image
        for image in drawn(
            sampler(uneven, data__ratio={"many": 1}, data__repeat_factor_power=power),
            range(1, 501),
        )
    )
    found = np.array([counts[wnid] for wnid in cars_boats_dogs]) / 8000
    np.testing.assert_allclose(found, np.array(shares) / sum(shares), atol=0.002)


def test_a_step_with_repeat_factors_depends_on_seed_and_step_alone(uneven: Path) -> None:
    straight = sampler(uneven, data__repeat_factor_power=0.7)
    steps = {step: straight.batch(step)[0].tolist() for step in range(1, 60)}
    resumed = sampler(uneven, data__repeat_factor_power=0.7)
    for step in (59, 40, 41, 3):
        assert resumed.batch(step)[0].tolist() == steps[step]
    other = sampler(uneven, data__repeat_factor_power=0.7, seed=1)
    assert other.batch(1)[0].tolist() != steps[1]


def test_boxes_count_for_a_detector_and_not_for_a_classifier(shards: Path, tmp_path: Path) -> None:
    """Boxes of dogs and cats, four images each, and labels of cars and boats: no node is rare."""
    detector = Sampler(ShardReader(shards), made_config(shards, data__repeat_factor_power=1))
    assert detector.repeats is not None
    for repeats in detector.repeats:
        np.testing.assert_allclose(np.diff(repeats.cumulative), 1)
    cfg = made_classifier_config(shards, tmp_path, data__repeat_factor_power=1)
    classifier = ClassifierData(ShardReader(shards), cfg).sampler
    assert classifier.names == ("labels",)
    assert sorted(drawn(classifier, range(1, 2))) == list(range(8, 16))


@pytest.mark.parametrize("power", ["1.5", "-0.1", "rare", ".nan"])
def test_an_invalid_power_is_reported_in_one_line(shards: Path, power: str) -> None:
    made_config(shards)
    with pytest.raises(ConfigError, match=r"data\.repeat_factor_power") as caught:
        read_config(shards.parent / "made.yaml", [f"data.repeat_factor_power={power}"])
    assert len(str(caught.value).splitlines()) == 1
