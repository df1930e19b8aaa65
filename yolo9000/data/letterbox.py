"""The letterbox that evaluation and prediction share, as geometry and on arrays; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from PIL import Image

from wordtree.support.arrays import Float32Array, Int64Array, UInt8Array
from yolo9000.config import Geometry

GREY = 0.5  # darknet's letterbox canvas
Boxes = TypeVar("Boxes", bound=Any)
"""Boxes (..., 4), as an array or as a tensor."""
Content: TypeAlias = UInt8Array | Float32Array
"""The pixels of an image at its size on the canvas, (3, height, width), in 0..255 or 0..1."""


@dataclass(frozen=True)
class Letterbox:
    """The position of an image on the network's canvas: scaled to fit and centred; the margin is grey."""

    image_width_px: int
    image_height_px: int
    network_width_px: int
    network_height_px: int
    resized_width_px: int
    resized_height_px: int
    left_px: int
    top_px: int

    @staticmethod
    def fit(*, image_size_px: tuple[int, int], network_size_px: tuple[int, int]) -> Letterbox:
        """The letterbox by darknet's integer rule; both sizes are (width, height)."""
        (image_width, image_height), (width, height) = image_size_px, network_size_px
        if width * image_height < height * image_width:
            resized_width, resized_height = width, max(1, image_height * width // image_width)
        else:
            resized_width, resized_height = max(1, image_width * height // image_height), height
        return Letterbox(
            image_width_px=image_width,
            image_height_px=image_height,
            network_width_px=width,
            network_height_px=height,
            resized_width_px=resized_width,
            resized_height_px=resized_height,
            left_px=(width - resized_width) // 2,
            top_px=(height - resized_height) // 2,
        )

    def to_network(self, xyxy_px: Boxes) -> Boxes:
        """Boxes in pixels of the canvas, from boxes in pixels of the image; shape (..., 4)."""
        on_canvas: Boxes = xyxy_px * self._scale(xyxy_px) + self._margin(xyxy_px)
        return on_canvas

    def to_image(self, xyxy_px: Boxes) -> Boxes:
        """Boxes in pixels of the image, not clipped, from boxes in pixels of the canvas; shape (..., 4).

        The exact inverse of `to_network`, whose margin is rounded down.
        """
        in_image: Boxes = (xyxy_px - self._margin(xyxy_px)) / self._scale(xyxy_px)
        return in_image

    def to_image_by_darknet(self, xyxy_px: Boxes) -> Boxes:
        """Boxes as by `to_image` with darknet's margin, which is not rounded: up to half a pixel off (decision 13)."""
        in_image: Boxes = (xyxy_px - _like(xyxy_px, *self.margin_by_darknet_px)) / self._scale(xyxy_px)
        return in_image

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the canvas for each pixel of the image, across and down."""
        return self.resized_width_px / self.image_width_px, self.resized_height_px / self.image_height_px

    @property
    def margin_px(self) -> tuple[float, float]:
        """The margin on the left and above."""
        return self.left_px, self.top_px

    @property
    def margin_by_darknet_px(self) -> tuple[float, float]:
        """The margin on the left and above, not rounded."""
        x = (self.network_width_px - self.resized_width_px) / 2
        return x, (self.network_height_px - self.resized_height_px) / 2

    def _scale(self, like: Boxes) -> Boxes:
        return _like(like, *self.scale)

    def _margin(self, like: Boxes) -> Boxes:
        return _like(like, *self.margin_px)


def _like(boxes: Boxes, x: float, y: float) -> Boxes:
    """x, y, x, y as an array or a tensor like the boxes."""
    values = [x, y, x, y]
    return np.array(values, boxes.dtype) if isinstance(boxes, np.ndarray) else boxes.new_tensor(values)  # type: ignore[return-value]


def array_resized_to_fit(
    pixels: UInt8Array, size_px: int | tuple[int, int], *, geometry: Geometry = "exact"
) -> tuple[Content, Letterbox]:
    """The image (H, W, 3) at its size on the canvas, (3, height, width), and its letterbox.

    The parameters are those of `image.resized_to_fit`, from which pixels differ by at most 1 / 255.
    """
    network_size_px = (size_px, size_px) if isinstance(size_px, int) else size_px
    fitted = Letterbox.fit(image_size_px=(pixels.shape[1], pixels.shape[0]), network_size_px=network_size_px)
    size = (fitted.resized_height_px, fitted.resized_width_px)
    if geometry == "darknet":
        return array_resized_by_darknet(pixels.transpose(2, 0, 1), size), fitted
    image = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1), fitted


def canvases(contents: Sequence[Content], letterboxes: Sequence[Letterbox]) -> Float32Array:
    """The images of a batch on grey canvases of one size, float32 in 0..1, (B, 3, height, width)."""
    height, width = letterboxes[0].network_height_px, letterboxes[0].network_width_px
    batch = np.empty((len(contents), 3, height, width), np.float32)
    for canvas, content, fitted in zip(batch, contents, letterboxes, strict=True):
        if content.shape != canvas.shape:
            canvas.fill(GREY)
        bottom, right = fitted.top_px + content.shape[1], fitted.left_px + content.shape[2]
        largest = np.float32(255 if content.dtype == np.uint8 else 1)
        np.divide(content, largest, out=canvas[:, fitted.top_px : bottom, fitted.left_px : right])
    return batch


def array_resized_by_darknet(pixels: np.ndarray, size: tuple[int, int]) -> Float32Array:
    """The image (3, H, W), uint8 or float in 0..1, at a size (height, width), computed like darknet's resize_image.

    Bilinear with aligned corners. Darknet leaves out the contribution of the row below to the last row. That
    contribution is usually 0; where rounding makes it almost 1, the last row is almost black.
    """
    height, width = size
    column, weight_right = _interpolation_by_darknet(pixels.shape[2], width)
    column[-1], weight_right[-1] = pixels.shape[2] - 1, 0
    row, weight_below = _interpolation_by_darknet(pixels.shape[1], height)
    weight_of_row = (1 - weight_below)[:, None]
    weight_below = np.append(weight_below[:-1], np.float32(0))[:, None]
    next_column = np.minimum(column + 1, pixels.shape[2] - 1)
    next_row = np.minimum(row + 1, pixels.shape[1] - 1)

    def wide(rows: Int64Array) -> Float32Array:
        lines = pixels[:, rows]
        left, right = _in_unit_range(lines[:, :, column]), _in_unit_range(lines[:, :, next_column])
        blended: Float32Array = (1 - weight_right) * left + weight_right * right
        return blended

    resized: Float32Array = weight_of_row * wide(row) + weight_below * wide(next_row)
    return resized


def _interpolation_by_darknet(old: int, new: int) -> tuple[Int64Array, Float32Array]:
    """The old pixel before each new one, and the weight of the old pixel after it, both (new,).

    old, new: length in pixels of a side before and after resizing.
    """
    scale = np.float32(old - 1) / np.float32(max(new - 1, 1))
    at = np.arange(new, dtype=np.float32) * scale
    before = np.minimum(at.astype(np.int64), old - 1)
    return before, at - before.astype(np.float32)


def _in_unit_range(pixels: np.ndarray) -> Float32Array:
    values: Float32Array = pixels.astype(np.float32)
    return values / np.float32(255) if pixels.dtype == np.uint8 else values
