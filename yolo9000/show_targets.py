"""Pictures of what a step teaches: which anchor answers for which box, where image labels go, what is left alone."""

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
from yolo9000.batch import Batch, Targets
from yolo9000.boxes import cxcywh_to_xyxy
from yolo9000.config import Config
from yolo9000.data import TrainingData
from yolo9000.draw import (
    ABOVE_BRANCHES,
    MISSED,
    SHEET,
    Colour,
    Mark,
    branch_colours,
    draw_marks,
    save_png,
    to_pillow,
)
from yolo9000.grid import GridOutput, Place, decode_boxes
from yolo9000.loss import Background, JointLoss
from yolo9000.targets import MatchedBoxes, match_boxes
from yolo9000.train import build_criterion, started_or_resumed
from yolo9000.weak_labels import Chosen, choose_places, log_absolute_at, place_of_max_score

MIN_SIDE_PX = 832  # pictures are enlarged to it, so that cells and names are legible
STRIPE_PX = 8
NAMED = 8  # nodes in a caption
LEGEND = (
    "solid: a box, or the box predicted where an image label goes; small square: the cell that answers; dashed around "
    "it: its anchor; other dashes: the region of a label; hatched: nothing is told in there; grey cells: not told "
    "'no object', for they may see what has no box; white: where the missing thing seems likeliest"
)


