"""Resizing, the letterbox and its inverse against Darknet, and their laws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.yolo9000.darknet_golden import golden_folders
from yolo9000.data.image import letterbox, resized_by_darknet
from yolo9000.data.letterbox import Letterbox

side = st.integers(1, 60)


def golden_images(operation: str) -> Iterator[Any]:
    """(source, theirs) of every array OPERATION_SOURCE_WIDTHxHEIGHT of images.npz."""
    for whose, folder in golden_folders():
        if not (folder / "images.npz").exists():
            continue
        with np.load(folder / "images.npz") as archive:
            for name in (name for name in archive.files if name.startswith(f"{operation}_")):
                source = archive[f"in_{name.removeprefix(f'{operation}_').rpartition('_')[0]}"]
                yield pytest.param(source, archive[name], id=f"{whose}-{name}")


@pytest.mark.parametrize(("source", "theirs"), list(golden_images("resize")))
def test_resizing_agrees_with_darknet_including_its_black_last_row(
    source: np.ndarray, theirs: np.ndarray
) -> None:
    ours = resized_by_darknet(torch.from_numpy(source), theirs.shape[1:])
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(("source", "theirs"), list(golden_images("letterbox")))
def test_the_letterbox_agrees_with_darknet(source: np.ndarray, theirs: np.ndarray) -> None:
    image, size = torch.from_numpy(source), (theirs.shape[2], theirs.shape[1])
    ours, box = letterbox(image, size, geometry="darknet")
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert letterbox(image, size)[1] == box  # of either geometry


@settings(max_examples=40)
@given(st.tuples(side, side), st.tuples(side, side))
def test_the_corners_of_a_resized_image_are_its_corners_and_nothing_is_brighter(
    old: tuple[int, int], new: tuple[int, int]
) -> None:
    image = torch.rand(3, *old, generator=torch.Generator().manual_seed(old[0] * 100 + old[1]))
    resized = resized_by_darknet(image, new)
    assert resized.shape == (3, *new)
    assert bool((resized <= image.max() + 1e-6).all())
    torch.testing.assert_close(resized[:, 0, 0], image[:, 0, 0 if new[1] > 1 else -1])
    torch.testing.assert_close(resized[:, 0, -1], image[:, 0, -1])


@settings(max_examples=40)
@given(side, side)
def test_an_image_resized_to_its_own_size_is_unchanged(height: int, width: int) -> None:
    image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(resized_by_darknet(image, (height, width)), image)


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.floats(0, 1), min_size=4, max_size=4),
)
def test_darknets_inverse_is_off_by_the_rounding_of_the_margins_and_nothing_else(
    image_size: tuple[int, int], cells: tuple[int, int], corners: list[float]
) -> None:
    network_size = (32 * cells[0], 32 * cells[1])
    box = Letterbox.fit(image_size_px=image_size, network_size_px=network_size)
    xyxy_px = torch.tensor(corners, dtype=torch.float64) * torch.tensor([*image_size, *image_size])
    back = box.to_image_by_darknet(box.to_network(xyxy_px))
    rounding = [
        (network - resized) % 2 / 2 / resized * image
        for network, resized, image in zip(
            network_size, (box.resized_width_px, box.resized_height_px), image_size, strict=True
        )
    ]
    torch.testing.assert_close(
        back + torch.tensor(rounding * 2, dtype=torch.float64), xyxy_px, atol=1e-6, rtol=1e-9
    )
