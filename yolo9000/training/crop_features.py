"""The backbone's features of a crop around each object, and the flat softmax of the object, computed once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from yolo9000.checkpoints.flat_classifier import ClassTeacher
from yolo9000.config import Config
from yolo9000.data.object_crops import CropBatch, LabelledObjects, batch_count, object_crops
from yolo9000.distributed import track_progress
from yolo9000.models.darknet_network import DarknetNetwork
from yolo9000.models.detector import Detector
from yolo9000.training.run import Run

# Cells within this share of an object's width and height, around its centre, show the object.
CENTRE = 0.5


@dataclass(frozen=True)
class CropFeatures:
    """The features of the crops of O objects, in one size, on the CPU, and their targets."""

    row: Tensor  # (O,) of the `LabelledObjects`
    coarse: Tensor  # (O, C, h, w) float16, of the backbone
    fine: Tensor  # (O, C', 2h, 2w) float16
    cell_share: Tensor  # (O, H, W) of the output grid: equal shares for the cells that show the object
    centre: Tensor  # (O,) the cell in the centre of the object, row × W + column
    absolute: Tensor  # (O, n) P(node) of the covered nodes under the flat softmax

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Tensor) -> CropFeatures:
        return CropFeatures(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def split(self, size: int) -> list[CropFeatures]:
        """Parts of at most `size` crops."""
        return [self[index] for index in torch.arange(len(self)).split(size)] if len(self) else []

    def to(self, device: torch.device) -> CropFeatures:
        """These features on a device, in float32."""
        moved: dict[str, Any] = {f.name: getattr(self, f.name).to(device) for f in fields(self)}
        return CropFeatures(**moved | {name: moved[name].float() for name in ("coarse", "fine")})


@torch.no_grad()
def crop_features(
    run: Run[Config, Detector], teacher: ClassTeacher, objects: LabelledObjects
) -> list[CropFeatures]:
    """The features of a crop around each object, one entry for each size; the model is in evaluation mode."""
    by_size: dict[int, list[CropFeatures]] = {}
    batches = object_crops(run.reader, run.cfg, objects)
    for batch in track_progress(batches, "crops", total=batch_count(objects)):
        if len(batch.rows):
            by_size.setdefault(batch.for_detector.shape[-1], []).append(_features(run, teacher, batch))
    return [
        CropFeatures(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(CropFeatures)))
        for parts in by_size.values()
    ]


def _features(run: Run[Config, Detector], teacher: ClassTeacher, batch: CropBatch) -> CropFeatures:
    backbone = run.model.backbone
    assert not isinstance(backbone, DarknetNetwork)  # the settings are checked

    def images(pixels: Tensor) -> Tensor:
        return pixels.to(run.device).float().div(255).contiguous(memory_format=torch.channels_last)

    with run.autocast():
        coarse, fine = backbone.both_scales(images(batch.for_detector))
        absolute = teacher.absolute(images(batch.for_classifier))
    share, centre = object_cells(batch.xyxy_unit, batch.for_detector.shape[-1] // run.model.stride)
    rows = torch.from_numpy(batch.rows)
    return CropFeatures(rows, coarse.half().cpu(), fine.half().cpu(), share, centre, absolute.cpu())


def object_cells(xyxy_unit: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The cells of a square grid that show each of B objects: their shares (B, side, side), and the centre cell (B,).

    xyxy_unit: (B, 4) boxes of the objects in the unit square.
    """
    middle = (xyxy_unit[:, :2] + xyxy_unit[:, 2:]) / 2  # (B, 2) x, y
    reach = (xyxy_unit[:, 2:] - xyxy_unit[:, :2]) * (CENTRE / 2)
    at = (torch.arange(side) + 0.5) / side
    inside = (at - middle[:, :, None]).abs() <= reach[:, :, None]  # (B, 2, side)
    column, row = (middle * side).long().clamp(0, side - 1).unbind(1)
    cells = inside[:, 1, :, None] & inside[:, 0, None, :]
    cells[torch.arange(len(cells)), row, column] = True
    return cells / cells.sum((1, 2), keepdim=True), row * side + column
