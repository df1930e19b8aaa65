"""Images of what a step teaches: which anchor answers for which box, where image labels go, what is left alone."""

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

from wordtree import WordTree
from yolo9000.config import Config
from yolo9000.data.batch import Batch, Targets
from yolo9000.data.detector_data import TrainingData
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
from yolo9000.losses.box_assignment import MatchedBoxes
from yolo9000.losses.joint import Background, JointLoss
from yolo9000.losses.label_assignment import LabelAssignment, log_absolute_at
from yolo9000.losses.unannotated import topmost
from yolo9000.models.boxes import cxcywh_to_xyxy
from yolo9000.models.grid import GridOutput, Locations
from yolo9000.training.resume import start_or_resume
from yolo9000.training.train import DetectorTask, build_criterion

MIN_SIDE_PX = 832  # images are enlarged to it, so that cells and names are legible
STRIPE_PX, STRIPES_APART_PX = 3, 24
NAMED = 8  # nodes in a caption
SPOT = 0.12  # of a cell: half the side of the mark in its middle
FONT_PX = 15
SWATCH_PX = (36, 26)
NOT_BEGUN = (
    "Before the first step: until the network has learnt something, it is chance where image labels go and what "
    "perhaps has no box. With --resume a run is shown that has begun."
)


def show_targets(cfg: Config, folder: Path, count: int, *, resume: bool = False) -> list[Path]:
    """The next `count` training images of a run as its step sees and its loss judges them: `folder`/targets/*.png.

    Of a run that has not begun, with the weights that it would begin with. Raises what `train` raises.
    """
    run = start_or_resume(DetectorTask(), cfg, folder, resume=resume)
    criterion = build_criterion(run.cfg, run.reader).to(run.device)
    sources = [source.name for source in run.reader.sources]
    last = run.step - (-count // run.cfg.data.batch_size)
    paths: list[Path] = []
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    batches = TrainingData(run.reader, run.cfg, run.pseudo_boxes).batches(run.step + 1, last)
    for step, batch in enumerate(track_progress(batches, "batches", total=last - run.step), run.step + 1):
        with torch.no_grad(), run.autocast():
            output = run.model(batch.to(run.device).images)
        judged = RankedLabels.of(criterion, output, batch.targets.to(run.device))
        for image in range(min(len(batch.images), count - len(paths))):
            path = folder / "targets" / f"step{step}-{image}.png"
            source = sources[int(batch.targets.source[image])]
            drawn = draw_targets(batch, judged, image, criterion.tree_tensors.tree)
            text = summary(judged, image, criterion.tree_tensors.tree, source=source)
            notes = [text] if run.step else [text, NOT_BEGUN]
            if is_first():
                save_png(with_caption(drawn, notes, list(legend(judged, image))), path)
            paths.append(path)
    return paths


@dataclass(frozen=True)
class RankedLabels:
    """What the criterion makes of a batch."""

    targets: Targets
    output: GridOutput
    predicted: Tensor  # (B, A, H, W, 4) the decoded boxes, xyxy in the unit square
    matched: MatchedBoxes
    chosen: LabelAssignment
    negative: Locations  # (L',) where each negative label pushes
    negative_probability: Tensor  # (L',) P(node) there
    background: Background

    @classmethod
    @torch.no_grad()
    def of(cls, criterion: JointLoss, output: GridOutput, targets: Targets) -> RankedLabels:
        assigned = criterion.assign(output, targets)
        negative, node = assigned.negative_labels, targets.negative_labels.node
        return cls(
            targets,
            output,
            assigned.predicted_xyxy_unit,
            assigned.boxes,
            assigned.labels,
            negative,
            log_absolute_at(output, criterion.tree_tensors, negative, node).exp(),
            assigned.background,
        )


def draw_targets(batch: Batch, judged: RankedLabels, picture: int, tree: WordTree) -> Image.Image:
    """One image of the batch with its targets marked."""
    pixels = to_pillow((batch.images[picture] * 255).round().to(torch.uint8))
    scale = max(1, -(-MIN_SIDE_PX // max(pixels.size)))
    pixels = pixels.resize((pixels.width * scale, pixels.height * scale), Image.Resampling.BICUBIC)
    ignore = judged.targets.ignore
    pixels = _hatched(pixels, ignore.xyxy_unit[ignore.image == picture])
    size = np.array(pixels.size * 2)
    marks = [
        Mark(xyxy_unit.cpu().numpy() * size, text, colour, dashed)
        for xyxy_unit, text, colour, dashed in marks_of(judged, picture, tree)
    ]
    return draw_marks(pixels, marks)


UnitMark: TypeAlias = tuple[Tensor, str, Colour, bool]  # xyxy in the unit square, text, colour, dashed


def marks_of(judged: RankedLabels, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    """Everything that is marked on one image, the most important first."""
    for kind in (_marks_of_boxes, _marks_of_labels, _marks_of_negative_labels, _marks_of_unlabelled):
        yield from kind(judged, picture, tree)


def _marks_of_boxes(judged: RankedLabels, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    boxes, location, colour_of = judged.targets.boxes, judged.matched.location_of_box, branch_colours(tree)
    owners = set(judged.matched.index.tolist())
    for row in (boxes.image == picture).nonzero()[:, 0].tolist():
        node, at = int(boxes.node[row]), location[torch.tensor([row])]
        lost = "" if row in owners else ", lost to a later box"
        yield (
            boxes.xyxy_unit[row],
            f"{tree.names[node]}: anchor {int(at.anchor)}{lost}",
            colour_of(node),
            False,
        )
        yield _cell(judged.output, at), "", colour_of(node), False
        yield _anchor(judged.output, at), "", colour_of(node), True


def _marks_of_labels(judged: RankedLabels, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    labels, chosen, colour_of = judged.targets.image_labels, judged.chosen, branch_colours(tree)
    for row in (labels.image[chosen.label] == picture).nonzero()[:, 0].tolist():
        label, at = int(chosen.label[row]), chosen.location[torch.tensor([row])]
        node = int(labels.node[label])
        objectness = float(at.gather(judged.output.objectness))
        text = f"label {tree.names[node]}: anchor {int(at.anchor)}, objectness {objectness:.2f}"
        yield at.gather(judged.predicted)[0], text, colour_of(node), False
        yield _cell(judged.output, at), "", colour_of(node), False
        yield labels.region_xyxy_unit[label], "", colour_of(node), True


def _marks_of_negative_labels(judged: RankedLabels, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    labels = judged.targets.negative_labels
    for row in (labels.image == picture).nonzero()[:, 0].tolist():
        text = f"no {tree.names[int(labels.node[row])]}: P {float(judged.negative_probability[row]):.2f}"
        yield _cell(judged.output, judged.negative[torch.tensor([row])]), text, MISSED, False


def _marks_of_unlabelled(judged: RankedLabels, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    rows_columns = judged.background.possibly_unannotated[picture].any(dim=0).nonzero()
    spot_cell = torch.tensor([0.5 - SPOT, 0.5 - SPOT, 0.5 + SPOT, 0.5 + SPOT])
    for corner in rows_columns.flip(1).to(judged.output.grid_wh):
        yield (
            (corner.repeat(2) + spot_cell.to(corner)) / judged.output.grid_wh.repeat(2),
            "",
            ABOVE_BRANCHES,
            False,
        )


def _cell(output: GridOutput, at: Locations) -> Tensor:
    """The cell of one place, xyxy in the unit square."""
    corner = torch.cat([at.column, at.row]).to(output.grid_wh)
    return torch.cat([corner, corner + 1]) / output.grid_wh.repeat(2)


def _anchor(output: GridOutput, at: Locations) -> Tensor:
    """The anchor of one place in the middle of its cell, xyxy in the unit square."""
    centre = torch.cat([at.column, at.row]).to(output.grid_wh) + 0.5
    anchor_cell = torch.cat([centre, output.anchors_cell[at.anchor[0]]])
    return cxcywh_to_xyxy(anchor_cell) / output.grid_wh.repeat(2)


def _hatched(pixels: Image.Image, regions_unit: Tensor) -> Image.Image:
    """The image with dark stripes over the regions (R, 4)."""
    values = np.asarray(pixels).copy()
    height, width = values.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in regions_unit.cpu().numpy() * [width, height, width, height]:
        inside |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    values[inside & ((x + y) % STRIPES_APART_PX < STRIPE_PX)] //= 2
    return Image.fromarray(values)


def summary(judged: RankedLabels, picture: int, tree: WordTree, *, source: str) -> str:
    """In words: what the image carries, and how much of it is told "no object"."""
    targets = judged.targets
    counts = {
        ("box", "boxes"): targets.boxes.image,
        ("image label", "image labels"): targets.image_labels.image,
        ("negative label", "negative labels"): targets.negative_labels.image,
        ("ignored region", "ignored regions"): targets.ignore.image,
    }
    carried = [
        f"{count} {names[count > 1]}"
        for names, image in counts.items()
        if (count := int((image == picture).sum()))
    ]
    message, perhaps = judged.background.negative[picture], judged.background.possibly_unannotated[picture]
    text = f"From {source}: {', '.join(carried) or 'background, nothing is labelled'}. "
    text += f"Of {message.numel()} places (cell and anchor) {int(message.sum())} are told 'no object'"
    text += (
        f", and left open, as perhaps they see what has no box, {int(perhaps.sum())}."
        if perhaps.any()
        else "."
    )
    if targets.exhaustive is not None and targets.exhaustive[picture].any():
        parent = torch.tensor(tree.parent, dtype=torch.int64)
        tops = topmost(parent, targets.exhaustive[picture].cpu()).nonzero()[:, 0].tolist()
        names = [tree.names[node] for node in tops[:NAMED]] + (["…"] if len(tops) > NAMED else [])
        text += f" It vouches for: {', '.join(names)}."
    return text


def legend(judged: RankedLabels, picture: int) -> Iterator[tuple[Image.Image, str]]:
    """The signs that are on an image, each with what it means."""
    targets, colour = judged.targets, PALETTE[1]
    whole, cell, spot = (0.06, 0.1, 0.94, 0.9), (0.35, 0.3, 0.65, 0.7), (0.42, 0.4, 0.58, 0.6)
    boxed, labelled, missing, ignored = (
        bool((column.image == picture).any())
        for column in (targets.boxes, targets.image_labels, targets.negative_labels, targets.ignore)
    )
    if boxed:
        yield _swatch(whole, colour), "a labelled box, in the colour of its branch of the tree"
        yield (
            _swatch(whole, colour, dashed=True),
            "the anchor that answers for it, before it is moved and stretched",
        )
    if labelled:
        yield _swatch(whole, colour), "'label …': the box predicted at the place that an image label goes to"
        yield _swatch(whole, colour, dashed=True), "the part of the image that the image label speaks of"
    if boxed or labelled:
        yield _swatch(cell, colour), "the cell that answers"
    if missing:
        yield (
            _swatch(cell, MISSED),
            "'no …': where the thing that is not there seems likeliest, and is pushed down",
        )
    if ignored:
        everywhere = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        yield (
            _hatched(Image.new("RGB", SWATCH_PX, ABOVE_BRANCHES), everywhere),
            "nothing in here is told 'no object'",
        )
    if judged.background.possibly_unannotated[picture].any():
        yield (
            _swatch(spot, ABOVE_BRANCHES),
            "a cell that perhaps sees what has no box, and is not told 'no object'",
        )


def _swatch(xyxy_unit: tuple[float, ...], colour: Colour, *, dashed: bool = False) -> Image.Image:
    mark = Mark(np.array(xyxy_unit) * (SWATCH_PX * 2), "", colour, dashed)
    return draw_marks(Image.new("RGB", SWATCH_PX, SHEET), [mark])


def with_caption(
    picture: Image.Image, paragraphs: list[str], signs: list[tuple[Image.Image, str]]
) -> Image.Image:
    """The image on a sheet with text and a legend below it."""
    line_px, font = FONT_PX + 4, ImageFont.load_default(size=FONT_PX)
    lines = [line for text in paragraphs for line in textwrap.wrap(text, max(20, picture.width // 8))]
    row_px = SWATCH_PX[1] + 4
    height = picture.height + len(lines) * line_px + len(signs) * row_px + 24
    sheet = Image.new("RGB", (picture.width, height), SHEET)
    sheet.paste(picture, (0, 0))
    draw, top = ImageDraw.Draw(sheet), picture.height + 8
    draw.multiline_text((8, top), "\n".join(lines), fill=MISSED, font=font)
    top += len(lines) * line_px + 8
    for row, (swatch, text) in enumerate(signs):
        sheet.paste(swatch, (8, top + row * row_px))
        middle = (SWATCH_PX[0] + 20, top + row * row_px + SWATCH_PX[1] // 2)
        draw.text(middle, text, fill=MISSED, font=font, anchor="lm")
    return sheet
