"""Pseudo-boxes: where the views agree, what a sample makes of them, exact resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from data_prep import ShardReader
from tests.yolo9000.made import grid_output, made_config
from tests.yolo9000.training.runs import assert_equal_checkpoints, interrupt_after
from wordtree import WordTree
from yolo9000.data.damage import TooManyDamaged
from yolo9000.data.detector_data import DetectorData
from yolo9000.data.sampler import images_of_split
from yolo9000.models.boxes import aligned_iou
from yolo9000.models.grid import GridOutput
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.draw_pseudo_boxes import (
    LabelledImages,
    box_of_highest_agreement,
    count_labels,
    draw_pseudo_boxes,
    on_canvases,
    predict_view,
)
from yolo9000.training.train import train

CELL = 8  # pixels, of the detector below


class BrightestCell:
    """A detector whose boxes are cells: its objectness is the brightness, its class logits are 0."""

    def __init__(self, tree: WordTree) -> None:
        self.tree_tensors = TreeTensors(tree)

    def __call__(self, images: Tensor) -> GridOutput:
        light = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), CELL)[:, 0]  # (B, H, W)
        boxes = torch.zeros(len(images), 1, *light.shape[1:], 5)
        boxes[..., 4] = 20 * (light[:, None] - 0.75)
        logits = torch.zeros(*boxes.shape[:4], len(self.tree_tensors))
        return grid_output(anchors=[[1.0, 1.0]], box_logits=boxes, class_logits=logits)


def square_image(width: int, height: int, *, bright: tuple[int, int, int, int]) -> Tensor:
    pixels = torch.full((3, height, width), 60, dtype=torch.uint8)
    left, top, right, bottom = bright
    pixels[:, top:bottom, left:right] = 255
    return pixels


@pytest.mark.parametrize("mirror", [False, True], ids=["as it is", "mirrored"])
@pytest.mark.parametrize(
    ("size", "bright"),
    [
        pytest.param((64, 64), (8, 40, 16, 48), id="square"),
        pytest.param((64, 32), (48, 8, 56, 16), id="wide, with grey above and below"),
        pytest.param((32, 64), (16, 48, 24, 56), id="tall, with grey on both sides"),
    ],
)
def test_the_box_of_a_view_is_in_coordinates_of_the_image(
    toy_tree: WordTree, size: tuple[int, int], bright: tuple[int, int, int, int], mirror: bool
) -> None:
    pixels = square_image(*size, bright=bright)
    images = LabelledImages([on_canvases([pixels], 64)], torch.tensor([0]), torch.tensor([3]), np.array([0]))
    box, score = predict_view(BrightestCell(toy_tree), images, 0, mirror)  # type: ignore[arg-type]
    expected = torch.tensor(bright) / torch.tensor([*size, *size])
    torch.testing.assert_close(box, expected[None], atol=1e-5, rtol=0)
    objectness, of_node = (
        torch.sigmoid(torch.tensor(20 * 0.25)),
        1 / 2 / 2,
    )  # one of two roots, one of two below
    torch.testing.assert_close(score, (objectness * of_node)[None], atol=1e-5, rtol=0)


def test_each_label_gets_a_box_of_its_own_image(toy_tree: WordTree) -> None:
    pixels = [
        square_image(64, 64, bright=(0, 0, 8, 8)),
        square_image(64, 64, bright=(8, 8, 16, 16)),
        square_image(64, 64, bright=(56, 56, 64, 64)),
    ]
    canvases = [on_canvases(pixels, 64)]
    images = LabelledImages(canvases, torch.tensor([2, 0, 2]), torch.tensor([3, 4, 6]), np.arange(3))
    boxes, _ = predict_view(BrightestCell(toy_tree), images, 0, False)  # type: ignore[arg-type]
    assert (boxes[:, 0] * 64).round().tolist() == [56, 0, 56]


def test_the_box_that_most_views_agree_on_is_chosen() -> None:
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.52], [0.6, 0.6, 0.9, 0.9]]])
    best, agreement = box_of_highest_agreement(boxes, torch.ones(1, 3))
    assert best[0].tolist() in boxes[0, :2].tolist()
    iou = float(aligned_iou(boxes[0, 0], boxes[0, 1]))
    assert float(agreement) == pytest.approx((1 + iou) / 3)
    sure = torch.tensor([[0.01, 0.01, 0.9]])  # the outlier has by far the highest score
    assert box_of_highest_agreement(boxes, sure)[0][0].tolist() == boxes[0, 2].tolist()


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_agreement_is_in_0_to_1_and_1_for_equal_boxes(views: int, labels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(labels, views, 2, 2, generator=generator).sort(dim=2).values
    boxes, score = corners.flatten(2), torch.rand(labels, views, generator=generator) + 1e-3
    best, agreement = box_of_highest_agreement(boxes, score)
    assert bool(((agreement >= 0) & (agreement <= 1 + 1e-5)).all())
    assert all(best[k].tolist() in boxes[k].tolist() for k in range(labels))
    same = boxes[:, :1].expand_as(boxes) + torch.tensor([0, 0, 0.01, 0.01])
    torch.testing.assert_close(box_of_highest_agreement(same, score)[1], torch.ones(labels))


def test_only_labels_that_the_views_agree_on_get_a_box(shards: Path) -> None:
    reader = ShardReader(shards)
    detector: Any = BrightestCell(reader.tree)
    sizes = {"pseudo_boxes__sizes_px": [64, 128]}
    every = draw_pseudo_boxes(
        detector, DetectorData(reader, made_config(shards, **sizes, pseudo_boxes__min_agreement=0))
    )
    assert every.label.tolist() == list(range(len(reader.label_nodes)))
    assert len(every.label) == len(labelled(reader)) == 8
    strict = made_config(shards, **sizes, pseudo_boxes__min_agreement=0.99)
    assert len(draw_pseudo_boxes(detector, DetectorData(reader, strict)).label) == 0


def test_labels_of_damaged_images_get_no_box_and_the_images_are_reported(
    shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = ShardReader(shards)
    damaged = labelled(reader)[2:4]
    usual = reader.encoded

    def encoded(image: int) -> np.ndarray:
        return np.zeros(9, np.uint8) if image in damaged else usual(image)

    monkeypatch.setattr(reader, "encoded", encoded)
    cfg = made_config(shards, pseudo_boxes__min_agreement=0, data__max_damaged=2)
    detector: Any = BrightestCell(reader.tree)
    found = draw_pseudo_boxes(detector, DetectorData(reader, cfg))
    assert found.label.tolist() == [0, 1, 4, 5, 6, 7]
    assert capsys.readouterr().err.count("cannot be read and is left out") == 2
    fewer = made_config(shards, pseudo_boxes__min_agreement=0, data__max_damaged=1)
    with pytest.raises(TooManyDamaged, match=r"data\.max_damaged allows 1"):
        draw_pseudo_boxes(detector, DetectorData(reader, fewer))


def test_a_run_that_draws_pseudo_boxes_resumes_exactly(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"pseudo_boxes__at_steps": [2, 4], "pseudo_boxes__min_agreement": 0, "schedule__max_steps": 6}
    cfg = made_config(shards, **changes, log__checkpoint_every=1, optimizer__ema=0.9)
    train(cfg, tmp_path / "whole")
    for step in (1, 2, 3, 5):
        with monkeypatch.context() as patch:
            interrupt_after(patch, step)
            with pytest.raises(KeyboardInterrupt):
                train(cfg, tmp_path / f"cut{step}")
        train(cfg, tmp_path / f"cut{step}", resume=True)
        assert_equal_checkpoints(tmp_path / "whole" / "last.pt", tmp_path / f"cut{step}" / "last.pt")


def labelled(reader: ShardReader) -> list[int]:
    """Images of the training split with image labels."""
    images = images_of_split(reader, "train")
    found: list[int] = images[count_labels(reader, images) > 0].tolist()
    return found
