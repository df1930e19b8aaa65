"""Images as tensors: decoding, and the letterbox that evaluation and prediction share."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wordtree.support.arrays import UInt8Array
from yolo9000.config import Geometry
from yolo9000.data.letterbox import GREY, Letterbox, array_resized_by_darknet
from yolo9000.data.pixels import read_pixels, read_stored_pixels, stored_pixels


def decode_image(encoded: UInt8Array, *, name: str = "image") -> Tensor:
    """RGB pixels of an encoded image, uint8, (3, H, W).

    The EXIF orientation is not applied, since labels refer to the stored pixels. Raises UnreadableImage, whose message
    begins with `name`.
    """
    return _as_tensor(stored_pixels(encoded.tobytes(), name=name))


def read_image(path: Path | str) -> Tensor:
    """RGB pixels of an image file with its EXIF orientation applied, as viewers show it, uint8, (3, H, W).

    The formats, the limits of size and the pixels are those of `data-prep merge`. Raises UnreadableImage.
    """
    return _as_tensor(read_pixels(path))


def read_stored_image(path: Path | str) -> Tensor:
    """RGB pixels of an image file like `read_image`, but without its EXIF orientation, which Darknet ignores."""
    return _as_tensor(read_stored_pixels(path))


def _as_tensor(pixels: UInt8Array) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def letterbox(
    image: Tensor, size_px: int | tuple[int, int], *, geometry: Geometry = "exact"
) -> tuple[Tensor, Letterbox]:
    """The image scaled to fit on a grey canvas, float32 in 0..1, (3, height, width), and its letterbox.

    The parameters are those of `resized_to_fit`.
    """
    content, fitted = resized_to_fit(image, size_px, geometry=geometry)
    canvas = torch.full(
        (3, fitted.network_height_px, fitted.network_width_px),
        GREY,
        dtype=torch.float32,
        device=image.device,
    )
    rows = slice(fitted.top_px, fitted.top_px + fitted.resized_height_px)
    columns = slice(fitted.left_px, fitted.left_px + fitted.resized_width_px)
    canvas[:, rows, columns] = _in_unit_range(content)
    return canvas, fitted


def resized_to_fit(
    image: Tensor, size_px: int | tuple[int, int], *, geometry: Geometry = "exact"
) -> tuple[Tensor, Letterbox]:
    """The image at its size on the canvas, uint8 or floating in 0..1, (3, height, width), and its letterbox.

    image: uint8 in 0..255 or floating in 0..1, shape (3, H, W).
    size_px: side of a square canvas, or its (width, height).
    geometry: `darknet` resizes without antialiasing and aligns the corners (decision 13).
    """
    network_size_px = (size_px, size_px) if isinstance(size_px, int) else size_px
    fitted = Letterbox.fit(image_size_px=(image.shape[2], image.shape[1]), network_size_px=network_size_px)
    size = (fitted.resized_height_px, fitted.resized_width_px)
    if geometry == "darknet":
        return resized_by_darknet(image, size), fitted
    return resized(image, *size), fitted


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
    """The image (3, H, W), uint8 or float in 0..1, at a size (height, width), computed like darknet's resize_image."""
    return torch.from_numpy(array_resized_by_darknet(pixels.cpu().numpy(), size)).to(pixels.device)
