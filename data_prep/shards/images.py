"""Preparing an image for storage. Pillow decodes every image, to check it.

8-bit grey or RGB images in JPEG or PNG, which all decoders read alike, are stored unchanged. All others (palettes,
transparency, CMYK, 16 bit, other formats, images to be rotated or resized) are re-encoded as JPEG.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from data_prep.errors import DataPrepError

MAX_PIXELS = 178_956_970  # Pillow's limit against decompression bombs
MAX_JPEG_SIDE = 65_500  # px of a side: libjpeg's limit
# The formats that may be opened. Pillow opens others (EPS) by starting programs, which untrusted files must not do.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")
_ASPECT_TOLERANCE = 0.02  # a resized image still fits its boxes; a cropped one does not
# Errors of Pillow's decoders on damaged data; OSError includes truncated and unidentified images.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError)


class ImageError(DataPrepError):
    """An image that cannot be used; the message is the reason under which the writer counts it."""


@dataclass(frozen=True)
class ImageRules:
    """Settings for re-encoding; resize_max in px of the longer side, None for no limit."""

    resize_max: int | None
    quality: int


@dataclass(frozen=True)
class PreparedImage:
    """The bytes to store, the size of the decoded image in px, and the reasons for which it was changed."""

    data: bytes
    width: int
    height: int
    changes: tuple[str, ...] = ()


def prepare_image(data: bytes, size_px: tuple[int, int] | None, rules: ImageRules) -> PreparedImage:
    """The image in the form to store; size_px is the size in the annotations, if stated. Raises ImageError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about irregular but readable files
        image = _decoded(data)
        changes = [] if _can_stay(image, data) else [f"re-encoded ({_description(image, data)})"]
        upright = _upright(image, size_px)
        if upright is not image:
            changes.append("rotated by EXIF")
        _check_aspect(upright, size_px)
        resized = _resized(upright, rules.resize_max)
        if resized is not upright:
            changes.append(f"resized to {rules.resize_max} px")
        stored = _jpeg(_as_grey_or_rgb(resized), rules.quality) if changes else data
    return PreparedImage(stored, resized.width, resized.height, tuple(changes))


def upright_size_px(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright image, from its header alone; None if the header cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                is_sideways = _orientation(image) in range(5, 9)
                return (image.height, image.width) if is_sideways else image.size
    except (Image.DecompressionBombError, *_UNREADABLE):
        return None


def _decoded(data: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise ImageError("image with too many pixels")
        image.load()
    except Image.DecompressionBombError:
        raise ImageError("image with too many pixels") from None
    except _UNREADABLE:
        raise ImageError("image that cannot be decoded") from None
    return image


def _can_stay(image: Image.Image, data: bytes) -> bool:
    if image.mode not in ("L", "RGB"):
        return False
    if image.format in ("JPEG", "MPO"):  # MPO: a JPEG followed by more images, which decoders ignore
        return True
    is_plain_png = image.format == "PNG" and not getattr(image, "is_animated", False)
    bit_depth, colour_type = data[24], data[25]  # of the IHDR chunk, which is always the first
    return is_plain_png and bit_depth == 8 and colour_type in (0, 2) and "transparency" not in image.info


def _description(image: Image.Image, data: bytes) -> str:
    bits = " 16 bit" if image.format == "PNG" and data[24] == 16 else ""
    return f"{image.format} {image.mode}{bits}"


def _upright(image: Image.Image, size_px: tuple[int, int] | None) -> Image.Image:
    """The image rotated by EXIF, unless the annotations refer to the stored pixels, as COCO's do."""
    if size_px == image.size:
        return image
    try:
        return ImageOps.exif_transpose(image) if _orientation(image) in range(2, 9) else image
    except _UNREADABLE:  # a damaged EXIF block
        return image


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _UNREADABLE:
        return 1


def _check_aspect(image: Image.Image, size_px: tuple[int, int] | None) -> None:
    if size_px is None:
        return
    stated = size_px[0] / size_px[1]
    if abs(image.width / image.height - stated) > _ASPECT_TOLERANCE * stated:
        raise ImageError("image with another aspect ratio than in its annotations")


def _resized(image: Image.Image, resize_max: int | None) -> Image.Image:
    longer = max(image.size)
    if resize_max is None or longer <= resize_max:
        return image
    scale = resize_max / longer
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return _as_grey_or_rgb(image).resize(size, Image.Resampling.LANCZOS)


def _as_grey_or_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit grey or RGB; transparent pixels become white."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(values / (257 if values.max() > 255 else 1), 0, 255).astype(np.uint8))
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    if max(image.size) > MAX_JPEG_SIDE:
        raise ImageError(f"image to re-encode with a side longer than JPEG's {MAX_JPEG_SIDE} px")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, exif=b"")
    return file.getvalue()
