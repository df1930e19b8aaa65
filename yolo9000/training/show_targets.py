"""`train --show-targets`: training images with the labels and the grid locations that the loss assigns them to."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from wordtree.support.outputs import check_outputs
from yolo9000.config import Config
from yolo9000.data.batch import Targets
from yolo9000.data.detector_data import DetectorData
from yolo9000.distributed import is_first, track_progress
from yolo9000.inference.draw import (
    ABOVE_BRANCHES,
    MISSED,
    PALETTE,
    SHEET,
    Colour,
    Mark,
    branch_colours,
    draw_marks,
    save_png,
    to_pillow,
)
from yolo9000.losses.joint import Assignment, JointLoss
from yolo9000.losses.label_assignment import log_absolute_at
from yolo9000.losses.unannotated import topmost
from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.grid import GridOutput, Locations
from yolo9000.models.tree_tensors import TreeTensors
from yolo9000.training.resume import start_or_resume
from yolo9000.training.train import DetectorTask, build_criterion

MIN_SIDE_PX = 832  # images are enlarged to it, so that cells and names are legible
STRIPE_PX, STRIPES_APART_PX = 3, 24
MAX_CLASSES = 8  # in a caption
SPOT_CELL = 0.12  # half the side of the spot in the middle of a cell
FONT_PX = 15
SWATCH_PX = (36, 26)
UNTRAINED = (
    "No step is trained yet: the locations of image labels, and those that may see an object without a box, are still "
    "random. Use --resume to see them for a run that has begun."
)


def show_targets(cfg: Config, folder: Path, count: int, *, resume: bool = False) -> list[Path]:
    """Files `folder`/targets/*.png with the next `count` training images of a run and their targets.

    Raises the errors of `train`.
    """
    run = start_or_resume(DetectorTask(), cfg, folder, resume=resume)
    criterion = build_criterion(run.cfg, run.reader).to(run.device)
    last = run.step + -(-count // run.cfg.data.batch_size)
    paths: list[Path] = []
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    batches = DetectorData(run.reader, run.cfg, run.pseudo_boxes).batches(run.step + 1, last)
    for step, batch in enumerate(track_progress(batches, "batches", total=last - run.step), run.step + 1):
        batch = batch.to(run.device)
        with torch.no_grad(), run.autocast():
            output = run.model(batch.images)
        assigned = AssignedBatch.of(criterion, output, batch.targets)
        for image in range(min(len(batch.images), count - len(paths))):
            source = run.reader.sources[int(batch.targets.source[image])].name
            notes = [summary(assigned, image, source=source), *([] if run.step else [UNTRAINED])]
            drawn = draw_targets(batch.images[image], assigned, image)
            paths.append(folder / "targets" / f"step{step}-{image}.png")
            if is_first():
                check_outputs(paths[-1:])
                save_png(with_caption(drawn, notes, list(legend(assigned, image))), paths[-1])
    return paths


@dataclass(frozen=True)
class AssignedBatch:
    """The targets of a batch with the locations that the loss assigns them to."""

    targets: Targets
    output: GridOutput
    assignment: Assignment
    negative_probability: Tensor  # (L',) P(node) of each negative label at its location
    tree_tensors: TreeTensors

    @classmethod
    @torch.no_grad()
    def of(cls, criterion: JointLoss, output: GridOutput, targets: Targets) -> AssignedBatch:
        assignment, tree_tensors = criterion.assign(output, targets), criterion.tree_tensors
        location, node = assignment.negative_labels, targets.negative_labels.node
        probability = log_absolute_at(output, tree_tensors, location, node).exp()
        return cls(targets, output, assignment, probability, tree_tensors)


def draw_targets(pixels: Tensor, assigned: AssignedBatch, image: int) -> Image.Image:
    """The image with its targets marked; pixels: (3, H, W) in 0..1, of image number `image` of the batch."""
    drawn = to_pillow((pixels * 255).round().to(torch.uint8))
    scale = max(1, -(-MIN_SIDE_PX // max(drawn.size)))
    drawn = drawn.resize((drawn.width * scale, drawn.height * scale), Image.Resampling.BICUBIC)
    ignore = assigned.targets.ignore
    drawn = _hatched(drawn, ignore.xyxy_unit[ignore.image == image])
    size_px = np.array(drawn.size * 2)
    marks = [
        Mark(xyxy_unit.cpu().numpy() * size_px, text, colour, dashed)
        for xyxy_unit, text, colour, dashed in marks_of(assigned, image)
    ]
    return draw_marks(drawn, marks)


UnitMark: TypeAlias = tuple[Tensor, str, Colour, bool]  # xyxy in the unit square, text, colour, dashed


def marks_of(assigned: AssignedBatch, image: int) -> Iterator[UnitMark]:
    """All marks on an image, the most important first."""
    yield from _box_marks(assigned, image)
    yield from _label_marks(assigned, image)
    yield from _negative_label_marks(assigned, image)
    yield from _unannotated_marks(assigned, image)


def _box_marks(assigned: AssignedBatch, image: int) -> Iterator[UnitMark]:
    boxes, assigned_boxes, tree = (
        assigned.targets.boxes,
        assigned.assignment.boxes,
        assigned.tree_tensors.tree,
    )
    kept, colour_of = set(assigned_boxes.index.tolist()), branch_colours(tree)
    for row in (boxes.image == image).nonzero()[:, 0].tolist():
        node, location = int(boxes.node[row]), assigned_boxes.location_of_box[torch.tensor([row])]
        taken = "" if row in kept else ", location taken by a later box"
        colour = colour_of(node)
        yield boxes.xyxy_unit[row], f"{tree.names[node]}: anchor {int(location.anchor)}{taken}", colour, False
        yield _cell(assigned.output, location), "", colour, False
        yield _anchor(assigned.output, location), "", colour, True


def _label_marks(assigned: AssignedBatch, image: int) -> Iterator[UnitMark]:
    labels, chosen, tree = (
        assigned.targets.image_labels,
        assigned.assignment.labels,
        assigned.tree_tensors.tree,
    )
    colour_of = branch_colours(tree)
    for row in (labels.image[chosen.label] == image).nonzero()[:, 0].tolist():
        label, location = int(chosen.label[row]), chosen.location[torch.tensor([row])]
        node = int(labels.node[label])
        objectness = float(location.gather(assigned.output.objectness))
        text = f"label {tree.names[node]}: anchor {int(location.anchor)}, objectness {objectness:.2f}"
        yield location.gather(assigned.assignment.predicted_xyxy_unit)[0], text, colour_of(node), False
        yield _cell(assigned.output, location), "", colour_of(node), False
        yield labels.region_xyxy_unit[label], "", colour_of(node), True


def _negative_label_marks(assigned: AssignedBatch, image: int) -> Iterator[UnitMark]:
    labels, names = assigned.targets.negative_labels, assigned.tree_tensors.tree.names
    for row in (labels.image == image).nonzero()[:, 0].tolist():
        text = f"no {names[int(labels.node[row])]}: P {float(assigned.negative_probability[row]):.2f}"
        location = assigned.assignment.negative_labels[torch.tensor([row])]
        yield _cell(assigned.output, location), text, MISSED, False


def _unannotated_marks(assigned: AssignedBatch, image: int) -> Iterator[UnitMark]:
    grid_wh = assigned.output.grid_wh
    rows_columns = assigned.assignment.without_box.possibly_unannotated[image].any(dim=0).nonzero()
    spot_cell = torch.tensor([0.5 - SPOT_CELL] * 2 + [0.5 + SPOT_CELL] * 2).to(grid_wh)
    for corner in rows_columns.flip(1).to(grid_wh):
        yield (corner.repeat(2) + spot_cell) / grid_wh.repeat(2), "", ABOVE_BRANCHES, False


def _cell(output: GridOutput, location: Locations) -> Tensor:
    """The cell of one location as xyxy in the unit square."""
    corner = torch.cat([location.column, location.row]).to(output.grid_wh)
    return torch.cat([corner, corner + 1]) / output.grid_wh.repeat(2)


def _anchor(output: GridOutput, location: Locations) -> Tensor:
    """The anchor of one location, in the middle of its cell, as xyxy in the unit square."""
    centre = torch.cat([location.column, location.row]).to(output.grid_wh) + 0.5
    anchor_cell = torch.cat([centre, output.anchors_cell[location.anchor[0]]])
    return cxcywh_to_xyxy(anchor_cell) / output.grid_wh.repeat(2)


def _hatched(pixels: Image.Image, regions_unit: Tensor) -> Image.Image:
    """The image with dark stripes over regions; regions_unit: (R, 4) xyxy."""
    values = np.asarray(pixels).copy()
    height, width = values.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in regions_unit.cpu().numpy() * [width, height, width, height]:
        inside |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    values[inside & ((x + y) % STRIPES_APART_PX < STRIPE_PX)] //= 2
    return Image.fromarray(values)


def summary(assigned: AssignedBatch, image: int, *, source: str) -> str:
    """The labels of an image and its share of background, in words."""
    targets, without_box = assigned.targets, assigned.assignment.without_box
    counts = {
        ("box", "boxes"): targets.boxes.image,
        ("image label", "image labels"): targets.image_labels.image,
        ("negative label", "negative labels"): targets.negative_labels.image,
        ("ignore region", "ignore regions"): targets.ignore.image,
    }
    labels = [
        f"{count} {names[count > 1]}"
        for names, images in counts.items()
        if (count := int((images == image).sum()))
    ]
    background, unannotated = (
        without_box.background[image],
        int(without_box.possibly_unannotated[image].sum()),
    )
    text = f"From {source}: {', '.join(labels) or 'no labels'}. "
    text += f"{int(background.sum())} of {background.numel()} grid locations are background"
    text += (
        f"; {unannotated} may see an object without a box, and their objectness is left alone."
        if unannotated
        else "."
    )
    if targets.exhaustive is not None and targets.exhaustive[image].any():
        tree = assigned.tree_tensors.tree
        parent = torch.tensor(tree.parent, dtype=torch.int64)
        tops = topmost(parent, targets.exhaustive[image].cpu()).nonzero()[:, 0].tolist()
        classes = [tree.names[node] for node in tops[:MAX_CLASSES]] + ["…"] * (len(tops) > MAX_CLASSES)
        text += f" Exhaustively annotated: {', '.join(classes)}."
    return text


def legend(assigned: AssignedBatch, image: int) -> Iterator[tuple[Image.Image, str]]:
    """A swatch for each type of mark on an image, with its meaning."""
    targets, colour = assigned.targets, PALETTE[1]
    whole, cell, spot = (0.06, 0.1, 0.94, 0.9), (0.35, 0.3, 0.65, 0.7), (0.42, 0.4, 0.58, 0.6)
    boxes, labels, negative_labels, ignored = (
        bool((column.image == image).any())
        for column in (targets.boxes, targets.image_labels, targets.negative_labels, targets.ignore)
    )
    if boxes:
        yield _swatch(whole, colour), "ground-truth box, in the colour of its branch of the tree"
        yield (
            _swatch(whole, colour, dashed=True),
            "anchor that the box is assigned to, before it is moved and scaled",
        )
    if labels:
        yield (
            _swatch(whole, colour),
            "'label …': predicted box at a location that an image label is assigned to",
        )
        yield _swatch(whole, colour, dashed=True), "region that the image label applies to"
    if boxes or labels:
        yield _swatch(cell, colour), "cell of the assigned location"
    if negative_labels:
        yield _swatch(cell, MISSED), "'no …': location of the highest score, which the negative label lowers"
    if ignored:
        everywhere = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        hatched = _hatched(Image.new("RGB", SWATCH_PX, ABOVE_BRANCHES), everywhere)
        yield hatched, "ignore region: no location in it is background"
    if assigned.assignment.without_box.possibly_unannotated[image].any():
        yield _swatch(spot, ABOVE_BRANCHES), "cell that may see an object without a box: not background"


def _swatch(xyxy_unit: tuple[float, ...], colour: Colour, *, dashed: bool = False) -> Image.Image:
    mark = Mark(np.array(xyxy_unit) * (SWATCH_PX * 2), "", colour, dashed)
    return draw_marks(Image.new("RGB", SWATCH_PX, SHEET), [mark])


def with_caption(
    image: Image.Image, paragraphs: list[str], legend_rows: list[tuple[Image.Image, str]]
) -> Image.Image:
    """The image on a sheet with paragraphs of text and a legend below it."""
    line_px, font = FONT_PX + 4, ImageFont.load_default(size=FONT_PX)
    lines = [line for text in paragraphs for line in textwrap.wrap(text, max(20, image.width // 8))]
    row_px = SWATCH_PX[1] + 4
    height = image.height + len(lines) * line_px + len(legend_rows) * row_px + 24
    sheet = Image.new("RGB", (image.width, height), SHEET)
    sheet.paste(image, (0, 0))
    draw, top = ImageDraw.Draw(sheet), image.height + 8
    draw.multiline_text((8, top), "\n".join(lines), fill=MISSED, font=font)
    top += len(lines) * line_px + 8
    for row, (swatch, text) in enumerate(legend_rows):
        sheet.paste(swatch, (8, top + row * row_px))
        middle = (SWATCH_PX[0] + 20, top + row * row_px + SWATCH_PX[1] // 2)
        draw.text(middle, text, fill=MISSED, font=font, anchor="lm")
    return sheet
