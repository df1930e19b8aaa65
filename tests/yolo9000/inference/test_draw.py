"""Drawn detections: positions of boxes and labels, and stable colours."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wordtree.tree.tree import WordTree
from yolo9000.inference.detections import Detections
from yolo9000.inference.draw import (
    ABOVE_BRANCHES,
    PALETTE,
    branch_colours,
    draw_detections,
    save_png,
    to_pillow,
)
from yolo9000.inference.scored_boxes import GroundTruth


def dog_and_car(tree: WordTree) -> Detections:
    return detections_of(tree, [[20, 30, 80, 90], [120, 30, 180, 90]], [2, 4])


def detections_of(tree: WordTree, boxes: list[list[int]], nodes: list[int]) -> Detections:
    """Detections of descending score."""
    score = np.linspace(0.9, 0.4, len(nodes))
    return Detections(
        tree=tree,
        image="street.jpg",
        image_size_px=(200, 100),
        xyxy_px=np.array(boxes),
        node=np.array(nodes),
        objectness=score,
        absolute=np.ones(len(nodes)),
        score=score,
        conditional=tuple(np.ones(tree.depth[node] + 1) for node in nodes),
    )


def truth_of(boxes: list[list[int]], nodes: list[int]) -> GroundTruth:
    return GroundTruth(np.array(boxes).reshape(-1, 4), np.array(nodes), np.zeros(len(nodes), bool))


def colours_in(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(map(int, pixel)) for pixel in np.array(image).reshape(-1, 3)}


GREY = Image.new("RGB", (200, 100), (128, 128, 128))


def test_every_box_has_the_colour_of_its_branch(toy_tree: WordTree) -> None:
    drawn = draw_detections(GREY, dog_and_car(toy_tree))
    colour_of = branch_colours(toy_tree)
    for left, node in ((20, 2), (120, 4)):
        assert drawn.getpixel((left, 70)) == colour_of(node)
        assert drawn.getpixel((left + 60, 70)) == colour_of(node)
    assert drawn.getpixel((50, 70)) == (128, 128, 128)
    assert GREY.getcolors() == [(200 * 100, (128, 128, 128))]


def test_small_images_are_enlarged_and_large_ones_are_not(toy_tree: WordTree) -> None:
    detections = dog_and_car(toy_tree)
    drawn = draw_detections(GREY, detections, min_side_px=600)
    assert drawn.size == (600, 300)
    assert drawn.getpixel((3 * 20, 3 * 70)) == branch_colours(toy_tree)(2)
    assert draw_detections(GREY, detections, min_side_px=150).size == (200, 100)


def test_errors_are_marked_when_the_ground_truth_is_given(toy_tree: WordTree) -> None:
    detections = dog_and_car(toy_tree)
    boxes = [[20, 30, 80, 90], [120, 30, 180, 90]]
    plain = np.array(draw_detections(GREY, detections))
    right = draw_detections(GREY, detections, truth=truth_of(boxes, [6, 4]))
    assert np.array_equal(np.array(right), plain)  # a terrier is a dog
    wrong = draw_detections(GREY, detections, truth=truth_of(boxes, [6, 5]))
    assert not np.array_equal(np.array(wrong), plain)
    nothing_there = draw_detections(GREY, detections, truth=truth_of(boxes[:1], [6]))
    assert not np.array_equal(np.array(nothing_there), plain)
    missed = draw_detections(GREY, detections[:1], truth=truth_of(boxes, [6, 5]))
    assert (255, 255, 255) in colours_in(missed)
    assert (255, 255, 255) not in colours_in(right)


@pytest.mark.parametrize(
    "box",
    [[-50, -50, 20, 20], [190, 90, 260, 140], [300, 300, 400, 400], [10, 10, 10, 10], [0, 0, 200, 100]],
    ids=["over the corner", "over the far corner", "outside", "a point", "the whole image"],
)
def test_a_box_anywhere_is_drawn_with_its_label_inside_the_image(toy_tree: WordTree, box: list[int]) -> None:
    drawn = draw_detections(GREY, detections_of(toy_tree, [box], [2]))
    assert drawn.size == GREY.size
    pixels = np.array(drawn)
    label = (pixels == branch_colours(toy_tree)(2)).all(axis=-1)
    assert label.sum() > 200


def test_labels_do_not_hide_each_other_where_there_is_room(toy_tree: WordTree) -> None:
    one_box = detections_of(toy_tree, [[20, 40, 120, 95]] * 3, [2, 3, 4])
    drawn = np.array(draw_detections(GREY, one_box))
    areas = [(drawn == branch_colours(toy_tree)(node)).all(axis=-1).sum() for node in (2, 3, 4)]
    assert min(areas) > 150


def test_a_branch_has_one_colour_down_to_its_leaves_and_nodes_above_are_grey() -> None:
    roots, arms, fingers = 1, 5, 40  # the arms are the branches, since there are more fingers than colours
    parents = [-1, *[0] * arms, *(1 + i for i in range(arms) for _ in range(fingers // arms * 2))]
    tree = WordTree([f"n{node}" for node in range(len(parents))], parents)
    colour_of = branch_colours(tree)
    branches = [colour_of(roots + arm) for arm in range(arms)]
    assert len(set(branches)) == arms
    assert set(branches) <= set(PALETTE)
    for node in range(roots + arms, len(tree)):
        assert colour_of(node) == branches[tree.parent[node] - roots]
    assert colour_of(0) == ABOVE_BRANCHES
    assert [branch_colours(tree)(node) for node in range(6)] == [colour_of(node) for node in range(6)]


def test_a_tree_of_many_roots_still_has_a_colour_for_each_node() -> None:
    tree = WordTree([f"n{node}" for node in range(30)], [-1] * 30)
    colours = [branch_colours(tree)(node) for node in range(30)]
    assert set(colours) == set(PALETTE)
    assert all(a != b for a, b in pairwise(colours))


def test_png_files_and_tensors_keep_the_pixels(tmp_path: Path) -> None:
    image = torch.randint(0, 256, (3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    save_png(to_pillow(image), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert np.array_equal(np.array(opened), image.permute(1, 2, 0).numpy())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