def show_targets(cfg: Config, folder: Path, count: int, *, resume: bool = False) -> list[Path]:
    """The next `count` training pictures of a run as its step sees and its loss judges them: `folder`/targets/*.png.

    Of a run that has not begun, with the weights that it would begin with. Raises what `train` raises.
    """
    run = started_or_resumed(cfg, folder, resume=resume)
    criterion = build_criterion(run.cfg, run.reader).to(run.device)
    sources = [source.name for source in run.reader.sources]
    last = run.step - (-count // run.cfg.data.batch_size)
    paths: list[Path] = []
    (folder / "targets").mkdir(parents=True, exist_ok=True)
    for step, batch in enumerate(
        TrainingData(run.reader, run.cfg, run.pseudo_boxes).batches(run.step + 1, last), run.step + 1
    ):
        with torch.no_grad(), run.autocast():
            output = run.model(batch.to(run.device).images)
        judged = Judged.of(criterion, output, batch.targets.to(run.device))
        for picture in range(min(len(batch.images), count - len(paths))):
            path = folder / "targets" / f"step{step}-{picture}.png"
            source = sources[int(batch.targets.source[picture])]
            save_png(draw_targets(batch, judged, picture, criterion.hierarchy.tree, source=source), path)
            paths.append(path)
    return paths


@dataclass(frozen=True)
class Judged:
    """What the criterion makes of a batch."""

    targets: Targets
    output: GridOutput
    predicted: Tensor  # (B, A, H, W, 4) the decoded boxes, xyxy in the unit square
    matched: MatchedBoxes
    chosen: Chosen
    negative: Place  # (L',) where each negative label pushes
    negative_probability: Tensor  # (L',) P(node) there
    background: Background

    @classmethod
    @torch.no_grad()
    def of(cls, criterion: JointLoss, output: GridOutput, targets: Targets) -> Judged:
        cfg, hierarchy, missing = criterion.cfg, criterion.hierarchy, targets.negative_labels
        matched = match_boxes(output, targets.boxes, match=cfg.match)
        negative = place_of_max_score(output, missing, hierarchy)
        return cls(
            targets,
            output,
            decode_boxes(output),
            matched,
            choose_places(output, targets.image_labels, hierarchy, assign=cfg.assign, top_k=cfg.top_k),
            negative,
            log_absolute_at(output, hierarchy, negative, missing.node).exp(),
            criterion.background(output, targets, matched),
        )


def draw_targets(batch: Batch, judged: Judged, picture: int, tree: WordTree, *, source: str) -> Image.Image:
    """One picture of the batch with its targets marked, and a caption below."""
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
    return _captioned(draw_marks(pixels, marks), [summary(judged, picture, tree, source=source), LEGEND])


UnitMark: TypeAlias = tuple[Tensor, str, Colour, bool]  # xyxy in the unit square, text, colour, dashed


def marks_of(judged: Judged, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    """Everything that is marked on one picture, the most important first."""
    for kind in (_marks_of_boxes, _marks_of_labels, _marks_of_negative_labels, _marks_of_unlabelled):
        yield from kind(judged, picture, tree)


def _marks_of_boxes(judged: Judged, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    boxes, place, colour_of = judged.targets.boxes, judged.matched.place_of_box, branch_colours(tree)
    owners = set(judged.matched.index.tolist())
    for row in (boxes.image == picture).nonzero()[:, 0].tolist():
        node, at = int(boxes.node[row]), place[torch.tensor([row])]
        lost = "" if row in owners else ", lost to a later box"
        yield (
            boxes.xyxy_unit[row],
            f"{tree.names[node]}: anchor {int(at.anchor)}{lost}",
            colour_of(node),
            False,
        )
        yield _cell(judged.output, at), "", colour_of(node), False
        yield _anchor(judged.output, at), "", colour_of(node), True


def _marks_of_labels(judged: Judged, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    labels, chosen, colour_of = judged.targets.image_labels, judged.chosen, branch_colours(tree)
    for row in (labels.image[chosen.label] == picture).nonzero()[:, 0].tolist():
        label, at = int(chosen.label[row]), chosen.place[torch.tensor([row])]
        node = int(labels.node[label])
        objectness = float(at.values_of(judged.output.objectness))
        text = f"label {tree.names[node]}: anchor {int(at.anchor)}, objectness {objectness:.2f}"
        yield at.values_of(judged.predicted)[0], text, colour_of(node), False
        yield _cell(judged.output, at), "", colour_of(node), False
        yield labels.region_xyxy_unit[label], "", colour_of(node), True


def _marks_of_negative_labels(judged: Judged, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    labels = judged.targets.negative_labels
    for row in (labels.image == picture).nonzero()[:, 0].tolist():
        text = f"no {tree.names[int(labels.node[row])]}: P {float(judged.negative_probability[row]):.2f}"
        yield _cell(judged.output, judged.negative[torch.tensor([row])]), text, MISSED, False


def _marks_of_unlabelled(judged: Judged, picture: int, tree: WordTree) -> Iterator[UnitMark]:
    for anchor, row, column in judged.background.perhaps_unlabelled[picture].nonzero():
        at = Place(torch.tensor([picture]), anchor[None], row[None], column[None])
        yield _cell(judged.output, at), "", ABOVE_BRANCHES, True


def _cell(output: GridOutput, at: Place) -> Tensor:
    """The cell of one place, xyxy in the unit square."""
    corner = torch.cat([at.column, at.row]).to(output.grid_wh)
    return torch.cat([corner, corner + 1]) / output.grid_wh.repeat(2)


def _anchor(output: GridOutput, at: Place) -> Tensor:
    """The anchor of one place in the middle of its cell, xyxy in the unit square."""
    centre = torch.cat([at.column, at.row]).to(output.grid_wh) + 0.5
    anchor_cell = torch.cat([centre, output.anchors_cell[at.anchor[0]]])
    return cxcywh_to_xyxy(anchor_cell) / output.grid_wh.repeat(2)


def _hatched(pixels: Image.Image, regions_unit: Tensor) -> Image.Image:
    """The picture with dark stripes over the regions (R, 4)."""
    values = np.asarray(pixels).copy()
    height, width = values.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = np.zeros((height, width), bool)
    for left, top, right, bottom in regions_unit.cpu().numpy() * [width, height, width, height]:
        inside |= (left <= x) & (x < right) & (top <= y) & (y < bottom)
    values[inside & ((x + y) // STRIPE_PX % 3 == 0)] //= 2
    return Image.fromarray(values)


def summary(judged: Judged, picture: int, tree: WordTree, *, source: str) -> str:
    """In words: what the picture carries, and how much of it is told "no object"."""
    targets = judged.targets
    counts = {
        "boxes": targets.boxes.image,
        "image labels": targets.image_labels.image,
        "negative labels": targets.negative_labels.image,
        "ignored regions": targets.ignore.image,
    }
    told, perhaps = judged.background.told[picture], judged.background.perhaps_unlabelled[picture]
    own = targets.vouched.node[targets.vouched.image == picture].tolist()
    names = [tree.names[node] for node in own[:NAMED]] + (["…"] if len(own) > NAMED else [])
    parts = [
        f"from {source}",
        *(f"{int((image == picture).sum())} {name}" for name, image in counts.items()),
        f"'no object' is told to {int(told.sum())} of {told.numel()} places",
        f"not to {int(perhaps.sum())} that perhaps see what has no box",
        f"beyond its source it vouches for: {', '.join(names) or 'nothing'}",
    ]
    return "; ".join(parts)


def _captioned(picture: Image.Image, paragraphs: list[str]) -> Image.Image:
    font_px = 15
    lines = [line for text in paragraphs for line in textwrap.wrap(text, max(20, picture.width // 8))]
    sheet = Image.new("RGB", (picture.width, picture.height + (len(lines) + 1) * (font_px + 4)), SHEET)
    sheet.paste(picture, (0, 0))
    ImageDraw.Draw(sheet).multiline_text(
        (8, picture.height + 8), "\n".join(lines), fill=MISSED, font=ImageFont.load_default(size=font_px)
    )
    return sheet
