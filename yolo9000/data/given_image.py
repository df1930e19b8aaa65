"""Images that a caller passes in memory: PIL images, NumPy arrays and tensors, checked for layout and value range."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_prep.shards.decoding import ImageError, rgb_of
from yolo9000.data.pixels import UnreadableImage

GivenImage: TypeAlias = Image.Image | np.ndarray[Any, Any] | Tensor


def pixels_of(image: GivenImage, *, name: str = "image") -> Tensor:
    """RGB pixels of an image in memory, uint8, (3, H, W). Raises UnreadableImage, whose message begins with `name`.

    image: a PIL image, which is read like a file; an array of shape (H, W, 3), (H, W, 1) or (H, W), as NumPy, Pillow
    and imageio have them; or a tensor of shape (3, H, W) or (1, H, W), as torchvision has them. Colours are in the
    order red, green, blue; OpenCV's need `image[..., ::-1]`. Integers are in 0..255, floating-point numbers in 0..1.
    """
    if isinstance(image, Image.Image):
        return _from_pillow(image, name)
    if isinstance(image, np.ndarray):
        return _as_bytes(_channels_first(image, name), name)
    if isinstance(image, Tensor):
        return _as_bytes(_as_rgb(image, name), name)
    raise UnreadableImage(
        f"{name}: expected a PIL image, a NumPy array or a tensor, found a {type(image).__name__}."
    )


def _from_pillow(image: Image.Image, name: str) -> Tensor:
    try:
        return torch.from_numpy(rgb_of(image)).permute(2, 0, 1)
    except ImageError as reason:
        raise UnreadableImage(f"{name}: expected an image, but {reason.detail}.") from None


def _channels_first(array: np.ndarray[Any, Any], name: str) -> Tensor:
    if array.dtype.kind not in "uif":
        raise UnreadableImage(f"{name}: expected uint8 or floating-point numbers, found {array.dtype}.")
    shaped = array[..., None] if array.ndim == 2 else array
    if shaped.ndim != 3 or shaped.shape[2] not in (1, 3):
        raise UnreadableImage(
            f"{name}: expected an array of shape (H, W, 3), (H, W, 1) or (H, W), found {array.shape}."
            f"{_array_advice(array.shape)}"
        )
    native = shaped.astype(shaped.dtype.newbyteorder("="), copy=not shaped.flags.writeable)
    return _grey_to_rgb(torch.from_numpy(np.ascontiguousarray(native)).permute(2, 0, 1))


def _array_advice(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return " Pass a list of images instead of a batch."
    if len(shape) == 3 and shape[2] == 4:
        return " Pass Image.fromarray(image), which reads the fourth channel as opacity."
    if len(shape) == 3 and shape[0] in (1, 3):
        return " Its channels come first: pass image.transpose(1, 2, 0) or a tensor."
    return ""


def _as_rgb(tensor: Tensor, name: str) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_complex() or tensor.dtype == torch.bool:
        raise UnreadableImage(f"{name}: expected a dense tensor of uint8 or floating-point numbers.")
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        advice = ""
        if tensor.ndim == 4:
            advice = " Pass list(images) instead of a batch."
        elif tensor.ndim == 3 and tensor.shape[2] in (1, 3):
            advice = " Its channels come last: pass image.permute(2, 0, 1) or an array."
        raise UnreadableImage(
            f"{name}: expected a tensor of shape (3, H, W) or (1, H, W), found {tuple(tensor.shape)}.{advice}"
        )
    return _grey_to_rgb(tensor.detach().cpu())


def _grey_to_rgb(tensor: Tensor) -> Tensor:
    return tensor.expand(3, -1, -1)


def _as_bytes(image: Tensor, name: str) -> Tensor:
    """The pixels as uint8; UnreadableImage where they leave their range."""
    if image.numel() == 0:
        raise UnreadableImage(
            f"{name}: expected an image with pixels, found {image.shape[2]} × {image.shape[1]} of them."
        )
    if image.dtype == torch.uint8:
        return image
    is_float = image.dtype.is_floating_point
    values = image.float() if is_float else image.long()
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= (1 if is_float else 255)):  # NaN is outside too
        expected = "floating-point pixels in 0..1" if is_float else "integer pixels in 0..255"
        advice = " Pass uint8, or divide by 255." if is_float and 1 < high <= 255 and low >= 0 else ""
        raise UnreadableImage(f"{name}: expected {expected}, found {low:g} to {high:g}.{advice}")
    return (values * 255).round().to(torch.uint8) if is_float else values.to(torch.uint8)
