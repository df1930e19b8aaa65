"""Images as tensors: decoding, and the letterbox that evaluation and prediction share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data_prep.shards.decoding import ImageError, rgb_pixels, upright_rgb_pixels
from data_prep.shards.image_files import read_bytes
from wordtree.support.arrays import UInt8Array
from wordtree.support.files import system_message
from yolo9000.errors import Yolo9000Error

_GREY = 0.5  # darknet's letterbox canvas


class UnreadableImage(Yolo9000Error):
    """An image file is missing, or its bytes are not an image."""


def decode_image(encoded: UInt8Array, *, name: str = "image") -> Tensor:
    """RGB pixels of an encoded image, uint8, (3, H, W).

    The EXIF orientation is not applied, since labels refer to the stored pixels. Raises UnreadableImage, whose message
    begins with `name`.
    """
    with _errors_naming(name):
        return _as_tensor(rgb_pixels(encoded.tobytes()))


def read_image(path: Path | str) -> Tensor:
    """RGB pixels of an image file with its EXIF orientation applied, as viewers show it, uint8, (3, H, W).

    The formats, the limits of size and the pixels are those of `data-prep merge`. Raises UnreadableImage.
    """
    with _errors_naming(path):
        return decode_upright(read_bytes(Path(path)), name=str(path))


def decode_upright(content: bytes, *, name: str) -> Tensor:
    """RGB pixels of an encoded image as by `read_image`. Raises UnreadableImage, whose message begins with `name`."""
    with _errors_naming(name):
        return _as_tensor(upright_rgb_pixels(content))


def read_stored_image(path: Path | str) -> Tensor:
    """RGB pixels of an image file like `read_image`, but without its EXIF orientation, which Darknet ignores."""
    with _errors_naming(path):
        return _as_tensor(rgb_pixels(read_bytes(Path(path))))


@contextmanager
def _errors_naming(name: Path | str) -> Iterator[None]:
    """Turns errors of the image reader into UnreadableImage with the name of the image."""
    try:
        yield
    except OSError as error:
        raise UnreadableImage(f"{name}: cannot be read as an image: {system_message(error)}.") from None
    except ImageError as reason:
        raise UnreadableImage(f"{name}: expected an image, but {reason.detail}.") from None


def _as_tensor(pixels: UInt8Array) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


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

    def to_network(self, xyxy_px: Tensor) -> Tensor:
        """Boxes in pixels of the canvas, from boxes in pixels of the image; shape (..., 4)."""
        return xyxy_px * self._scale(xyxy_px) + self._margin(xyxy_px)

    def to_image(self, xyxy_px: Tensor) -> Tensor:
        """Boxes in pixels of the image, not clipped, from boxes in pixels of the canvas; shape (..., 4).

        The exact inverse of `to_network`, whose margin is rounded down.
        """
        return (xyxy_px - self._margin(xyxy_px)) / self._scale(xyxy_px)

    def to_image_by_darknet(self, xyxy_px: Tensor) -> Tensor:
        """Boxes as by `to_image` with darknet's margin, which is not rounded: up to half a pixel off (decision 13)."""
        x = (self.network_width_px - self.resized_width_px) / 2
        y = (self.network_height_px - self.resized_height_px) / 2
        return (xyxy_px - xyxy_px.new_tensor([x, y, x, y])) / self._scale(xyxy_px)

    def _scale(self, like: Tensor) -> Tensor:
        x = self.resized_width_px / self.image_width_px
        y = self.resized_height_px / self.image_height_px
        return like.new_tensor([x, y, x, y])

    def _margin(self, like: Tensor) -> Tensor:
        return like.new_tensor([self.left_px, self.top_px, self.left_px, self.top_px])


def letterbox(
    image: Tensor, size_px: int | tuple[int, int], *, geometry: Literal["exact", "darknet"] = "exact"
) -> tuple[Tensor, Letterbox]:
    """The image scaled to fit on a grey canvas, float32 in 0..1, (3, height, width), and its letterbox.

    image: uint8 in 0..255 or floating in 0..1, shape (3, H, W).
    size_px: side of a square canvas, or its (width, height).
    geometry: `darknet` resizes without antialiasing and aligns the corners (decision 13).
    """
    network_size_px = (size_px, size_px) if isinstance(size_px, int) else size_px
    fitted = Letterbox.fit(image_size_px=(image.shape[2], image.shape[1]), network_size_px=network_size_px)
    canvas = torch.full(
        (3, fitted.network_height_px, fitted.network_width_px),
        _GREY,
        dtype=torch.float32,
        device=image.device,
    )
    rows = slice(fitted.top_px, fitted.top_px + fitted.resized_height_px)
    columns = slice(fitted.left_px, fitted.left_px + fitted.resized_width_px)
    size = (fitted.resized_height_px, fitted.resized_width_px)
    if geometry == "darknet":
        canvas[:, rows, columns] = resized_by_darknet(image, size)
    else:
        canvas[:, rows, columns] = _in_unit_range(resized(image, *size))
    return canvas, fitted


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """The image (3, H, W) at a size, bilinear with antialiasing; bytes stay bytes, which is 35 times as fast."""
    if tuple(image.shape[1:]) == (height, width):
        return image
    if image.dtype == torch.uint8 and image.device.type != "cpu":  # torch resizes bytes on the CPU only
        return resized(image.float(), height, width).round_().to(torch.uint8)
    return interpolate(image[None], size=(height, width), mode="bilinear", antialias=True)[0]


def _in_unit_range(pixels: Tensor) -> Tensor:
    return pixels / 255 if pixels.dtype == torch.uint8 else pixels.float()


def resized_by_darknet(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """The image (3, H, W), uint8 or float in 0..1, at a size (height, width), computed like darknet's resize_image.

    Bilinear with aligned corners. Darknet leaves out the contribution of the row below to the last row. That
    contribution is usually 0; where rounding makes it almost 1, the last row is almost black.
    """
    height, width = size
    column, weight_right = _interpolation_by_darknet(pixels.shape[2], width, pixels.device)
    column[-1], weight_right[-1] = pixels.shape[2] - 1, 0
    row, weight_below = _interpolation_by_darknet(pixels.shape[1], height, pixels.device)
    weight_of_row = (1 - weight_below)[:, None]
    weight_below = torch.cat([weight_below[:-1], weight_below.new_zeros(1)])[:, None]
    next_column = (column + 1).clamp_max(pixels.shape[2] - 1)
    next_row = (row + 1).clamp_max(pixels.shape[1] - 1)

    def wide(rows: Tensor) -> Tensor:
        lines = pixels[:, rows]
        left, right = _in_unit_range(lines[:, :, column]), _in_unit_range(lines[:, :, next_column])
        return (1 - weight_right) * left + weight_right * right

    return weight_of_row * wide(row) + weight_below * wide(next_row)


def _interpolation_by_darknet(old: int, new: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The old pixel before each new one, and the weight of the old pixel after it, both (new,).

    old, new: length in pixels of a side before and after resizing.
    """
    scale = float(np.float32(old - 1) / np.float32(max(new - 1, 1)))
    at = torch.arange(new, dtype=torch.float32, device=device) * scale
    before = at.long().clamp_max(old - 1)
    return before, at - before
