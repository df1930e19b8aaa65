"""Geometry and colour of augmented images, and the labels that move with them."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from yolo9000.config import AugmentConfig
from yolo9000.data.augment import (
    GREY,
    compose,
    crop_around_box,
    fit_with_jitter,
    flip_horizontally,
    mosaic_tiles,
    random_rectangle,
)
from yolo9000.data.colour import ColourShift, draw_colour_shifts, shift_colours
from yolo9000.data.sample import Rectangle, Sample


def sample_of(colour: int = 200, *, width: int = 40, height: int = 30) -> Sample:
    """An image of one colour with a bright square in its left upper quarter, which is its box."""
    image = torch.full((3, height, width), colour, dtype=torch.uint8)
    image[:, : height // 2, : width // 2] = 255
    box = np.array([[0, 0, 0.5, 0.5]], np.float32)
    whole = np.array([[0, 0, 1, 1]], np.float32)
    none = np.zeros((0, 4), np.float32)
    return Sample(image, box, np.array([3]), np.array([5]), whole, np.array([6]), whole, none, None)


def brightest(sample: Sample) -> np.ndarray:
    """The unit box around the bright square."""
    rows, columns = np.nonzero(sample.image[0].numpy() > 230)
    height, width = sample.image.shape[1:]
    edges = [
        columns.min() / width,
        rows.min() / height,
        (columns.max() + 1) / width,
        (rows.max() + 1) / height,
    ]
    return np.array(edges)


@given(seed=st.integers(0, 10_000))
def test_the_box_stays_on_its_object_wherever_the_image_is_placed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    area = fit_with_jitter(sample_of(), Rectangle(0, 0, 96, 96), jitter=0.3, rng=rng)
    placed = compose([(sample_of(), area)], 96, min_box_side_unit=0.001)
    assert np.abs(placed.boxes_xyxy_unit[0] - brightest(placed)).max() < 2 / 96


@given(seed=st.integers(0, 10_000))
def test_a_fitted_image_is_inside_its_area_and_touches_two_borders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    area = mosaic_tiles(Rectangle(0, 0, 96, 96), rng=rng)[seed % 4]
    placed = fit_with_jitter(sample_of(), area, jitter=0.2, rng=rng)
    assert area.left_px <= placed.left_px
    assert placed.left_px + placed.width_px <= area.left_px + area.width_px
    assert area.top_px <= placed.top_px
    assert placed.top_px + placed.height_px <= area.top_px + area.height_px
    assert placed.width_px == area.width_px or placed.height_px == area.height_px


def test_flipping_twice_changes_nothing() -> None:
    once = flip_horizontally(sample_of())
    assert not torch.equal(once.image, sample_of().image)
    twice = flip_horizontally(once)
    assert torch.equal(twice.image, sample_of().image)
    np.testing.assert_allclose(twice.boxes_xyxy_unit, sample_of().boxes_xyxy_unit)
    np.testing.assert_allclose(once.boxes_xyxy_unit, [[0.5, 0, 1, 0.5]])


def test_four_tiles_cover_the_canvas_and_keep_their_labels_inside() -> None:
    rng = np.random.default_rng(1)
    tiles = mosaic_tiles(Rectangle(0, 0, 64, 64), rng=rng)
    assert sum(tile.width_px * tile.height_px for tile in tiles) == 64 * 64
    whole = compose([(sample_of(k), tile) for k, tile in enumerate(tiles)], 64, min_box_side_unit=0.001)
    for k, region in enumerate(whole.label_regions_xyxy_unit):
        left, top, right, bottom = (region * 64).round().astype(int)
        assert (whole.image[0, (top + bottom) // 2 + 2 : bottom, left:right] == k).all()


def test_a_pasted_image_hides_the_boxes_below_it() -> None:
    base, pasted = sample_of(), sample_of(10)
    over_the_box = compose(
        [(base, Rectangle(0, 0, 64, 64)), (pasted, Rectangle(0, 0, 32, 32))], 64, min_box_side_unit=0.001
    )
    assert over_the_box.boxes_xyxy_unit.tolist() == [[0, 0, 0.25, 0.25]]
    beside_it = compose(
        [(base, Rectangle(0, 0, 64, 64)), (pasted, Rectangle(32, 32, 32, 32))], 64, min_box_side_unit=0.001
    )
    assert len(beside_it.boxes_xyxy_unit) == 2


def test_a_mostly_hidden_box_becomes_an_ignored_region() -> None:
    below = replace(sample_of(), boxes_xyxy_unit=np.array([[0.1, 0.1, 0.9, 0.9]], np.float32))
    canvas = Rectangle(0, 0, 80, 80)
    tile = replace(sample_of(), boxes_xyxy_unit=np.zeros((0, 4), np.float32), box_nodes=np.zeros(0, np.int64))

    def under(cover: Rectangle) -> tuple[list[list[float]], list[list[float]]]:
        found = compose([(below, canvas), (tile, cover)], 80, min_box_side_unit=0.001)
        return found.boxes_xyxy_unit.round(3).tolist(), found.ignored_xyxy_unit.round(3).tolist()

    box = np.array([0.1, 0.1, 0.9, 0.9], np.float32).round(3).tolist()
    assert under(Rectangle(40, 0, 40, 80)) == ([box], [])  # half of it
    assert under(Rectangle(20, 0, 60, 80)) == ([], [box])  # most
    assert under(Rectangle(8, 8, 64, 64)) == ([], [])  # all


def test_a_soft_edge_fades_from_the_image_below_to_the_image_on_top() -> None:
    def row(soft: float) -> list[int]:
        below = Rectangle(0, 0, 64, 64)
        placed = [
            (sample_of(0), below),
            (sample_of(200, width=20, height=20), Rectangle(10, 40, 20, 20, soft)),
        ]
        whole = compose(placed, 64, min_box_side_unit=0.001)
        return whole.image[0, 50, 9:31].tolist()  # in the middle of its height, below its bright square

    assert row(0) == [0, *[200] * 20, 0]
    assert row(0.25) == [0, 20, 60, 100, 140, 180, *[200] * 10, 180, 140, 100, 60, 20, 0]


def test_a_soft_edge_changes_no_labels() -> None:
    placed = [(sample_of(), Rectangle(0, 0, 64, 64)), (sample_of(10), Rectangle(3, 5, 40, 30))]
    hard = compose(placed, 64, min_box_side_unit=0.001)
    soft = compose(
        [placed[0], (placed[1][0], replace(placed[1][1], soft_edge=0.3))], 64, min_box_side_unit=0.001
    )
    assert not torch.equal(hard.image, soft.image)
    for name in (
        "boxes_xyxy_unit",
        "box_nodes",
        "label_nodes",
        "label_regions_xyxy_unit",
        "negative_regions_xyxy_unit",
        "ignored_xyxy_unit",
    ):
        np.testing.assert_array_equal(getattr(hard, name), getattr(soft, name))


def test_the_empty_canvas_is_grey_and_slivers_are_dropped() -> None:
    placed = compose([(sample_of(), Rectangle(0, 0, 20, 10))], 64, min_box_side_unit=0.1)
    assert (placed.image[:, 10:] == GREY).all()
    assert len(placed.boxes_xyxy_unit) == 0
    assert len(placed.label_nodes) == 1


def test_a_negative_label_is_dropped_where_another_image_is_pasted() -> None:
    base = (sample_of(), Rectangle(0, 0, 64, 64))
    assert len(compose([base], 64, min_box_side_unit=0.001).negative_nodes) == 1
    both = compose([base, (sample_of(), Rectangle(32, 32, 16, 16))], 64, min_box_side_unit=0.001)
    assert both.negative_regions_xyxy_unit.tolist() == [[0.5, 0.5, 0.75, 0.75]]
    tiles = mosaic_tiles(Rectangle(0, 0, 64, 64), rng=np.random.default_rng(1))
    mosaic = compose([(sample_of(), tile) for tile in tiles], 64, min_box_side_unit=0.001)
    np.testing.assert_allclose(
        mosaic.negative_regions_xyxy_unit, [tile.xyxy_unit(64) for tile in tiles], atol=1e-6
    )
    np.testing.assert_allclose(flip_horizontally(both).negative_regions_xyxy_unit, [[0.25, 0.5, 0.5, 0.75]])


def test_a_composed_image_is_exhaustively_annotated_for_the_nodes_of_all_its_boxed_parts() -> None:
    def whole_of(*exhaustive: list[int] | None) -> list[int] | None:
        placed = [
            replace(sample_of(), exhaustive=None if v is None else np.isin(range(7), v)) for v in exhaustive
        ]
        tiles = mosaic_tiles(Rectangle(0, 0, 64, 64), rng=np.random.default_rng(0))
        found = compose(list(zip(placed, tiles, strict=False)), 64, min_box_side_unit=0.001).exhaustive
        return None if found is None else found.nonzero()[0].tolist()

    assert whole_of([2, 5]) == [2, 5]
    assert whole_of([2, 5], [5, 6], [3, 5]) == [5]
    assert whole_of([2, 5], []) == []
    assert whole_of([2, 5], None) == [2, 5]  # what has no boxes is ignored as a whole
    assert whole_of(None, None) is None


@given(st.integers(-30, 60), st.integers(-30, 60), st.sampled_from([0.0, 0.3]))
def test_a_tile_over_the_edge_equals_a_crop_of_a_larger_canvas(left: int, top: int, soft: float) -> None:
    """The canvas lies in a larger one, 32 px from its edges, with the same tile at the same position."""
    tile, scene = sample_of(10, width=30, height=30), sample_of(90, width=64, height=64)
    small = compose(
        [(scene, Rectangle(0, 0, 64, 64)), (tile, Rectangle(left, top, 32, 32, soft))],
        64,
        min_box_side_unit=0.001,
    )
    large = compose(
        [(scene, Rectangle(32, 32, 64, 64)), (tile, Rectangle(left + 32, top + 32, 32, 32, soft))],
        128,
        min_box_side_unit=0.001,
    )
    assert torch.equal(small.image, large.image[:, 32:96, 32:96])
    np.testing.assert_allclose(
        small.label_regions_xyxy_unit, np.clip(large.label_regions_xyxy_unit * 2 - 0.5, 0, 1), atol=1e-6
    )


def test_a_box_mostly_over_the_edge_becomes_an_ignored_region() -> None:
    tile = replace(sample_of(), boxes_xyxy_unit=np.array([[0, 0, 1, 1]], np.float32))

    def counts(left: int) -> tuple[int, int]:
        found = compose([(tile, Rectangle(left, 0, 32, 32))], 64, min_box_side_unit=0.001)
        return len(found.boxes_xyxy_unit), len(found.ignored_xyxy_unit)

    assert [counts(left) for left in (40, 48, 56, 64)] == [(1, 0), (1, 0), (0, 1), (0, 0)]
    assert [counts(left) for left in (-8, -16, -24, -32)] == [(1, 0), (1, 0), (0, 1), (0, 0)]


def test_a_random_rectangle_may_overhang_the_edge_by_a_share_of_its_side() -> None:
    areas = [
        random_rectangle(Rectangle(0, 0, 64, 64), (0.5, 0.5), overhang=0.25, rng=np.random.default_rng(k))
        for k in range(500)
    ]
    for start in ([area.left_px for area in areas], [area.top_px for area in areas]):
        assert (min(start), max(start)) == (-8, 40)


def test_a_random_rectangle_is_inside_its_area() -> None:
    for seed in range(50):
        inner = random_rectangle(Rectangle(8, 8, 40, 40), (0.35, 0.75), rng=np.random.default_rng(seed))
        assert 8 <= inner.left_px <= inner.left_px + inner.width_px <= 48
        assert 8 <= inner.top_px <= inner.top_px + inner.height_px <= 48


@pytest.mark.parametrize("hue", [0.0, 0.07, -0.4, 0.5, -0.5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_colour_shifts_equal_those_of_colorsys(hue: float, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 3, 4, 5))
    pixels[..., :3] = rng.choice([0, 100, 255], (2, 3, 4, 3))  # two or three channels are the highest
    shift = ColourShift(torch.tensor([hue, hue]), torch.tensor([1.4, 0.7]), torch.tensor([0.8, 1.2]))
    shifted = shift_colours(list(torch.from_numpy(pixels).to(dtype)), shift)
    assert shifted.is_contiguous(memory_format=torch.channels_last)
    for image, (s_factor, v_factor) in enumerate([(1.4, 0.8), (0.7, 1.2)]):
        for row, column in np.ndindex(4, 5):
            h, s, v = colorsys.rgb_to_hsv(*(pixels[image, :, row, column] / 255).tolist())
            expected = colorsys.hsv_to_rgb((h + hue) % 1, min(1, s * s_factor), v * v_factor)
            np.testing.assert_allclose(shifted[image, :, row, column], np.minimum(expected, 1), atol=1e-5)


def test_grey_stays_grey_and_factors_stay_in_range() -> None:
    grey = torch.full((3, 2, 2), 51, dtype=torch.uint8)
    cfg = AugmentConfig(hue=0.1, saturation=1.5, exposure=1.0)
    shift = draw_colour_shifts(cfg, [np.random.default_rng(0)])
    torch.testing.assert_close(shift_colours([grey], shift), torch.full((1, 3, 2, 2), 0.2))
    many = draw_colour_shifts(cfg, [np.random.default_rng(k) for k in range(200)])
    assert many.hue.abs().max() <= 0.1
    assert 1 / 1.5 <= many.saturation.min() < 1 < many.saturation.max() <= 1.5


def object_at(left: int, top: int, width: int, height: int) -> Sample:
    """A grey image of 60 × 45 px with one bright object, its box, and a second box in the right lower corner."""
    image = torch.full((3, 45, 60), 90, dtype=torch.uint8)
    image[:, top : top + height, left : left + width] = 255
    boxes = np.array([[left, top, left + width, top + height], [52, 38, 60, 45]], np.float32)
    sample = replace(sample_of(), image=image, boxes_xyxy_unit=boxes / np.array([60, 45, 60, 45], np.float32))
    return replace(sample, box_nodes=np.array([3, 4]), exhaustive=np.isin(range(7), [3]))


@given(
    left=st.integers(0, 40),
    top=st.integers(0, 30),
    width=st.integers(4, 20),
    height=st.integers(4, 15),
    seed=st.integers(0, 10_000),
)
@example(left=11, top=0, width=4, height=4, seed=201)
@example(left=0, top=0, width=4, height=4, seed=201)
def test_a_crop_around_a_box_contains_it_at_the_requested_size(
    left: int, top: int, width: int, height: int, seed: int
) -> None:
    whole = object_at(left, top, width, height)
    crop = crop_around_box(whole, 0, (0.4, 0.9), rng=np.random.default_rng(seed))
    rows, columns = crop.image.shape[1:]
    assert int((crop.image[0] == 255).sum()) == width * height
    np.testing.assert_allclose(crop.boxes_xyxy_unit[0], brightest(crop), atol=1e-5)
    longer = max(width, height)
    assert rows == min(45, max(rows, columns))  # square, unless the image ends
    assert longer / max(rows, columns) >= 0.4 - 0.03
    assert (
        longer / max(rows, columns) <= 0.9 + 0.05 or longer == max(rows, columns) < 7
    )  # a part of a pixel less
    assert crop.box_nodes[0] == 3
    assert crop.exhaustive is not None
    assert crop.exhaustive.nonzero()[0].tolist() == [3]
    assert (crop.negative_nodes.tolist(), len(crop.label_nodes)) == ([6], 0)


def test_other_boxes_mostly_outside_a_crop_are_ignored() -> None:
    counts: set[tuple[int, int]] = set()
    whole = object_at(36, 26, 12, 10)
    for seed in range(200):
        crop = crop_around_box(whole, 0, (0.4, 0.9), rng=np.random.default_rng(seed))
        counts.add((len(crop.boxes_xyxy_unit), len(crop.ignored_xyxy_unit)))
        assert bool((crop.ignored_xyxy_unit[:, 2:] > crop.ignored_xyxy_unit[:, :2]).all())
        assert bool(((crop.boxes_xyxy_unit >= 0) & (crop.boxes_xyxy_unit <= 1)).all())
    assert counts == {(1, 0), (1, 1), (2, 0)}  # outside, hardly inside, inside
