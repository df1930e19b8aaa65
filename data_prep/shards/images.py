"""Preparing an image for storage. The reader of training and prediction decodes every image, to check it.

8-bit grey or RGB images in JPEG or PNG, which all decoders read alike, are stored unchanged. All others (palettes,
transparency, CMYK, 16 bit, other formats, PNGs with a wrong checksum, images to be rotated or resized) are re-encoded
as JPEG.
"""

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_prep.shards.decoding import (
    DecodedImage,
    ImageError,
    as_grey_or_rgb,
    decode,
    header_size_px,
    upright,
)
from data_prep.shards.png_and_jpeg import is_clean_png

MAX_JPEG_SIDE = 65_500  # px of a side: libjpeg's limit
_ASPECT_TOLERANCE = 0.02  # a resized image still fits its boxes; a cropped one does not


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
        decoded = decode(data)
        changes = [decoded.mended] if decoded.mended else []
        if not _can_stay(decoded):
            changes.append(f"re-encoded ({_description(decoded)})")
        image = _upright(decoded.image, size_px)
        if image is not decoded.image:
            changes.append("rotated by EXIF")
        _check_aspect(image, size_px)
        resized = _resized(image, rules.resize_max)
        if resized is not image:
            changes.append(f"resized to {rules.resize_max} px")
        is_new = bool(changes) and changes != [decoded.mended]
        stored = _jpeg(as_grey_or_rgb(resized), rules.quality) if is_new else decoded.data
    return PreparedImage(stored, resized.width, resized.height, tuple(changes))


def upright_size_px(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright image, from its header alone; None if the header cannot be read."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")
            return header_size_px(file)
    except (ImageError, OSError):
        return None


def _can_stay(decoded: DecodedImage) -> bool:
    image, data = decoded.image, decoded.data
    if image.mode not in ("L", "RGB"):
        return False
    if image.format == "JPEG":  # perhaps followed by more images, which decoders ignore
        return True
    if image.format != "PNG" or getattr(image, "is_animated", False) or "transparency" in image.info:
        return False
    bit_depth, colour_type = data[24], data[25]  # of the IHDR chunk, which is always the first
    return bit_depth == 8 and colour_type in (0, 2) and is_clean_png(data)


def _description(decoded: DecodedImage) -> str:
    image, data = decoded.image, decoded.data
    bits = " 16 bit" if image.format == "PNG" and data[24] == 16 else ""
    damaged = ", wrong checksum" if image.format == "PNG" and not is_clean_png(data) else ""
    return f"{image.format} {image.mode}{bits}{damaged}"


def _upright(image: Image.Image, size_px: tuple[int, int] | None) -> Image.Image:
    """The image rotated by EXIF, unless the annotations refer to the stored pixels, as COCO's do."""
    return image if size_px == image.size else upright(image)


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
    return as_grey_or_rgb(image).resize(size, Image.Resampling.LANCZOS)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    if max(image.size) > MAX_JPEG_SIDE:
        raise ImageError(f"image to re-encode with a side longer than JPEG's {MAX_JPEG_SIDE} px")
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, exif=b"")
    return file.getvalue()
