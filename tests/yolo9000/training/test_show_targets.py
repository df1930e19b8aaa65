"""`yolo9000 train --show-targets`: the assignment of the loss, read off made batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tests.yolo9000.made import MADE_YAML, grid_output, made_config
from wordtree import WordTree
from wordtree.tree.node_sets import at_or_under
from yolo9000.cli import app
from yolo9000.config import LossConfig
from yolo9000.data.batch import BoxColumns, IgnoreColumns, ImageLabelColumns, Targets
from yolo9000.inference.draw import ABOVE_BRANCHES, branch_colours
from yolo9000.losses.joint import JointLoss
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.run_folder import TrainingError
from yolo9000.training.show_targets import (
    AssignedBatch,
    draw_targets,
    legend,
    marks_of,
    show_targets,
    summary,
)
from yolo9000.training.train import train

DOG, CAT, CAR, BOAT = 2, 3, 4, 5
LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]


def ints(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int64)


@pytest.fixture
def assigned(toy_tree: WordTree) -> AssignedBatch:
    """Two images of 4 × 4 cells and two anchors, of one cell and of two. The first has a dog's and a car's box in
    one cell, both of the small anchor's size, and cells that predict boats; the second, whose right half is ignored,
    has a car's image label and a cat's negative label in its left half."""
    box_logits = torch.full((2, 2, 4, 4, 5), 0.0, dtype=torch.float64)
    box_logits[..., 4] = -5
    box_logits[0, 1, 3, 3, 4] = box_logits[1, 0, 2, 1, 4] = 3
    box_logits[1, 1, 0, 3, 4] = 4
    class_logits = torch.zeros(2, 2, 4, 4, 7, dtype=torch.float64)
    class_logits[..., [1, BOAT]] = 9
    output = grid_output(anchors=[[1.0, 1.0], [2.0, 2.0]], box_logits=box_logits, class_logits=class_logits)
    small = [0.0, 0.0, 0.25, 0.25]
    targets = Targets(
        BoxColumns(
            ints(0, 0, 0), torch.tensor([small, small, [0.25, 0.25, 0.75, 0.75]]), ints(DOG, CAR, CAT)
        ),
        ImageLabelColumns(ints(1), ints(CAR), torch.tensor([LEFT])),
        IgnoreColumns(ints(1), torch.tensor([RIGHT])),
        ints(0, 0),
        torch.from_numpy(np.stack([at_or_under(toy_tree, np.array([DOG])), np.zeros(7, bool)])),
        ImageLabelColumns(ints(1), ints(CAT), torch.tensor([LEFT])),
    )
    cfg = LossConfig(label_assignment="max_objectness")
    criterion = JointLoss(cfg, TreeTensors(toy_tree))
    return AssignedBatch.of(criterion, output, targets)


def texts(assigned: AssignedBatch, image: int) -> dict[str, list[float]]:
    """The box of each mark that has a text, as xyxy in cells."""
    return {text: (4 * xyxy_unit).tolist() for xyxy_unit, text, _, _ in marks_of(assigned, image) if text}


def test_a_box_is_marked_with_its_anchor_and_says_if_a_later_box_took_its_location(
    assigned: AssignedBatch,
) -> None:
    assert texts(assigned, 0) == {
        "dog: anchor 0, location taken by a later box": [0, 0, 1, 1],
        "car: anchor 0": [0, 0, 1, 1],
        "cat: anchor 1": [1, 1, 3, 3],
    }


def test_cell_and_anchor_are_marked_in_the_colour_of_the_box(
    assigned: AssignedBatch, toy_tree: WordTree
) -> None:
    marks = list(marks_of(assigned, 0))
    cat = next(row for row, mark in enumerate(marks) if mark[1].startswith("cat"))
    assert [(4 * xyxy).tolist() for xyxy, *_ in marks[cat + 1 : cat + 3]] == [
        [2, 2, 3, 3],
        [1.5, 1.5, 3.5, 3.5],
    ]
    assert [mark[2] for mark in marks[cat : cat + 3]] == [branch_colours(toy_tree)(CAT)] * 3
    assert [mark[3] for mark in marks[cat : cat + 3]] == [False, False, True]


def test_image_labels_and_negative_labels_are_marked_at_their_locations(assigned: AssignedBatch) -> None:
    found = texts(assigned, 1)
    assert list(found) == ["label car: anchor 0, objectness 0.95", "no cat: P 0.00"]
    assert found["label car: anchor 0, objectness 0.95"] == [1, 2, 2, 3]
    assert found["no cat: P 0.00"] == [1, 2, 2, 3]
    regions = [(4 * xyxy).tolist() for xyxy, text, _, dashed in marks_of(assigned, 1) if dashed]
    assert regions[0] == [0, 0, 2, 4]


def test_cells_that_may_see_an_object_without_a_box_are_marked(assigned: AssignedBatch) -> None:
    *_, last = marks_of(assigned, 0)
    assert (4 * last[0]).tolist() == pytest.approx([3.38, 3.38, 3.62, 3.62])  # a spot in the cell's middle
    assert last[2] == ABOVE_BRANCHES


def test_the_caption_counts_labels_and_background(assigned: AssignedBatch) -> None:
    first, second = (summary(assigned, k, source="lvis") for k in range(2))
    assert first == (
        "From lvis: 3 boxes. 29 of 32 grid locations are background; 1 may see an object without a box, and their "
        "objectness is left alone. Exhaustively annotated: dog."
    )
    assert second.startswith("From lvis: 1 image label, 1 negative label, 1 ignore region. ")
    assert " of 32 grid locations are background" in second
    assert "Exhaustively" not in second
    no_boxes = replace(assigned.targets, boxes=BoxColumns(ints(), torch.zeros(0, 4), ints()))
    text = summary(replace(assigned, targets=no_boxes), 0, source="coco")
    assert text.startswith("From coco: no labels. ")


def test_the_legend_explains_the_marks_on_the_image_and_no_others(assigned: AssignedBatch) -> None:
    first, second = ([text for _, text in legend(assigned, k)] for k in range(2))
    assert [text.split(",")[0] for text in first] == [
        "ground-truth box",
        "anchor that the box is assigned to",
        "cell of the assigned location",
        "cell that may see an object without a box: not background",
    ]
    assert [text.split(":")[0] for text in second] == [
        "'label …'",
        "region that the image label applies to",
        "cell of the assigned location",
        "'no …'",
        "ignore region",
    ]


def test_ignored_regions_are_hatched_and_the_rest_of_the_image_is_unchanged(assigned: AssignedBatch) -> None:
    ignored_only = replace(
        assigned.targets, image_labels=ImageLabelColumns.none(), negative_labels=ImageLabelColumns.none()
    )
    labels = replace(
        assigned.assignment.labels, label=ints(), location=assigned.assignment.negative_labels[ints()]
    )
    assigned.assignment.without_box.possibly_unannotated.zero_()
    bare = replace(assigned, targets=ignored_only, assignment=replace(assigned.assignment, labels=labels))
    drawn = np.asarray(draw_targets(torch.full((3, 64, 64), 0.8), bare, 1))
    side = drawn.shape[1]
    assert side == drawn.shape[0] >= 832
    left, right = drawn[:side, : side // 2], drawn[:side, side // 2 :]
    assert (left == 204).all()
    assert set(np.unique(right)) == {102, 204}


def test_the_option_draws_images_of_the_next_steps_and_trains_nothing(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "made.yaml").write_text(MADE_YAML)
    arguments = [
        "train",
        str(tmp_path / "made.yaml"),
        "--runs",
        str(tmp_path / "runs"),
        "--show-targets",
        "3",
    ]
    arguments += ["--set", f"data.shards={shards}", "--set", "data.batch_size=2"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    folder = tmp_path / "runs" / "made"
    expected = ["step1-0.png", "step1-1.png", "step2-0.png"]
    assert result.stdout.split() == [str(folder / "targets" / name) for name in expected]
    assert sorted(path.name for path in folder.iterdir()) == ["targets"]
    for name in expected:
        with Image.open(folder / "targets" / name) as image:
            assert image.width == 832
            assert image.height > 832  # a caption below


def test_a_run_that_has_begun_is_shown_from_its_last_step_on(shards: Path, tmp_path: Path) -> None:
    cfg = made_config(shards, schedule__max_steps=2)
    train(cfg, tmp_path / "run")
    with pytest.raises(TrainingError, match="holds a run already"):
        show_targets(cfg, tmp_path / "run", 1)
    before = (tmp_path / "run" / "last.pt").read_bytes()
    assert [path.name for path in show_targets(cfg, tmp_path / "run", 1, resume=True)] == ["step3-0.png"]
    assert (tmp_path / "run" / "last.pt").read_bytes() == before
