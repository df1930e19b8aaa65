"""A detector's training batch: images and targets.

Labels are flat columns over the whole batch, in which each row has the index of its image. So an image may have boxes,
image labels, both or neither, and no loss term needs a loop over images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Self

import torch
from torch import Tensor


class _Columns:
    """Tensors of equal length that move between devices together."""

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
    """The image labels of a batch, L rows. A label says that its region shows an object of its node.

    As a negative label it says that its region shows no object of its node.
    """

    image: Tensor  # (L,) int64
    node: Tensor  # (L,) int64
    region_xyxy_unit: Tensor  # (L, 4): the whole image, or its tile of a mosaic

    @classmethod
    def none(cls) -> ImageLabelColumns:
        return cls(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))


@dataclass(frozen=True)
class IgnoreColumns(_Columns):
    """Ignore regions, R rows, in which no location is background: crowds, and images or tiles without boxes."""

    image: Tensor  # (R,) int64
    xyxy_unit: Tensor  # (R, 4)


@dataclass(frozen=True)
class Targets:
    """All labels of a batch of B images."""

    boxes: BoxColumns
    image_labels: ImageLabelColumns
    ignore: IgnoreColumns
    source: Tensor  # (B,) int64: the data source of each image
    # (B, N) bool: nodes for which each image is exhaustively annotated; None: all.
    exhaustive: Tensor | None = None
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
    """B images and their labels."""

    images: Tensor  # (B, 3, H, W) float32, RGB in 0..1
    targets: Targets
    # Number and first slot, of a batch that training repeats (data.distinct_batches).
    key: tuple[int, int] | None = None

    def to(self, device: torch.device | str) -> Batch:
        return replace(
            self, images=self.images.to(device, non_blocking=True), targets=self.targets.to(device)
        )
