"""What goes into a training step and what comes out of its criterion.

Labels are flat columns over the whole batch, each row with the index of its image, so that an image may carry boxes,
image labels, both or neither, and no term needs a loop over images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor


class _Columns:
    """Tensors of equal first dimension that move between devices together."""

    def to(self, device: torch.device | str) -> Self:
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}  # type: ignore[arg-type]
        return replace(self, **moved)  # type: ignore[type-var]


@dataclass(frozen=True)
class BoxColumns(_Columns):
    """The ground-truth boxes of a batch, M rows."""

    image: Tensor  # (M,) int64: the row of `Batch.images`
    xyxy_unit: Tensor  # (M, 4) float32 in the unit square of the network input
    node: Tensor  # (M,) int64


@dataclass(frozen=True)
class ImageLabelColumns(_Columns):
    """The image labels of a batch, L rows: "somewhere in this region is a thing of this kind" (negative: nowhere)."""

    image: Tensor  # (L,) int64
    node: Tensor  # (L,) int64
    region_xyxy_unit: Tensor  # (L, 4): the whole image, or its tile of a mosaic

    @classmethod
    def none(cls) -> ImageLabelColumns:
        return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))


@dataclass(frozen=True)
class IgnoreColumns(_Columns):
    """Regions where an unmatched place is not told "no object": crowds, and images or tiles without boxes, R rows."""

    image: Tensor  # (R,) int64
    xyxy_unit: Tensor  # (R, 4)


@dataclass(frozen=True)
class Targets:
    """Everything the criterion knows about a batch of B images."""

    boxes: BoxColumns
    image_labels: ImageLabelColumns
    ignore: IgnoreColumns
    source: Tensor  # (B,) int64: the data source of each image
    exhaustive: Tensor | None = (
        None  # (B, N) bool: the nodes whose things all have their boxes in it; None: all
    )
    negative_labels: ImageLabelColumns = field(default_factory=ImageLabelColumns.none)

    def to(self, device: torch.device | str) -> Targets:
        return Targets(
            self.boxes.to(device),
            self.image_labels.to(device),
            self.ignore.to(device),
            self.source.to(device),
            None if self.exhaustive is None else self.exhaustive.to(device, non_blocking=True),
            self.negative_labels.to(device),
        )


@dataclass(frozen=True)
class Batch:
    images: Tensor  # (B, 3, H, W) float32, RGB in 0..1
    targets: Targets

    def to(self, device: torch.device | str) -> Batch:
        return Batch(self.images.to(device, non_blocking=True), self.targets.to(device))
